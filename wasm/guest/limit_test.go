package main_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// TestLimits holds that a guest refuses a list by what it lists, whatever the
// figures in the image claim, and then takes another one.
func TestLimits(t *testing.T) {
	image, err := build.Image(build.Input{
		Zones: []snapshot.Zone{{
			Suffix: "dnsbl-2.bl.example", Level: snapshot.Allocation, Code: [4]byte{127, 0, 0, 2}, TTL: 2100, MName: "ns1.bl.example",
			RName: "hostmaster.bl.example", SOATTL: 3600, Refresh: 300, Retry: 60, Expire: 604800, Minimum: 900, Text: "{ip}",
		}},
		Profile:  snapshot.Profile{Name: "imported"},
		Listings: []snapshot.Listing{{Level: snapshot.Allocation, Prefix: netip.MustParsePrefix("32.0.0.0/3")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t)
	for _, image := range [][]byte{image, halved(t, image)} {
		if problem := g.load(image, nil); !strings.Contains(problem, "level 2 lists 536870912 addresses") {
			t.Errorf("an eighth of IPv4 on Level 2: %q", problem)
		}
		g.drop()
	}
	if problem := g.load(newImage(t)); problem != "" {
		t.Errorf("a small list after it: %s", problem)
	}
}

// halved returns an image that lists 2^29 addresses and claims half of them.
func halved(t *testing.T, image []byte) []byte {
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	image = bytes.Clone(image)
	for i, x := range s.Sections() {
		if x.Kind != snapshot.KindCollateral {
			continue
		}
		body := image[x.Offset : x.Offset+x.Length]
		at := bytes.Index(body, binary.AppendUvarint(nil, 1<<29))
		copy(body[at:], binary.AppendUvarint(nil, 1<<28)) // of the same length
		row := image[snapshot.HeaderSize+i*snapshot.SectionSize:]
		binary.LittleEndian.PutUint64(row[16:], snapshot.Checksum(body))
	}
	binary.LittleEndian.PutUint64(image[24:], snapshot.HeaderSum(image, len(s.Sections())))
	return image
}
