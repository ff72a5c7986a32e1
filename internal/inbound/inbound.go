// Package inbound bounds the connections of a listener, in all and of each
// peer.
//
// Most callers use Listen. Promised: a connection past a limit is closed and
// takes no part in the limits. Not promised: how long a connection lasts, which
// its server knows.
package inbound

import (
	"net"
	"net/netip"
	"sync"
)

// Limits of a listener.
type Limits struct {
	All    int                   // connections at once
	Peer   int                   // connections of one peer at once
	Exempt func(netip.Addr) bool // peers that may have any number, such as a proxy; nil is none
	// Refuse is called with a connection for which there is no room, before it
	// is closed. It must wait for nobody. Nil does nothing.
	Refuse func(net.Conn)
}

// Listen returns l within the limits.
func Listen(l net.Listener, limits Limits) net.Listener {
	return &listener{Listener: l, limits: limits, open: map[netip.Prefix]int{}}
}

// Peer returns the address at the other end of a connection, the zero Addr if
// it has none.
func Peer(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// Group is what a peer is counted by: whoever has an address of an IPv6 /64 has
// all of them. Peers without an address are one.
func Group(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// A listener counts what is open.
type listener struct {
	net.Listener
	limits Limits

	mu   sync.Mutex
	all  int
	open map[netip.Prefix]int
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := Peer(c)
		if l.enter(peer) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(peer) })}, nil
		}
		if l.limits.Refuse != nil {
			l.limits.Refuse(c)
		}
		c.Close()
	}
}

// enter counts a new connection and reports whether there is room for it.
func (l *listener) enter(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := Group(a)
	exempt := l.limits.Exempt != nil && l.limits.Exempt(a)
	if l.all >= l.limits.All || l.open[g] >= l.limits.Peer && !exempt {
		return false
	}
	l.all++
	l.open[g]++
	return true
}

// leave ends a connection that entered.
func (l *listener) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := Group(a)
	l.all--
	if l.open[g]--; l.open[g] == 0 {
		delete(l.open, g)
	}
}

// A conn leaves when it is closed.
type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite lets an HTTP server end its side and hear the client out, so that
// an answer to a body that was not read arrives.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
