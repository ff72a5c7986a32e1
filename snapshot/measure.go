package snapshot

import (
	"math"
	"math/bits"
)

// Measure computes from the listings what Collateral tells, as if none of them
// had ended.
func (s *Snapshot) Measure() []Collateral {
	rows := make([]Collateral, System)
	for i := range rows {
		rows[i].Level = Level(i + 1)
		s.measure4(&rows[i])
		s.measure6(&rows[i])
	}
	for _, version := range []uint8{4, 6} {
		s.countAbusers(version, rows)
	}
	return rows
}

// countAbusers counts what Level 1 lists of a family, and how much of that
// lies in listings of the other levels.
func (s *Snapshot) countAbusers(version uint8, rows []Collateral) {
	f := s.family(Address, version)
	rows[0].Abusers += uint64(f.points.n)
	inside := f.points.inside(bitsMax(version), &s.family(Allocation, version).nets, &s.family(System, version).nets)
	for i, n := range inside {
		rows[1+i].Abusers += n
	}
	for i := range f.nets.len() {
		if f.nets.row(i) == 0 {
			continue
		}
		rows[0].Abusers++
		for level := Allocation; level <= System; level++ {
			t := &s.family(level, version).nets
			if n := t.cover(f.nets.addr(i)); n >= 0 && t.row(n) != 0 {
				rows[level-1].Abusers++
			}
		}
	}
}

// measure4 counts the IPv4 entries of a level, and the addresses that they
// cover: a listing adds its size unless the prefix around it is listed, and an
// exclusion takes its size away if that is.
func (s *Snapshot) measure4(c *Collateral) {
	f := s.family(c.Level, 4)
	f.count(c)
	c.Addresses = uint64(f.points.n) - f.points.inside(f.bits, &f.nets)[0]
	for i := range f.nets.len() {
		excluded := f.nets.row(i) == 0
		if excluded != f.nets.inListed(i, 32) {
			continue
		}
		size := uint64(1) << (32 - f.nets.bits(i))
		if excluded {
			size = -size
		}
		c.Addresses += size
	}
}

// measure6 does the same for IPv6 and /64s.
func (s *Snapshot) measure6(c *Collateral) {
	f := s.family(c.Level, 6)
	f.count(c)
	w := wide{lo: uint64(f.points.n) - f.points.inside(f.bits, &f.nets)[0]}
	for i := range f.nets.len() {
		w.count(f, i)
	}
	c.Slash64s = w.sum()
}

// covered counts what a level covers of one family: addresses or /64s.
func (s *Snapshot) covered(level Level, version uint8) uint64 {
	c := Collateral{Level: level}
	if version == 4 {
		s.measure4(&c)
		return c.Addresses
	}
	s.measure6(&c)
	return c.Slash64s
}

// count counts entries and exclusions.
func (f *family) count(c *Collateral) {
	c.Entries += uint64(f.points.n)
	for i := range f.nets.len() {
		if f.nets.row(i) == 0 {
			c.Excluded++
		} else {
			c.Entries++
		}
	}
}

// inside counts for each of some sets of nets the points whose first address
// lies in a listing of it: of the nets of at most n bits around it, the
// innermost is listed.
func (p *points) inside(n int, all ...*nets) []uint64 {
	counts := make([]uint64, len(all))
	sweeps := make([]sweep, len(all))
	some := 0
	for i, t := range all {
		sweeps[i] = sweep{nets: t, most: n}
		some += t.len()
	}
	if some == 0 {
		return counts
	}
	var room block
	for b := range p.blocks() {
		keys, _ := p.decode(b, &room)
		for i := range sweeps {
			for _, key := range keys {
				if sweeps[i].listed(addr{key << (64 - p.width), 0}) {
					counts[i]++
				}
			}
		}
	}
	return counts
}

// A sweep looks up addresses in rising order among nets of at most so many
// bits. What it has found holds until a net starts or that one ends.
type sweep struct {
	nets  *nets
	most  int
	next  int  // first net that starts above the last address
	last  addr // of what was found
	found bool // and whether it is listed
}

// listed says whether the innermost net around a is listed.
func (s *sweep) listed(a addr) bool {
	t := s.nets
	if (s.next == t.len() || a.less(t.addr(s.next))) && !s.last.less(a) {
		return s.found
	}
	for s.next < t.len() && !a.less(t.addr(s.next)) {
		s.next++
	}
	i := s.next - 1
	for i >= 0 && (t.bits(i) > s.most || !t.covers(i, a)) {
		i = t.parent(i)
	}
	s.last, s.found = addr{^uint64(0), ^uint64(0)}, false
	if i >= 0 {
		s.last, s.found = t.addr(i).last(t.bits(i)), t.row(i) != 0
	}
	return s.found
}

// inListed says whether of the prefixes of at most n bits around net i the
// innermost is listed.
func (t *nets) inListed(i, n int) bool {
	for up := t.parent(i); up >= 0; up = t.parent(up) {
		if t.bits(up) <= n {
			return t.row(up) != 0
		}
	}
	return false
}

// wide counts /64s, up to 2^64 of them. A /64 of which a part is listed counts
// as one.
type wide struct {
	hi, lo uint64
	part   uint64 // the last /64 of which a part was counted
	parts  bool   // there is one
}

// count counts net i of f, in what lies around it.
func (w *wide) count(f *family, i int) {
	excluded, n, a := f.nets.row(i) == 0, f.nets.bits(i), f.nets.addr(i)
	if f.nets.inListed(i, 64) != excluded {
		return
	}
	if n > 64 {
		if excluded || w.parts && a.hi == w.part || f.points.has(a.hi) {
			return
		}
		w.part, w.parts, n = a.hi, true, 64
	}
	lo, hi := uint64(1)<<(64-n), uint64(0)
	if n == 0 {
		hi = 1
	}
	var carry uint64
	if excluded {
		w.lo, carry = bits.Sub64(w.lo, lo, 0)
		w.hi -= hi + carry
		return
	}
	w.lo, carry = bits.Add64(w.lo, lo, 0)
	w.hi += hi + carry
}

func (w *wide) sum() uint64 {
	if w.hi != 0 {
		return math.MaxUint64
	}
	return w.lo
}

// has says whether key is that of a point.
func (p *points) has(key uint64) bool {
	_, found := p.search(key)
	return found
}
