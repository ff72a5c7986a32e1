package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// ruleOf returns the rule of a Refusal, or "" for nil.
func ruleOf(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Rule
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// TestRemoval takes an address off Level 1 and everything that stood on it,
// and puts it back at the next impact.
func TestRemoval(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample"), Impacts: impactsIn("8.8.0.0/24", 5, testNow-86400)}
	q := RemovalRequest{Address: netip.MustParseAddr("8.8.0.1"), Proven: true}
	if err := CheckRemoval(in, q); err != nil {
		t.Fatal(err)
	}
	in.Removals = []Removal{{Address: q.Address, At: testNow}}
	r := Decide(in)
	if _, ok := listing(r, snapshot.Address, "8.8.0.1/32"); ok {
		t.Error("removed address is on Level 1")
	}
	if _, ok := listing(r, snapshot.Allocation, "8.8.0.0/24"); ok {
		t.Error("the /24 is listed with four abusers left")
	}
	in.Now--
	if _, ok := listing(Decide(in), snapshot.Address, "8.8.0.1/32"); !ok {
		t.Error("a second before its removal the address is not listed")
	}
	in.Now = testNow + 3600
	in.Impacts = append(in.Impacts, Impact{Unit: routes.UnitOf(q.Address), Seen: testNow + 3600, Kind: snapshot.Scan})
	l, ok := listing(Decide(in), snapshot.Address, "8.8.0.1/32")
	if !ok || l.Count != 1 {
		t.Errorf("after a new impact: listed %v with %d, want at once with 1", ok, l.Count)
	}
}

// TestRemovalLimits is every limit on both of its sides.
func TestRemovalLimits(t *testing.T) {
	const d, h = 86400, 3600
	removed := func(at int64, addresses ...string) (all []Removal) {
		for _, a := range addresses {
			all = append(all, Removal{Address: netip.MustParseAddr(a), At: at})
		}
		return all
	}
	many := func(format string, n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(format, i+1))
		}
		return all
	}
	const me = "8.8.0.200"
	tests := []struct {
		name     string
		ago      int64 // of the impact of me
		removals []Removal
		want     string
		until    int64
	}{
		{"nothing before", 4 * h, nil, "", 0},
		{"an impact just under 3 h old", 3*h - 1, nil, "quiet", testNow + 1},
		{"an impact of 3 h", 3 * h, nil, "", 0},
		{"no impact in the window", 7 * d, nil, "unlisted", 0},
		{"removed just under 30 days ago", 4 * h, removed(testNow-30*d+1, me), "address", testNow + 1},
		{"removed 30 days ago", 4 * h, removed(testNow-30*d, me), "", 0},
		{"two in the /24", 4 * h, removed(testNow-d, many("8.8.0.%d", 2)...), "", 0},
		{"three in the /24", 4 * h, removed(testNow-d, many("8.8.0.%d", 3)...), "net", testNow + 29*d},
		{"three in the /24, long ago", 4 * h, removed(testNow-30*d, many("8.8.0.%d", 3)...), "", 0},
		{"nine in the allocation", 4 * h, removed(testNow-2*d, many("8.8.%d.1", 9)...), "", 0},
		{"ten in the allocation", 4 * h, removed(testNow-2*d, many("8.8.%d.1", 10)...), "allocation", testNow + 28*d},
		{"nineteen in the AS today", 4 * h, removed(testNow-h, many("9.9.%d.1", 19)...), "", 0},
		{"twenty in the AS today", 4 * h, removed(testNow-h, many("9.9.%d.1", 20)...), "system", testNow + 23*h},
		{"twenty in the AS a day ago", 4 * h, removed(testNow-d, many("9.9.%d.1", 20)...), "", 0},
		{"twenty elsewhere", 4 * h, removed(testNow-h, many("7.7.%d.1", 20)...), "", 0},
		{"relapse recorded 89 days ago", 4 * h, []Removal{{netip.MustParseAddr(me), testNow - 95*d, testNow - 90*d + 1}}, "relapse", testNow + 1},
		{"relapse recorded 90 days ago", 4 * h, []Removal{{netip.MustParseAddr(me), testNow - 95*d, testNow - 90*d}}, "", 0},
		{"relapse among the impacts", 4 * h, removed(testNow-7*d-4*h, me), "relapse", testNow - 4*h + 90*d},
		{"impact after more than seven days", 4 * h, removed(testNow-7*d-4*h-1, me), "address", testNow - 7*d - 4*h - 1 + 30*d},
	}
	table := tableOf(t, "8.8.0.0/16\t64500\tExample", "9.9.0.0/16\t64500\tExample", "7.7.0.0/16\t64501\tOther")
	for _, tt := range tests {
		in := Input{Now: testNow, Profile: named(t, "classic"), Routes: table, Removals: tt.removals}
		in.Impacts = []Impact{{Unit: routes.UnitOf(netip.MustParseAddr(me)), Seen: testNow - tt.ago, Kind: snapshot.Scan}}
		err := CheckRemoval(in, RemovalRequest{netip.MustParseAddr(me), true})
		var r *Refusal
		if errors.As(err, &r); ruleOf(err) != tt.want || r != nil && r.Until != tt.until {
			t.Errorf("%s: got %v, want rule %q until %d", tt.name, err, tt.want, tt.until)
		}
	}
	in := Input{Now: testNow, Profile: named(t, "classic"), Impacts: impactsIn(me+"/32", 1, testNow-4*h)}
	if got := ruleOf(CheckRemoval(in, RemovalRequest{netip.MustParseAddr(me), false})); got != "proof" {
		t.Errorf("without proof: refused by %q", got)
	}
}

