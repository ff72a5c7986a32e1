package snapshot

import "math/bits"

// points is a sorted set of keys, the top 32 (IPv4) or 64 (IPv6) bits of
// addresses, in compressed blocks that are searched where they lie.
//
// A block is its first key, which stands in the directory, and up to 63 more
// by binary interpolative coding (Moffat and Stuiver, 2000): the middle key is
// coded in the fewest bits that tell it from all values it could have between
// its neighbours, then both halves likewise. Four runs of codes make a payload,
// one from each of its ends inwards and two from a split in the middle
// outwards, so that a search decodes one quarter.
//
// Go in WebAssembly takes many nanoseconds for a call, an indirect jump for
// most branches, and a bounds check for each access to memory: hence code,
// which a search runs a dozen times, is short and has few of them.
type points struct {
	n      int      // keys
	width  uint     // bits of a key: 32 or 64
	bytes  []byte   // of the section: payloads, then the directory
	starts []uint32 // where the payload of each block starts, and where the last one ends
	firsts []uint64 // first key of each block, and the first key above all blocks, modulo 2^64
	index  index    // over firsts
}

// A way is the direction in which a run of codes is read.
type way int

const (
	forward  way = 0
	backward way = -1
)

// openPoints slices the section and reads its directory: first keys far enough
// apart for the keys between them, payloads in order and inside.
func openPoints(x Section, b []byte) (points, error) {
	p := points{n: x.Count, width: 32, bytes: b}
	if x.Family == 6 {
		p.width = 64
	}
	c := cursor{name: x.String(), b: b}
	blocks := (x.Count + BlockSize - 1) / BlockSize
	groups := (blocks + GroupSize - 1) / GroupSize
	size := int(p.width / 8)
	directory := 4*groups + 2*blocks + size*blocks
	if x.Count <= 0 || directory > len(b) {
		c.fail("directory does not fit the section")
		return points{}, c.err
	}
	payloads := len(b) - directory
	p.readStarts(&c, b[payloads:], groups, blocks)
	p.readFirsts(b[len(b)-size*blocks:], blocks)
	p.checkDirectory(&c, blocks, payloads)
	if c.err != nil {
		return points{}, c.err
	}
	p.index = newIndex(p.firsts[:blocks])
	return p, nil
}

func (p *points) readStarts(c *cursor, b []byte, groups, blocks int) {
	p.starts = make([]uint32, blocks+1)
	relative := b[4*groups:]
	for i := range blocks {
		n := uint32(le16(relative[2*i:]))
		p.starts[i] = le32(b[i/GroupSize*4:]) + n
		if i%GroupSize == 0 && n != 0 {
			c.fail("group does not start at its first block")
		}
	}
	p.starts[blocks] = uint32(len(c.b) - len(b))
}

func (p *points) readFirsts(b []byte, blocks int) {
	p.firsts = make([]uint64, blocks+1)
	if p.width == 64 {
		for i := range blocks {
			p.firsts[i] = le64(b[8*i:])
		}
		return
	}
	for i := range blocks {
		p.firsts[i] = uint64(le32(b[4*i:]))
	}
	p.firsts[blocks] = 1 << 32
}

func (p *points) checkDirectory(c *cursor, blocks, payloads int) {
	if p.starts[0] != 0 {
		c.fail("payload of the first block outside its place")
	}
	for i := range blocks {
		if p.starts[i] > p.starts[i+1] {
			c.at = payloads
			c.fail("payloads out of order or outside their place")
		}
		if p.firsts[i+1]-p.firsts[i]-1 < uint64(p.count(i)-1) || p.firsts[i] >= p.firsts[i+1] && i+1 < blocks {
			c.at = len(c.b)
			c.fail("first keys of blocks out of order")
		}
	}
}

// blocks returns the number of blocks.
func (p *points) blocks() int { return (p.n + BlockSize - 1) / BlockSize }

// count returns the number of keys of block b.
func (p *points) count(b int) int { return min(BlockSize, p.n-b*BlockSize) }

// search returns how many keys are smaller than key, and whether key is there.
func (p *points) search(key uint64) (rank int, found bool) {
	if p.n == 0 || key < p.firsts[0] {
		return 0, false
	}
	b := p.index.after(p.firsts, key) - 1
	rank = b * BlockSize
	first := p.firsts[b]
	if first == key {
		return rank, true
	}
	below, found := p.searchBlock(b, key)
	return rank + below, found
}

