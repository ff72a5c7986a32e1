package snapshot_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// A corpus is a snapshot of the size of a large public list, made from a seed,
// with addresses to ask for by name of the question.
type corpus struct {
	image []byte
	plain *snapshot.Snapshot
	gated *snapshot.Snapshot
	ask   map[string][]netip.Addr
}

const asked = 1 << 14 // addresses of each question: more than caches hold

// largeCorpus has two million addresses and 200 000 /64s on Level 1, 20 000
// nets on Level 2 and 100 000 on Level 3; as many an address shares its /24 as
// on real lists.
var largeCorpus = sync.OnceValue(func() *corpus { return newCorpus(1) })

// newCorpus makes a corpus of one part in so many of the large one.
func newCorpus(part int) *corpus {
	r := rand.New(rand.NewPCG(1, 1))
	in := build.Input{Zones: threeZones()}
	for range 150_000 / part { // abusers come in crowds
		near := r.Uint32N(224<<24) &^ 255
		for range 1 + r.IntN(27) {
			in.Listings = append(in.Listings, addressListing(r, v4(near|r.Uint32N(256)), 32))
		}
	}
	for range 200_000 / part {
		in.Listings = append(in.Listings, addressListing(r, v6(0x2000_0000_0000_0000|r.Uint64N(1<<24)<<36|r.Uint64N(1<<12)), 64))
	}
	for i := range 120_000 / part {
		level, a, bits := snapshot.System, v4(r.Uint32N(224<<24)), 16+r.IntN(9)
		if i%6 == 0 {
			level = snapshot.Allocation
		}
		if r.IntN(8) == 0 {
			a, bits = v6(0x2000_0000_0000_0000|r.Uint64N(1<<20)<<40), 29+r.IntN(20)
		}
		p, _ := a.Prefix(bits)
		in.Listings = append(in.Listings, snapshot.Listing{Level: level, Prefix: p, Facts: snapshot.Facts{
			Count: r.Uint32N(50), ASN: snapshot.ASN(64496 + r.IntN(16)), ASName: "EXAMPLE-AS",
		}})
	}
	return openCorpus(in, r)
}

func addressListing(r *rand.Rand, a netip.Addr, bits int) snapshot.Listing {
	p, _ := a.Prefix(bits)
	end := snapshot.Hour(490_000 + r.IntN(168))
	return snapshot.Listing{Level: snapshot.Address, Prefix: p, Facts: snapshot.Facts{End: end, Last: end - 168}}
}

func v4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func v6(high uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high)
	return netip.AddrFrom16(b)
}

func openCorpus(in build.Input, r *rand.Rand) *corpus {
	c := &corpus{ask: map[string][]netip.Addr{}}
	var err error
	if c.image, err = build.Image(in); err != nil {
		panic(err)
	}
	if c.plain, err = snapshot.Open(c.image); err != nil {
		panic(err)
	}
	b, err := build.Filter(c.image)
	if err != nil {
		panic(err)
	}
	f, err := snapshot.OpenFilter(b)
	if err != nil {
		panic(err)
	}
	if c.gated, err = c.plain.WithFilter(f); err != nil {
		panic(err)
	}
	r.Shuffle(len(in.Listings), func(i, j int) { in.Listings[i], in.Listings[j] = in.Listings[j], in.Listings[i] })
	for _, l := range in.Listings {
		c.add(levelName(l.Level)+"/hit/", l.Prefix.Addr())
	}
	for i := range 16 * asked {
		a := v4(r.Uint32N(224 << 24))
		if i%4 == 0 {
			a = v6(0x2000_0000_0000_0000 | r.Uint64N(1<<61))
		}
		for level := snapshot.Address; level <= snapshot.System; level++ {
			if !c.plain.Lookup(level, a, 0).Listed {
				c.add(levelName(level)+"/miss/", a)
			}
		}
	}
	return c
}

func levelName(l snapshot.Level) string { return "level" + string('0'+byte(l)) }

func (c *corpus) add(question string, a netip.Addr) {
	question += "v4"
	if a.Is6() {
		question = question[:len(question)-1] + "6"
	}
	if len(c.ask[question]) < asked {
		c.ask[question] = append(c.ask[question], a)
	}
}

var questions = []struct {
	name  string
	level snapshot.Level
	hit   bool
}{
	{"level1/miss/v4", 1, false}, {"level1/hit/v4", 1, true}, {"level1/miss/v6", 1, false}, {"level1/hit/v6", 1, true},
	{"level2/miss/v4", 2, false}, {"level2/hit/v4", 2, true}, {"level2/miss/v6", 2, false}, {"level2/hit/v6", 2, true},
	{"level3/miss/v4", 3, false}, {"level3/hit/v4", 3, true}, {"level3/miss/v6", 3, false}, {"level3/hit/v6", 3, true},
}

func BenchmarkLookup(b *testing.B) {
	c := largeCorpus()
	for _, q := range questions {
		b.Run(q.name, func(b *testing.B) { benchmarkLookup(b, c.plain, q.level, c.ask[q.name], q.hit) })
		if q.level == snapshot.Address {
			b.Run(q.name+"/filter", func(b *testing.B) { benchmarkLookup(b, c.gated, q.level, c.ask[q.name], q.hit) })
		}
	}
}

func benchmarkLookup(b *testing.B, s *snapshot.Snapshot, level snapshot.Level, ask []netip.Addr, hit bool) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if m := s.Lookup(level, ask[i%len(ask)], 0); m.Listed != hit {
			b.Fatalf("%v: listed %v", ask[i%len(ask)], m.Listed)
		}
		i++
	}
}

func BenchmarkOpen(b *testing.B) {
	c := largeCorpus()
	b.ReportAllocs()
	b.ReportMetric(float64(len(c.image)), "image-bytes")
	for b.Loop() {
		if _, err := snapshot.Open(c.image); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnyBelow(b *testing.B) {
	c := largeCorpus()
	for _, bits := range []int{8, 16, 24} {
		b.Run("level1/"+netip.PrefixFrom(netip.IPv4Unspecified(), bits).String(), func(b *testing.B) {
			ask := c.ask["level1/miss/v4"]
			i := 0
			for b.Loop() {
				p, _ := ask[i%len(ask)].Prefix(bits)
				c.plain.AnyBelow(snapshot.Address, p, 0)
				i++
			}
		})
	}
}

// TestLookupAllocates holds that no lookup allocates: the bodies are those of
// the benchmarks.
func TestLookupAllocates(t *testing.T) {
	c := newCorpus(50)
	for _, q := range questions {
		ask := c.ask[q.name]
		if len(ask) < 20 {
			t.Fatalf("%s: only %d addresses to ask for", q.name, len(ask))
		}
		i := 0
		for _, s := range []*snapshot.Snapshot{c.plain, c.gated} {
			n := testing.AllocsPerRun(1000, func() {
				m := s.Lookup(q.level, ask[i%len(ask)], 0)
				s.Parent(m, 0)
				p, _ := ask[i%len(ask)].Prefix(24)
				s.AnyBelow(q.level, p, 0)
				i++
			})
			if n != 0 {
				t.Errorf("%s: %v allocations a lookup, want 0", q.name, n)
			}
		}
	}
}
