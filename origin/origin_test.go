package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/origin/report"
	"ucedge/origin/routes"
	"ucedge/origin/state"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/snapshot/manifest/manifesttest"
)

// start is the time at which the tests begin.
var start = time.Unix(1_795_363_200, 0)

// A world is an origin with all that it needs.
type world struct {
	*testing.T
	*Origin
	now    time.Time
	ledger *ledger.SQLite
	keys   []note.Signer
}

// newWorld makes an origin in documentation space. change may change its settings.
func newWorld(t *testing.T, change func(*Settings)) *world {
	t.Helper()
	keys := []note.Signer{manifesttest.NewKey(t, "bl.example").Signer}
	dir := t.TempDir()
	store, err := publish.NewFolder(filepath.Join(dir, "publish"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &world{T: t, now: start, ledger: l, keys: keys}
	s := Settings{
		Ledger: l, State: state.Settings{Profile: demoProfile(t), Routes: routesOf(t)}, Zones: zones(),
		Store: store, Keys: keys, Publish: publish.Options{List: "bl.example"}, Clock: func() time.Time { return w.now },
	}
	if change != nil {
		change(&s)
	}
	if w.Origin, err = New(s); err != nil {
		t.Fatal(err)
	}
	return w
}

func demoProfile(t *testing.T) *policy.Profile {
	p, err := policy.Named("classic")
	if err == nil {
		p, err = p.WithDocumentation()
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func routesOf(t *testing.T) func() *routes.Table {
	table, _, err := routes.Read(strings.NewReader("198.51.100.0/24\t64500\tEXAMPLE-ONE\n2001:db8:40::/44\t64501\tEXAMPLE-TWO\n"), start)
	if err != nil {
		t.Fatal(err)
	}
	return func() *routes.Table { return table }
}

func zones() []snapshot.Zone {
	var all []snapshot.Zone
	for level := snapshot.Combined; level <= snapshot.System; level++ {
		all = append(all, snapshot.Zone{
			Suffix: fmt.Sprintf("dnsbl-%d.bl.example", level), Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 300,
			MName: "ns.bl.example", RName: "hostmaster.bl.example", SOATTL: 3600, Refresh: 3600, Retry: 600, Expire: 604800, Minimum: 120,
			Text: "{ip} is listed",
		})
	}
	return all
}

// reports about so many addresses of a prefix, one a second.
func reportsOf(prefix string, n int, reporter string) []report.Report {
	a := netip.MustParsePrefix(prefix).Addr().Next()
	var all []report.Report
	for i := range n {
		all = append(all, report.Report{Address: a, Seen: start.Unix() - int64(i), Reporter: reporter, Kind: snapshot.Spamtrap, Evidence: "seen-" + a.String()})
		if a.Is4() {
			a = a.Next()
			continue
		}
		b := a.As16()
		b[7]++
		a = netip.AddrFrom16(b)
	}
	return all
}

func (w *world) report(reports ...report.Report) {
	w.Helper()
	if _, err := w.ledger.AppendReports(w.Context(), reports); err != nil {
		w.Fatal(err)
	}
}

func (w *world) decide(decisions ...ledger.Decision) {
	w.Helper()
	if err := w.ledger.AppendDecisions(w.Context(), decisions); err != nil {
		w.Fatal(err)
	}
}

func (w *world) build() publish.Result {
	w.Helper()
	result, err := w.Build(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return result
}

// rows returns the decisions of those kinds as text, the oldest first.
func (w *world) rows(kinds ...ledger.DecisionKind) (all []string) {
	w.Helper()
	decisions, err := w.ledger.Audit(w.Context(), ledger.Page{Kinds: kinds, Limit: ledger.MaxPage})
	if err != nil {
		w.Fatal(err)
	}
	for _, d := range slices.Backward(decisions) {
		subject := d.Prefix.String()
		switch {
		case d.ASN != 0:
			subject = fmt.Sprintf("AS%d", d.ASN)
		case !d.Prefix.IsValid():
			subject = fmt.Sprint(d.Count, d.Reason)
		}
		all = append(all, fmt.Sprintf("%s %d %s", d.Kind, d.Level, subject))
	}
	return all
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  got  %q\n  want %q", what, got, want)
	}
}

// TestRows follows listings through their life in the ledger.
func TestRows(t *testing.T) {
	w := newWorld(t, nil)
	w.build()
	w.report(reportsOf("198.51.100.0/24", 5, "trap-one")...)
	w.build()
	begun := []string{
		"publish 0 0", "listing 1 198.51.100.1/32", "listing 1 198.51.100.2/32", "listing 1 198.51.100.3/32",
		"listing 1 198.51.100.4/32", "listing 1 198.51.100.5/32", "listing 2 198.51.100.0/24", "publish 0 6",
	}
	expect(t, "five abusers", w.rows(), begun)
	w.now = start.Add(time.Minute)
	w.build()
	same := append(begun, "publish 0 6no listing began or ended")
	expect(t, "nothing new", w.rows(), same)
	w.now = start.Add(policy.Window*time.Second - 4*time.Second) // the oldest one, seen 4 s earlier, ends
	w.build()
	expect(t, "one less", w.rows(), append(same, "delisting 1 198.51.100.5/32", "delisting 2 198.51.100.0/24", "publish 0 4"))
}

// TestSystemRows tells Level 3 by AS, not by each of its prefixes.
func TestSystemRows(t *testing.T) {
	w := newWorld(t, nil)
	w.report(reportsOf("2001:db8:40::/48", 100, "trap-one")...)
	w.build()
	rows := w.rows(ledger.Listed)
	if last := rows[len(rows)-1]; last != "listing 3 AS64501" {
		t.Errorf("last row: got %q, want that AS64501 is listed", last)
	}
}

// TestRecordHeals publishes as a process does that dies before it has written
// down what it published, wholly or half.
func TestRecordHeals(t *testing.T) {
	for _, before := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d rows before death", before), func(t *testing.T) {
			w := newWorld(t, nil)
			w.report(reportsOf("198.51.100.0/24", 5, "trap-one")...)
			decided, err := w.live.Decide(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			in := build.Input{Zones: w.Zones, Listings: decided.Listings(), Profile: decided.Profile.Snapshot()}
			dead, err := publish.Publish(t.Context(), w.Store, in, w.keys, w.options())
			if err != nil {
				t.Fatal(err)
			}
			for i := range before {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)}), 32)
				w.decide(ledger.Decision{At: w.Origin.now(), Kind: ledger.Listed, Level: 1, Prefix: p, Serial: dead.Manifest.Serial})
			}
			w.build()
			expect(t, "rows", w.rows(), []string{
				"listing 1 198.51.100.1/32", "listing 1 198.51.100.2/32", "listing 1 198.51.100.3/32",
				"listing 1 198.51.100.4/32", "listing 1 198.51.100.5/32", "listing 2 198.51.100.0/24", "publish 0 6",
				"publish 0 6no listing began or ended",
			})
		})
	}
}

