package build

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"ucedge/snapshot"
)

// ordered returns the listings of in by level and then as Snapshot.Listings
// has them, some perhaps twice.
func (in *Input) ordered() (iter.Seq[snapshot.Listing], error) {
	switch {
	case in.Ordered != nil && len(in.Listings) > 0:
		return nil, errors.New("listings come both in order and in any order")
	case in.Ordered != nil:
		return in.Ordered, nil
	case slices.IsSortedFunc(in.Listings, compare):
		return slices.Values(in.Listings), nil
	}
	sorted := slices.Clone(in.Listings)
	slices.SortFunc(sorted, compare)
	return slices.Values(sorted), nil
}

// A part is what one level lists of one family, in canonical order.
type part struct {
	level  snapshot.Level
	family uint8
	nets   []snapshot.Listing
	points points
}

// newParts sorts listings, which come in order, into the six parts of an
// image. Those of the same prefix become one, see Canonical.
func newParts(listings iter.Seq[snapshot.Listing]) ([]part, error) {
	parts := make([]part, 0, 2*snapshot.System)
	for level := snapshot.Address; level <= snapshot.System; level++ {
		parts = append(parts, part{level: level, family: 4}, part{level: level, family: 6})
	}
	var held snapshot.Listing // the last one, to which the next may belong
	for l := range listings {
		if err := check(&l); err != nil {
			return nil, err
		}
		if l.Excluded {
			l.Facts = snapshot.Facts{}
		}
		if held.Level != 0 {
			switch c := compare(held, l); {
			case c > 0:
				return nil, fmt.Errorf("listing %q of level %d: out of order", l.Prefix, l.Level)
			case c == 0:
				held = merge(held, l)
				continue
			}
			partOf(parts, &held).add(&held)
		}
		held = l
	}
	if held.Level != 0 {
		partOf(parts, &held).add(&held)
	}
	return parts, nil
}

func partOf(parts []part, l *snapshot.Listing) *part {
	i := 2 * (l.Level - snapshot.Address)
	if l.Prefix.Addr().Is6() {
		i++
	}
	return &parts[i]
}

func (p *part) add(l *snapshot.Listing) {
	if isPoint(l) {
		p.points.add(l)
		return
	}
	if len(p.nets) == cap(p.nets) {
		p.nets = slices.Grow(p.nets, max(64, len(p.nets))) // append would copy many of them many times
	}
	p.nets = append(p.nets, *l)
}

// points are the points of a part, in order and without room for what points
// never have: a fifth of the size of listings.
type points struct {
	n       int
	chunks  []*chunk
	columns [snapshot.KindKinds - snapshot.KindTerms + 1]dictionary
}

// A chunk holds the points of one group of blocks.
type chunk struct {
	keys  []uint64
	index [snapshot.KindKinds - snapshot.KindTerms + 1][]uint32 // by column, into its dictionary
}

const chunkSize = snapshot.BlockSize * snapshot.GroupSize

// newChunk returns a chunk with room for n points.
func newChunk(n int) *chunk {
	c := &chunk{keys: make([]uint64, 0, n)}
	for i := range c.index {
		c.index[i] = make([]uint32, 0, n)
	}
	return c
}

func (p *points) add(l *snapshot.Listing) {
	if p.n%chunkSize == 0 {
		p.chunks = append(p.chunks, newChunk(min(p.n, chunkSize)))
	}
	c := p.chunks[len(p.chunks)-1]
	c.keys = append(c.keys, Key(l.Prefix.Addr()))
	for i, value := range [...]uint64{uint64(l.End)<<32 | uint64(l.Last), uint64(l.First), uint64(l.Count), uint64(l.Kinds)} {
		c.index[i] = append(c.index[i], p.columns[i].of(value))
	}
	p.n++
}

// A dictionary numbers the values of a column as they first occur.
type dictionary struct {
	values []uint64
	number map[uint64]uint32
	recent []recent // values where their hash puts them, as asking the map takes ten times as long
}

type recent struct {
	value  uint64
	number uint32
	known  bool
}

const recentBits = 10

// of returns the number of a value.
func (d *dictionary) of(value uint64) uint32 {
	if d.number == nil {
		d.number, d.recent = map[uint64]uint32{}, make([]recent, 1<<recentBits)
	}
	r := &d.recent[value*0x9e3779b97f4a7c15>>(64-recentBits)] // multiplied by 2^64 and the golden ratio, which spreads
	if r.known && r.value == value {
		return r.number
	}
	n, ok := d.number[value]
	if !ok {
		n = uint32(len(d.values))
		d.values = append(d.values, value)
		d.number[value] = n
	}
	*r = recent{value, n, true}
	return n
}
