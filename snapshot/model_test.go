package snapshot_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// A world is a few listings close to each other, so that small random ones
// meet in every way: nested, adjacent, hidden, at both ends of the space.
type world struct {
	base netip.Addr // all prefixes start within the last few bits of it
	low  int        // bits of an address that vary, the last ones
}

var worlds = []world{
	{netip.MustParseAddr("192.0.2.0"), 5},
	{netip.MustParseAddr("0.0.0.0"), 4},
	{netip.MustParseAddr("255.255.255.240"), 4},
	{netip.MustParseAddr("198.51.100.0"), 10},
	{netip.MustParseAddr("2001:db8::"), 5},
	{netip.MustParseAddr("::"), 4},
	{netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0"), 4},
}

// sixtyFours are worlds in which the bits around bit 64 vary.
var sixtyFours = []netip.Addr{
	netip.MustParseAddr("2001:db8:0:10::"), netip.MustParseAddr("::"),
	netip.MustParseAddr("ffff:ffff:ffff:fff0::"),
}

// vary sets n bits of a from bit from on to v.
func vary(a netip.Addr, from, n, v int) netip.Addr {
	b := a.AsSlice()
	for i := range n {
		bit := from + i
		b[bit/8] &^= 0x80 >> (bit % 8)
		if v>>(n-1-i)&1 == 1 {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}

func randomFacts(r *rand.Rand) snapshot.Facts {
	var f snapshot.Facts
	if r.IntN(3) == 0 {
		f.End = snapshot.Hour(490000 + r.IntN(5))
		if r.IntN(2) == 0 {
			f.Last = f.End - 168
		}
	}
	if r.IntN(4) == 0 {
		f.First, f.Kinds = snapshot.Hour(489000+r.IntN(300)), snapshot.Kinds(r.IntN(64))
		f.Count = uint32(r.IntN(400))
	}
	if r.IntN(6) == 0 {
		f.ASN, f.ASName, f.Threshold = snapshot.ASN(64496+r.IntN(3)), fmt.Sprint("NET-", r.IntN(2)), 5
	}
	if r.IntN(8) == 0 {
		f.Text = fmt.Sprint("own text ", r.IntN(3))
	}
	return f
}

// randomListings returns listings of one world, and the addresses to ask for.
func randomListings(r *rand.Rand) (list []snapshot.Listing, ask []netip.Addr) {
	level := snapshot.Level(1 + r.IntN(3))
	w := worlds[r.IntN(len(worlds))]
	from, n := w.base.BitLen()-w.low, w.low
	if r.IntN(3) == 0 {
		w.base = sixtyFours[r.IntN(len(sixtyFours))]
		from, n = 61, 6
	}
	size := 1 + r.IntN(12)
	if r.IntN(8) == 0 {
		size = 1 + r.IntN(500) // more than a block
	}
	for range size {
		bits := from + r.IntN(n+1)
		switch r.IntN(12) {
		case 0:
			bits = r.IntN(w.base.BitLen() + 1)
		case 1:
			bits = w.base.BitLen()
		case 2, 3, 4, 5:
			bits = min(from+n, w.base.BitLen())
		}
		p, _ := vary(w.base, from, n, r.IntN(1<<n)).Prefix(bits)
		l := snapshot.Listing{Level: level, Prefix: p, Excluded: r.IntN(4) == 0}
		if !p.Addr().Is4In6() {
			l.Facts = randomFacts(r)
			list = append(list, l)
		}
	}
	for v := range 1 << n {
		a := vary(w.base, from, n, v)
		ask = append(ask, a)
		if p, _ := a.Prefix(min(from+n, a.BitLen())); from+n < a.BitLen() {
			ask = append(ask, last(p))
		}
	}
	return list, append(ask, w.base.Prev(), ask[len(ask)-1].Next())
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// model is the rule as a linear scan: of the listings and exclusions that hold
// the prefix, have fewer bits than below, and have not ended, the longest.
func model(list []snapshot.Listing, level snapshot.Level, p netip.Prefix, below int, now int64) *snapshot.Listing {
	var best *snapshot.Listing
	for i := range list {
		l := &list[i]
		if l.Level != level || l.Prefix.Bits() >= below || l.Prefix.Bits() > p.Bits() || !l.Prefix.Contains(p.Addr()) {
			continue
		}
		if l.End != 0 && now >= l.End.Seconds() {
			continue
		}
		if best == nil || l.Prefix.Bits() > best.Prefix.Bits() {
			best = l
		}
	}
	return best
}

// modelBelow looks for a listed address in p by halving it until no listing
// lies inside any more.
func modelBelow(list []snapshot.Listing, level snapshot.Level, p netip.Prefix, now int64) bool {
	inside := false
	for i := range list {
		l := &list[i]
		inside = inside || l.Level == level && l.Prefix.Bits() > p.Bits() && p.Contains(l.Prefix.Addr())
	}
	if !inside {
		l := model(list, level, p, 129, now)
		return l != nil && !l.Excluded
	}
	lower := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	upper := netip.PrefixFrom(vary(p.Addr(), p.Bits(), 1, 1), p.Bits()+1)
	return modelBelow(list, level, lower, now) || modelBelow(list, level, upper, now)
}

// asListing turns a match back into a listing; the text of the zone is none.
func asListing(m snapshot.Match, level snapshot.Level, zoneText string) snapshot.Listing {
	f := m.Facts
	l := snapshot.Listing{Level: level, Prefix: m.Prefix, Excluded: m.Excluded, Facts: snapshot.Facts{
		Count: f.Count, Threshold: f.Threshold, ASN: f.ASN, ASName: string(f.ASName),
		First: f.First, Last: f.Last, End: f.End, Kinds: f.Kinds, Text: string(f.Text),
	}}
	if l.Text == zoneText {
		l.Text = ""
	}
	return l
}

func sameMatch(m snapshot.Match, want *snapshot.Listing, level snapshot.Level) error {
	if want == nil {
		if m.Listed || m.Excluded || m.Prefix.IsValid() {
			return fmt.Errorf("got %v %v %v, want nothing", m.Listed, m.Excluded, m.Prefix)
		}
		return nil
	}
	if m.Listed == want.Excluded || m.Excluded != want.Excluded {
		return fmt.Errorf("listed %v excluded %v, want %+v", m.Listed, m.Excluded, *want)
	}
	if got := asListing(m, level, zone(level, "").Text); got != *want {
		return fmt.Errorf("got %+v\nwant %+v", got, *want)
	}
	return nil
}

func threeZones() []snapshot.Zone {
	return []snapshot.Zone{
		zone(snapshot.Address, "dnsbl-1.bl.example"), zone(snapshot.Allocation, "dnsbl-2.bl.example"),
		zone(snapshot.System, "dnsbl-3.bl.example"), zone(snapshot.Combined, "dnsbl.bl.example"),
	}
}

func mustImage(t testing.TB, in build.Input) ([]byte, *snapshot.Snapshot) {
	t.Helper()
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatalf("check of own image: %v", err)
	}
	return image, s
}

func mustFilter(t testing.TB, image []byte, s *snapshot.Snapshot) (*snapshot.Filter, *snapshot.Snapshot) {
	t.Helper()
	b, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(b)
	if err != nil {
		t.Fatal(err)
	}
	gated, err := s.WithFilter(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, gated
}

func all(s *snapshot.Snapshot) (out []snapshot.Listing) {
	for level := snapshot.Address; level <= snapshot.System; level++ {
		out = slices.AppendSeq(out, s.Listings(level))
	}
	return out
}

// TestModel compares thousands of small worlds with a linear scan.
func TestModel(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 2))
		list, ask := randomListings(r)
		checkWorld(t, r, list, ask)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, list)
		}
	}
}

