package build

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/bits-and-blooms/bloom/v3"

	"ucedge/snapshot"
)

const (
	falsePositives = 0.01    // 9.6 bits a key; each further halving costs 1.44
	netKeysMax     = 1 << 16 // keys of the nets of one level and family; with more, all pass
)

// Filter returns the filter object of an image: a bloom filter for the points
// and one for the nets of each level and family.
func Filter(image []byte) ([]byte, error) {
	s, err := snapshot.Open(image)
	if err != nil {
		return nil, err
	}
	blooms := 0
	var table, words []byte
	for _, x := range s.Sections() {
		if x.Kind != snapshot.KindNets && x.Kind != snapshot.KindPoints {
			continue
		}
		blooms++
		b := snapshot.Bloom{Kind: x.Kind, Level: x.Level, Family: x.Family}
		var bits []uint64
		if keys, ok := filterKeys(s, &b, x.Count); ok {
			bits = fill(&b, keys)
		}
		table = append(table, byte(b.Kind), byte(b.Level), b.Family, byte(b.Hashes))
		table = le.AppendUint32(table, uint32(b.Count))
		table = le.AppendUint64(table, b.Bits)
		table = le.AppendUint64(table, 0)
		words = slices.Grow(words, 8*len(bits))
		for _, w := range bits {
			words = le.AppendUint64(words, w)
		}
	}
	return assembleFilter(s.Sum(), blooms, append(table, words...))
}

func assembleFilter(image uint64, blooms int, body []byte) ([]byte, error) {
	size := snapshot.FilterHeaderSize + len(body)
	if size > snapshot.MaxImage {
		return nil, fmt.Errorf("filter of %d bytes: more than %d", size, snapshot.MaxImage)
	}
	b := append(make([]byte, 0, size), snapshot.FilterMagic...)
	b = le.AppendUint32(b, snapshot.FilterVersion)
	b = le.AppendUint32(b, uint32(blooms))
	b = le.AppendUint64(b, uint64(size))
	b = le.AppendUint64(b, image)
	b = le.AppendUint64(b, 0)
	b = append(b, body...)
	le.PutUint64(b[snapshot.FilterHeaderSize-8:], snapshot.FilterSum(b))
	return b, nil
}

// fill sizes the bloom for its keys and returns its bits. Each processor sets
// those of some keys, and what any of them has set is set.
func fill(b *snapshot.Bloom, keys []uint64) []uint64 {
	n := uint(len(keys))
	f := bloom.NewWithEstimates(n, falsePositives)
	b.Hashes, b.Bits, b.Count = int(f.K()), uint64(f.Cap()), len(keys)
	shares := []*bloom.BloomFilter{f}
	for i := 1; i < runtime.GOMAXPROCS(0) && n >= shareMin; i++ {
		shares = append(shares, bloom.New(f.Cap(), f.K()))
	}
	var wait sync.WaitGroup
	for i, share := range shares {
		wait.Go(func() { add(share, keys[len(keys)*i/len(shares):len(keys)*(i+1)/len(shares)], b.KeyBits()) })
	}
	wait.Wait()
	for _, share := range shares[1:] {
		f.BitSet().InPlaceUnion(share.BitSet())
	}
	return f.BitSet().Words()
}

// shareMin is the number of keys from which it pays to share them out.
const shareMin = 1 << 14

func add(f *bloom.BloomFilter, keys []uint64, bits int) {
	var room [8]byte
	for _, key := range keys {
		binary.BigEndian.PutUint64(room[:], key<<(64-bits))
		f.Add(room[:bits/8])
	}
}

// filterKeys returns the distinct keys of the listings of one bloom, sorted,
// and whether they are few enough to make one.
func filterKeys(s *snapshot.Snapshot, b *snapshot.Bloom, count int) (keys []uint64, ok bool) {
	if b.Kind == snapshot.KindPoints {
		keys = make([]uint64, 0, count)
		for run := range s.Points(b.Family) {
			keys = append(keys, run...)
		}
		return keys, true
	}
	for p := range s.Nets(b.Level, b.Family) {
		first := Key(p.Addr()) >> (keyWidth(p.Addr()) - b.KeyBits())
		wide := max(0, b.KeyBits()-p.Bits())
		if wide > 16 {
			return nil, false
		}
		for i := range uint64(1) << wide {
			if n := len(keys); n == 0 || keys[n-1] < first+i { // an outer prefix has all keys of an inner one
				keys = append(keys, first+i)
			}
		}
		if len(keys) > netKeysMax {
			return nil, false
		}
	}
	return keys, true
}

// keyWidth returns the bits of Key(a).
func keyWidth(a netip.Addr) int {
	if a.Is4() {
		return 32
	}
	return 64
}
