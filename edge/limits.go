package edge

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// rateMax is the highest rate that can be set, requests a second.
	rateMax rate.Limit = 1e6
	// burstSeconds is how many seconds' worth of requests may come at once: a
	// mail server asks in bunches, one connection at a time.
	burstSeconds = 10
	// limitShards divides the table, so that clients seldom wait for each other.
	limitShards = 16
	// clientsMax is how many clients the table remembers, at about 150 bytes
	// each. Past it the ones that have been silent longest begin afresh.
	clientsMax = 1 << 17
)

// Limits counts the requests of each client, a token bucket for every IPv4
// address, every IPv6 /64 and every key. Its table is bounded. The nil Limits
// allows everything.
type Limits struct {
	rate   rate.Limit
	seed   maphash.Seed
	shards [limitShards]limitShard
}

// A client is whom a bucket belongs to: a key, or else a prefix.
type client struct {
	key    *Key
	prefix netip.Prefix
}

// A limitShard holds its buckets in two halves. When young is full it becomes
// old, and what was old is forgotten; a client that comes back moves to young.
type limitShard struct {
	mu         sync.Mutex
	young, old map[client]*rate.Limiter
}

// NewLimits returns limits of perSecond requests a second for each client that
// has no rate of its own. 0 or less limits only keys with a rate.
func NewLimits(perSecond float64) *Limits {
	l := &Limits{rate: min(rate.Limit(perSecond), rateMax), seed: maphash.MakeSeed()}
	if perSecond <= 0 {
		l.rate = rate.Inf
	}
	for i := range l.shards {
		l.shards[i].young = make(map[client]*rate.Limiter)
	}
	return l
}

// Allow counts one request at now and reports whether it is within the limit:
// that of key, or if key is nil, that of the network of address.
func (l *Limits) Allow(key *Key, address netip.Addr, now time.Time) bool {
	if l == nil {
		return true
	}
	c, perSecond := client{key: key}, l.rate
	if key == nil {
		c.prefix = network(address)
	} else if key.Rate != 0 {
		perSecond = key.Rate
	}
	if perSecond == rate.Inf {
		return true
	}
	return l.bucket(c, perSecond).AllowN(now, 1)
}

// bucket returns the bucket of c, a full one if it has none.
func (l *Limits) bucket(c client, perSecond rate.Limit) *rate.Limiter {
	shard := &l.shards[maphash.Comparable(l.seed, c)%limitShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if b := shard.young[c]; b != nil {
		return b
	}
	b := shard.old[c]
	if b == nil {
		b = rate.NewLimiter(perSecond, burst(perSecond))
	}
	if len(shard.young) >= clientsMax/limitShards/2 {
		shard.old, shard.young = shard.young, make(map[client]*rate.Limiter)
	}
	shard.young[c] = b
	return b
}

// burst returns how many requests may come at once at that rate.
func burst(perSecond rate.Limit) int { return max(1, int(perSecond*burstSeconds)) }

// network returns what counts as one client: an IPv4 address, or an IPv6 /64,
// which one machine commonly has to itself.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Addr gives the zero Prefix: one bucket for all of them
	return p
}
