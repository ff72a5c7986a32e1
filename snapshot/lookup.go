package snapshot

import (
	"iter"
	"net/netip"
)

// A Match is what a level says of an address. Listed, Excluded, and neither
// are three results: an exclusion is what the level promises not to list, and
// the zero Match is an address of which it says nothing.
type Match struct {
	Listed   bool
	Excluded bool
	Prefix   netip.Prefix // what is listed or excluded; zero if neither
	Facts    MatchFacts   // zero unless listed
	level    Level
}

// MatchFacts are the facts of a listing as views into the image, so that
// nothing is copied. They are valid as long as the image is.
type MatchFacts struct {
	Count     uint32
	Threshold uint32
	ASN       ASN
	ASName    []byte
	First     Hour
	Last      Hour
	End       Hour // 0 is no fixed end
	Kinds     Kinds
	Text      []byte // template; that of the zone if the listing has none, never empty
}

// expired says whether a listing that ends in hour end is over at now, in
// seconds since the Unix epoch.
func expired(end Hour, now int64) bool { return end != 0 && now >= end.Seconds() }

// Lookup returns what the level says of the address at the time now, in seconds
// since the Unix epoch: the most specific prefix that holds it and has not
// ended, be it a listing or an exclusion. IPv4-mapped addresses must come
// unmapped, as they are IPv6 addresses otherwise. It does not allocate.
func (s *Snapshot) Lookup(level Level, a netip.Addr, now int64) (m Match) {
	s.LookupInto(&m, level, a, now)
	return m
}

// LookupInto is Lookup into a variable that the caller has already, which spares
// a guest two copies. If the level says nothing of the address, it clears
// Listed and Excluded alone.
func (s *Snapshot) LookupInto(m *Match, level Level, a netip.Addr, now int64) {
	m.Listed, m.Excluded = false, false
	key, f := s.locate(level, a)
	if f == nil {
		return
	}
	if at := f.find(key, 129, now, &s.facts); at.net >= 0 || at.point >= 0 {
		s.fill(m, level, f, at, key)
	}
}

// Parent returns what the level would say without m and everything inside it:
// the next wider prefix that has not ended, a listing or an exclusion. It is
// false if there is none, or if m is neither listed nor excluded.
func (s *Snapshot) Parent(m Match, now int64) (up Match, ok bool) {
	if !m.Listed && !m.Excluded {
		return up, false
	}
	key, f := s.locate(m.level, m.Prefix.Addr())
	if f == nil {
		return up, false
	}
	at := f.find(key, m.Prefix.Bits(), now, &s.facts)
	if at.net < 0 && at.point < 0 {
		return up, false
	}
	s.fill(&up, m.level, f, at, key)
	return up, true
}

// AnyBelow says whether any address inside p is listed at the time now.
func (s *Snapshot) AnyBelow(level Level, p netip.Prefix, now int64) bool {
	if !p.IsValid() {
		return false
	}
	key, f := s.locate(level, p.Addr())
	return f != nil && f.anyBelow(key.masked(p.Bits()), p.Bits(), now, &s.facts)
}

// locate returns a as a number, and what a level lists of its family, or nil.
func (s *Snapshot) locate(level Level, a netip.Addr) (addr, *family) {
	switch {
	case level < Address || level > System || !a.IsValid():
		return addr{}, nil
	case a.Is4():
		return number(a), &s.tables[level].v4
	}
	return number(a), &s.tables[level].v6
}

// A place is where a prefix stands: a net, or a point by its rank.
type place struct {
	net, point int // -1 is none
}

