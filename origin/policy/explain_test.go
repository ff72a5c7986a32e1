package policy

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

var update = flag.Bool("update", false, "write the golden explanations")

// TestExplainGolden compares explanations, as a person and as a program reads
// them, with testdata/explain.
func TestExplainGolden(t *testing.T) {
	const h = 3600
	table := tableOf(t,
		"192.0.2.0/24\t64500\tExample Net", "198.51.100.0/24\t64500\tExample Net",
		"203.0.113.0/25\t64501\tOther Net", "2001:db8::/32\t64502\tThird Net")
	crowd := slices.Concat(impactsIn("192.0.2.0/24", 4, testNow-30*h), impactsIn("192.0.2.4/32", 2, testNow-50*h), impactsIn("192.0.2.4/32", 1, testNow-2*h))
	base := Input{Now: testNow, Profile: demo(t, "classic"), Routes: table, Impacts: crowd}
	system := base
	system.Impacts = impactsIn("192.0.2.0/24", 104, testNow-9*h)
	impacts := base
	impacts.Profile = demo(t, "impacts")
	impacts.Impacts = append(slices.Clone(crowd), Impact{Unit: crowd[0].Unit, Seen: testNow - 29*h, Kind: snapshot.Scan})
	removed := base
	removed.Removals = []Removal{{Address: netip.MustParseAddr("192.0.2.4"), At: testNow - 10*h}}
	exempt := base
	exempt.Exemptions = []Exemption{{Address: netip.MustParseAddr("192.0.2.200")}, {Address: netip.MustParseAddr("192.0.2.1")}}
	byHand := base
	byHand.Impacts = nil
	byHand.Manual = []Manual{{netip.MustParsePrefix("203.0.113.0/26"), testNow - h, testNow + 20*h, "case 7"}}
	never := base
	never.Profile = named(t, "classic")
	six := base
	six.Impacts = impactsIn("2001:db8:1:2::/64", 1, testNow-h)
	spared := six
	spared.Protected = []Protected{{netip.MustParsePrefix("2001:db8:1:2:3::4/128"), "our own mail server"}}
	careful := base
	careful.Profile = demo(t, "careful")
	careful.Impacts = slices.Clone(crowd)
	for i := range careful.Impacts {
		careful.Impacts[i].Reporter = 1
	}

	for _, tt := range []struct {
		file    string
		in      Input
		address string
	}{
		{"neighbour", base, "192.0.2.99"},
		{"abuser", base, "192.0.2.4"},
		{"unlisted", base, "203.0.113.9"},
		{"unrouted", base, "203.0.113.200"},
		{"system", system, "198.51.100.7"},
		{"impacts", impacts, "192.0.2.0"},
		{"removed", removed, "192.0.2.4"},
		{"exempt", exempt, "192.0.2.200"},
		{"exempt-suspended", exempt, "192.0.2.1"},
		{"by-hand", byHand, "203.0.113.9"},
		{"never", never, "192.0.2.1"},
		{"six", six, "2001:db8:1:2:3::4"},
		{"spared", spared, "2001:db8:1:2:3::4"},
		{"one-reporter", careful, "192.0.2.99"},
	} {
		d := Explain(tt.in, nil, netip.MustParseAddr(tt.address))
		encoded, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got := d.Text() + "\n" + string(encoded) + "\n"
		path := filepath.Join("testdata", "explain", tt.file+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.file, got, want)
		}
	}
}

