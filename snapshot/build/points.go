package build

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"ucedge/snapshot"
)

// encodePoints returns the sections of points and of their columns, which are
// in the order of their kinds.
func encodePoints(parts []part) (out []section) {
	columns := []struct {
		kind  snapshot.Kind
		value func(*snapshot.Listing) uint64
	}{
		{snapshot.KindTerms, func(l *snapshot.Listing) uint64 { return uint64(l.End)<<32 | uint64(l.Last) }},
		{snapshot.KindFirsts, func(l *snapshot.Listing) uint64 { return uint64(l.First) }},
		{snapshot.KindCounts, func(l *snapshot.Listing) uint64 { return uint64(l.Count) }},
		{snapshot.KindKinds, func(l *snapshot.Listing) uint64 { return uint64(l.Kinds) }},
	}
	for _, p := range parts {
		if len(p.points) > 0 {
			body := encodeBlocks(p.points, p.family)
			out = append(out, section{snapshot.KindPoints, p.level, p.family, len(p.points), body})
		}
	}
	for _, c := range columns {
		for _, p := range parts {
			if values, body := encodeColumn(p.points, c.value); body != nil {
				out = append(out, section{c.kind, p.level, p.family, values, body})
			}
		}
	}
	return out
}

// encodeColumn returns a sorted dictionary of the values of all points and an
// index into it for each, or nothing if all values are 0.
func encodeColumn(points []snapshot.Listing, value func(*snapshot.Listing) uint64) (int, []byte) {
	rank := map[uint64]uint32{}
	for i := range points {
		rank[value(&points[i])] = 0
	}
	if _, zero := rank[0]; len(rank) == 0 || zero && len(rank) == 1 {
		return 0, nil
	}
	var b []byte
	for i, v := range slices.Sorted(maps.Keys(rank)) {
		rank[v] = uint32(i)
		b = le.AppendUint64(b, v)
	}
	for i := range points {
		r := rank[value(&points[i])]
		switch snapshot.IndexWidth(len(rank)) {
		case 1:
			b = append(b, byte(r))
		case 2:
			b = le.AppendUint16(b, uint16(r))
		case 4:
			b = le.AppendUint32(b, r)
		}
	}
	return len(rank), b
}

// encodeBlocks returns payloads and directory of a section of points.
func encodeBlocks(points []snapshot.Listing, family uint8) []byte {
	keys := make([]uint64, len(points))
	for i := range points {
		keys[i] = Key(points[i].Prefix.Addr())
	}
	var payload, groups, starts, firsts []byte
	for b := 0; b*snapshot.BlockSize < len(keys); b++ {
		if b%snapshot.GroupSize == 0 {
			groups = le.AppendUint32(groups, uint32(len(payload)))
		}
		group := le.Uint32(groups[len(groups)-4:])
		starts = le.AppendUint16(starts, uint16(uint32(len(payload))-group))
		block := keys[b*snapshot.BlockSize:]
		bound, splitBits := uint64(1)<<32, snapshot.SplitBits4
		if family == 6 {
			bound, splitBits = 0, snapshot.SplitBits6
			firsts = le.AppendUint64(firsts, block[0])
		} else {
			firsts = le.AppendUint32(firsts, uint32(block[0]))
		}
		if len(block) > snapshot.BlockSize {
			bound = block[snapshot.BlockSize]
			block = block[:snapshot.BlockSize]
		}
		payload = appendBlock(payload, block, bound, splitBits)
	}
	return append(append(append(payload, groups...), starts...), firsts...)
}

// Key returns the key of the point that holds a: the address, or the high half
// of an IPv6 one.
func Key(a netip.Addr) uint64 {
	b := a.AsSlice()
	if len(b) == 4 {
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

// A blockWriter codes one block. Its runs of codes are those of a payload: two
// from the ends inwards, and between them two from the split outwards.
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
func appendBlock(b []byte, keys []uint64, bound uint64, splitBits int) []byte {
	w := blockWriter{keys: keys, bound: bound}
	w.halve(0, snapshot.BlockSize)
	split := size(w.runs[runFirst]) + size(w.runs[runSecond])
	bits := splitBits + split + size(w.runs[runThird]) + size(w.runs[runFourth])
	room := make([]byte, (bits+7)/8)
	put(room, 0, code{uint64(split), splitBits})
	putForward(room, splitBits, w.runs[runFirst])
	putBackward(room, splitBits+split, w.runs[runSecond])
	putForward(room, splitBits+split, w.runs[runThird])
	putBackward(room, 8*len(room), w.runs[runFourth])
	return append(b, room...)
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

func put(room []byte, at int, c code) {
	for i := range c.n {
		room[(at+i)/8] |= byte(c.v>>i&1) << ((at + i) % 8)
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