// TestRemoval6 counts the /64 and the /48.
func TestRemoval6(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Impacts: impactsIn("2a00:0:0:9::/64", 1, testNow-86400)}
	q := RemovalRequest{netip.MustParseAddr("2a00:0:0:9::7"), true}
	for i := range 3 {
		if err := CheckRemoval(in, q); err != nil {
			t.Fatalf("after %d removals in the /48: %v", i, err)
		}
		in.Removals = append(in.Removals, Removal{Address: netip.MustParseAddr(fmt.Sprintf("2a00:0:0:%d::1", i)), At: testNow - 10})
	}
	if got := ruleOf(CheckRemoval(in, q)); got != "net" {
		t.Errorf("fourth in the /48: refused by %q", got)
	}
}

// TestLift refuses whoever is on Level 1, and says until when.
func TestLift(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample"),
		Impacts:   slices.Concat(impactsIn("8.8.0.0/24", 5, testNow-60), impactsIn("2a00:1:2:3::/64", 1, testNow-60)),
		Manual:    []Manual{{netip.MustParsePrefix("8.8.0.200/32"), testNow - 60, testNow + 7200, "a"}},
		Protected: []Protected{{netip.MustParsePrefix("2a00:1:2:3::25/128"), "ours"}}}
	for a, until := range map[string]int64{
		"8.8.0.1": testNow - 60 + Window, "8.8.0.200": testNow + 7200, "2a00:1:2:3::1": testNow - 60 + Window,
		"8.8.0.100": 0, "2a00:1:2:3::25": 0, // neighbours
	} {
		err := CheckLift(in, netip.MustParseAddr(a))
		var refused *Refusal
		if until == 0 && err != nil || until != 0 && (!errors.As(err, &refused) || refused.Rule != "level1" || refused.Until != until) {
			t.Errorf("%s: %v, want a refusal until %d, or none for 0", a, err, until)
		}
	}
	in.Now += Window
	if err := CheckLift(in, netip.MustParseAddr("8.8.0.1")); err != nil {
		t.Errorf("after seven days: %v", err)
	}
}

// TestBudget is each limit on both of its sides.
func TestBudget(t *testing.T) {
	b := Budget{NewPerHour: 10, SharePercent: 50, ShareFrom: 100}
	for _, tt := range []struct {
		name  string
		u     Usage
		fresh bool
		waits bool
	}{
		{"nothing yet", Usage{}, true, false},
		{"tenth new one", Usage{NewThisHour: 9}, true, false},
		{"eleventh new one", Usage{NewThisHour: 10}, true, true},
		{"eleventh, but known", Usage{NewThisHour: 10}, false, false},
		{"half", Usage{Impacts: 99, All: 199, Reporters: 2}, false, false},
		{"more than half", Usage{Impacts: 100, All: 199, Reporters: 2}, false, true},
		{"more than half of few", Usage{Impacts: 90, All: 99, Reporters: 2}, false, false},
		{"the only reporter", Usage{Impacts: 500, All: 500, Reporters: 1}, false, false},
	} {
		after, wait := b.Admit(tt.u, tt.fresh)
		if (wait != "") != tt.waits {
			t.Errorf("%s: waits %q, want %v", tt.name, wait, tt.waits)
		}
		if grown := after.Impacts == tt.u.Impacts+1; grown == tt.waits {
			t.Errorf("%s: usage %+v after %+v", tt.name, after, tt.u)
		}
	}
	if _, wait := (Budget{}).Admit(Usage{NewThisHour: 1 << 40, Impacts: 9, All: 9, Reporters: 3}, true); wait != "" {
		t.Errorf("no budget: waits %q", wait)
	}
}

// TestCoverage adds up what each level reaches.
func TestCoverage(t *testing.T) {
	in := Input{
		Now: testNow, Profile: named(t, "classic"),
		Routes:     tableOf(t, "8.8.0.0/22\t64500\tExample", "8.8.0.0/24\t64500\tExample", "2a00::/56\t64500\tExample"),
		Impacts:    slices.Concat(impactsIn("8.8.0.0/24", 15, testNow), impactsIn("2a00::/56", 1, testNow)),
		Exemptions: []Exemption{{Address: netip.MustParseAddr("8.8.0.99")}, {Address: netip.MustParseAddr("8.8.3.99")}},
	}
	r := Decide(in)
	want := [3]Coverage{
		{Level: 1, Listings: 16, Addresses: 15, Slash64s: 1, Widest4: 32, Widest6: 64},
		{Level: 2, Listings: 3, Excluded: 2, Addresses: 1022, Slash64s: 256, Widest4: 22, Widest6: 56},
		{Level: 3},
	}
	if got := r.Coverages(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	in.Profile = named(t, "careful")
	careful := Decide(in)
	if got := careful.Coverages()[1].Listings; got != 2 {
		t.Errorf("careful has %d listings on Level 2, want 2", got)
	}
	changes := Compare(r, careful)
	if len(changes) != 1 || changes[0].After || changes[0].Listing.Prefix.String() != "2a00::/56" {
		t.Errorf("changes %+v, want that careful drops the /56 of one reporter", changes)
	}
}
