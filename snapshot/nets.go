package snapshot

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
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

// place returns the prefix of n bits that comes gap prefixes of that length
// after the first one that starts at a or above, and whether that is past the
// last address.
func (a addr) place(gap addr, n int) (addr, bool) {
	over := false
	if m := a.masked(n); m != a {
		a, over = m.follows(n)
	}
	if n == 0 {
		return a, over || gap != (addr{})
	}
	shift := uint(128 - n)
	lost := gap.hi >> (64 - shift) // nothing while shift is 0
	size := addr{gap.hi<<shift | gap.lo>>(64-shift), gap.lo << shift}
	if shift >= 64 {
		lost = gap.hi | gap.lo>>(128-shift)
		size = addr{gap.lo << (shift - 64), 0}
	}
	lo, carry := bits.Add64(a.lo, size.lo, 0)
	hi, carry := bits.Add64(a.hi, size.hi, carry)
	return addr{hi, lo}, over || lost != 0 || carry != 0
}

// nets is a laminar set of prefixes: of any two, one holds the other or they
// are apart. They are sorted by address, then by length, so a prefix stands
// before everything inside it.
type nets struct {
	family  uint8
	hi      []uint64 // first address
	lo      []uint64 // IPv6 only
	length  []uint8  // of the prefix, bits
	parent  []int32  // next wider prefix, or -1
	row     []uint32 // facts: 1 + index of the row; 0 is an exclusion
	index   index    // over hi
	deepest int      // most bits of any prefix
}

func (n *nets) len() int { return len(n.length) }

func (n *nets) addr(i int) addr {
	if n.lo == nil {
		return addr{n.hi[i], 0}
	}
	return addr{n.hi[i], n.lo[i]}
}

// bitsMax returns the bits of an address of the family.
func bitsMax(family uint8) int {
	if family == 4 {
		return 32
	}
	return 128
}

// openNets decodes a section of four columns, each of x.Count numbers: prefix
// lengths, how many prefixes end before this one, gaps, rows. used is the
// number of rows that earlier sections refer to, and rises.
func openNets(x Section, b []byte, rows int, used *int) (nets, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || 4*x.Count > len(b) {
		c.fail("more prefixes than bytes")
		return nets{}, c.err
	}
	n := nets{
		family: x.Family,
		hi:     make([]uint64, x.Count),
		length: make([]uint8, x.Count),
		parent: make([]int32, x.Count),
		row:    make([]uint32, x.Count),
	}
	if x.Family == 6 {
		n.lo = make([]uint64, x.Count)
	}
	for _, read := range []func(*cursor){n.readLengths, n.readParents, n.readGaps} {
		if read(&c); c.err != nil { // each column builds on the one before
			return nets{}, c.err
		}
	}
	n.readRows(&c, rows, used)
	if err := c.end(); err != nil {
		return nets{}, err
	}
	n.index = newIndex(n.hi)
	return n, nil
}

func (n *nets) readLengths(c *cursor) {
	most := uint8(bitsMax(n.family))
	copy(n.length, c.bytes(uint64(len(n.length))))
	for _, l := range n.length {
		if l > most {
			c.fail("prefix too long")
			return
		}
		n.deepest = max(n.deepest, int(l))
	}
}

// readParents reads for each prefix how many prefixes end before it: of its
// predecessor and those around that, the innermost ones.
func (n *nets) readParents(c *cursor) {
	for i := range n.parent {
		up, ok := c.short()
		if !ok {
			up = c.uint(netsDeep)
		}
		at := int32(i - 1)
		for ; up > 0; up-- {
			if at < 0 {
				c.fail("more prefixes end than there are")
				return
			}
			at = n.parent[at]
		}
		if at >= 0 && n.length[i] <= n.length[at] {
			c.fail("prefix not longer than its parent")
			return
		}
		n.parent[i] = at
	}
}

// netsDeep is the greatest number of nested prefixes.
const netsDeep = 129

