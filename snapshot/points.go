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
// outwards, so a search reads about one quarter.
type points struct {
	n       int    // keys
	width   uint   // bits of a key: 32 or 64
	payload []byte // of all blocks
	groups  []byte // u32 a group: where the payload of its first block starts
	starts  []byte // u16 a block: where its payload starts, from that of the group
	keys    []byte // u32 or u64 a block: its first key
	padded  []byte // payload and what follows it, so that a read of 8 bytes stays inside
	index   index  // over keys
}

// A step codes one key of a block; its neighbours are the nearest keys on both
// sides that are coded before it.
type step struct {
	mid          uint8 // position in the block
	lo, hi, slot uint8 // where a search keeps the neighbours, and this key
	below, above uint8 // positions from the lower and to the upper neighbour
	left         uint8 // steps that code the keys between the lower neighbour and this one
}

// steps is the order in which the keys of a block are coded: the middle one,
// the left half, the right half. As a table of 64 it needs no bounds check.
var steps = planSteps()

const (
	slotFirst = 0 // the first key of the block
	slotBound = 1 // the first key of the next block
	slotMid   = 2 // the middle key; one more for each halving
)

// The steps at which runs of codes begin. The outer runs begin with the middle
// key of the block, and of its right half.
const (
	stepMiddle        = 0                 // forward from the start of the payload
	stepLeft          = 1                 // goes on: the middle key of the left half
	stepFirst         = 2                 // goes on: the first quarter
	stepSecond        = BlockSize/4 + 1   // backward from the split: the second quarter
	stepRight         = BlockSize / 2     // backward from the end: the middle key of the right half
	stepThird         = BlockSize/2 + 1   // forward from the split: the third quarter
	stepFourth        = BlockSize * 3 / 4 // backward, after stepRight: the last quarter
	stepsEnd          = BlockSize - 1
	forward, backward = 0, -1
)

func splitBits(width uint) int {
	if width == 32 {
		return SplitBits4
	}
	return SplitBits6
}

func planSteps() (plan [BlockSize]step) {
	next := 0
	var halve func(lo, hi, loSlot, hiSlot, slot uint8)
	halve = func(lo, hi, loSlot, hiSlot, slot uint8) {
		if hi-lo < 2 {
			return
		}
		mid := (lo + hi) / 2
		plan[next] = step{mid, loSlot, hiSlot, slot, mid - lo, hi - mid, mid - lo - 1}
		next++
		halve(lo, mid, loSlot, slot, slot+1)
		halve(mid, hi, slot, hiSlot, slot+1)
	}
	halve(0, BlockSize, slotFirst, slotBound, slotMid)
	return plan
}

// openPoints slices the section and checks its directory: first keys far
// enough apart for the keys between them, payloads in order and inside.
func openPoints(x Section, b []byte) (points, error) {
	p := points{n: x.Count, width: 32}
	if x.Family == 6 {
		p.width = 64
	}
	c := cursor{name: x.String(), b: b}
	blocks := (x.Count + BlockSize - 1) / BlockSize
	groups := (blocks + GroupSize - 1) / GroupSize
	directory := 4*groups + 2*blocks + int(p.width/8)*blocks
	if x.Count == 0 || directory > len(b) {
		c.fail("directory does not fit the section")
		return points{}, c.err
	}
	p.padded = b
	p.payload = c.bytes(uint64(len(b) - directory))
	p.groups = c.bytes(uint64(4 * groups))
	p.starts = c.bytes(uint64(2 * blocks))
	p.keys = c.bytes(uint64(int(p.width/8) * blocks))
	if err := p.checkDirectory(&c); err != nil {
		return points{}, err
	}
	p.index = newIndex(blocks, p.key)
	return p, nil
}

func (p *points) checkDirectory(c *cursor) error {
	for b := range p.blocks() {
		here, next := p.start(b), p.start(b+1)
		if here > next || next > len(p.payload) || b == 0 && here != 0 {
			c.at = len(p.payload)
			c.fail("payload of a block outside its place")
			break
		}
		room := p.bound(b) - p.key(b) // wraps to 0 only for the whole space of 64-bit keys
		if b+1 < p.blocks() && p.key(b+1) <= p.key(b) || room != 0 && room < uint64(p.count(b)) {
			c.at = len(c.b)
			c.fail("first keys of blocks out of order")
			break
		}
	}
	return c.err
}

func (p *points) blocks() int { return (p.n + BlockSize - 1) / BlockSize }

// count returns the number of keys of block b.
func (p *points) count(b int) int { return min(BlockSize, p.n-b*BlockSize) }

