package snapshot

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// TestIndex holds the index to a plain search, over lists that are short, wide,
// dense and uneven.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		for _, below := range []uint64{4, 1 << 10, 1 << 32, math.MaxUint64} {
			keys := []uint64{}
			for range n {
				keys = append(keys, r.Uint64N(below))
			}
			if n > 1 {
				keys[0], keys[1] = 0, below
			}
			slices.Sort(keys)
			x := newIndex(keys)
			for _, key := range append([]uint64{0, 1, below / 2, below, math.MaxUint64}, keys...) {
				want := sort.Search(n, func(i int) bool { return keys[i] > key })
				if got := x.after(keys, key); got != want {
					t.Fatalf("after %#x in %#x: %d, want %d", key, keys, got, want)
				}
			}
		}
	}
}
