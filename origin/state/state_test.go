package state

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

const start = 1_795_363_200

func openLedger(t *testing.T) *ledger.SQLite {
	t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func settings(t *testing.T) Settings {
	t.Helper()
	named, err := policy.Named("classic")
	if err != nil {
		t.Fatal(err)
	}
	profile := *named
	profile.Documentation = true
	return Settings{Profile: &profile}
}

func about(address string, seen int64, reporter string) report.Report {
	return report.Report{Address: netip.MustParseAddr(address), Seen: seen, Reporter: reporter, Kind: snapshot.Scan}
}

func host(address string) netip.Prefix {
	a := netip.MustParseAddr(address)
	return netip.PrefixFrom(a, a.BitLen())
}

func fill(t *testing.T, l ledger.Ledger, reports []report.Report, decisions ...ledger.Decision) {
	t.Helper()
	for _, r := range reports {
		if _, err := l.AppendReports(context.Background(), []report.Report{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.AppendDecisions(context.Background(), decisions); err != nil {
		t.Fatal(err)
	}
}

func readAt(t *testing.T, l ledger.Ledger, at int64) policy.Input {
	t.Helper()
	in, err := Read(context.Background(), l, at, settings(t))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestReplay: what stands at a time, of events before and after it.
func TestReplay(t *testing.T) {
	l := openLedger(t)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	fill(t, l, []report.Report{about("192.0.2.1", start, "feed")},
		ledger.Decision{At: start + 1, Kind: ledger.Exempted, Prefix: host("192.0.2.1"), Until: start + 100},
		ledger.Decision{At: start + 2, Kind: ledger.Exempted, Prefix: host("2001:db8::1")},
		ledger.Decision{At: start + 3, Kind: ledger.ExemptionEnded, Prefix: host("2001:db8::1")},
		ledger.Decision{At: start + 4, Kind: ledger.Exempted, Prefix: host("192.0.2.1")},
		ledger.Decision{At: start + 5, Kind: ledger.Removed, Prefix: host("192.0.2.1")},
		ledger.Decision{At: start + 6, Kind: ledger.Removed, Prefix: host("2001:db8::1")},
		ledger.Decision{At: start + 7, Kind: ledger.Relapsed, Prefix: host("192.0.2.1")},
		ledger.Decision{At: start + 8, Kind: ledger.ManualListed, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Until: start + 90, Note: "e1"},
		ledger.Decision{At: start + 9, Kind: ledger.Purged, Reporter: "feed"},
		ledger.Decision{At: start + 9, Kind: ledger.Purged, Reporter: "never heard of"},
	)
	ended := []policy.Exemption{
		{Address: a, From: start + 1, Until: start + 4}, {Address: b, From: start + 2, Until: start + 3}, {Address: a, From: start + 4},
	}
	rows := []struct {
		at   int64
		want policy.Input
	}{
		{0, policy.Input{}},
		{2, policy.Input{Exemptions: []policy.Exemption{{Address: a, From: start + 1, Until: start + 100}, {Address: b, From: start + 2}}}},
		{6, policy.Input{
			Exemptions: ended,
			Removals:   []policy.Removal{{Address: a, At: start + 5}, {Address: b, At: start + 6}},
		}},
		{9, policy.Input{
			Exemptions: ended,
			Removals:   []policy.Removal{{Address: a, At: start + 5, Relapse: start + 7}, {Address: b, At: start + 6}},
			Manual:     []policy.Manual{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), From: start + 8, Until: start + 90, Evidence: "e1"}},
			Withdrawn:  []policy.Withdrawal{{Reporter: 0, At: start + 9}, {Reporter: 1, At: start + 9}},
		}},
	}
	for _, row := range rows {
		got := readAt(t, l, start+row.at)
		if len(got.Impacts) != 1 || got.Now != start+row.at {
			t.Fatalf("at %d: now %d, impacts %v", row.at, got.Now, got.Impacts)
		}
		got.Now, got.Impacts, got.Profile = 0, nil, nil
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("at %d:\ngot  %+v\nwant %+v", row.at, got, row.want)
		}
	}
	if got := readAt(t, l, start+policy.Window); len(got.Impacts) != 0 {
		t.Errorf("seven days later: impacts %v", got.Impacts)
	}
}

// TestArrival: reports that arrive in another order give the same input and so
// the same listings.
func TestArrival(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var reports []report.Report
	for i := range 300 {
		address := netip.AddrFrom4([4]byte{198, 51, 100, byte(random.IntN(60))})
		if i%3 == 0 {
			address = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(random.IntN(9)), 15: byte(random.IntN(9))})
		}
		reports = append(reports, about(address.String(), start-random.Int64N(9*24*3600), "feed-"+string('a'+rune(random.IntN(6)))))
	}
	purge := ledger.Decision{At: start, Kind: ledger.Purged, Reporter: "feed-b"}
	var inputs [2]policy.Input
	for i := range inputs {
		random.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		l := openLedger(t)
		fill(t, l, reports, purge)
		inputs[i] = readAt(t, l, start)
	}
	inputs[0].Profile, inputs[1].Profile = nil, nil
	if !reflect.DeepEqual(inputs[0], inputs[1]) {
		t.Error("the order of arrival matters")
	}
	if n := len(inputs[0].Impacts); n < 150 || n == 300 {
		t.Errorf("%d impacts in the window: the test shows too little", n)
	}
}

