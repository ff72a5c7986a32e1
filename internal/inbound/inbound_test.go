package inbound_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"ucedge/internal/inbound"
)

// A stage is a listener to which connections come from any address.
type stage chan net.Conn

func (s stage) Accept() (net.Conn, error) {
	c, ok := <-s
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (s stage) Close() error   { return nil }
func (s stage) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	peer net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.peer }

// A caller is one end of a connection, of which the other may be accepted.
type caller struct {
	net.Conn
	far net.Conn
}

func call(address string) caller {
	near, far := net.Pipe()
	var peer net.Addr = &net.UnixAddr{Name: "@"}
	if address != "" {
		peer = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 4711))
	}
	return caller{near, from{far, peer}}
}

// refused reports whether the connection was closed by the listener.
func (c caller) refused() bool {
	text, err := io.ReadAll(c)
	return err == nil && string(text) == "full"
}

// TestListen: each row is a connection that comes and stays, unless one goes
// first.
func TestListen(t *testing.T) {
	in := make(stage)
	l := inbound.Listen(in, inbound.Limits{
		All: 6, Peer: 2,
		Exempt: func(a netip.Addr) bool { return a.IsLoopback() },
		Refuse: func(c net.Conn) { io.WriteString(c, "full") },
	})
	accepted := make(chan net.Conn, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	open := map[string]net.Conn{}
	for i, row := range []struct {
		from string
		ends string // a peer that goes before
		full bool
	}{
		{from: "192.0.2.1"},
		{from: "::ffff:192.0.2.1"},
		{from: "192.0.2.1", full: true},
		{from: "2001:db8::1"},
		{from: "2001:db8::2"},
		{from: "2001:db8::3", full: true},
		{from: "127.0.0.1", ends: "2001:db8::2"},
		{from: "127.0.0.1"},
		{from: "127.0.0.1"}, // the sixth of all
		{from: "192.0.2.9", full: true},
		{from: "127.0.0.1", full: true},
		{from: "2001:db8::3", ends: "2001:db8::1"},
		{from: "", ends: "192.0.2.1"}, // has no address
	} {
		if row.ends != "" {
			open[row.ends].Close()
			open[row.ends].Close() // counts once
		}
		c := call(row.from)
		in <- c.far
		if row.full {
			if !c.refused() {
				t.Fatalf("connection %d from %q is not refused", i+1, row.from)
			}
			continue
		}
		open[row.from] = <-accepted
	}
	close(in)
	<-done
}
