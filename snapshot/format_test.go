package snapshot_test

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// TestFormatExample holds the example of FORMAT.md to the builder, byte by byte.
func TestFormatExample(t *testing.T) {
	term := snapshot.Facts{End: 490_000, Last: 490_000 - 168}
	image, err := build.Image(build.Input{
		Zones: []snapshot.Zone{{
			Suffix: "bl.example", Level: snapshot.Address, Code: [4]byte{127, 0, 0, 2}, TTL: 2100, SOATTL: 300,
			Minimum: 300, Text: "{ip} {url}", URL: "x.example",
		}},
		Profile: snapshot.Profile{Name: "classic"},
		Listings: []snapshot.Listing{
			{Level: 1, Prefix: netip.MustParsePrefix("192.0.2.1/32"), Facts: term},
			{Level: 1, Prefix: netip.MustParsePrefix("192.0.2.9/32"), Facts: term},
			{Level: 1, Prefix: netip.MustParsePrefix("198.51.100.7/32"), Facts: term},
			{Level: 2, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Facts: snapshot.Facts{Count: 5, ASN: 64496, ASName: "EX"}},
			{Level: 2, Prefix: netip.MustParsePrefix("192.0.2.9/32"), Excluded: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "    0000") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := strings.Split(strings.TrimSpace(hex.Dump(image)), "\n")
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("FORMAT.md shows\n%s\nbut the image is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
