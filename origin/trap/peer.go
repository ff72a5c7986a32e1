package trap

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// peers counts what each peer has open and has sent. IPv6 peers are counted by
// their /64.
type peers struct {
	limits Limits
	mu     sync.Mutex
	open   map[netip.Prefix]int // connections
	total  int
	mails  map[netip.Prefix]*rate.Limiter
}

// maxRates is how many peers are told apart by what they sent; past it all are
// forgotten, which grants each a burst.
const maxRates = 1 << 16

func newPeers(l Limits) *peers {
	return &peers{limits: l, open: map[netip.Prefix]int{}, mails: map[netip.Prefix]*rate.Limiter{}}
}

// group is the prefix that a peer is counted by.
func group(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // all that have no address are one peer
	}
	return p
}

// enter counts a new connection and reports whether there is room for it.
func (p *peers) enter(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := group(a)
	if p.total >= p.limits.Connections || p.open[g] >= p.limits.PerPeer {
		return false
	}
	p.total++
	p.open[g]++
	return true
}

// leave ends a connection that entered.
func (p *peers) leave(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := group(a)
	p.total--
	if p.open[g]--; p.open[g] == 0 {
		delete(p.open, g)
	}
}

// mayMail counts a mail and reports whether the peer's rate allows it.
func (p *peers) mayMail(a netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limiter, ok := p.mails[group(a)]
	if !ok {
		if len(p.mails) >= maxRates {
			clear(p.mails)
		}
		limiter = rate.NewLimiter(rate.Limit(p.limits.PeerPerMinute/60), p.limits.PeerBurst)
		p.mails[group(a)] = limiter
	}
	return limiter.AllowN(now, 1)
}

// limited is a listener that turns connections away past the limits, and ends
// those that last too long.
type limited struct {
	net.Listener
	trap *Trap
}

// turnedAway is told a peer for whom there is no room (RFC 5321 3.1).
const turnedAway = "421 4.7.0 Too many connections, try again later\r\n"

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := peerOf(c)
		if l.trap.peers.enter(peer) {
			end := time.AfterFunc(l.trap.Limits.SessionAtMost, func() { c.Close() })
			return &counted{Conn: c, leave: sync.OnceFunc(func() { end.Stop(); l.trap.peers.leave(peer) })}, nil
		}
		c.SetWriteDeadline(time.Now().Add(time.Second)) // fits the socket's buffer, so it waits for nobody
		_, told := c.Write([]byte(turnedAway))
		if err := errors.Join(told, c.Close()); err != nil {
			l.trap.Log.Debug("turn away", "peer", peer, "error", err)
		}
	}
}

// counted is a connection that leaves when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
