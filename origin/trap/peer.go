package trap

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ucedge/internal/inbound"
)

// peers counts what each peer has sent. IPv6 peers are counted by their /64.
type peers struct {
	limits Limits
	mu     sync.Mutex
	mails  map[netip.Prefix]*rate.Limiter
}

// maxRates is how many peers are told apart by what they sent; past it all are
// forgotten, which grants each a burst.
const maxRates = 1 << 16

func newPeers(l Limits) *peers {
	return &peers{limits: l, mails: map[netip.Prefix]*rate.Limiter{}}
}

// mayMail counts a mail and reports whether the peer's rate allows it.
func (p *peers) mayMail(a netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	group := inbound.Group(a)
	limiter, ok := p.mails[group]
	if !ok {
		if len(p.mails) >= maxRates {
			clear(p.mails)
		}
		limiter = rate.NewLimiter(rate.Limit(p.limits.PeerPerMinute/60), p.limits.PeerBurst)
		p.mails[group] = limiter
	}
	return limiter.AllowN(now, 1)
}

// timed is a listener that ends connections that last too long.
type timed struct {
	net.Listener
	atMost time.Duration
}

func (l timed) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	end := time.AfterFunc(l.atMost, func() { c.Close() })
	return &ending{c, end}, nil
}

// ending is a connection with a last moment.
type ending struct {
	net.Conn
	end *time.Timer
}

func (c *ending) Close() error {
	c.end.Stop()
	return c.Conn.Close()
}

// turnedAway is told a peer for whom there is no room (RFC 5321 3.1).
const turnedAway = "421 4.7.0 Too many connections, try again later\r\n"

// turnAway tells a peer that there is no room.
func (t *Trap) turnAway(c net.Conn) {
	c.SetWriteDeadline(time.Now().Add(time.Second)) // fits the socket's buffer, so it waits for nobody
	if _, err := c.Write([]byte(turnedAway)); err != nil {
		t.Log.Debug("turn away", "peer", c.RemoteAddr(), "error", err)
	}
}