// find returns the longest prefix that holds a, has fewer bits than below, and
// has not ended.
func (f *family) find(a addr, below int, now int64, facts *facts) place {
	net := f.nets.cover(a)
	for net >= 0 && (f.nets.bits(net) >= below || expired(facts.end(f.nets.row(net)), now)) {
		net = f.nets.parent(net)
	}
	if f.points.n == 0 || f.bits >= below || net >= 0 && f.nets.bits(net) > f.bits {
		return place{net, -1}
	}
	if f.gate != nil && !f.gate.may(a) {
		return place{net, -1}
	}
	if rank, ok := f.points.search(f.points.keyOf(a)); ok && !expired(f.columns.end(rank), now) {
		return place{-1, rank}
	}
	return place{net, -1}
}

// keyOf returns the key of the point that holds a.
func (p *points) keyOf(a addr) uint64 { return a.hi >> (64 - p.width) }

// fill tells what stands at a place, which holds a. It sets all of m field by
// field: a guest's runtime (wazero) clears a variable of this size by many
// small copies.
func (s *Snapshot) fill(m *Match, level Level, f *family, at place, a addr) {
	m.level, m.Listed, m.Excluded = level, false, false
	if at.point >= 0 {
		m.Listed = true
		m.Prefix = f.prefix(a, f.bits)
		f.columns.fill(&m.Facts, at.point)
		m.Facts.Text = s.texts[level]
		return
	}
	m.Prefix = f.prefix(a, f.nets.bits(at.net))
	row := f.nets.row(at.net)
	if row == 0 {
		m.Excluded = true
		m.Facts = MatchFacts{}
		return
	}
	m.Listed = true
	s.facts.fill(&m.Facts, int(row-1))
	if len(m.Facts.Text) == 0 {
		m.Facts.Text = s.texts[level]
	}
}

// prefix returns the prefix of n bits that holds a.
func (f *family) prefix(a addr, n int) netip.Prefix {
	version := uint8(4)
	if f.bits == 64 {
		version = 6
	}
	return netip.PrefixFrom(a.masked(n).netip(version), n)
}

// anyBelow says whether an address of the prefix of n bits at a is listed.
func (f *family) anyBelow(a addr, n int, now int64, facts *facts) bool {
	over := f.find(a, n+1, now, facts) // what holds the whole of the prefix
	listed := over.point >= 0 || over.net >= 0 && f.nets.row(over.net) != 0
	return f.anyNet(a, n, listed, now, facts) || f.anyPoint(a, n, now, facts)
}

// inside returns the first prefix that starts in the prefix of n bits at a and
// is longer than n.
func (t *nets) inside(a addr, n int) int {
	i := 0
	if a != (addr{}) {
		i = t.after(a.before())
	}
	for i < t.len() && t.addr(i) == a && t.bits(i) <= n {
		i++
	}
	return i
}

// before returns the address before a, which is not the first.
func (a addr) before() addr {
	if a.lo == 0 {
		return addr{a.hi - 1, ^uint64(0)}
	}
	return addr{a.hi, a.lo - 1}
}

// anyNet says whether nets list an address of the prefix of n bits at a, of
// which those that no net inside holds are listed or not. It passes each of
// these nets once, as there may be many of which none lists anything. Points
// cannot but list an address, too.
func (f *family) anyNet(a addr, n int, listed bool, now int64, facts *facts) bool {
	t := &f.nets
	last, first := a.last(n), t.inside(a, n)
	next, up := a, -1 // no address before next is listed; what holds it is up or around up
	for i := first; ; i++ {
		more := i < t.len() && !last.less(t.addr(i))
		if more && expired(facts.end(t.row(i)), now) {
			continue
		}
		until := last
		if more {
			until = t.addr(i)
		}
		for next.less(until) || !more && next == last {
			up = f.holder(up, first, next, now, facts)
			if up < 0 {
				if listed || !more {
					return listed
				}
				next = until
				break
			}
			if t.row(up) != 0 {
				return true
			}
			var over bool
			if next, over = t.addr(up).follows(t.bits(up)); over || until.less(next) {
				next = until
				break
			}
		}
		if !more {
			return false
		}
		up = i
	}
}