// TestStopped runs into a limit: the snapshot before stays, and a row says why.
func TestStopped(t *testing.T) {
	limits := snapshot.DefaultLimits()
	limits.Protected = append(limits.Protected, netip.MustParsePrefix("198.51.100.3/32"))
	w := newWorld(t, func(s *Settings) { s.Publish.Limits = &limits })
	first := w.build()
	w.report(reportsOf("198.51.100.0/24", 5, "trap-one")...)
	_, err := w.Build(t.Context())
	var excess *publish.Excess
	if !errors.As(err, &excess) || excess.Limit != publish.Protected {
		t.Fatalf("got error %v, want that the limit %q stops it", err, publish.Protected)
	}
	if rows := w.rows(ledger.PublishStopped); len(rows) != 1 || !strings.Contains(rows[0], "protected") {
		t.Errorf("rows: got %q, want one that names the limit", rows)
	}
	m, err := publish.Current(t.Context(), w.Store, w.keys, nil)
	if err != nil || m.Serial != first.Manifest.Serial {
		t.Errorf("manifest: got serial %d, error %v, want %d still", m.Serial, err, first.Manifest.Serial)
	}
	w.try(t.Context())
	expectMetric(t, w.metrics, `ucedge_origin_builds_total{result="stopped"} 1`)
}

func expectMetric(t *testing.T, m *Metrics, want string) {
	t.Helper()
	r := httptest.NewRecorder()
	m.ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(r.Body)
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("metrics, error %v: no %q in\n%s", err, want, text)
	}
}

