package snapshot

import (
	"encoding/binary"
	"net/netip"
)

// An addr is an address of either family, its first bit the highest of hi. An
// IPv4 address is the top half of hi, and the rest is zero.
type addr struct{ hi, lo uint64 }

func addrOf(a netip.Addr) addr {
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

// add returns a + b and whether that is past the last address.
func (a addr) add(b addr) (sum addr, over bool) {
	sum = addr{a.hi + b.hi, a.lo + b.lo}
	carry := sum.lo < a.lo
	if carry {
		sum.hi++
	}
	return sum, sum.hi < a.hi || carry && sum.hi == a.hi
}

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

// units returns count units of 2^(128-n), and whether that is past the last address.
func units(hi, lo uint64, n int) (addr, bool) {
	shift := uint(128 - n)
	if shift >= 64 {
		over := hi != 0 || shift > 64 && lo>>(128-shift) != 0
		return addr{lo << (shift - 64), 0}, over
	}
	return addr{hi<<shift | lo>>(64-shift), lo << shift}, shift > 0 && hi>>(64-shift) != 0
}

// follows returns the first address after the prefix of n bits that starts at
// a, and whether that is past the last address.
func (a addr) follows(n int) (addr, bool) {
	if n == 0 {
		return addr{}, true
	}
	size, _ := units(0, 1, n)
	return a.add(size)
}

// aligned returns the first multiple of 2^(128-n) at or above a, and whether
// that is past the last address.
func (a addr) aligned(n int) (addr, bool) {
	if m := a.masked(n); m != a {
		return m.follows(n)
	}
	return a, false
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
	index   index
	listed  int // entries that are not exclusions
	deepest int // most bits of any prefix
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
	n.readLengths(&c)
	n.readParents(&c)
	n.readGaps(&c)
	n.readRows(&c, rows, used)
	if err := c.end(); err != nil {
		return nets{}, err
	}
	n.index = newIndex(x.Count, func(i int) uint64 { return n.hi[i] })
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

// readParents reads for each prefix how many of those around its predecessor,
// and the predecessor itself, end before it.
func (n *nets) readParents(c *cursor) {
	for i := range n.parent {
		up := c.uint(129)
		at := int32(i - 1)
		for ; up > 0 && at >= 0; up-- {
			at = n.parent[at]
		}
		if up > 0 || at >= 0 && n.length[i] <= n.length[at] {
			c.fail("prefix not inside its parent")
			return
		}
		n.parent[i] = at
	}
}

// readGaps reads the first addresses: each as the distance, in prefixes of the
// same length, from the first place where it could be. That is the start of
// its parent, or the end of the last prefix of the same parent.
func (n *nets) readGaps(c *cursor) {
	for i := range n.hi {
		low, over := n.lowest(i)
		low, over2 := low.aligned(int(n.length[i]))
		gap, over3 := units2(c, int(n.length[i]))
		a, over4 := low.add(gap)
		p := n.parent[i]
		if over || over2 || over3 || over4 || p >= 0 && n.addr(int(p)).last(int(n.length[p])).less(a) {
			c.fail("prefix outside its parent")
		}
		if c.err != nil {
			return
		}
		n.hi[i] = a.hi
		if n.lo != nil {
			n.lo[i] = a.lo
		}
	}
}

func units2(c *cursor, n int) (addr, bool) {
	hi, lo := c.uint128()
	return units(hi, lo, n)
}

// lowest returns the first address at which prefix i could start.
func (n *nets) lowest(i int) (addr, bool) {
	p := n.parent[i]
	if p == int32(i-1) {
		if p < 0 {
			return addr{}, false
		}
		return n.addr(int(p)), false
	}
	before := i - 1 // the last prefix with the same parent
	for n.parent[before] != p {
		before = int(n.parent[before])
	}
	return n.addr(before).follows(int(n.length[before]))
}

// readRows reads references to facts: 0 is an exclusion, 1 the next row that
// nobody has used yet, 2 the row before that, 3 the one before that.
func (n *nets) readRows(c *cursor, rows int, used *int) {
	for i := range n.row {
		ref := int(c.uint(uint64(*used) + 1))
		switch {
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
		if ref != 0 {
			n.listed++
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
	lo, hi := n.index.bucket(a.hi)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if a.less(n.addr(mid)) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// cover returns the longest prefix that holds a, or -1.
func (n *nets) cover(a addr) int {
	if len(n.length) == 0 {
		return -1
	}
	i := n.after(a) - 1
	for i >= 0 && !n.covers(i, a) {
		i = int(n.parent[i])
	}
	return i
}
