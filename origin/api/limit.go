package api

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what a request may cost. The zero value of each is the default
// that stands beside it.
type Limits struct {
	BodyBytes       int64   // of a body of reports, as sent and as decoded each; DefaultBodyBytes
	SmallBytes      int64   // of any other body; DefaultSmallBytes
	Uploads         int     // bodies of reports read at once; DefaultUploads
	ClientPerSecond float64 // requests of one address (IPv6: /64) without a key; DefaultClientPerSecond
	ClientBurst     int     // DefaultClientBurst
	KeyPerSecond    float64 // requests of one key; DefaultKeyPerSecond
	KeyBurst        int     // DefaultKeyBurst

	AuditTime time.Duration // to find a page of the audit; DefaultAuditTime
}

// Defaults of Limits.
const (
	DefaultBodyBytes       = 1 << 30
	DefaultSmallBytes      = 64 << 10
	DefaultUploads         = 16 // each holds a batch and, if zstd, a window: 10 MB
	DefaultClientPerSecond = 2
	DefaultClientBurst     = 20 // a look-up page asks for a handful
	DefaultKeyPerSecond    = 50 // a trap may send each report by itself
	DefaultKeyBurst        = 200
	DefaultAuditTime       = 2 * time.Second // a page takes milliseconds, but for odd questions to a huge ledger
)

// stall is how long a body may bring nothing before its request is given up.
const stall = 30 * time.Second

func setDefault[T int | int64 | float64 | time.Duration](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

func (l *Limits) setDefaults() {
	setDefault(&l.BodyBytes, DefaultBodyBytes)
	setDefault(&l.SmallBytes, DefaultSmallBytes)
	setDefault(&l.Uploads, DefaultUploads)
	setDefault(&l.ClientPerSecond, DefaultClientPerSecond)
	setDefault(&l.ClientBurst, DefaultClientBurst)
	setDefault(&l.KeyPerSecond, DefaultKeyPerSecond)
	setDefault(&l.KeyBurst, DefaultKeyBurst)
	setDefault(&l.AuditTime, DefaultAuditTime)
}

// limiterSlots is how many buckets a limiter has: so many that two busy
// clients rarely share one, so few that an attacker cannot fill the memory.
const limiterSlots = 4096

// A limiter gives each name a token bucket. Names that hash alike share one.
type limiter struct {
	seed  maphash.Seed
	limit rate.Limit
	burst int
	mu    sync.Mutex
	slots [limiterSlots]*rate.Limiter
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{seed: maphash.MakeSeed(), limit: rate.Limit(perSecond), burst: burst}
}

// wait takes a token of name at now and returns 0, or how long until there is one.
func (l *limiter) wait(name string, now time.Time) time.Duration {
	slot := maphash.String(l.seed, name) % limiterSlots
	l.mu.Lock()
	bucket := l.slots[slot]
	if bucket == nil {
		bucket = rate.NewLimiter(l.limit, l.burst)
		l.slots[slot] = bucket
	}
	l.mu.Unlock()
	reservation := bucket.ReserveN(now, 1)
	if !reservation.OK() {
		return time.Second
	}
	delay := reservation.DelayFrom(now)
	if delay > 0 {
		reservation.CancelAt(now)
	}
	return delay
}

// clientName is what a client is counted by: whoever has an address of an IPv6
// /64 has all of them.
func clientName(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
