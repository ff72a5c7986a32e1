package snapshot

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// An addr is an address of either family, its first bit the highest of hi. An
// IPv4 address is the top half of hi, and the rest is zero.
type addr struct{ hi, lo uint64 }

// number returns a, which is valid, as an addr.
func number(a netip.Addr) addr {
	if a.Is4() {
		b := a.As4()
		return addr{uint64(binary.BigEndian.Uint32(b[:])) << 32, 0}
	}
	b := a.As16()
	return addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a addr) netip(family uint8) netip.Addr {
	if family == 4 {
		return netip.AddrFrom4([4]byte{byte(a.hi >> 56), byte(a.hi >> 48), byte(a.hi >> 40), byte(a.hi >> 32)})
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

func (a addr) less(b addr) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// masked returns a with all bits after the first n cleared.
func (a addr) masked(n int) addr {
	if n <= 64 {
		return addr{a.hi &^ (^uint64(0) >> n), 0}
	}
	return addr{a.hi, a.lo &^ (^uint64(0) >> (n - 64))}
}

// last returns the last address of the prefix of n bits that starts at a.
func (a addr) last(n int) addr {
	if n <= 64 {
		return addr{a.hi | ^uint64(0)>>n, ^uint64(0)}
	}
	return addr{a.hi, a.lo | ^uint64(0)>>(n-64)}
}

// follows returns the first address after the prefix of n bits that starts at
// a, and whether that is past the last address.
func (a addr) follows(n int) (addr, bool) {
	last := a.last(n)
	lo, carry := bits.Add64(last.lo, 1, 0)
	hi, over := bits.Add64(last.hi, 0, carry)
	return addr{hi, lo}, over != 0
}

// nets is a laminar set of prefixes: of any two, one holds the other or they
// are apart. They are sorted by address, then by length, so a prefix stands
// before everything inside it. The columns are searched where they lie; only
// the start of every netsBlock-th prefix is copied, for the index.
type nets struct {
	family  uint8
	n       int       // prefixes
	deepest int       // most bits of any prefix
	rows    uint32    // rows of facts
	lengths []byte    // of the prefixes, bits
	starts  [8][]byte // 16-bit parts of the first addresses, the highest ones first
	parents numbers   // how many prefixes before this one its parent stands; 0 is none
	facts   numbers   // 1 + index of the row; 0 is an exclusion
	firsts  []uint64  // high half of the start of every netsBlock-th prefix
	index   index     // over firsts
}

// netsBlock is the number of prefixes among which a search that has asked the
// index looks further. Of 8, 16, 32 and 64, lookups take the same time with all
// up to 32, and opening takes half as long with 32 as with 8.
const netsBlock = 32

// bitsMax returns the bits of an address of the family.
func bitsMax(family uint8) int {
	if family == 4 {
		return 32
	}
	return 128
}

// StartParts returns how many 16-bit parts of first addresses an image holds
// of nets of the family that have at most so many bits; the others are zero.
func StartParts(family uint8, deepest int) int {
	switch {
	case family == 4:
		return 2
	case deepest <= 64:
		return 4
	}
	return 8
}

// openNets slices a section of nets: its head, prefix lengths, starts, parents,
// rows.
func openNets(x Section, b []byte, rows int) (nets, error) {
	c := cursor{name: x.String(), b: b}
	n := nets{family: x.Family, n: x.Count, rows: uint32(rows)}
	n.deepest = int(c.byte())
	width := [2]int{int(c.byte()), int(c.byte())}
	if x.Count == 0 || n.deepest > bitsMax(x.Family) || c.byte() != 0 {
		c.fail("no prefixes, or prefixes too long")
	}
	n.lengths = c.bytes(uint64(x.Count))
	for k := range StartParts(x.Family, n.deepest) {
		n.starts[k] = c.bytes(uint64(2 * x.Count))
	}
	n.parents = c.numbers(x.Count, width[0])
	n.facts = c.numbers(x.Count, width[1])
	if err := c.end(); err != nil {
		return nets{}, err
	}
	if !n.readFirsts() {
		c.fail("prefixes out of order")
		return nets{}, c.err
	}
	n.index = newIndex(n.firsts)
	return n, nil
}

// readFirsts copies the start of each block, and says whether they rise.
func (t *nets) readFirsts() bool {
	t.firsts = make([]uint64, (t.n+netsBlock-1)/netsBlock)
	if t.family == 4 {
		t.readShort()
	} else {
		for i := range t.firsts {
			t.firsts[i] = t.high(i * netsBlock)
		}
	}
	return slices.IsSorted(t.firsts)
}

// readShort copies the starts of IPv4. A runtime that compiles what runs often
// a second time counts each call of high by all of its code, and would do so
// while a worker's first client waits.
func (t *nets) readShort() {
	top, low := t.starts[0], t.starts[1]
	for i := range t.firsts {
		at := 2 * i * netsBlock
		t.firsts[i] = uint64(le16(top[at:]))<<48 | uint64(le16(low[at:]))<<32
	}
}

func (t *nets) len() int { return t.n }

// addr returns the first address of prefix i.
func (t *nets) addr(i int) addr {
	if t.deepest <= 64 {
		return addr{t.high(i), 0}
	}
	return addr{t.high(i), uint64(t.part(4, i))<<48 | uint64(t.part(5, i))<<32 | uint64(t.part(6, i))<<16 | uint64(t.part(7, i))}
}

// high returns the high half of the first address of prefix i.
func (t *nets) high(i int) uint64 {
	top := uint64(t.part(0, i))<<48 | uint64(t.part(1, i))<<32
	if t.family == 4 {
		return top
	}
	return top | uint64(t.part(2, i))<<16 | uint64(t.part(3, i))
}

// part returns 16 bits of the first address of prefix i.
func (t *nets) part(k, i int) uint16 { return le16(t.starts[k][2*i:]) }

// bits returns the length of prefix i. A longer one than the longest breaks
// the format, and counts as that.
func (t *nets) bits(i int) int { return min(int(t.lengths[i]), t.deepest) }

// parent returns the next wider prefix around i, or -1. One that is not wider
// breaks the format, and is none.
func (t *nets) parent(i int) int {
	d := int(t.parents.at(i))
	if d == 0 {
		return -1
	}
	if d > i || t.bits(i-d) >= t.bits(i) {
		return -1
	}
	return i - d
}

// row returns the facts of prefix i: 1 + index of the row, or 0 if it is an
// exclusion. A row that is not there breaks the format, and lists nothing.
func (t *nets) row(i int) uint32 {
	if row := t.facts.at(i); row <= t.rows {
		return row
	}
	return 0
}

// covers says whether prefix i holds a.
func (t *nets) covers(i int, a addr) bool {
	l := uint(t.bits(i))
	if l <= 64 {
		return (a.hi^t.high(i))>>(64-l) == 0
	}
	b := t.addr(i)
	return a.hi == b.hi && (a.lo^b.lo)>>(128-l) == 0
}

// after returns the first prefix that starts above a.
func (t *nets) after(a addr) int {
	block := t.index.after(t.firsts, a.hi)
	if block == 0 {
		return 0
	}
	lo, hi := (block-1)*netsBlock, min(block*netsBlock, t.n)
	if t.family == 4 {
		return t.afterShort(uint32(a.hi>>32), lo, hi)
	}
	switch {
	case t.deepest > 64 && a.hi == 0:
		lo = 0 // several blocks may share the high bits of a
	case t.deepest > 64 && t.firsts[block-1] == a.hi:
		lo = max(0, t.index.after(t.firsts, a.hi-1)-1) * netsBlock
	}
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); a.less(t.addr(mid)) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// afterShort is after for IPv4, and takes half the time there.
func (t *nets) afterShort(a uint32, lo, hi int) int {
	top, low := t.starts[0], t.starts[1]
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if uint32(le16(top[2*mid:]))<<16|uint32(le16(low[2*mid:])) > a {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// cover returns the longest prefix that holds a, or -1.
func (t *nets) cover(a addr) int {
	i := t.after(a) - 1
	for i >= 0 && !t.covers(i, a) {
		i = t.parent(i)
	}
	return i
}