// TestSerials takes serials from the ledger: above those of the store, and
// above those that were taken and never published.
func TestSerials(t *testing.T) {
	w := newWorld(t, nil)
	first := w.build().Manifest.Serial
	if want := snapshot.Serial(start.Unix()); first != want {
		t.Errorf("first serial: got %d, want the time %d", first, want)
	}
	taken, err := w.ledger.TakeSerial(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if next := w.build().Manifest.Serial; next <= taken {
		t.Errorf("serial: got %d, want one above %d, which a dead process took", next, taken)
	}
	other := newWorld(t, func(s *Settings) { s.Store, s.Keys = w.Store, w.keys })
	if next := other.build().Manifest.Serial; next <= first+2 {
		t.Errorf("serial of an empty ledger: got %d, want one above the store's", next)
	}
}

// TestArrival gives two ledgers the same reports and decisions in other orders:
// the images have the same bytes.
func TestArrival(t *testing.T) {
	reports := slices.Concat(
		reportsOf("198.51.100.0/24", 40, "trap-one"), reportsOf("198.51.100.0/24", 7, "mailbox-two"),
		reportsOf("2001:db8:40::/48", 120, "trap-one"), reportsOf("203.0.113.0/24", 9, "shell-three"),
	)
	decisions := []ledger.Decision{
		{At: start.Unix() - 50, Kind: ledger.Exempted, Prefix: netip.MustParsePrefix("198.51.100.77/32"), Actor: "alice", Reason: "relay"},
		{At: start.Unix() - 40, Kind: ledger.Purged, Reporter: "shell-three", Actor: "alice", Reason: "noise"},
	}
	var images [][32]byte
	for order := range uint64(3) {
		w := newWorld(t, nil)
		random := rand.New(rand.NewPCG(order, 0))
		random.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		if order == 1 {
			w.decide(decisions...)
		}
		for chunk := range slices.Chunk(reports, 1+random.IntN(20)) {
			w.report(chunk...)
		}
		if order != 1 {
			w.decide(decisions...)
		}
		o, _ := w.build().Manifest.Object(manifest.Base, manifest.Zstd)
		images = append(images, o.Hash)
	}
	if images[0] != images[1] || images[1] != images[2] {
		t.Errorf("hashes of the images: got %x, want the same three times", images)
	}
}

// TestBudget holds reports past the budget of their reporter back.
func TestBudget(t *testing.T) {
	p := demoProfile(t)
	p.Budget = policy.Budget{NewPerHour: 3}
	w := newWorld(t, func(s *Settings) { s.State.Profile = p })
	w.build()
	admitted := func(reports []report.Report) (n int) {
		for _, r := range reports {
			if w.Admission().Admit(r) == "" {
				w.report(r)
				n++
			}
		}
		return n
	}
	reports := reportsOf("198.51.100.0/24", 10, "feed")
	if n := admitted(reports); n != 3 {
		t.Errorf("first hour: %d admitted, want 3", n)
	}
	if n := admitted(reportsOf("203.0.113.0/24", 2, "other")); n != 2 {
		t.Errorf("another reporter: %d admitted, want both", n)
	}
	w.build()
	if n := admitted(reports[:4]); n != 3 {
		t.Errorf("known addresses and a new one: %d admitted, want the 3 known", n)
	}
	w.now = w.now.Add(time.Hour)
	if n := admitted(reports[3:]); n != 3 {
		t.Errorf("next hour: %d admitted, want 3", n)
	}
}

// TestWaitingIsBounded: of a reporter of whom much waits nothing more is taken,
// also after a restart, until an operator has looked.
func TestWaitingIsBounded(t *testing.T) {
	p := demoProfile(t)
	p.Budget = policy.Budget{NewPerHour: 3}
	w := newWorld(t, func(s *Settings) { s.State.Profile = p })
	reports := reportsOf("198.51.100.0/24", 12, "feed")
	w.Admission().most = 5
	for i, r := range reports {
		full := w.Admission().Full("feed")
		if (full != "") != (i >= 3+5) {
			t.Fatalf("report %d: full is %q", i, full)
		}
		if full != "" {
			break
		}
		if w.Admission().Admit(r) == "" {
			w.report(r)
		} else if _, err := w.Ledger.HoldReports(t.Context(), []report.Report{r}); err != nil {
			t.Fatal(err)
		}
	}
	if reason := w.Admission().Full("other"); reason != "" {
		t.Errorf("another reporter: %s", reason)
	}
	var err error
	if w.Origin, err = New(w.Settings); err != nil {
		t.Fatal(err)
	}
	w.Admission().most = 5
	w.build()
	if reason := w.Admission().Full("feed"); !strings.Contains(reason, "5 reports of feed wait") {
		t.Errorf("after a restart: %q", reason)
	}
	w.decide(ledger.Decision{At: w.now.Unix(), Kind: ledger.Released, Reporter: "feed"})
	w.build()
	if reason := w.Admission().Full("feed"); reason != "" {
		t.Errorf("after a release: %s", reason)
	}
}

// TestBudgetOutlivesTheProcess goes on with the hour where it was. A process
// that ends has given back what it did not use; one that dies has not.
func TestBudgetOutlivesTheProcess(t *testing.T) {
	p := demoProfile(t)
	p.Budget = policy.Budget{NewPerHour: 64} // in parts of 4
	w := newWorld(t, func(s *Settings) { s.State.Profile = p })
	reports := reportsOf("198.51.100.0/24", 200, "feed")
	admitted := func() (n int) {
		for len(reports) > 0 && w.Admission().Admit(reports[0]) == "" {
			reports = reports[1:]
			n++
		}
		return n
	}
	restart := func() {
		var err error
		if w.Origin, err = New(w.Settings); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if wait := w.Admission().Admit(reports[0]); wait != "" {
			t.Fatalf("within the budget: %s", wait)
		}
		reports = reports[1:]
	}
	restart() // it died with 5 of the 8 used that it had taken
	if wait := w.Admission().Admit(reportsOf("203.0.113.0/24", 1, "other")[0]); wait != "" {
		t.Errorf("another reporter: %s", wait)
	}
	if wait := w.Admission().Admit(reports[0]); wait != "" {
		t.Fatalf("within the budget: %s", wait)
	}
	if err := w.Admission().settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	restart() // it ended, with 9 used
	if n := admitted(); n != 64-9 {
		t.Errorf("after a death and an end: %d admitted, want 55", n)
	}
	restart()
	if n := admitted(); n != 0 {
		t.Errorf("with the hour used up: %d admitted, want none", n)
	}
	w.now = w.now.Add(time.Hour)
	restart()
	if n := admitted(); n != 64 {
		t.Errorf("next hour: %d admitted, want 64", n)
	}
	if rows := w.rows(ledger.BudgetTaken); len(rows) != 3+1+2+14+16 {
		t.Errorf("%d rows, want one for each part and each reporter of the end:\n%s", len(rows), strings.Join(rows, "\n"))
	}
}

// TestBudgetThatCannotBeWritten holds a report back rather than let it pass
// uncounted.
func TestBudgetThatCannotBeWritten(t *testing.T) {
	p := demoProfile(t)
	p.Budget = policy.Budget{NewPerHour: 10}
	w := newWorld(t, func(s *Settings) { s.State.Profile = p })
	w.ledger.Close()
	if wait := w.Admission().Admit(reportsOf("198.51.100.0/24", 1, "feed")[0]); !strings.Contains(wait, "written down") {
		t.Errorf("with a ledger that fails: got %q, want that it waits", wait)
	}
}

// TestShare holds back a reporter that stands for too much of all impacts.
func TestShare(t *testing.T) {
	p := demoProfile(t)
	p.Budget = policy.Budget{SharePercent: 60, ShareFrom: 10}
	w := newWorld(t, func(s *Settings) { s.State.Profile = p })
	w.report(reportsOf("198.51.100.0/24", 12, "feed")...)
	w.report(reportsOf("203.0.113.0/24", 8, "other")...)
	w.build()
	if wait := w.Admission().Admit(reportsOf("192.0.2.0/24", 1, "feed")[0]); !strings.Contains(wait, "60 %") {
		t.Errorf("feed stands for 12 of 20: got %q, want that it waits", wait)
	}
	if wait := w.Admission().Admit(reportsOf("192.0.2.0/24", 1, "other")[0]); wait != "" {
		t.Errorf("other stands for 8 of 20: got %q, want that it passes", wait)
	}
}

// TestUrgent publishes within seconds what another process has decided, and
// goes on after a failure.
func TestUrgent(t *testing.T) {
	w := newWorld(t, func(s *Settings) { s.Every = time.Hour })
	published := make(chan publish.Result, 10)
	w.Published = func(r publish.Result) { published <- r }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Origin.Run(ctx) }()
	<-published // at once
	w.Urgent()
	<-published
	time.Sleep(2 * look) // so that the next one is new to it
	w.decide(ledger.Decision{At: start.Unix(), Kind: ledger.Exempted, Prefix: netip.MustParsePrefix("198.51.100.9/32"), Actor: "alice", Reason: "relay"})
	select {
	case <-published:
	case <-time.After(30 * time.Second):
		t.Error("an exemption was not published")
	}
	cancel()
	<-done
}

