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

// atMost returns a number that is never less than the addresses or /64s that
// lookups may find listed, whatever an image says that nobody has checked: all
// nets taken together, nested ones and exclusions, too, and all points. Past
// 2^53 it is 2^64 - 1.
func (f *family) atMost() uint64 {
	if f.nets.n == 0 {
		return uint64(f.points.n)
	}
	sum := float64(f.points.n) + sumOf(f.sizes(), f.nets.lengths)
	if sum >= 1<<53 {
		return math.MaxUint64
	}
	return uint64(sum)
}

// sumOf adds up the sizes of nets by their lengths. Sums of floating-point
// numbers need no thought of overflow, and are exact up to 2^53.
//
// A worker runs this once, while its first client waits, in code that nobody
// has optimised. A runtime that does so to what runs often would count each
// round of a loop by all code of the function before its end, so here and below
// loops stand alone, and look at many nets a round.
//
//go:noinline
func sumOf(sizes *[256]float64, lengths []byte) (sum float64) {
	for ; len(lengths) >= 8; lengths = lengths[8:] {
		w := le64(lengths)
		sum += sizes[byte(w)] + sizes[byte(w>>8)] + sizes[byte(w>>16)] + sizes[byte(w>>24)] +
			sizes[byte(w>>32)] + sizes[byte(w>>40)] + sizes[byte(w>>48)] + sizes[byte(w>>56)]
	}
	for _, l := range lengths {
		sum += sizes[l]
	}
	return sum
}

// sizes returns how many addresses or /64s a net covers, by the length that
// stands in its column: at least one, and as nets.bits has it.
func (f *family) sizes() *[256]float64 {
	var sizes [256]float64
	longest := min(f.bits, f.nets.deepest)
	size := math.Ldexp(1, f.bits-longest)
	for l := len(sizes) - 1; l >= 0; l-- {
		if l < longest {
			size *= 2
		}
		sizes[l] = size
	}
	return &sizes
}

// A span is a prefix of either family, as nets has them.
type span struct {
	first addr
	bits  int
}

// mayTouch says whether lookups may find an address of the spans listed,
// whatever an image says that nobody has checked. If it says no, there is none.
func (f *family) mayTouch(spans []span) bool {
	for _, x := range spans {
		if lo, hi := f.pointsInside(x.first, x.bits); lo < hi {
			return true
		}
	}
	return f.nets.n > 0 && f.nets.mayTouch(spans)
}

// mayTouch looks closer at the few nets that are near the spans.
func (t *nets) mayTouch(spans []span) bool {
	if t.deepest < wideBits || anyShorter(t.lengths) {
		for i := range t.n {
			if t.bits(i) < wideBits && t.lists(i, spans) {
				return true
			}
		}
	}
	near := whereabouts(spans)
	for i := t.nextNear(near, 0); i < t.n; i = t.nextNear(near, i+1) {
		if t.lists(i, spans) {
			return true
		}
	}
	return false
}

// nextNear returns the first net from i on that may be near the spans, or how
// many nets there are: it starts where whereabouts says that they are, or has
// one first byte with them and is too short to tell more.
//
//go:noinline
func (t *nets) nextNear(near *[256]uint64, i int) int {
	for i < t.n {
		high := t.starts[0][2*i:]
		bits := near[high[1]]
		switch {
		case bits == 0:
			i += alike(high)
		case bits>>(high[0]>>2)&1 != 0 || t.bits(i) < nearBits:
			return i
		default:
			i++
		}
	}
	return t.n
}

// alike returns a number of nets, the first ones in a row, that have one first
// byte. There may be a few more.
//
//go:noinline
func alike(high []byte) int {
	const firstBytes = 0xff00_ff00_ff00_ff00
	first, n := uint64(high[1])*0x0100_0100_0100_0100, 0
	for ; len(high) >= 32; high = high[32:] {
		if (le64(high)^first|le64(high[8:])^first|le64(high[16:])^first|le64(high[24:])^first)&firstBytes != 0 {
			break
		}
		n += 16
	}
	for ; len(high) >= 8 && (le64(high)^first)&firstBytes == 0; high = high[8:] {
		n += 4
	}
	return max(n, 1)
}

const (
	wideBits = 8  // the length below which a net has several first bytes
	nearBits = 14 // how many bits of an address whereabouts looks at
)

// whereabouts tells by the first byte of an address, in 64 bits for the six bits
// that follow, where there are addresses of the spans.
func whereabouts(spans []span) *[256]uint64 {
	var near [256]uint64
	for _, x := range spans {
		first, last := x.first.hi>>(64-nearBits), x.first.last(x.bits).hi>>(64-nearBits)
		for b := first >> 6; b <= last>>6; b++ {
			near[b] |= ^uint64(0) << (first & 63) & (^uint64(0) >> (63 - last&63)) // all of them if there are several bytes
		}
	}
	return &near
}

// anyShorter says whether one of the lengths is below wideBits.
//
//go:noinline
func anyShorter(lengths []byte) bool {
	const ones, tops = 0x01_01_01_01_01_01_01_01, 0x80_80_80_80_80_80_80_80
	for ; len(lengths) >= 16; lengths = lengths[16:] {
		v, w := le64(lengths), le64(lengths[8:])
		if ((v-wideBits*ones)&^v|(w-wideBits*ones)&^w)&tops != 0 {
			return true
		}
	}
	for _, l := range lengths {
		if l < wideBits {
			return true
		}
	}
	return false
}

// lists says whether net i is a listing, and has an address in common with one
// of the spans.
//
//go:noinline
func (t *nets) lists(i int, spans []span) bool {
	if t.row(i) == 0 {
		return false
	}
	a, bits := t.addr(i), t.bits(i)
	for _, x := range spans {
		n := min(bits, x.bits)
		if (a.hi^x.first.hi)>>(64-min(n, 64)) == 0 && (n <= 64 || (a.lo^x.first.lo)>>(128-n) == 0) {
			return true
		}
	}
	return false
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
