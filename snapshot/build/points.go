package build

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"ucedge/snapshot"
)

// encodePoints returns the sections of points and of their columns, which are
// in the order of their kinds.
func encodePoints(parts []part) (out []section) {
	for i := range parts {
		if p := &parts[i]; p.points.n > 0 {
			out = append(out, section{snapshot.KindPoints, p.level, p.family, p.points.n, p.points.encodeBlocks(p.family)})
		}
	}
	for kind := snapshot.KindTerms; kind <= snapshot.KindKinds; kind++ {
		for i := range parts {
			p := &parts[i]
			if values, body := p.points.encodeColumn(int(kind - snapshot.KindTerms)); body != nil {
				out = append(out, section{kind, p.level, p.family, values, body})
			}
		}
	}
	return out
}

// encodeColumn returns a sorted dictionary of the values of all points and an
// index into it for each, or nothing if all values are 0.
func (p *points) encodeColumn(column int) (int, []byte) {
	values := p.columns[column].values
	if len(values) == 0 || len(values) == 1 && values[0] == 0 {
		return 0, nil
	}
	width := snapshot.NumberWidth(uint32(len(values) - 1))
	body := make([]byte, 0, 8*len(values)+width*p.n)
	sorted := slices.Sorted(slices.Values(values))
	rank := make([]uint32, len(values)) // of a value by its number
	for i, v := range sorted {
		body = le.AppendUint64(body, v)
		rank[p.columns[column].of(v)] = uint32(i)
	}
	for _, c := range p.chunks {
		for _, n := range c.index[column] {
			body = appendNumber(body, rank[n], width)
		}
	}
	return len(values), body
}

// encodeBlocks returns payloads and directory of a section of points.
func (p *points) encodeBlocks(family uint8) []byte {
	coded := make([]codedChunk, len(p.chunks))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(coded)) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(coded); i = int(next.Add(1)) - 1 {
				bound := uint64(1) << 32
				if family == 6 {
					bound = 0
				}
				if i+1 < len(coded) {
					bound = p.chunks[i+1].keys[0]
				}
				coded[i].encode(p.chunks[i].keys, bound, family)
			}
		})
	}
	wait.Wait()
	var payload, groups, starts, firsts []byte
	for i := range coded {
		groups = le.AppendUint32(groups, uint32(len(payload)))
		payload = append(payload, coded[i].payload...)
		starts = append(starts, coded[i].starts...)
		firsts = append(firsts, coded[i].firsts...)
	}
	return append(append(append(payload, groups...), starts...), firsts...)
}

// A codedChunk is what a chunk adds to a section of points.
type codedChunk struct {
	payload, starts, firsts []byte
}

// encode codes the keys of one group. bound is the first key that belongs to
// the next one.
func (c *codedChunk) encode(keys []uint64, bound uint64, family uint8) {
	var w blockWriter
	for len(keys) > 0 {
		c.starts = le.AppendUint16(c.starts, uint16(len(c.payload)))
		block, above, splitBits := keys, bound, snapshot.SplitBits4
		if len(keys) > snapshot.BlockSize {
			block, above = keys[:snapshot.BlockSize], keys[snapshot.BlockSize]
		}
		if family == 6 {
			splitBits = snapshot.SplitBits6
			c.firsts = le.AppendUint64(c.firsts, block[0])
		} else {
			c.firsts = le.AppendUint32(c.firsts, uint32(block[0]))
		}
		c.payload = w.appendBlock(c.payload, block, above, splitBits)
		keys = keys[len(block):]
	}
}

// Key returns the key of the point that holds a: the address, or the high half
// of an IPv6 one.
func Key(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}

// A blockWriter codes one block. Its runs of codes are those of a payload: two
// from the ends inwards, and between them two from the split outwards. It is
// used again for the next block.
type blockWriter struct {
	keys  []uint64
	bound uint64 // first key that belongs to the next block
	runs  [4][]code
}

// The runs, in the order in which they lie. The second and the last are read
// backward.
const (
	runFirst  = iota // middle key, middle key of the left half, first quarter
	runSecond        // second quarter
	runThird         // third quarter
	runFourth        // middle key of the right half, last quarter
)

// A code is the n low bits of v, the highest of them last where a reader comes
// forward, and first where it comes backward.
type code struct {
	v uint64
	n int
}

// appendBlock appends the payload of one block; its first key has no code.
func (w *blockWriter) appendBlock(b []byte, keys []uint64, bound uint64, splitBits int) []byte {
	w.keys, w.bound = keys, bound
	for i := range w.runs {
		w.runs[i] = w.runs[i][:0]
	}
	w.halve(0, snapshot.BlockSize)
	split := size(w.runs[runFirst]) + size(w.runs[runSecond])
	bits := splitBits + split + size(w.runs[runThird]) + size(w.runs[runFourth])
	b = append(b, make([]byte, (bits+7)/8)...)
	room := b[len(b)-(bits+7)/8:]
	put(room, 0, code{uint64(split), splitBits})
	putForward(room, splitBits, w.runs[runFirst])
	putBackward(room, splitBits+split, w.runs[runSecond])
	putForward(room, splitBits+split, w.runs[runThird])
	putBackward(room, 8*len(room), w.runs[runFourth])
	return b
}

func size(run []code) (bits int) {
	for _, c := range run {
		bits += c.n
	}
	return bits
}

func putForward(room []byte, at int, run []code) {
	for _, c := range run {
		put(room, at, c)
		at += c.n
	}
}

func putBackward(room []byte, at int, run []code) {
	for _, c := range run {
		at -= c.n
		put(room, at, c)
	}
}

// put sets the n bits from a bit on, which are zero, to the low ones of c.v.
func put(room []byte, at int, c code) {
	for c.n > 0 {
		n := min(8-at%8, c.n)
		room[at/8] |= byte(c.v & (1<<n - 1) << (at % 8))
		c.v >>= n
		at, c.n = at+n, c.n-n
	}
}

// halve codes the keys between the positions lo and hi, which are known.
func (w *blockWriter) halve(lo, hi int) {
	if hi-lo < 2 {
		return
	}
	mid := (lo + hi) / 2
	if mid < len(w.keys) {
		top := min(hi, len(w.keys)) // the nearest known position above
		above := w.bound
		if top < len(w.keys) {
			above = w.keys[top]
		}
		least := w.keys[lo] + uint64(mid-lo)
		most := above - uint64(top-mid)
		run := runOf(mid)
		w.runs[run] = appendCode(w.runs[run], w.keys[mid]-least, most-least, run == runSecond || run == runFourth)
	}
	w.halve(lo, mid)
	w.halve(mid, hi)
}

// runOf returns the run that codes the key at that position.
func runOf(position int) int {
	const quarter = snapshot.BlockSize / 4
	switch {
	case position <= quarter || position == 2*quarter:
		return runFirst
	case position < 2*quarter:
		return runSecond
	case position < 3*quarter:
		return runThird
	}
	return runFourth
}

// appendCode codes v out of 0 to top in the truncated binary code: the smallest
// 2^k - 1 - top numbers take one bit less than the k bits of top.
func appendCode(codes []code, v, top uint64, backward bool) []code {
	if top == 0 {
		return codes
	}
	k := bits.Len64(top)
	short := ^uint64(0)>>(64-k) - top
	if v < short {
		return append(codes, code{v, k - 1})
	}
	v += short
	if !backward { // the reader sees the k-1 high bits first
		v = v>>1 | v&1<<(k-1)
	}
	return append(codes, code{v, k})
}