// readGaps reads the first addresses: each as the distance, in prefixes of the
// same length, from the first place where it could be. That is the start of
// its parent, or the end of the prefix before it that has the same parent.
func (n *nets) readGaps(c *cursor) {
	if n.deepest <= 64 {
		n.readShortGaps(c)
		return
	}
	for i := range n.hi {
		parent, before := int(n.parent[i]), n.before(i)
		low, over := addr{}, false
		if before != parent {
			low, over = n.addr(before).follows(int(n.length[before]))
		} else if parent >= 0 {
			low = n.addr(parent)
		}
		a, past := low.place(c.uint128(), int(n.length[i]))
		if over || past || parent >= 0 && !n.covers(parent, a) {
			c.fail("prefix outside its parent")
		}
		if c.err != nil {
			return
		}
		n.hi[i], n.lo[i] = a.hi, a.lo
	}
}

// before returns the prefix before i that has the same parent, or the parent.
func (n *nets) before(i int) int {
	parent, before := n.parent[i], i-1
	for before != int(parent) && n.parent[before] != parent {
		before = int(n.parent[before])
	}
	return before
}

// readShortGaps is readGaps where no prefix is longer than 64 bits, as is usual:
// it takes a third of the time, as prefixes are numbers below 2^64.
func (n *nets) readShortGaps(c *cursor) {
	for i := range n.hi {
		parent, before := int(n.parent[i]), n.before(i)
		low, over := uint64(0), false
		if before != parent {
			low = (n.hi[before] | ^uint64(0)>>n.length[before]) + 1
			over = low == 0 || n.length[i] == 0
		} else if parent >= 0 {
			low = n.hi[parent]
		}
		gap, ok := c.short()
		if !ok {
			gap = c.uint(math.MaxUint64)
		}
		shift := 64 - n.length[i]
		mask := uint64(1)<<shift - 1
		number, last := low>>shift+(low&mask+mask)>>shift, ^uint64(0)>>shift
		start := (number + gap) << shift
		over = over || number > last || gap > last-number
		if over || parent >= 0 && (start^n.hi[parent])>>(64-n.length[parent]) != 0 {
			c.fail("prefix outside its parent")
		}
		if c.err != nil {
			return
		}
		n.hi[i] = start
	}
}

// readRows reads references to facts: 0 is an exclusion, 1 the next row that
// nobody has used yet, 2 the row before that, 3 the one before that.
func (n *nets) readRows(c *cursor, rows int, used *int) {
	for i := range n.row {
		short, ok := c.short()
		if !ok {
			short = c.uint(math.MaxUint32)
		}
		ref := int(short)
		switch {
		case ref > *used+1:
			c.fail("row that no prefix before it uses")
		case ref == 1:
			*used++
			n.row[i] = uint32(*used)
		case ref > 1:
			n.row[i] = uint32(*used - ref + 2)
		}
		if *used > rows {
			c.fail("more rows used than there are")
		}
		if c.err != nil {
			return
		}
	}
}

// covers says whether prefix i holds a.
func (n *nets) covers(i int, a addr) bool {
	l := uint(n.length[i])
	if l <= 64 {
		return (a.hi^n.hi[i])>>(64-l) == 0
	}
	return a.hi == n.hi[i] && (a.lo^n.lo[i])>>(128-l) == 0
}

// after returns the first prefix that starts above a.
func (n *nets) after(a addr) int {
	i := n.index.after(n.hi, a.hi)
	if n.lo == nil || i == 0 || n.hi[i-1] != a.hi || n.lo[i-1] <= a.lo {
		return i
	}
	first := 0 // of those with the same high half, which are up to i
	if a.hi > 0 {
		first = n.index.after(n.hi, a.hi-1)
	}
	for i > first && n.lo[i-1] > a.lo {
		if mid := int(uint(first+i) / 2); n.lo[mid] > a.lo {
			i = mid
		} else {
			first = mid + 1
		}
	}
	return i
}

// cover returns the longest prefix that holds a, or -1.
func (n *nets) cover(a addr) int {
	i := n.after(a) - 1
	for i >= 0 && !n.covers(i, a) {
		i = int(n.parent[i])
	}
	return i
}