// open puts d at the first code of block b of p, and returns the bit at which
// the block is split. It sets fields one by one, as a copy of a fresh struct
// waits for its parts to arrive.
func (d *decoder) open(p *points, b int) (split int) {
	n := SplitBits4
	if p.width == 64 {
		n = SplitBits6
	}
	d.b = p.bytes
	d.count = p.count(b)
	at := 8 * int(p.starts[b])
	d.at = at + n
	return at + n + d.bits(at, n)
}

// bound returns the key that stands at position 64 of block b, see middle.
func (p *points) bound(b int) uint64 { return p.firsts[b+1] + uint64(BlockSize-p.count(b)) }

// A decoder decodes one block. It is small, since Go in WebAssembly clears
// more than 64 bytes by a slow call.
type decoder struct {
	b     []byte
	count int // keys of the block
	at    int // bit at which the next code starts, or before which it ends
}

// bits returns the n bits from a bit on, at most 57.
func (d *decoder) bits(from, n int) int {
	i := min(uint(from)/8, uint(len(d.b)-8)) // beyond the payloads lies the directory, of at least ten bytes
	return int(le64(d.b[i:]) >> (uint(from) % 8) & (1<<n - 1))
}

// searchBlock returns how many keys of block b are smaller than key, and
// whether it is there. It is not below the first key of the block.
func (p *points) searchBlock(b int, key uint64) (below int, found bool) {
	const half, quarter = BlockSize / 2, BlockSize / 4
	var d decoder
	split := d.open(p, b)
	first, bound := p.firsts[b], p.bound(b)
	mid := d.middle(first, bound, 0, half, forward)
	if half >= d.count || key < mid {
		left := d.middle(first, mid, 0, quarter, forward)
		if quarter >= d.count || key < left {
			return d.scan(key, first, left, 0, forward)
		}
		d.at = split
		return d.scan(key, left, mid, quarter, backward)
	}
	d.at = 8 * int(p.starts[b+1])
	right := d.middle(mid, bound, half, quarter, backward)
	if half+quarter < d.count && key >= right {
		return d.scan(key, right, bound, half+quarter, backward)
	}
	d.at = split
	return d.scan(key, mid, right, half, forward)
}

// middle decodes the key half positions after lo and before hi. A position
// past the last key of a short block has no code; the key there is the
// greatest that could be.
func (d *decoder) middle(lo, hi uint64, at, half int, w way) uint64 {
	if at+half >= d.count {
		return hi - uint64(half)
	}
	v, next := code(d.b, d.at, hi-lo-2*uint64(half), w)
	d.at = next
	return lo + uint64(half) + v
}

// halves are the distances from the start of a range to its middle, in the
// order in which a quarter codes them: always a range, its left half, its right
// half.
const halves = "\x08\x04\x02\x01\x01\x02\x01\x01\x04\x02\x01\x01\x02\x01\x01"

// scan looks for key in the quarter from position below on, between lo and hi.
// It decodes pair after pair, until one ends above key. What it needs stays in
// variables: a recursion would take three times as long in a guest.
func (d *decoder) scan(key, lo, hi uint64, below int, w way) (int, bool) {
	b, at, count := d.b, d.at, d.count
	ends := [...]uint64{hi, 0, 0, 0} // of the ranges around the current one, the widest first
	depth := 0
	for i := range len(halves) {
		half := int(halves[i])
		hi = ends[depth&3]
		v, past := hi-uint64(half), below+half >= count // see middle
		if !past {
			v, at = code(b, at, hi-lo-2*uint64(half), w)
			v += lo + uint64(half)
		}
		switch {
		case half > 1:
			depth++
			ends[depth&3] = v
			continue
		case past || key < v:
			if key == lo {
				return below, true
			}
			return below + 1, false
		case key == v:
			return below + 1, true
		case below+2 >= count || key < hi:
			return below + 2, false
		}
		lo, below = hi, below+2
		depth--
	}
	return below, false // which a key below the end of the quarter does not reach
}

// fill decodes the keys between the first and the last of keys, of which the
// first is at that position of the block, and returns the bit after them.
func (d *decoder) fill(keys []uint64, at int, w way) (end int) {
	if half := (len(keys) - 1) / 2; half > 0 {
		keys[half] = d.middle(keys[0], keys[2*half], at, half, w)
		d.fill(keys[:half+1], at, w)
		d.fill(keys[half:], at+half, w)
	}
	return d.at
}