// TestExplainNeighbour says the three things that somebody listed for others
// must read: no fault, who can end it, which number must fall.
func TestExplainNeighbour(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample Net"), Impacts: impactsIn("8.8.0.0/24", 9, testNow)}
	d := Explain(in, nil, netip.MustParseAddr("8.8.0.77"))
	if d.LevelListed != snapshot.Allocation || len(d.Impacts) != 0 {
		t.Errorf("level %d with %d impacts", d.LevelListed, len(d.Impacts))
	}
	text := d.Text()
	for _, want := range []string{"not your fault", "Example Net/AS64500, by stopping the abuse", "fall from 9 to 4 or fewer"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// TestExplainFlood tells of a million impacts of one address in a few lines, and
// does not copy them when they are in order.
func TestExplainFlood(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "impacts")}
	const n = 1_000_000
	u := impactsIn("8.8.0.1/32", 1, 0)[0]
	for i := range n {
		u.Seen, u.Kind = testNow-Window+1+int64(i)*Window/n, snapshot.Spamtrap<<(i%2)
		in.Impacts = append(in.Impacts, u)
	}
	slices.SortFunc(in.Impacts, ByTime)
	r := Decide(in)
	times := 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := Explain(in, r, netip.MustParseAddr("8.8.0.1"))
	runtime.ReadMemStats(&after)
	for _, e := range d.Impacts {
		times += e.Times
	}
	if len(d.Impacts) > 169*2+43 || times != n {
		t.Errorf("%d lines tell of %d impacts", len(d.Impacts), times)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > n {
		t.Errorf("took %d bytes", took)
	}
	if counts := slices.IndexFunc(d.Impacts, func(e Evidence) bool { return e.Counts && e.Times > 1 }); counts >= 0 {
		t.Errorf("more than one impact counts in an hour, spaced 4 h: %+v", d.Impacts[counts])
	}
}

// TestExplainForecast foretells when a net leaves, to the hour.
func TestExplainForecast(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample Net")}
	for i, u := range impactsIn("8.8.0.0/24", 7, 0) {
		u.Seen = testNow - int64(7-i)*3600
		in.Impacts = append(in.Impacts, u)
	}
	c := Explain(in, nil, netip.MustParseAddr("8.8.0.77")).Allocations[0]
	if want := testNow - 5*3600 + Window; c.Forecast.Unix() != want { // the third to leave makes four
		t.Errorf("leaves by %v, want %s", c.Forecast, clock(want))
	}
	for now, want := range map[int64]bool{c.Forecast.Unix() - 1: true, c.Forecast.Unix(): false} {
		in.Now = now
		if _, got := listing(Decide(in), snapshot.Allocation, "8.8.0.0/24"); got != want {
			t.Errorf("at %s: listed %v, want %v", clock(now), got, want)
		}
	}
}

// TestExplainAgrees compares explanations with the listings they explain, for
// many addresses of random worlds.
func TestExplainAgrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 17))
	for range 30 {
		in, all := randomWorld(rnd)
		in.Routes = modelTable(t, all)
		in.Profile = named(t, Names()[rnd.IntN(3)])
		for range rnd.IntN(3) {
			p, _ := randomAddress(rnd).Prefix(32)
			if rnd.IntN(2) == 0 {
				p, _ = p.Addr().Prefix(27)
			}
			in.Manual = append(in.Manual, Manual{p, in.Now - rnd.Int64N(86400), in.Now + rnd.Int64N(3600), "x"})
		}
		r := Decide(in)
		listings := r.Listings()
		for range 100 {
			a := randomAddress(rnd)
			checkExplained(t, in, r, listings, a)
		}
		if t.Failed() {
			return
		}
	}
}

// randomAddress returns an address of one /20 and one IPv6 /35, which hold
// whole random worlds, so that things meet.
func randomAddress(rnd *rand.Rand) netip.Addr {
	if rnd.IntN(3) == 0 {
		return netip.AddrFrom16([16]byte{0x2a, 0, 0, 1, byte(rnd.IntN(2) << 4), byte(rnd.IntN(3)), byte(rnd.IntN(2)), byte(rnd.IntN(40)), 1})
	}
	return netip.AddrFrom4([4]byte{45, 0, byte(rnd.IntN(rnd.IntN(15) + 1)), byte(rnd.IntN(200))})
}

func checkExplained(t *testing.T, in Input, r *Result, listings []snapshot.Listing, a netip.Addr) {
	t.Helper()
	own := in
	own.Impacts = slices.DeleteFunc(slices.Clone(in.Impacts), func(i Impact) bool { return i.Unit != routes.UnitOf(a) })
	d := Explain(own, r, a)
	answers := map[snapshot.Level]snapshot.Listing{}
	for _, l := range listings {
		if best, ok := answers[l.Level]; l.Prefix.Contains(a) && (!ok || l.Prefix.Bits() >= best.Prefix.Bits()) {
			answers[l.Level] = l
		}
	}
	want := snapshot.Level(0)
	for level := snapshot.System; level >= snapshot.Address; level-- {
		if l, ok := answers[level]; ok && !l.Excluded {
			want = level
		}
	}
	if d.LevelListed != want {
		t.Errorf("%v: explained as level %d, listed at %d\n%s", a, d.LevelListed, want, d.Text())
	}
	for _, c := range d.Allocations {
		_, listed := r.net(snapshot.Allocation, c.Prefix)
		if c.Listed != listed {
			t.Errorf("%v: explained as listed %v, is %v", c.Prefix, c.Listed, listed)
		}
		if c.Forecast.IsZero() || c.ByHand {
			continue
		}
		later := in
		later.Now = c.Forecast.Unix()
		later.Impacts = slices.DeleteFunc(slices.Clone(in.Impacts), func(i Impact) bool { return i.Seen > in.Now })
		if _, listed := Decide(later).net(snapshot.Allocation, c.Prefix); listed {
			t.Errorf("%v: foretold to leave by %v, still listed", c.Prefix, c.Forecast)
		}
	}
	counted := uint32(0)
	for _, e := range d.Impacts {
		if e.Counts {
			counted++
		}
	}
	if counted != d.Level1.Count {
		t.Errorf("%v: %d impacts said to count, Level 1 has %d", a, counted, d.Level1.Count)
	}
}
