package snapshot_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/bits-and-blooms/bloom/v3"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// TestFilterIsBloom holds that the reader's probes are those of the library
// that wrote the filter, hit by hit and miss by miss.
func TestFilterIsBloom(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	in := build.Input{Zones: threeZones()}
	for range 3000 {
		in.Listings = append(in.Listings,
			addressListing(r, v4(r.Uint32()), 32), addressListing(r, v6(r.Uint64()), 64),
			snapshot.Listing{Level: 2, Prefix: netip.PrefixFrom(v4(r.Uint32()&^0xfff), 20)},
			snapshot.Listing{Level: 3, Prefix: netip.PrefixFrom(v6(r.Uint64()&^0xffff), 48)},
		)
	}
	image, s := mustImage(t, in)
	b, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(b)
	if err != nil {
		t.Fatal(err)
	}
	if f.Image() != s.Sum() || len(f.Blooms()) != 4 {
		t.Fatalf("filter of image %x with %d blooms, want %x and 4", f.Image(), len(f.Blooms()), s.Sum())
	}
	words := b[snapshot.FilterHeaderSize+len(f.Blooms())*snapshot.BloomSize:]
	for i := range f.Blooms() {
		x := &f.Blooms()[i]
		bits := make([]uint64, (x.Bits+63)/64)
		for j := range bits {
			bits[j] = le.Uint64(words[8*j:])
		}
		words = words[8*len(bits):]
		compareBloom(t, r, x, bloom.FromWithM(bits, uint(x.Bits), uint(x.Hashes)))
	}
}

func compareBloom(t *testing.T, r *rand.Rand, x *snapshot.Bloom, want *bloom.BloomFilter) {
	passed := 0
	const n = 20_000
	for range n {
		a := v4(r.Uint32())
		if x.Family == 6 {
			a = v6(r.Uint64())
		}
		got := x.May(a)
		if w := want.Test(a.AsSlice()[:x.KeyBits()/8]); got != w {
			t.Fatalf("%v level %d: %v: got %v, the library says %v", x.Kind, x.Level, a, got, w)
		}
		if got {
			passed++
		}
	}
	t.Logf("%v level %d ipv%d: %d keys, %d bits, %.2f%% of random addresses pass",
		x.Kind, x.Level, x.Family, x.Count, x.Bits, 100*float64(passed)/n)
}

// TestFilterWide holds that prefixes too wide to enumerate let everything pass.
func TestFilterWide(t *testing.T) {
	image, s := mustImage(t, build.Input{Zones: threeZones(), Listings: []snapshot.Listing{
		{Level: 2, Prefix: netip.MustParsePrefix("::/0")}, {Level: 2, Prefix: netip.MustParsePrefix("0.0.0.0/0")},
	}})
	f, _ := mustFilter(t, image, s)
	for i, want := range []int{1 << 16, 0} {
		if x := f.Blooms()[i]; x.Count != want {
			t.Errorf("%v level %d ipv%d: %d keys, want %d", x.Kind, x.Level, x.Family, x.Count, want)
		}
	}
	for _, a := range []string{"192.0.2.1", "2001:db8::1", "ff02::1"} {
		if !f.May(2, netip.MustParseAddr(a)) {
			t.Errorf("%s does not pass, but is listed", a)
		}
	}
}