// code reads a number from 0 to top in the truncated binary code: with k the
// bits of top, the 2^k - 1 - top smallest numbers take k-1 bits and the others
// k. It stands in the bits of b that start or end at a bit, and code returns the
// bit where the next one does. Bits outside of the section are others of it:
// only a block that breaks the format asks for them.
func code(b []byte, at int, top uint64, w way) (v uint64, next int) {
	if top == 0 {
		return 0, at
	}
	zeros := uint(bits.LeadingZeros64(top)) & 63
	k := 64 - zeros
	from := uint(at - int(k)&int(w))
	i := from / 8
	if i+8 >= uint(len(b)) {
		i = 0
	}
	word := le64(b[i:]) >> (from % 8)
	if k > 57 {
		word |= uint64(b[i+8]) << 1 << (63 - from%8)
	}
	mask := ^uint64(0) >> zeros
	short := mask ^ top
	x := word >> (uint(w) & 1) & (mask >> 1)
	last := word >> ((k - 1) &^ uint(w) & 63) & 1
	long := (short - 1 - x) >> 63 // 1 if x >= short, without a branch that nobody could foretell
	return x + (x+last-short)&-long, at + ((int(k+uint(long)) - 1) ^ int(w) - int(w))
}

// A block has room for all keys of one, and the bound.
type block [BlockSize + 1]uint64

// decode decodes block b into room. It returns its keys, and the bits where
// the four runs of codes end.
func (p *points) decode(b int, room *block) (keys []uint64, ends [4]int) {
	const half, quarter = BlockSize / 2, BlockSize / 4
	var d decoder
	split := d.open(p, b)
	k := room[:]
	k[0], k[BlockSize] = p.firsts[b], p.bound(b)
	k[half] = d.middle(k[0], k[BlockSize], 0, half, forward)
	k[quarter] = d.middle(k[0], k[half], 0, quarter, forward)
	ends[0] = d.fill(k[:quarter+1], 0, forward)
	d.at = split
	ends[1] = d.fill(k[quarter:half+1], quarter, backward)
	d.at = 8 * int(p.starts[b+1])
	k[half+quarter] = d.middle(k[half], k[BlockSize], half, quarter, backward)
	ends[3] = d.fill(k[half+quarter:], half+quarter, backward)
	d.at = split
	ends[2] = d.fill(k[half:half+quarter+1], half, forward)
	return k[:p.count(b)], ends
}

// An index finds the few items of a sorted list among which a key lies, by the
// key's distance from the first.
type index struct {
	base  uint64
	shift uint
	first []uint32 // the first item of each bucket, and the number of items
}

const indexBitsMax = 16 // 256 KiB of memory

// newIndex indexes the sorted keys of items.
func newIndex(keys []uint64) index {
	if len(keys) == 0 {
		return index{}
	}
	x := index{base: keys[0]}
	span := keys[len(keys)-1] - x.base
	size := min(max(1, bits.Len(uint(len(keys)))-2), indexBitsMax) // a bucket for two to four items
	x.shift = uint(max(0, bits.Len64(span)-size))                  // below 64
	x.first = make([]uint32, span>>x.shift+2)
	x.fill(keys)
	return x
}

// fill notes where each bucket begins. The loop stands alone: see sumOf.
//
//go:noinline
func (x *index) fill(keys []uint64) {
	base, shift, first := x.base, x.shift&63, x.first
	bucket := 0
	for i, key := range keys {
		for b := int((key - base) >> shift); bucket < b; {
			bucket++
			first[bucket] = uint32(i)
		}
	}
	first[bucket+1] = uint32(len(keys))
}

// after returns the first item whose key is above key. The items are those
// that were indexed, or begin with them.
func (x *index) after(keys []uint64, key uint64) int {
	if len(x.first) == 0 || key < x.base {
		return 0
	}
	b := min((key-x.base)>>x.shift, uint64(len(x.first)-2))
	lo := int(x.first[b])
	n := int(x.first[b+1]) - lo
	for n > 0 {
		half := (n + 1) / 2
		step := half
		if keys[lo+half-1] > key {
			step = 0
		}
		lo += step
		n -= half
	}
	return lo
}
