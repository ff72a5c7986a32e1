// Package ledgertest holds every implementation of ledger.Ledger to the
// promises of that interface.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

// Run runs the suite. open opens the ledger of that name, made anew at the
// first call of a name in a test; what one opening acknowledged, the next sees.
func Run(t *testing.T, open func(t *testing.T, name string) ledger.Ledger) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func(string) ledger.Ledger)
	}{
		{"idempotent", idempotent},
		{"fresh", fresh},
		{"invalid reports", invalidReports},
		{"concurrent appends", concurrentAppends},
		{"order does not depend on arrival", orderOfArrival},
		{"window", window},
		{"purge", purge},
		{"waiting", waiting},
		{"reports", reports},
		{"events", events},
		{"audit", audit},
		{"invalid decisions", invalidDecisions},
		{"serials", serials},
		{"keys", keys},
		{"reporters", reporters},
		{"rule", rule},
		{"compact", compact},
		{"reopen", reopen},
		{"two openings", twoOpenings},
		{"cancelled", cancelled},
		{"closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, func(name string) ledger.Ledger { return open(t, name) })
		})
	}
}

// start is the time around which the reports of the suite are seen.
const start = 1_795_363_200

// a report about an address at a time, with an evidence id unless it is empty.
func about(address string, seen int64, reporter, evidence string) report.Report {
	return report.Report{Address: netip.MustParseAddr(address), Seen: seen, Reporter: reporter, Kind: snapshot.Spamtrap, Evidence: evidence}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\ngot  %v\nwant %v", what, got, want)
	}
}

func appendReports(t *testing.T, l ledger.Ledger, reports ...report.Report) ledger.Receipt {
	t.Helper()
	receipt, err := l.AppendReports(context.Background(), reports)
	must(t, err)
	return receipt
}

func impacts(t *testing.T, l ledger.Ledger, since, until int64) []report.Report {
	t.Helper()
	found, err := l.Impacts(context.Background(), netip.Prefix{}, since, until)
	must(t, err)
	return slices.Collect(found)
}

// withoutEvidence is what Impacts gives of reports.
func withoutEvidence(reports ...report.Report) []report.Report {
	out := slices.Clone(reports)
	for i := range out {
		out[i].Evidence = ""
	}
	return out
}

func idempotent(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	first, other := about("192.0.2.1", start, "a", "1"), about("192.0.2.1", start, "b", "1")
	bare := about("192.0.2.1", start, "a", "")
	later := about("192.0.2.1", start+1, "a", "")
	equal(t, "twice in one batch", appendReports(t, l, first, first, other, bare), ledger.Receipt{Accepted: 3, Duplicates: 1})
	equal(t, "twice", appendReports(t, l, first, other, bare, later), ledger.Receipt{Accepted: 1, Duplicates: 3})
	moved := about("192.0.2.9", start+9, "a", "1")
	equal(t, "other content under a known id", appendReports(t, l, moved), ledger.Receipt{Duplicates: 1})
	equal(t, "empty batch", appendReports(t, l), ledger.Receipt{})
	equal(t, "impacts", impacts(t, l, start-1, start+1), withoutEvidence(first, bare, other, later))
}

// fresh: what would be stored is told before, also after compaction and by
// another opening.
func fresh(t *testing.T, open func(string) ledger.Ledger) {
	l, ctx := open("a"), context.Background()
	old, stored, held := about("192.0.2.1", start-9, "a", "0"), about("192.0.2.1", start, "a", "1"), about("192.0.2.2", start, "a", "")
	appendReports(t, l, old, stored)
	if _, err := l.HoldReports(ctx, []report.Report{held}); err != nil {
		t.Fatal(err)
	}
	other := about("192.0.2.1", start, "b", "1")
	batch := []report.Report{stored, other, held, other, about("192.0.2.9", start, "a", "1"), old}
	check := func(l ledger.Ledger, want ...bool) {
		t.Helper()
		got, err := l.Fresh(ctx, batch)
		must(t, err)
		equal(t, "fresh", got, want)
	}
	check(l, false, true, false, false, false, false)
	check(open("a"), false, true, false, false, false, false)
	if _, err := l.Compact(ctx, start-1); err != nil {
		t.Fatal(err)
	}
	check(l, false, true, false, false, false, true)
	got, err := l.Fresh(ctx, nil)
	must(t, err)
	equal(t, "of nothing", len(got), 0)
}