// holder returns the longest net that has not ended and holds a, of net i and
// those around it from the net first on, or -1.
func (f *family) holder(i, first int, a addr, now int64, facts *facts) int {
	t := &f.nets
	for i >= first && (!t.covers(i, a) || expired(facts.end(t.row(i)), now)) {
		i = t.parent(i)
	}
	if i < first {
		return -1
	}
	return i
}

// anyPoint says whether a point inside the prefix of n bits at a lists an
// address. Longer nets can hide a point.
func (f *family) anyPoint(a addr, n int, now int64, facts *facts) bool {
	if f.points.n == 0 || n >= f.bits {
		return false
	}
	lo, hi := f.pointsInside(a, n)
	for rank := lo; rank < hi; rank++ {
		if expired(f.columns.end(rank), now) {
			continue
		}
		if f.nets.deepest <= f.bits {
			return true
		}
		key := f.points.at(rank)
		if f.anyNet(addr{key << (64 - f.points.width), 0}, f.bits, true, now, facts) {
			return true
		}
	}
	return false
}

// pointsInside returns the range of ranks of points in the prefix of n bits at a.
func (f *family) pointsInside(a addr, n int) (lo, hi int) {
	lo, _ = f.points.search(f.points.keyOf(a))
	hi, found := f.points.search(f.points.keyOf(a.last(n)))
	if found {
		hi++
	}
	return lo, hi
}

// Listings returns all listings and exclusions of a level, those that have
// ended as well, in canonical order: IPv4 before IPv6, by address, then by
// length.
func (s *Snapshot) Listings(level Level) iter.Seq[Listing] {
	return func(yield func(Listing) bool) {
		if level < Address || level > System {
			return
		}
		for _, family := range []uint8{4, 6} {
			f := s.family(level, family)
			if !f.walk(func(at place, a addr) bool { return yield(s.listing(level, f, at, a)) }) {
				return
			}
		}
	}
}

// walk merges points and nets; it is false once yield wants no more.
func (f *family) walk(yield func(at place, a addr) bool) bool {
	net := 0
	for rank, key := range f.points.all() {
		a := addr{key << (64 - f.points.width), 0}
		for ; net < f.nets.len() && f.nets.stands(net, a, f.bits); net++ {
			if !yield(place{net, -1}, f.nets.addr(net)) {
				return false
			}
		}
		if !yield(place{-1, rank}, a) {
			return false
		}
	}
	for ; net < f.nets.len(); net++ {
		if !yield(place{net, -1}, f.nets.addr(net)) {
			return false
		}
	}
	return true
}

// stands says whether net i stands before the prefix of n bits at a.
func (t *nets) stands(i int, a addr, n int) bool {
	b := t.addr(i)
	return b.less(a) || b == a && t.bits(i) < n
}

func (s *Snapshot) listing(level Level, f *family, at place, a addr) Listing {
	var m Match
	s.fill(&m, level, f, at, a)
	l := Listing{Level: level, Prefix: m.Prefix, Excluded: m.Excluded, Facts: Facts{
		Count: m.Facts.Count, Threshold: m.Facts.Threshold, ASN: m.Facts.ASN, ASName: string(m.Facts.ASName),
		First: m.Facts.First, Last: m.Facts.Last, End: m.Facts.End, Kinds: m.Facts.Kinds,
	}}
	if at.net >= 0 && !m.Excluded {
		l.Text = string(s.facts.text(int(f.nets.row(at.net) - 1)))
	}
	return l
}

// at returns the key of that rank.
func (p *points) at(rank int) uint64 {
	var room block
	p.decode(rank/BlockSize, &room)
	return room[rank%BlockSize]
}

// all returns ranks and keys in order.
func (p *points) all() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		var room block
		for b := range p.blocks() {
			keys, _ := p.decode(b, &room)
			for i, key := range keys {
				if !yield(b*BlockSize+i, key) {
					return
				}
			}
		}
	}
}
