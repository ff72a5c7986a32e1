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

const quarterSize = BlockSize / 4

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
	d := noDecoder
	d.open(p, b)
	if d.keys[0] == key {
		return b * BlockSize, true
	}
	below, found := d.search(key)
	return b*BlockSize + below, found
}

// A decoder decodes one block. The keys at 0, 16, 32, 48 and the bound of a
// block part it into quarters.
type decoder struct {
	b     []byte
	count int // keys of the block
	at    int // bit at which the next code starts, or before which it ends
	split int // bit at which the inner runs start
	end   int // bit at which the payload ends
	keys  [5]uint64
}

func (d *decoder) open(p *points, b int) {
	d.b, d.count = p.bytes, p.count(b)
	d.at, d.end = 8*int(p.starts[b]), 8*int(p.starts[b+1])
	n := SplitBits4
	if p.width == 64 {
		n = SplitBits6
	}
	d.split = d.at + n + d.bits(d.at, n)
	d.at += n
	d.keys[0] = p.firsts[b]
	d.keys[4] = p.firsts[b+1] + uint64(BlockSize-d.count)
}

// bits returns the n bits from a bit on, at most 57.
func (d *decoder) bits(from, n int) int {
	i := min(uint(from/8), uint(len(d.b)-8)) // beyond the payloads lies the directory, of at least ten bytes
	return int(le64(d.b[i:]) >> (from % 8) & (1<<n - 1))
}

// search returns how many keys of the block are smaller than key, which is
// greater than the first, and whether it is there.
func (d *decoder) search(key uint64) (below int, found bool) {
	if d.middle(2, 0, 4, forward); !d.below(key, 2) {
		d.at = d.end
		if d.middle(3, 2, 4, backward); !d.below(key, 3) {
			return d.scan(3, backward, key)
		}
		d.at = d.split
		return d.scan(2, forward, key)
	}
	if d.middle(1, 0, 2, forward); d.below(key, 1) {
		return d.scan(0, forward, key)
	}
	d.at = d.split
	return d.scan(1, backward, key)
}

// below says whether key is below the first key of quarter q.
func (d *decoder) below(key uint64, q int) bool {
	return q*quarterSize >= d.count || key < d.keys[q]
}

// middle decodes the first key of quarter q, between those of quarters lo and
// hi. A key past the last one of a short block has no code; it stands for one
// that would follow the bound of the block closely.
func (d *decoder) middle(q, lo, hi int, w way) {
	least := d.keys[lo] + uint64(q-lo)*quarterSize
	most := d.keys[hi] - uint64(hi-q)*quarterSize
	if q*quarterSize >= d.count {
		d.keys[q] = most
		return
	}
	d.keys[q] = least + d.code(most-least, w)
}

// scan looks for key in quarter q. It decodes the keys on the way to key, each
// in the middle between lo and hi, and those left of it, to pass over them.
func (d *decoder) scan(q int, w way, key uint64) (below int, found bool) {
	lo, hi := d.keys[q], d.keys[q+1]
	below = q * quarterSize // the position of lo
	if lo == key {
		return below, true
	}
	for half := quarterSize / 2; half > 0; half /= 2 {
		room := hi - lo - 2*uint64(half)
		if below+half >= d.count {
			hi -= uint64(half) // no code, see middle
			continue
		}
		v := lo + uint64(half) + d.code(room, w)
		if key < v {
			hi = v
			continue
		}
		if key == v {
			return below + half, true
		}
		d.skip(half, lo, v, w)
		lo, below = v, below+half
	}
	return below + 1, false
}

// skip decodes the keys at the size - 1 positions between lo and hi.
func (d *decoder) skip(size int, lo, hi uint64, w way) {
	if size < 4 {
		if size == 2 {
			d.code(hi-lo-2, w)
		}
		return
	}
	half := uint64(size / 2)
	v := lo + half + d.code(hi-lo-2*half, w)
	if size == 4 {
		d.code(v-lo-2, w)
		d.code(hi-v-2, w)
		return
	}
	d.skip(size/2, lo, v, w)
	d.skip(size/2, v, hi, w)
}

// fill decodes the keys at the size - 1 positions between keys[0] and
// keys[size], the first of which is position at of the block.
func (d *decoder) fill(keys []uint64, at, size int, w way) {
	half := size / 2
	if half == 0 {
		return
	}
	x := keys[size] - keys[0] - uint64(size)
	if at+half < d.count {
		x = d.code(x, w)
	}
	keys[half] = keys[0] + uint64(half) + x
	d.fill(keys[:half+1], at, half, w)
	d.fill(keys[half:], at+half, half, w)
}

// code reads a number from 0 to top in the truncated binary code: with k the
// bits of top, the 2^k - 1 - top smallest numbers take k-1 bits and the others
// k. Bits outside of the section are others of it: only a block that breaks
// the format asks for them.
func (d *decoder) code(top uint64, w way) uint64 {
	if top == 0 {
		return 0
	}
	b := d.b
	zeros := uint(bits.LeadingZeros64(top)) & 63
	k := 64 - zeros
	from := uint(d.at - int(k)&int(w))
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
	d.at += (int(k+uint(long)) - 1) ^ int(w) - int(w)
	return x + (x+last-short)&-long
}

// decode returns all keys of block b in order, in room.
func (p *points) decode(b int, room *[BlockSize]uint64) []uint64 {
	var d decoder
	d.open(p, b)
	d.all(room)
	return room[:d.count]
}

// all decodes the whole block, and returns the bits where the four runs end.
func (d *decoder) all(room *[BlockSize]uint64) (ends [4]int) {
	d.middle(2, 0, 4, forward)
	d.middle(1, 0, 2, forward)
	ends[0] = d.copy(0, forward, room)
	d.at = d.split
	ends[1] = d.copy(1, backward, room)
	d.at = d.end
	d.middle(3, 2, 4, backward)
	ends[3] = d.copy(3, backward, room)
	d.at = d.split
	ends[2] = d.copy(2, forward, room)
	return ends
}

// copy decodes quarter q into its place in room.
func (d *decoder) copy(q int, w way, room *[BlockSize]uint64) (end int) {
	var keys [quarterSize + 1]uint64
	keys[0], keys[quarterSize] = d.keys[q], d.keys[q+1]
	d.fill(keys[:], q*quarterSize, quarterSize, w)
	copy(room[q*quarterSize:][:quarterSize], keys[:])
	return d.at
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
	size := min(bits.Len(uint(len(keys))), indexBitsMax)
	x.shift = uint(max(0, bits.Len64(span)-size))
	x.first = make([]uint32, span>>x.shift+2)
	bucket := uint64(0)
	for i, key := range keys {
		for b := (key - x.base) >> x.shift; bucket < b; {
			bucket++
			x.first[bucket] = uint32(i)
		}
	}
	x.first[bucket+1] = uint32(len(keys))
	return x
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
