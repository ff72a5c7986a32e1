package policy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// TestImage builds images of random worlds: the same evidence in another order
// gives the same bytes, every listing survives, and what the image says it
// covers is what Coverages says.
func TestImage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(23, 29))
	for range 30 {
		in, all := randomWorld(rnd)
		in.Routes = modelTable(t, all)
		in.Profile = named(t, Names()[rnd.IntN(3)])
		r := Decide(in)
		first := image(t, r)
		in.Impacts = slices.Clone(in.Impacts)
		shuffle(rnd, in.Impacts)
		if !bytes.Equal(first, image(t, Decide(in))) {
			t.Fatal("another order of impacts gives another image")
		}
		s, err := snapshot.Open(first)
		if err != nil {
			t.Fatal(err)
		}
		coverages := r.Coverages()
		for i, c := range s.Collateral() {
			got := [4]uint64{c.Entries, c.Excluded, c.Addresses, c.Slash64s}
			want := [4]uint64{uint64(coverages[i].Listings), uint64(coverages[i].Excluded), coverages[i].Addresses, coverages[i].Slash64s}
			if got != want {
				t.Fatalf("level %d: the image covers %v, the result %v", i+1, got, want)
			}
		}
		var read []snapshot.Listing
		for level := snapshot.Address; level <= snapshot.System; level++ {
			read = slices.AppendSeq(read, s.Listings(level))
		}
		if !slices.Equal(read, r.Listings()) {
			t.Fatalf("%d listings went in, %d came out, or others", r.Len(), len(read))
		}
	}
}

func image(t *testing.T, r *Result) []byte {
	t.Helper()
	in := build.Input{Listings: r.Listings(), Profile: r.Profile.Snapshot()}
	for level := snapshot.Address; level <= snapshot.System; level++ {
		in.Zones = append(in.Zones, snapshot.Zone{
			Suffix: fmt.Sprintf("dnsbl-%d.bl.example", level), Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 300,
			MName: "ns.bl.example", RName: "hostmaster.bl.example", SOATTL: 300, Refresh: 300, Retry: 300, Expire: 86400, Minimum: 60,
			Text: "{ip} is listed", URL: "https://bl.example/",
		})
	}
	b, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
