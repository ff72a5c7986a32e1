package main_test

import (
	"net/netip"
	"strings"
	"testing"

	"ucedge/internal/trial"
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
	for _, image := range [][]byte{image, trial.Halved(t, image)} {
		if problem := g.load(image, nil); !strings.Contains(problem, "level 2 lists 536870912 addresses") {
			t.Errorf("an eighth of IPv4 on Level 2: %q", problem)
		}
		g.drop()
	}
	if problem := g.load(newImage(t)); problem != "" {
		t.Errorf("a small list after it: %s", problem)
	}
}