func invalidReports(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	good := about("192.0.2.1", start, "a", "1")
	for name, change := range map[string]func(*report.Report){
		"no address":     func(r *report.Report) { r.Address = netip.Addr{} },
		"mapped address": func(r *report.Report) { r.Address = netip.MustParseAddr("::ffff:192.0.2.1") },
		"zone":           func(r *report.Report) { r.Address = netip.MustParseAddr("2001:db8::1%eth0") },
		"no kind":        func(r *report.Report) { r.Kind = 0 },
		"two kinds":      func(r *report.Report) { r.Kind = snapshot.Scan | snapshot.Manual },
		"unknown kind":   func(r *report.Report) { r.Kind = 1 << 7 },
		"no reporter":    func(r *report.Report) { r.Reporter = "" },
		"before 1970":    func(r *report.Report) { r.Seen = -1 },
		"after 2106":     func(r *report.Report) { r.Seen = ledger.MaxTime + 1 },
		"long evidence":  func(r *report.Report) { r.Evidence = string(make([]byte, report.MaxEvidence+1)) },
	} {
		bad := good
		bad.Evidence = "bad"
		change(&bad)
		_, err := l.AppendReports(context.Background(), []report.Report{good, bad})
		if !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: error is %v, want %v", name, err, ledger.ErrInvalid)
		}
	}
	equal(t, "nothing is stored", impacts(t, l, 0, ledger.MaxTime), []report.Report(nil))
}