// key returns the first key of block b.
func (p *points) key(b int) uint64 {
	if p.width == 32 {
		return uint64(le32(p.keys[4*b:]))
	}
	return le64(p.keys[8*b:])
}

// bound returns the first key that lies above block b; 2^64 is 0.
func (p *points) bound(b int) uint64 {
	if b+1 < p.blocks() {
		return p.key(b + 1)
	}
	return 1 << p.width
}

// start returns where the payload of block b starts, and for b past the last
// block where the payloads end.
func (p *points) start(b int) int {
	if b >= p.blocks() {
		return len(p.payload)
	}
	return int(le32(p.groups[b/GroupSize*4:])) + int(le16(p.starts[2*b:]))
}

// block returns the block that holds key if any does, or -1.
func (p *points) block(key uint64) int {
	lo, hi := p.index.bucket(key)
	for lo < hi { // the first block of the bucket that starts above key
		mid := int(uint(lo+hi) / 2)
		if p.key(mid) <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// search returns how many keys are smaller than key, and whether key is there.
func (p *points) search(key uint64) (rank int, found bool) {
	if p.n == 0 {
		return 0, false
	}
	b := p.block(key)
	if b < 0 {
		return 0, false
	}
	rank = b * BlockSize
	if first := p.key(b); first >= key {
		return rank, first == key
	}
	var d decoder
	d.open(p, b)
	below, found := d.search(key)
	return rank + below, found
}

// A decoder decodes one block. slots holds the keys between which the next
// ones lie.
type decoder struct {
	slots [8]uint64
	b     []byte
	count int // keys of the block
	at    int // bit at which the next code starts, or before which it ends
	split int // bit at which the inner runs start
	end   int // bit at which the payload ends
}

func (d *decoder) open(p *points, b int) {
	d.b, d.count = p.padded, p.count(b)
	d.at, d.end = 8*p.start(b), 8*p.start(b+1)
	n := splitBits(p.width)
	word := d.load(d.at, n)
	d.at += n
	d.split = d.at + int(word&(1<<n-1))
	d.slots[slotFirst] = p.key(b)
	d.slots[slotBound] = p.bound(b) + uint64(BlockSize-d.count)
}

// search returns how many keys of the block are smaller than key, which is
// greater than the first, and whether it is there. It chooses the quarter in
// which key would be, and scans that.
func (d *decoder) search(key uint64) (below int, found bool) {
	if d.isBelow(stepMiddle, forward, key) {
		if d.isBelow(stepLeft, forward, key) {
			return d.scan(stepFirst, stepSecond, forward, key)
		}
		d.at = d.split
		return d.scan(stepSecond, stepRight, backward, key)
	}
	d.at = d.end
	if !d.isBelow(stepRight, backward, key) {
		return d.scan(stepFourth, stepsEnd, backward, key)
	}
	d.at = d.split
	return d.scan(stepThird, stepFourth, forward, key)
}

// isBelow says whether key is below that of step t.
func (d *decoder) isBelow(t, way int, key uint64) bool {
	v := d.next(t, way)
	return int(steps[t].mid) >= d.count || key < v
}

// scan runs the steps from t to end, forward or backward, until it knows about
// key. It is next, code and load in one loop, as calls take most of the time.
func (d *decoder) scan(t, end, way int, key uint64) (below int, found bool) {
	s := &steps[t]
	below = int(s.mid - s.below + 1)
	if d.slots[s.lo&7] == key {
		return below - 1, true
	}
	b, at, count := d.b, d.at, d.count
	for t < end {
		s := &steps[t&(BlockSize-1)]
		t++
		v := d.slots[s.lo&7] + uint64(s.below)
		top := d.slots[s.hi&7] - uint64(s.above) - v
		if int(s.mid) >= count {
			d.slots[s.slot&7] = v + top
			end = t + int(s.left)
			continue
		}
		if top != 0 {
			zeros := bits.LeadingZeros64(top) & 63
			k := 64 - zeros
			from := at - k&way
			var word uint64
			if i := from >> 3; k <= 57 && i >= 0 && i < len(b)-8 {
				word = le64(b[i:]) >> (from & 7)
			} else {
				word = d.load(from, k)
			}
			x, long := decode(word, top, zeros, way)
			v += x
			at += (k - 1 + long) ^ way - way
		}
		d.slots[s.slot&7] = v
		if v < key {
			below = max(below, int(s.mid)+1)
			continue
		}
		if v == key {
			return int(s.mid), true
		}
		end = t + int(s.left)
	}
	return below, false
}

// next decodes the key of step t. Steps past the last key of a short block
// have no code; they stand for the keys that would follow its bound closely.
func (d *decoder) next(t, way int) uint64 {
	s := &steps[t]
	v := d.slots[s.lo&7] + uint64(s.below)
	top := d.slots[s.hi&7] - uint64(s.above) - v
	if int(s.mid) < d.count {
		v += d.code(top, way)
	} else {
		v += top
	}
	d.slots[s.slot&7] = v
	return v
}

// code reads a number from 0 to top.
func (d *decoder) code(top uint64, way int) uint64 {
	if top == 0 {
		return 0
	}
	zeros := bits.LeadingZeros64(top) & 63
	k := 64 - zeros
	x, long := decode(d.load(d.at-k&way, k), top, zeros, way)
	d.at += (k - 1 + long) ^ way - way
	return x
}

// decode decodes a number from 0 to top, which has that many leading zeros,
// from the truncated binary code: with k the bits of top, the 2^k - 1 - top
// smallest numbers take k-1 bits and the others k. The k bits that the number
// can take are the lowest of word. long is 1 if it takes k. There are no
// branches, since nobody could foretell them.
func decode(word, top uint64, zeros, way int) (x uint64, long int) {
	mask := ^uint64(0) >> zeros
	short := mask ^ top
	x = word >> (-way & 1) & (mask >> 1)
	last := word >> ((63 - zeros) &^ way & 63) & 1
	l := (short - 1 - x) >> 63 // 1 if x >= short
	return x + (x+last-short)&-l, int(l)
}

// load returns at least k bits from bit on; bits outside of the section are 0.
func (d *decoder) load(bit, k int) uint64 {
	i, shift := bit>>3, uint(bit&7)
	if uint(i) < uint(len(d.b)) && len(d.b)-i > 8 {
		word := le64(d.b[i:]) >> shift
		if k > 57 {
			word |= uint64(d.b[i+8]) << 1 << (63 - shift)
		}
		return word
	}
	return d.loadEdge(bit)
}

func (d *decoder) loadEdge(bit int) (word uint64) {
	for j := range 9 {
		if i := bit>>3 + j; i >= 0 && i < len(d.b) {
			if shift := 8*j - bit&7; shift >= 0 {
				word |= uint64(d.b[i]) << uint(shift)
			} else {
				word |= uint64(d.b[i]) >> uint(-shift)
			}
		}
	}
	return word
}

// decode returns all keys of block b in order, in room.
func (p *points) decode(b int, room *[BlockSize]uint64) []uint64 {
	var d decoder
	d.open(p, b)
	room[0] = d.slots[slotFirst]
	d.each(func(t int, key uint64) { room[steps[t].mid] = key })
	return room[:d.count]
}

// each decodes all steps, and returns the bits where the four runs end.
func (d *decoder) each(do func(t int, key uint64)) (ends [4]int) {
	run := func(t, end, way int) int {
		for ; t < end; t++ {
			do(t, d.next(t, way))
		}
		return d.at
	}
	ends[0] = run(stepMiddle, stepSecond, forward)
	d.at = d.split
	ends[1] = run(stepSecond, stepRight, backward)
	d.at = d.end
	run(stepRight, stepThird, backward)
	outer := d.at
	d.at = d.split
	ends[2] = run(stepThird, stepFourth, forward)
	d.at = outer
	ends[3] = run(stepFourth, stepsEnd, backward)
	return ends
}

// An index finds the few items of a sorted list among which a key lies, by the
// key's distance from the first.
type index struct {
	base  uint64
	shift uint
	first []uint32 // the first item of each bucket, and the number of items
}

const indexBitsMax = 16 // 256 KiB of memory

// newIndex indexes n items by their keys, which never fall.
func newIndex(n int, key func(int) uint64) index {
	if n == 0 {
		return index{}
	}
	x := index{base: key(0)}
	size := min(bits.Len(uint(n)), indexBitsMax)
	span := key(n-1) - x.base
	x.shift = uint(max(0, bits.Len64(span)-size))
	x.first = make([]uint32, span>>x.shift+2)
	bucket := 0
	for i := range n {
		for b := int((key(i) - x.base) >> x.shift); bucket < b; {
			bucket++
			x.first[bucket] = uint32(i)
		}
	}
	x.first[bucket+1] = uint32(n)
	return x
}

// bucket returns the range of items that share the bucket of key. The last
// item at or below key is one of them, or the one before.
func (x *index) bucket(key uint64) (lo, hi int) {
	if key < x.base || len(x.first) == 0 {
		return 0, 0
	}
	b := (key - x.base) >> x.shift
	if b+1 >= uint64(len(x.first)) {
		last := int(x.first[len(x.first)-1])
		return last, last
	}
	return int(x.first[b]), int(x.first[b+1])
}
