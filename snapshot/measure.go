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
		rows[i] = s.measure(Level(i + 1))
	}
	for _, version := range []uint8{4, 6} {
		f := s.family(Address, version)
		rows[0].Abusers += uint64(f.points.n)
		for level := Allocation; level <= System; level++ {
			rows[level-1].Abusers += f.points.inside(&s.family(level, version).nets, bitsMax(version))
		}
		for i := range f.nets.len() {
			if f.nets.row[i] == 0 {
				continue
			}
			rows[0].Abusers++
			for level := Allocation; level <= System; level++ {
				t := &s.family(level, version).nets
				if n := t.cover(f.nets.addr(i)); n >= 0 && t.row[n] != 0 {
					rows[level-1].Abusers++
				}
			}
		}
	}
	return rows
}

// measure counts the entries of one level, and what they cover: a listing adds
// its size unless the prefix around it is listed, and an exclusion takes its
// size away if that is.
func (s *Snapshot) measure(level Level) Collateral {
	c := Collateral{Level: level}
	v4, v6 := s.family(level, 4), s.family(level, 6)
	c.Entries = uint64(v4.points.n + v6.points.n)
	c.Addresses = uint64(v4.points.n) - v4.points.inside(&v4.nets, 32)
	w := wide{lo: uint64(v6.points.n) - v6.points.inside(&v6.nets, 64)}
	for i := range v4.nets.len() {
		excluded := v4.nets.row[i] == 0
		if excluded == v4.nets.inListed(i, 32) {
			size := uint64(1) << (32 - v4.nets.length[i])
			if excluded {
				size = -size
			}
			c.Addresses += size
		}
	}
	for i := range v6.nets.len() {
		w.count(v6, i)
	}
	for _, f := range []*family{v4, v6} {
		for _, row := range f.nets.row {
			if row == 0 {
				c.Excluded++
			} else {
				c.Entries++
			}
		}
	}
	c.Slash64s = w.sum()
	return c
}

// inside counts the points whose first address lies in a listing of t: of the
// nets of at most n bits around it, the innermost is listed.
func (p *points) inside(t *nets, n int) (count uint64) {
	if t.len() == 0 {
		return 0
	}
	s := sweep{nets: t, most: n}
	var room block
	for b := range p.blocks() {
		keys, _ := p.decode(b, &room)
		for _, key := range keys {
			if s.listed(addr{key << (64 - p.width), 0}) {
				count++
			}
		}
	}
	return count
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
	for i >= 0 && (int(t.length[i]) > s.most || !t.covers(i, a)) {
		i = int(t.parent[i])
	}
	s.last, s.found = addr{^uint64(0), ^uint64(0)}, false
	if i >= 0 {
		s.last, s.found = t.addr(i).last(int(t.length[i])), t.row[i] != 0
	}
	return s.found
}

// inListed says whether of the prefixes of at most n bits around net i the
// innermost is listed.
func (t *nets) inListed(i, n int) bool {
	for up := t.parent[i]; up >= 0; up = t.parent[up] {
		if int(t.length[up]) <= n {
			return t.row[up] != 0
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
	excluded, n, a := f.nets.row[i] == 0, int(f.nets.length[i]), f.nets.addr(i)
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
