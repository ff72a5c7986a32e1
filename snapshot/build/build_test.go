package build

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"ucedge/snapshot"
)

func zone(suffix string, level snapshot.Level) snapshot.Zone {
	return snapshot.Zone{Suffix: suffix, Level: level, Code: [4]byte{127, 0, 0, 2}, Text: "{ip} is listed"}
}

// TestRefused holds what an image cannot hold, and that the error names it.
func TestRefused(t *testing.T) {
	good := []snapshot.Zone{zone("bl.example", 1)}
	list := func(level snapshot.Level, p netip.Prefix, f snapshot.Facts) []snapshot.Listing {
		return []snapshot.Listing{{Level: level, Prefix: p, Facts: f}}
	}
	p := netip.MustParsePrefix
	for _, tt := range []struct {
		name     string
		zones    []snapshot.Zone
		listings []snapshot.Listing
		want     string
	}{
		{"no zone", nil, nil, "number of zones"},
		{"nine zones", make([]snapshot.Zone, 9), nil, "number of zones"},
		{"suffix twice", append(good, zone("bl.example", 2)), nil, `zone "bl.example": suffix or level twice`},
		{"level twice", append(good, zone("b.example", 1)), nil, `zone "b.example": suffix or level twice`},
		{"capitals", []snapshot.Zone{zone("BL.example", 1)}, nil, "lower-case"},
		{"final dot", []snapshot.Zone{zone("bl.example.", 1)}, nil, "lower-case"},
		{"long suffix", []snapshot.Zone{zone(strings.Repeat("a.", 94)+"aa", 1)}, nil, "lower-case"},
		{"long label", []snapshot.Zone{zone(strings.Repeat("a", 64), 1)}, nil, "lower-case"},
		{"no text", []snapshot.Zone{{Suffix: "bl.example", Code: [4]byte{127, 0, 0, 2}}}, nil, "no text"},
		{"code", []snapshot.Zone{{Suffix: "bl.example", Code: [4]byte{128, 0, 0, 2}, Text: "x"}}, nil, "code outside"},
		{"level 0", good, list(0, p("192.0.2.1/32"), snapshot.Facts{}), `listing "192.0.2.1/32" of level 0: unknown level`},
		{"level 4", good, list(4, p("192.0.2.1/32"), snapshot.Facts{}), "unknown level"},
		{"no prefix", good, list(1, netip.Prefix{}, snapshot.Facts{}), "invalid prefix"},
		{"host bits", good, list(1, netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), 24), snapshot.Facts{}), "bits set after"},
		{"mapped", good, list(1, netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.1"), 128), snapshot.Facts{}), "IPv4-mapped"},
		{"AS name", good, list(2, p("192.0.2.0/24"), snapshot.Facts{ASName: strings.Repeat("x", 256)}), "AS name too long"},
		{"text", good, list(2, p("192.0.2.0/24"), snapshot.Facts{Text: strings.Repeat("x", 1025)}), "text too long"},
	} {
		image, err := Image(Input{Zones: tt.zones, Listings: tt.listings})
		if err == nil || image != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	long := Input{Zones: good, Profile: snapshot.Profile{Text: strings.Repeat("x", 1<<16+1)}}
	if _, err := Image(long); err == nil {
		t.Error("profile of 65537 bytes taken")
	}
}

// TestMerge holds what becomes of one prefix that is listed several times, in
// whatever order.
func TestMerge(t *testing.T) {
	p := netip.MustParsePrefix("192.0.2.0/24")
	f := func(f snapshot.Facts) snapshot.Listing { return snapshot.Listing{Level: 2, Prefix: p, Facts: f} }
	for _, tt := range []struct {
		name string
		in   []snapshot.Listing
		want snapshot.Listing
	}{
		{"same", []snapshot.Listing{f(snapshot.Facts{Count: 1}), f(snapshot.Facts{Count: 1})}, f(snapshot.Facts{Count: 1})},
		{"later end", []snapshot.Listing{f(snapshot.Facts{End: 5}), f(snapshot.Facts{End: 9}), f(snapshot.Facts{End: 7})}, f(snapshot.Facts{End: 9})},
		{"no end", []snapshot.Listing{f(snapshot.Facts{End: 5}), f(snapshot.Facts{}), f(snapshot.Facts{End: 7})}, f(snapshot.Facts{})},
		{"hours", []snapshot.Listing{f(snapshot.Facts{First: 4, Last: 5}), f(snapshot.Facts{First: 3, Last: 9}), f(snapshot.Facts{})},
			f(snapshot.Facts{First: 3, Last: 9})},
		{"counts and kinds", []snapshot.Listing{f(snapshot.Facts{Count: 2, Threshold: 5, Kinds: 1}), f(snapshot.Facts{Count: 7, Kinds: 4})},
			f(snapshot.Facts{Count: 7, Threshold: 5, Kinds: 5})},
		{"system", []snapshot.Listing{f(snapshot.Facts{ASN: 64497, ASName: "B"}), f(snapshot.Facts{}), f(snapshot.Facts{ASN: 64496, ASName: "C"})},
			f(snapshot.Facts{ASN: 64496, ASName: "C"})},
		{"text", []snapshot.Listing{f(snapshot.Facts{Text: "b"}), f(snapshot.Facts{}), f(snapshot.Facts{Text: "a"})}, f(snapshot.Facts{Text: "a"})},
		{"excluded", []snapshot.Listing{f(snapshot.Facts{Count: 9}), {Level: 2, Prefix: p, Excluded: true}, f(snapshot.Facts{Text: "x"})},
			snapshot.Listing{Level: 2, Prefix: p, Excluded: true}},
	} {
		r := rand.New(rand.NewPCG(1, 1))
		for range 10 {
			got, err := Canonical(tt.in)
			if err != nil || len(got) != 1 || got[0] != tt.want {
				t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
			}
			r.Shuffle(len(tt.in), func(i, j int) { tt.in[i], tt.in[j] = tt.in[j], tt.in[i] })
		}
	}
}

// TestColumnWidths holds that columns of many values come back, for each width
// of their indexes.
func TestColumnWidths(t *testing.T) {
	for _, values := range []int{1, 2, 256, 257, 65536, 65537} {
		in := Input{Zones: []snapshot.Zone{zone("bl.example", 1)}}
		for i := range 66_000 {
			a := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
			in.Listings = append(in.Listings, snapshot.Listing{Level: 1, Prefix: netip.PrefixFrom(a, 32),
				Facts: snapshot.Facts{Count: uint32(1 + i%values)}})
		}
		image, err := Image(in)
		if err != nil {
			t.Fatal(err)
		}
		s, err := snapshot.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range in.Listings {
			if m := s.Lookup(1, l.Prefix.Addr(), 0); m.Facts.Count != l.Count {
				t.Fatalf("%d values: point %d has count %d, want %d", values, i, m.Facts.Count, l.Count)
			}
		}
	}
}
