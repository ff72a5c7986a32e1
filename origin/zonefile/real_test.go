package zonefile

import (
	"bytes"
	"reflect"
	"testing"

	"ucedge/internal/trial"
	"ucedge/snapshot"
)

// realFile returns the text of a file of the public lists, or skips the test.
func realFile(tb testing.TB, name string) []byte {
	tb.Helper()
	return trial.Unxz(tb, "uceprotect-2026-07/"+name+".xz")
}

var realZones = []struct {
	file                 string
	zone                 snapshot.Zone
	listings, exclusions int
	problems             int
	templates            int // distinct texts of listings, at most
}{
	{"dnsbl-1.uceprotect.net", snapshot.Zone{Suffix: "dnsbl-1.uceprotect.net", Level: snapshot.Address}, 50293, 3, 0, 0},
	{"dnsbl-2.uceprotect.net", snapshot.Zone{Suffix: "dnsbl-2.uceprotect.net", Level: snapshot.Allocation}, 7849, 10732, 0, 10},
	{"level3-prefixes.txt", snapshot.Zone{Suffix: "dnsbl-3.uceprotect.net", Level: snapshot.System}, 101880, 0, 1, 0},
	{"ips.whitelisted.org", snapshot.Zone{Suffix: "ips.whitelisted.org", Level: snapshot.Address}, 10726, 0, 0, 0},
}

// TestRealZones imports, exports and imports the public lists again.
func TestRealZones(t *testing.T) {
	for _, c := range realZones {
		t.Run(c.file, func(t *testing.T) {
			first := mustParse(t, Options{Zone: c.zone}, string(realFile(t, c.file)))
			t.Logf("%s as %s: %d listings, %d problems, %d ranges of special-use space, code %v, url %q", c.file, first.Kind, len(first.Listings), first.ProblemCount, len(first.SpecialUse), first.Zones[0].Code, first.Zones[0].URL)
			for _, p := range first.Problems {
				t.Log(p)
			}
			for _, d := range first.SpecialUse {
				t.Logf("special use %s (%s): %d listings dropped, %d cut", d.Prefix, d.Name, d.Listings, d.Cut)
			}
			counts := map[string]int{}
			named, excluded := 0, 0
			for _, l := range first.Listings {
				if l.Excluded {
					excluded++
					continue
				}
				counts[l.Text]++
				if l.ASN != 0 && l.Count != 0 && l.ASName != "" {
					named++
				}
			}
			t.Logf("%d exclusions; %d listings with count, ASN and name; %d distinct texts: %v", excluded, named, len(counts), counts)
			var file bytes.Buffer
			kind, err := Export(&file, first.Zones[0], first.Serial, first.Listings)
			if err != nil {
				t.Fatal(err)
			}
			second := mustParse(t, Options{Zone: c.zone, Kind: kind, Strict: true}, file.String())
			if !reflect.DeepEqual(first.Zones, second.Zones) {
				t.Errorf("zone after the trip %+v, before %+v", second.Zones, first.Zones)
			}
			if !reflect.DeepEqual(first.Listings, second.Listings) {
				t.Error("listings differ after import, export and import")
			}
		})
	}
}

func mustParse(tb testing.TB, o Options, text string) *Result {
	tb.Helper()
	r, err := Parse(o, Source{"test", bytes.NewReader([]byte(text))})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}
