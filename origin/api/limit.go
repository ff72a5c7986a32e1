package api

import (
	"fmt"
	"hash/maphash"
	"net/http"
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
	Uploads         int     // bodies of reports read at once, of one reporter a quarter; DefaultUploads
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
	DefaultUploads         = 16 // each holds a batch and, if zstd, a window: 10 MB; or a zone file: 45 MB
	DefaultClientPerSecond = 2
	DefaultClientBurst     = 20 // a look-up page asks for a handful
	DefaultKeyPerSecond    = 50 // a trap may send each report by itself
	DefaultKeyBurst        = 200
	DefaultAuditTime       = 2 * time.Second // a page takes milliseconds, but for odd questions to a huge ledger
)

// Bounds on how slowly a body of reports may come before its request is given
// up: it holds a place.
const (
	stall   = 30 * time.Second // without a byte, or behind the slowest
	slowest = 4 << 10          // bytes a second, on the average
)

// answerTime is how long the answer to a body of reports may take to be sent.
const answerTime = time.Minute

// shortUpload is up to how many bytes a body of reports needs no place among the
// uploads: a trap sends each report by itself, and has many at once.
const shortUpload = 16 << 10

// places are what uploads take while they are read. Each reporter has a share,
// or one of them could keep all others out.
type places struct {
	all, share int

	mu    sync.Mutex
	taken int
	of    map[string]int // by reporter
}

func newPlaces(all int) *places {
	return &places{all: all, share: max(1, all/4), of: map[string]int{}}
}

// enter takes a place for a reporter, or says why there is none.
func (p *places) enter(reporter string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.of[reporter] >= p.share:
		return fail(http.StatusTooManyRequests, fmt.Sprintf("too many uploads at once: a reporter has %d, but for bodies of up to %d bytes", p.share, shortUpload))
	case p.taken >= p.all:
		return fail(http.StatusTooManyRequests, "too many uploads at once")
	}
	p.taken++
	p.of[reporter]++
	return nil
}

// leave gives a place back.
func (p *places) leave(reporter string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[reporter]--; p.of[reporter] == 0 {
		delete(p.of, reporter)
	}
}

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

// bucket returns the bucket of a name.
func (l *limiter) bucket(name string) *rate.Limiter {
	slot := maphash.String(l.seed, name) % limiterSlots
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots[slot] == nil {
		l.slots[slot] = rate.NewLimiter(l.limit, l.burst)
	}
	return l.slots[slot]
}

// giveBack returns a token that wait has taken.
func (l *limiter) giveBack(name string, now time.Time) { l.bucket(name).ReserveN(now, -1) }

// wait takes a token of name at now and returns 0, or how long until there is one.
func (l *limiter) wait(name string, now time.Time) time.Duration {
	reservation := l.bucket(name).ReserveN(now, 1)
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