func checkWorld(t *testing.T, r *rand.Rand, list []snapshot.Listing, ask []netip.Addr) {
	image, s := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
	filter, gated := mustFilter(t, image, s)
	want, err := build.Canonical(list)
	if err != nil {
		t.Fatal(err)
	}
	if got := all(s); !slices.Equal(got, want) {
		t.Errorf("listings\n got %+v\nwant %+v", got, want)
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if again, err := build.Image(build.Input{Zones: threeZones(), Listings: list}); err != nil || !bytes.Equal(again, image) {
		t.Errorf("another order gives another image (%v)", err)
	}
	now := int64(489998+r.IntN(9)) * 3600
	if r.IntN(2) == 0 {
		now--
	}
	for _, a := range ask {
		for level := snapshot.Address; level <= snapshot.System; level++ {
			checkAddress(t, s, gated, filter, want, level, a, now)
		}
	}
	for range 60 {
		a := ask[r.IntN(len(ask))]
		level := snapshot.Level(1 + r.IntN(3))
		if len(list) > 0 && r.IntN(4) > 0 {
			level = list[0].Level
		}
		p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
		if r.IntN(3) > 0 {
			p, _ = a.Prefix(max(0, a.BitLen()-r.IntN(10)))
		}
		if got, want := s.AnyBelow(level, p, now), modelBelow(want, level, p, now); got != want {
			t.Errorf("any below %v at level %d and %d: got %v, want %v", p, level, now, got, want)
		}
	}
}

// checkAddress compares one address and the whole chain of its parents.
func checkAddress(t *testing.T, s, gated *snapshot.Snapshot, filter *snapshot.Filter, list []snapshot.Listing,
	level snapshot.Level, a netip.Addr, now int64) {
	if !a.IsValid() || a.Is4In6() {
		return
	}
	m := s.Lookup(level, a, now)
	if g := gated.Lookup(level, a, now); !reflect.DeepEqual(g, m) {
		t.Errorf("%v at level %d: %+v with the filter, %+v without", a, level, g, m)
	}
	if (m.Listed || m.Excluded) && !filter.May(level, a) {
		t.Errorf("%v at level %d: listed or excluded, but not in the filter", a, level)
	}
	whole := netip.PrefixFrom(a, a.BitLen())
	want := model(list, level, whole, 129, now)
	for ok := true; ok; {
		if err := sameMatch(m, want, level); err != nil {
			t.Errorf("%v at level %d and %d: %v", a, level, now, err)
			return
		}
		if want != nil {
			want = model(list, level, whole, want.Prefix.Bits(), now)
		}
		if m, ok = s.Parent(m, now); ok != (want != nil) {
			t.Errorf("%v at level %d and %d: parent %v, want %+v", a, level, now, m.Prefix, want)
			return
		}
	}
}

// TestAnyBelow compares worlds in which few addresses stay listed with the slow
// rule: whether one does depends on nets within nets that fill each other up, on
// exclusions, and on what has ended.
func TestAnyBelow(t *testing.T) {
	const now = 490000 * 3600
	found := map[bool]int{}
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 3))
		base := sixtyFours[r.IntN(len(sixtyFours))]
		from, depth := 61, 6 // points are at three
		switch r.IntN(4) {
		case 0, 1:
			base, from, depth = netip.MustParseAddr("192.0.2.0"), 27, 5
		case 2:
			base, from, depth = netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffe0"), 123, 5
		}
		var list []snapshot.Listing
		for range 1 + r.IntN(5) {
			p, _ := vary(base, from, depth, r.IntN(1<<depth)).Prefix(from + r.IntN(depth+1))
			list = fill(r, list, p, from+depth)
		}
		_, s := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
		want, err := build.Canonical(list)
		if err != nil {
			t.Fatal(err)
		}
		for bits := from - 1; bits <= from+depth; bits++ {
			for v := 0; v < 1<<depth; v += 1 << (from + depth - max(bits, from)) {
				p, _ := vary(base, from, depth, v).Prefix(bits)
				got := s.AnyBelow(snapshot.Address, p, now)
				if model := modelBelow(want, snapshot.Address, p, now); got != model {
					t.Fatalf("seed %d, %v: got %v, want %v of %+v", seed, p, got, model, want)
				}
				found[got]++
			}
		}
	}
	if min(found[true], found[false]) < 5000 {
		t.Errorf("%v: one answer is so rare that this shows little", found)
	}
}

// fill lists p and then, mostly, both of its halves, down to so many bits. What is
// of the last ones is excluded, as a rule.
func fill(r *rand.Rand, list []snapshot.Listing, p netip.Prefix, most int) []snapshot.Listing {
	l := snapshot.Listing{Level: snapshot.Address, Prefix: p, Excluded: r.IntN(4) == 0 || p.Bits() == most && r.IntN(20) > 0}
	if !l.Excluded && r.IntN(4) == 0 {
		l.Facts.End = 490000 - 1 + snapshot.Hour(2*r.IntN(2))
	}
	if r.IntN(12) > 0 {
		list = append(list, l)
	}
	if p.Bits() == most || r.IntN(12) == 0 {
		return list
	}
	list = fill(r, list, netip.PrefixFrom(p.Addr(), p.Bits()+1), most)
	return fill(r, list, netip.PrefixFrom(vary(p.Addr(), p.Bits(), 1, 1), p.Bits()+1), most)
}