// concurrentAppends: of many goroutines that send overlapping reports, each
// report is accepted once, and what is acknowledged is there at once.
func concurrentAppends(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	const senders, each = 8, 40
	var wait sync.WaitGroup
	var mu sync.Mutex
	total := ledger.Receipt{}
	for sender := range senders {
		wait.Go(func() {
			for i := range each {
				r := about(fmt.Sprintf("198.51.100.%d", i), start, "a", fmt.Sprint((i+sender*5)%each))
				got, err := l.AppendReports(context.Background(), []report.Report{r})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				total.Accepted += got.Accepted
				total.Duplicates += got.Duplicates
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	equal(t, "receipts", total, ledger.Receipt{Accepted: each, Duplicates: (senders - 1) * each})
	equal(t, "impacts", len(impacts(t, l, 0, start)), each)
}

// world is a random set of reports with ties in each field, from one seed.
func world(seed uint64, n int) []report.Report {
	random := rand.New(rand.NewPCG(seed, 1))
	addresses := []string{"192.0.2.1", "192.0.2.2", "198.51.100.7", "203.0.113.255", "2001:db8::1", "2001:db8::2", "2001:db8:ffff::", "::2", "64:ff9b::c000:201"}
	out := make([]report.Report, n)
	for i := range out {
		out[i] = report.Report{
			Address:  netip.MustParseAddr(addresses[random.IntN(len(addresses))]),
			Seen:     start + random.Int64N(5),
			Reporter: string('a' + rune(random.IntN(5))),
			Kind:     1 << random.IntN(6),
			Evidence: fmt.Sprint(i),
		}
	}
	return out
}

func orderOfArrival(t *testing.T, open func(string) ledger.Ledger) {
	sent := world(1, 6000)
	want := withoutEvidence(sent...)
	slices.SortFunc(want, func(a, b report.Report) int {
		for _, c := range []int{a.Address.Compare(b.Address), int(a.Seen - b.Seen), slices.Compare([]byte(a.Reporter), []byte(b.Reporter))} {
			if c != 0 {
				return c
			}
		}
		return int(a.Kind) - int(b.Kind)
	})
	random := rand.New(rand.NewPCG(2, 1))
	for _, name := range []string{"a", "b"} {
		l := open(name)
		random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		for batch := range slices.Chunk(sent, 700) {
			appendReports(t, l, batch...)
		}
		if !slices.Equal(impacts(t, l, start-1, start+5), want) {
			t.Fatalf("ledger %s: impacts are not in order", name)
		}
	}
}

func window(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	var sent []report.Report
	for i := range int64(10) {
		sent = append(sent, about("192.0.2.1", start+i, "a", ""))
	}
	appendReports(t, l, sent...)
	equal(t, "after since, not after until", impacts(t, l, start+2, start+5), sent[3:6])
	equal(t, "before all", impacts(t, l, 0, start-1), []report.Report(nil))
	equal(t, "after all", impacts(t, l, start+9, ledger.MaxTime), []report.Report(nil))
	equal(t, "everything", impacts(t, l, -1, ledger.MaxTime), sent)
}

// purge: history stays whole; the purge is one more event.
func purge(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	a, b := about("192.0.2.1", start, "a", ""), about("192.0.2.1", start, "b", "")
	appendReports(t, l, a, b)
	purged := ledger.Decision{At: start + 9, Kind: ledger.Purged, Reporter: "a", Actor: "op"}
	must(t, l.AppendDecisions(context.Background(), []ledger.Decision{purged}))
	equal(t, "impacts", impacts(t, l, 0, start+9), []report.Report{a, b})
	for until, want := range map[int64][]ledger.Decision{start + 8: {}, start + 9: {purged}} {
		found, err := l.Events(context.Background(), until, ledger.Purged)
		must(t, err)
		equal(t, "purges", append([]ledger.Decision{}, numbered(t, found)...), want)
	}
}

// waiting: reports past the budget count from the moment of a release on, and
// only those that were seen until then.
func waiting(t *testing.T, open func(string) ledger.Ledger) {
	l, ctx := open("a"), context.Background()
	counts := about("192.0.2.1", start, "a", "1")
	early, late, other := about("192.0.2.2", start, "a", "2"), about("192.0.2.3", start+5, "a", "3"), about("192.0.2.4", start, "b", "4")
	appendReports(t, l, counts)
	receipt, err := l.HoldReports(ctx, []report.Report{early, late, other, counts})
	must(t, err)
	equal(t, "receipt", receipt, ledger.Receipt{Accepted: 3, Duplicates: 1})
	equal(t, "waiting reports are known", appendReports(t, l, early), ledger.Receipt{Duplicates: 1})
	equal(t, "impacts", impacts(t, l, 0, start+9), withoutEvidence(counts))
	must(t, l.AppendDecisions(ctx, []ledger.Decision{{At: start + 4, Kind: ledger.Released, Reporter: "a", Actor: "op"}}))
	equal(t, "before the release", impacts(t, l, 0, start+3), withoutEvidence(counts))
	equal(t, "after it", impacts(t, l, 0, start+9), withoutEvidence(counts, early))
	for until, want := range map[int64]map[string]int{start + 3: {"a": 1, "b": 1}, start + 9: {"a": 1, "b": 1}, start + 4: {"b": 1}} {
		found, err := l.Waiting(ctx, 0, until)
		must(t, err)
		equal(t, fmt.Sprintf("waiting at %d", until-start), found, want)
	}
	found, err := l.Reports(ctx, netip.MustParsePrefix("192.0.2.0/24"), 0, start+9)
	must(t, err)
	equal(t, "reports", found, []report.Report{counts, early, late, other})
	_, err = l.Compact(ctx, start-1)
	must(t, err)
	equal(t, "still waiting when compacted", impacts(t, l, 0, start+9), withoutEvidence(counts, early))
}

func reports(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	r1, r2 := about("192.0.2.1", start, "a", "1"), about("192.0.2.1", start, "a", "2")
	r3, r4 := about("192.0.2.200", start, "a", ""), about("198.51.100.1", start, "a", "4")
	six := about("2001:db8::1", start, "a", "6")
	appendReports(t, l, six, r4, r3)
	appendReports(t, l, r2, r1)
	for _, row := range []struct {
		prefix string
		want   []report.Report
	}{
		{"192.0.2.1/32", []report.Report{r1, r2}},
		{"192.0.2.77/24", []report.Report{r1, r2, r3}},
		{"0.0.0.0/0", []report.Report{r1, r2, r3, r4}},
		{"2001:db8::/64", []report.Report{six}},
		{"203.0.113.0/24", nil},
	} {
		found, err := l.Reports(context.Background(), netip.MustParsePrefix(row.prefix), start-1, start)
		must(t, err)
		equal(t, row.prefix, found, row.want)
		same, err := l.Impacts(context.Background(), netip.MustParsePrefix(row.prefix), start-1, start)
		must(t, err)
		equal(t, "impacts of "+row.prefix, slices.Collect(same), withoutEvidence(row.want...))
	}
	found, err := l.Reports(context.Background(), netip.MustParsePrefix("0.0.0.0/0"), start, start+1)
	must(t, err)
	equal(t, "outside the window", found, []report.Report(nil))
}

// decision is one with all fields filled.
func decision(at int64, kind ledger.DecisionKind, prefix string) ledger.Decision {
	return ledger.Decision{
		At: at, Kind: kind, Level: snapshot.Allocation, Prefix: netip.MustParsePrefix(prefix), ASN: 64496, Until: at + 60,
		Serial: 7, Count: 3, Subject: "s", Actor: "op", Reporter: "feed", Reason: "why", Note: "proof",
	}
}

// numbered returns decisions without the numbers that the ledger gave, after
// it checked that there are such.
func numbered(t *testing.T, decisions []ledger.Decision) []ledger.Decision {
	t.Helper()
	out := slices.Clone(decisions)
	for i := range out {
		if out[i].ID <= 0 {
			t.Fatalf("decision %v has no number", out[i])
		}
		out[i].ID = 0
	}
	return out
}

func events(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	exempt, end := decision(start+5, ledger.Exempted, "192.0.2.0/24"), decision(start+9, ledger.ExemptionEnded, "192.0.2.0/24")
	removed := decision(start+5, ledger.Removed, "2001:db8::/64")
	mapped := decision(start+6, ledger.Exempted, "::/0")
	everything := decision(start+6, ledger.Exempted, "0.0.0.0/0")
	none := ledger.Decision{At: start + 6, Kind: ledger.Exempted}
	must(t, l.AppendDecisions(context.Background(), []ledger.Decision{end, exempt}))
	must(t, l.AppendDecisions(context.Background(), []ledger.Decision{removed, mapped, everything, none}))
	must(t, l.AppendDecisions(context.Background(), nil))
	for _, row := range []struct {
		until int64
		kinds []ledger.DecisionKind
		want  []ledger.Decision
	}{
		{start + 4, []ledger.DecisionKind{ledger.Exempted}, nil},
		{start + 5, []ledger.DecisionKind{ledger.Exempted}, []ledger.Decision{exempt}},
		{start + 5, []ledger.DecisionKind{ledger.Exempted, ledger.Removed}, []ledger.Decision{exempt, removed}},
		{start + 9, []ledger.DecisionKind{ledger.ExemptionEnded, ledger.Exempted}, []ledger.Decision{exempt, mapped, everything, none, end}},
		{start + 9, nil, nil},
	} {
		found, err := l.Events(context.Background(), row.until, row.kinds...)
		must(t, err)
		equal(t, fmt.Sprintf("until %d %v", row.until-start, row.kinds), numbered(t, found), slices.Clip(append([]ledger.Decision(nil), row.want...)))
	}
}

func audit(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	var all []ledger.Decision
	for i := range int64(250) {
		kind := ledger.Listed
		if i%10 == 0 {
			kind = ledger.Delisted
		}
		all = append(all, decision(start+i, kind, fmt.Sprintf("198.51.%d.0/24", i)))
	}
	must(t, l.AppendDecisions(context.Background(), all))
	slices.Reverse(all)
	page := func(p ledger.Page) []ledger.Decision {
		t.Helper()
		found, err := l.Audit(context.Background(), p)
		must(t, err)
		return found
	}
	var got []ledger.Decision
	for p := (ledger.Page{Limit: 60}); ; {
		found := page(p)
		if len(found) == 0 {
			break
		}
		got = append(got, found...)
		p.Before = found[len(found)-1].ID
	}
	equal(t, "all pages", numbered(t, got), all)
	equal(t, "default page", len(page(ledger.Page{})), ledger.DefaultPage)
	equal(t, "page past the limit", len(page(ledger.Page{Limit: ledger.MaxPage + 1})), 250)
	equal(t, "one kind", len(page(ledger.Page{Kinds: []ledger.DecisionKind{ledger.Delisted}})), 25)
	equal(t, "since", numbered(t, page(ledger.Page{Since: start + 248})), all[:2])
	equal(t, "within", len(page(ledger.Page{Within: netip.MustParsePrefix("198.51.128.0/17"), Limit: 1000})), 122)
	equal(t, "within itself", len(page(ledger.Page{Within: netip.MustParsePrefix("198.51.3.0/24")})), 1)
	equal(t, "within a part of it", len(page(ledger.Page{Within: netip.MustParsePrefix("198.51.3.0/25")})), 0)
	equal(t, "within IPv6", len(page(ledger.Page{Within: netip.MustParsePrefix("2001:db8::/32")})), 0)
}

func invalidDecisions(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	good := decision(start, ledger.Listed, "192.0.2.0/24")
	for name, change := range map[string]func(*ledger.Decision){
		"unknown kind":      func(d *ledger.Decision) { d.Kind = "whim" },
		"no time":           func(d *ledger.Decision) { d.At = 0 },
		"after 2106":        func(d *ledger.Decision) { d.At = ledger.MaxTime + 1 },
		"negative end":      func(d *ledger.Decision) { d.Until = -1 },
		"unmasked":          func(d *ledger.Decision) { d.Prefix = netip.MustParsePrefix("192.0.2.1/24") },
		"mapped":            func(d *ledger.Decision) { d.Prefix = netip.MustParsePrefix("::ffff:192.0.2.0/120") },
		"unknown level":     func(d *ledger.Decision) { d.Level = 4 },
		"purge of nobody":   func(d *ledger.Decision) { d.Kind, d.Reporter = ledger.Purged, "" },
		"text without end":  func(d *ledger.Decision) { d.Reason = string(make([]byte, ledger.MaxText+1)) },
		"release of nobody": func(d *ledger.Decision) { d.Kind, d.Reporter = ledger.Released, "" },
	} {
		bad := good
		change(&bad)
		if err := l.AppendDecisions(context.Background(), []ledger.Decision{good, bad}); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: error is %v, want %v", name, err, ledger.ErrInvalid)
		}
	}
	found, err := l.Audit(context.Background(), ledger.Page{})
	must(t, err)
	equal(t, "nothing is stored", len(found), 0)
}

func serials(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	take := func(at int64) snapshot.Serial {
		t.Helper()
		serial, err := l.TakeSerial(context.Background(), at)
		must(t, err)
		return serial
	}
	equal(t, "first", take(start), snapshot.Serial(start))
	equal(t, "same second", take(start), snapshot.Serial(start+1))
	equal(t, "clock set back", take(start-100), snapshot.Serial(start+2))
	equal(t, "later", take(start+300), snapshot.Serial(start+300))

	const takers, each = 4, 10
	var wait sync.WaitGroup
	var mu sync.Mutex
	taken := map[snapshot.Serial]int{}
	for range takers {
		wait.Go(func() {
			last := snapshot.Serial(0)
			for range each {
				serial, err := l.TakeSerial(context.Background(), start)
				if err != nil || serial <= last {
					t.Errorf("serial %d after %d: %v", serial, last, err)
					return
				}
				last = serial
				mu.Lock()
				taken[serial]++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	equal(t, "different serials", len(taken), takers*each)
	equal(t, "last of 32 bits", take(ledger.MaxTime), snapshot.Serial(ledger.MaxTime))
	if _, err := l.TakeSerial(context.Background(), start); !errors.Is(err, ledger.ErrNoSerial) {
		t.Errorf("past the last: error is %v, want %v", err, ledger.ErrNoSerial)
	}
}

func keys(t *testing.T, open func(string) ledger.Ledger) {
	l, ctx := open("a"), context.Background()
	one := ledger.APIKey{ID: "k1", Role: ledger.Reporter, Name: "feed-a", Hash: [32]byte{1}, Created: start + 1}
	two := ledger.APIKey{ID: "k0", Role: ledger.Operator, Name: "op", Hash: [32]byte{2}, Created: start}
	must(t, l.CreateKey(ctx, one, "op"))
	must(t, l.CreateKey(ctx, two, "op"))
	for name, clash := range map[string]ledger.APIKey{
		"same id":   {ID: "k1", Role: ledger.Reporter, Name: "x", Hash: [32]byte{3}, Created: start},
		"same hash": {ID: "k2", Role: ledger.Reporter, Name: "x", Hash: [32]byte{1}, Created: start},
	} {
		if err := l.CreateKey(ctx, clash, "op"); !errors.Is(err, ledger.ErrKeyExists) {
			t.Errorf("%s: error is %v, want %v", name, err, ledger.ErrKeyExists)
		}
	}
	for name, bad := range map[string]ledger.APIKey{
		"no role":   {ID: "k3", Name: "x", Created: start},
		"no name":   {ID: "k3", Role: ledger.Reporter, Created: start},
		"long name": {ID: "k3", Role: ledger.Reporter, Name: strings.Repeat("n", report.MaxName+1), Created: start},
		"no id":     {Role: ledger.Reporter, Name: "x", Created: start},
		"revoked":   {ID: "k3", Role: ledger.Reporter, Name: "x", Created: start, Revoked: start},
	} {
		if err := l.CreateKey(ctx, bad, "op"); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: error is %v, want %v", name, err, ledger.ErrInvalid)
		}
	}
	got, err := l.KeyByHash(ctx, [32]byte{1})
	must(t, err)
	equal(t, "by hash", got, one)
	if _, err := l.KeyByHash(ctx, [32]byte{9}); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("unknown hash: error is %v, want %v", err, ledger.ErrNoKey)
	}
	must(t, l.RevokeKey(ctx, "k1", start+5, "op"))
	must(t, l.RevokeKey(ctx, "k1", start+6, "op"))
	if err := l.RevokeKey(ctx, "k9", start+5, "op"); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("revoke unknown: error is %v, want %v", err, ledger.ErrNoKey)
	}
	one.Revoked = start + 5
	all, err := l.Keys(ctx)
	must(t, err)
	equal(t, "all keys", all, []ledger.APIKey{two, one})
	changes, err := l.Events(ctx, start+10, ledger.KeyCreated, ledger.KeyRevoked)
	must(t, err)
	equal(t, "decisions", numbered(t, changes), []ledger.Decision{
		{At: start, Kind: ledger.KeyCreated, Subject: "k0", Actor: "op", Note: "operator op"},
		{At: start + 1, Kind: ledger.KeyCreated, Subject: "k1", Actor: "op", Note: "reporter feed-a"},
		{At: start + 5, Kind: ledger.KeyRevoked, Subject: "k1", Actor: "op"},
	})
}

// reporters: whoever has reported or has a key for it is known, for ever.
func reporters(t *testing.T, open func(string) ledger.Ledger) {
	l, ctx := open("a"), context.Background()
	known := func(want ...string) {
		t.Helper()
		names, err := l.Reporters(ctx)
		must(t, err)
		equal(t, "reporters", names, want)
	}
	known()
	appendReports(t, l, about("192.0.2.1", start, "zone-import", "1"), about("192.0.2.1", start, "feed-b", "1"))
	for i, key := range []ledger.APIKey{
		{ID: "k0", Role: ledger.Operator, Name: "alice"},
		{ID: "k1", Role: ledger.Reporter, Name: "feed-b"},
		{ID: "k2", Role: ledger.Reporter, Name: "feed-a"},
	} {
		key.Hash, key.Created = [32]byte{byte(i)}, start
		must(t, l.CreateKey(ctx, key, "op"))
	}
	must(t, l.RevokeKey(ctx, "k2", start+1, "op"))
	if _, err := l.Compact(ctx, start); err != nil {
		t.Fatal(err)
	}
	known("feed-a", "feed-b", "zone-import")
	must(t, ledger.CheckReporter(ctx, l, "zone-import"))
	for _, name := range []string{"zone-imprt", "alice", ""} {
		if err := ledger.CheckReporter(ctx, l, name); !errors.Is(err, ledger.ErrNoReporter) {
			t.Errorf("reporter %q: error is %v, want %v", name, err, ledger.ErrNoReporter)
		}
	}
}

func compact(t *testing.T, open func(string) ledger.Ledger) {
	l, ctx := open("a"), context.Background()
	var sent []report.Report
	for i := range int64(100) {
		sent = append(sent, about("192.0.2.1", start+i, "a", fmt.Sprint(i)))
		appendReports(t, l, sent[i])
	}
	must(t, l.AppendDecisions(ctx, []ledger.Decision{decision(start, ledger.Listed, "192.0.2.0/24")}))
	removed, err := l.Compact(ctx, start+39)
	must(t, err)
	equal(t, "removed", removed, int64(40))
	equal(t, "what stays", impacts(t, l, 0, ledger.MaxTime), withoutEvidence(sent[40:]...))
	found, err := l.Reports(ctx, netip.MustParsePrefix("192.0.2.1/32"), 0, ledger.MaxTime)
	must(t, err)
	equal(t, "evidence stays", found, sent[40:])
	equal(t, "keys stay known", appendReports(t, l, sent[40:]...), ledger.Receipt{Duplicates: 60})
	equal(t, "appends go on", appendReports(t, l, about("192.0.2.2", start, "b", "")), ledger.Receipt{Accepted: 1})
	decisions, err := l.Audit(ctx, ledger.Page{})
	must(t, err)
	equal(t, "decisions stay", len(decisions), 1)
	for range 2 {
		removed, err = l.Compact(ctx, start+99)
		must(t, err)
	}
	equal(t, "the second time", removed, int64(0))
	equal(t, "all gone", impacts(t, l, 0, ledger.MaxTime), []report.Report(nil))
	equal(t, "append after all", appendReports(t, l, sent[99]), ledger.Receipt{Accepted: 1})
}

func reopen(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	sent := world(3, 500)
	appendReports(t, l, sent...)
	want := impacts(t, l, 0, ledger.MaxTime)
	serial, err := l.TakeSerial(context.Background(), start)
	must(t, err)
	must(t, l.Close())
	l = open("a")
	equal(t, "impacts", impacts(t, l, 0, ledger.MaxTime), want)
	equal(t, "keys are known", appendReports(t, l, sent...), ledger.Receipt{Duplicates: len(sent)})
	next, err := l.TakeSerial(context.Background(), start)
	must(t, err)
	equal(t, "serial", next, serial+1)
}

// twoOpenings: the server and a command may have one ledger open.
func twoOpenings(t *testing.T, open func(string) ledger.Ledger) {
	a, b := open("a"), open("a")
	sent := world(4, 200)
	for i, r := range sent {
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		equal(t, "first", appendReports(t, first, r), ledger.Receipt{Accepted: 1})
		equal(t, "second", appendReports(t, second, r), ledger.Receipt{Duplicates: 1})
	}
	equal(t, "impacts", len(impacts(t, a, 0, ledger.MaxTime)), len(sent))
	s1, err := a.TakeSerial(context.Background(), start)
	must(t, err)
	s2, err := b.TakeSerial(context.Background(), start)
	must(t, err)
	equal(t, "serials", s2, s1+1)
}

// cancelled: a caller that leaves gets its context's error, and the ledger
// serves the next one.
func cancelled(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := about("192.0.2.1", start, "a", "1")
	if _, err := l.AppendReports(ctx, []report.Report{r}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("append: error is %v, want %v", err, context.Canceled)
	}
	receipt := appendReports(t, l, r)
	equal(t, "stored once", receipt.Accepted+receipt.Duplicates, 1)
	equal(t, "impacts", len(impacts(t, l, 0, ledger.MaxTime)), 1)
}

func closed(t *testing.T, open func(string) ledger.Ledger) {
	l := open("a")
	must(t, l.Close())
	if _, err := l.AppendReports(context.Background(), []report.Report{about("192.0.2.1", start, "a", "1")}); err == nil {
		t.Error("append after close succeeds")
	}
	if _, err := l.Impacts(context.Background(), netip.Prefix{}, 0, start); err == nil {
		t.Error("impacts after close succeed")
	}
	if _, err := l.Fresh(context.Background(), nil); err == nil {
		t.Error("fresh after close succeeds")
	}
}

// rule: the rule that was set last is the one, also for another process and
// after a restart.
func rule(t *testing.T, open func(string) ledger.Ledger) {
	a, b, ctx := open("a"), open("a"), context.Background()
	if r, err := a.Rule(ctx); !errors.Is(err, ledger.ErrNoRule) || !reflect.DeepEqual(r, ledger.Rule{}) {
		t.Errorf("of a new ledger: %+v, %v, want %v", r, err, ledger.ErrNoRule)
	}
	first := ledger.Rule{Profile: "name = \"one\"\n", SpecialUse: true, Routes: []string{"/srv/routes.tsv"}}
	second := ledger.Rule{Profile: "name = \"two\"\n", Protected: []ledger.Protected{{Prefix: "192.0.2.0/24", Why: "ours"}}}
	for _, want := range []ledger.Rule{first, first, second, first} {
		must(t, a.SetRule(ctx, start, want))
		got, err := b.Rule(ctx)
		must(t, err)
		equal(t, "rule", got, want)
	}
	must(t, a.Close())
	got, err := open("a").Rule(ctx)
	must(t, err)
	equal(t, "rule after a restart", got, first)
}