// TestDebounce makes one build of what is urgent within a second.
func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Origin{urgent: make(chan struct{}, 1)}
		for range 100 {
			w.Urgent()
		}
		<-w.urgent
		w.Urgent()
		if !sleep(t.Context(), debounce) {
			t.Fatal("the context has ended")
		}
		drain(w.urgent)
		select {
		case <-w.urgent:
			t.Error("a second build is asked for")
		default:
		}
	})
}

// TestCompact takes out what is older than it is kept, and nothing else.
func TestCompact(t *testing.T) {
	w := newWorld(t, nil)
	w.report(reportsOf("198.51.100.0/24", 3, "trap-one")...)
	count := func() int {
		all, err := w.ledger.Reports(t.Context(), netip.MustParsePrefix("198.51.100.0/24"), 0, start.Unix())
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	w.now = start.Add(policy.Window * time.Second)
	w.compact(t.Context())
	if n := count(); n != 3 {
		t.Errorf("after a week: %d reports, want 3", n)
	}
	w.now = start.Add(DefaultRetain)
	w.compact(t.Context())
	if n := count(); n != 0 {
		t.Errorf("after two weeks: %d reports, want none", n)
	}
}

func TestNewNeeds(t *testing.T) {
	_, err := New(Settings{})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("need")) {
		t.Errorf("no settings: got error %v, want what they need", err)
	}
}