func TestRelapses(t *testing.T) {
	l := openLedger(t)
	fill(t, l, []report.Report{about("192.0.2.1", start, "a"), about("192.0.2.1", start+200, "a"), about("192.0.2.2", start, "a")},
		ledger.Decision{At: start + 100, Kind: ledger.Removed, Prefix: host("192.0.2.1")},
		ledger.Decision{At: start + 100, Kind: ledger.Removed, Prefix: host("192.0.2.2")})
	found := Relapses(readAt(t, l, start+300))
	want := []ledger.Decision{{At: start + 200, Kind: ledger.Relapsed, Prefix: host("192.0.2.1")}}
	if !reflect.DeepEqual(found, want) {
		t.Fatalf("relapses: %+v, want %+v", found, want)
	}
	fill(t, l, nil, found...)
	if again := Relapses(readAt(t, l, start+300)); len(again) != 0 {
		t.Errorf("recorded relapses are found again: %+v", again)
	}
}

// TestLive: Explain tells of the last decision, for each address what Explain
// over all impacts tells.
func TestLive(t *testing.T) {
	l, now := openLedger(t), int64(start+10)
	live := NewLive(l, settings(t), func() int64 { return now })
	if _, err := live.Explain(context.Background(), netip.MustParseAddr("192.0.2.1")); !errors.Is(err, ErrNotDecided) {
		t.Errorf("before the first decision: %v, want %v", err, ErrNotDecided)
	}
	addresses := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "203.0.113.255", "198.51.100.1"}
	for _, address := range addresses[:5] {
		fill(t, l, []report.Report{about(address, start, "a"), about(address, start+1, "b")})
	}
	result, err := live.Decide(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	in := readAt(t, l, now)
	for _, text := range addresses {
		a := netip.MustParseAddr(text)
		got, err := live.Explain(context.Background(), a)
		if want := policy.Explain(in, result, a); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", a, got, err, want)
		}
		if listed := got.Level1.Listed; listed != (text != "198.51.100.1") {
			t.Errorf("%s: listed is %v", a, listed)
		}
	}
}

