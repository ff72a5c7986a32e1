package snapshot_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

var update = flag.Bool("update", false, "write the golden files anew")

// describe writes a snapshot as text: one zone, then one listing a line.
func describe(s *snapshot.Snapshot) string {
	var b strings.Builder
	for _, z := range s.Zones() {
		fmt.Fprintf(&b, "zone %+v\n", z)
	}
	fmt.Fprintf(&b, "profile %+q\n", s.Profile())
	for _, c := range s.Collateral() {
		fmt.Fprintf(&b, "collateral %+v\n", c)
	}
	for _, l := range all(s) {
		verb := "list"
		if l.Excluded {
			verb = "exclude"
		}
		fmt.Fprintf(&b, "%s level %d %v %+v\n", verb, l.Level, l.Prefix, l.Facts)
	}
	return b.String()
}

// TestGolden holds the bytes of the format: a change of these files is a change
// of the format, and needs another version.
func TestGolden(t *testing.T) {
	in := smallInput()
	for i := range 70 { // more than a block
		a := v4(203<<24 | 113<<8 | uint32(i*i)%251)
		in.Listings = append(in.Listings, snapshot.Listing{Level: 1, Prefix: netip.PrefixFrom(a, 32), Facts: snapshot.Facts{End: 490_001}})
	}
	image, s := mustImage(t, in)
	filter, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"golden.snap": image, "golden.filter": filter, "golden.txt": []byte(describe(s)),
	} {
		path := "testdata/" + name
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: differs from what the builder makes now", path)
		}
	}
}