// TestLift: the impacts are those of the look, the decisions those of the check.
func TestLift(t *testing.T) {
	l, now := openLedger(t), int64(start)
	live := NewLive(l, settings(t), func() int64 { return now })
	fill(t, l, []report.Report{about("192.0.2.1", start, "bad")})
	for _, row := range []struct {
		name      string
		meanwhile ledger.Decision
		refused   bool
	}{
		{"on Level 1", ledger.Decision{Kind: ledger.Exempted, Prefix: host("192.0.2.9")}, true},
		{"its reporter purged since", ledger.Decision{Kind: ledger.Purged, Reporter: "bad"}, false},
		{"listed by hand since", ledger.Decision{Kind: ledger.ManualListed, Prefix: host("192.0.2.1"), Until: start + 1000, Note: "e"}, true},
	} {
		check, err := live.Lift(context.Background(), netip.MustParseAddr("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		now++
		row.meanwhile.At = now
		fill(t, l, nil, row.meanwhile)
		var refused *policy.Refusal
		if err := check(context.Background()); errors.As(err, &refused) != row.refused || err != nil && refused == nil {
			t.Errorf("%s: %v, want refused: %v", row.name, err, row.refused)
		}
	}
}

// TestGlanceRemoval: a glance refuses by the impacts that were decided on last
// and by the decisions of now, with the words of the check itself.
func TestGlanceRemoval(t *testing.T) {
	l, now := openLedger(t), int64(start)
	live := NewLive(l, settings(t), func() int64 { return now })
	rules := func(address string) (glance, check string) {
		t.Helper()
		q := policy.RemovalRequest{Address: netip.MustParseAddr(address), Proven: true}
		for i, err := range []error{live.GlanceRemoval(context.Background(), q), live.CheckRemoval(context.Background(), q)} {
			var refused *policy.Refusal
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			if refused != nil {
				*[]*string{&glance, &check}[i] = refused.Rule
			}
		}
		return glance, check
	}
	expect := func(when, address, wantGlance, wantCheck string) {
		t.Helper()
		if glance, check := rules(address); glance != wantGlance || check != wantCheck {
			t.Errorf("%s, %s: refused at a glance by %q and in the end by %q, want %q and %q", when, address, glance, check, wantGlance, wantCheck)
		}
	}
	expect("before the first build", "192.0.2.1", "", "unlisted")
	fill(t, l, []report.Report{about("192.0.2.1", start, "feed"), about("192.0.2.2", start, "bad")})
	decide := func() {
		t.Helper()
		if _, err := live.Decide(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	decide()
	expect("just reported", "192.0.2.1", "quiet", "quiet")
	expect("just reported", "192.0.2.9", "unlisted", "unlisted")
	now += 4 * 3600
	expect("later", "192.0.2.1", "", "")
	fill(t, l, []report.Report{about("192.0.2.1", now, "feed")})
	expect("reported since the build", "192.0.2.1", "", "quiet")
	now += 4 * 3600
	fill(t, l, nil, ledger.Decision{At: now, Kind: ledger.Removed, Prefix: host("192.0.2.1")})
	now += 60
	expect("removed since the build", "192.0.2.1", "unlisted", "unlisted")
	expect("of the other", "192.0.2.2", "", "")
	fill(t, l, nil, ledger.Decision{At: now, Kind: ledger.Purged, Reporter: "bad"})
	now++
	expect("its reporter purged since the build", "192.0.2.2", "unlisted", "unlisted")
	fill(t, l, nil, ledger.Decision{At: now, Kind: ledger.Purged, Reporter: "never heard of"})
	now++
	expect("another reporter purged", "192.0.2.9", "unlisted", "unlisted")
}

// TestOrder: the impacts of each unit are in the order of time, those of a /64
// too, of which each address has its own.
func TestOrder(t *testing.T) {
	l := openLedger(t)
	fill(t, l, []report.Report{about("2001:db8::1", start+5, "b"), about("2001:db8::1", start+9, "a"), about("2001:db8::2", start+1, "a"),
		about("2001:db8:0:1::1", start, "a"), about("192.0.2.1", start+1, "a"), about("192.0.2.1", start, "b")})
	live := NewLive(l, settings(t), func() int64 { return start + 10 })
	if _, err := live.Decide(context.Background()); err != nil {
		t.Fatal(err)
	}
	all := live.current.Load().in.Impacts
	inOrder := slices.IsSortedFunc(all, func(a, b policy.Impact) int { return cmp.Or(a.Unit.Compare(b.Unit), policy.ByTime(a, b)) })
	if len(all) != 6 || !inOrder {
		t.Errorf("impacts are not by unit and time: %+v", all)
	}
}
