package report

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"ucedge/snapshot"
)

var update = flag.Bool("update", false, "write what the parsers give into the golden files")

// testNow is 2026-11-22T16:00:00Z; the golden files are written around it.
const testNow = 1795363200

// testRules are the rules of the golden files: one address is reserved.
func testRules() Rules {
	return Rules{
		Reporter: "feed-a",
		Now:      testNow,
		Ahead:    DefaultAhead,
		Window:   DefaultWindow,
		Reserved: func(a netip.Addr) (string, bool) {
			return "loopback", a.IsLoopback()
		},
	}
}

// formats are the parsers by the folder of their golden files.
var formats = map[string]func(body []byte, rules Rules) Reports{
	"ndjson": func(b []byte, r Rules) Reports { return NDJSON(bytes.NewReader(b), r) },
	"csv":    func(b []byte, r Rules) Reports { return CSV(bytes.NewReader(b), r) },
	"list":   func(b []byte, r Rules) Reports { return List(bytes.NewReader(b), r) },
	"mail":   func(b []byte, r Rules) Reports { return Mail(bytes.NewReader(b), r, Relays{}) },
	"mail-relay": func(b []byte, r Rules) Reports {
		return Mail(bytes.NewReader(b), r, Relays{
			Names:     []string{"mx.mailbox.example", "store.mailbox.example"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		})
	},
	"zonefile": func(b []byte, r Rules) Reports {
		r.Kind = snapshot.Scan
		return ZoneFile(bytes.NewReader(b), r)
	},
	"list-user": func(b []byte, r Rules) Reports {
		r.Kind = snapshot.UserReport
		return List(bytes.NewReader(b), r)
	},
}

// describe writes what a parser gave, one line a record.
func describe(reports Reports) string {
	var b strings.Builder
	for r, err := range reports {
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		fmt.Fprintf(&b, "report %s %s %s %s %q\n", r.Address, formatTime(r.Seen), strings.Join(r.Kind.Names(), "+"), r.Reporter, r.Evidence)
	}
	return b.String()
}

// TestGolden compares what each file FORMAT/NAME.in gives with FORMAT/NAME.want.
func TestGolden(t *testing.T) {
	for format, parse := range formats {
		files, err := filepath.Glob(filepath.Join("testdata", format, "*.in"))
		if err != nil || len(files) == 0 {
			t.Errorf("no golden files for %q", format)
		}
		for _, file := range files {
			t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
				body, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				compareGolden(t, strings.TrimSuffix(file, ".in")+".want", describe(parse(body, testRules())))
			})
		}
	}
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestLongLine: a line past the bound costs itself only, whatever the reader's
// buffer does with it.
func TestLongLine(t *testing.T) {
	good := "192.0.2.1 1795363200 scan\n"
	for _, n := range []int{MaxRecord, MaxRecord + 1, MaxRecord + 2, MaxRecord + 3, 3*MaxRecord + 7} {
		body := good + strings.Repeat("x", n) + "\n" + good
		want := "line 2: address \"" + strings.Repeat("x", 64) + "…\" is not an IP address\n"
		if n > MaxRecord {
			want = fmt.Sprintf("line 2: line is longer than %d bytes\n", MaxRecord)
		}
		report := "report 192.0.2.1 2026-11-22T16:00:00Z scan feed-a \"\"\n"
		if got := describe(List(strings.NewReader(body), testRules())); got != report+want+report {
			t.Errorf("%d bytes: got\n%s", n, got)
		}
	}
}

// TestBodyError: an error of the body itself ends the reports and is no refusal.
func TestBodyError(t *testing.T) {
	broken := errors.New("connection lost")
	for name, read := range map[string]func(*strings.Reader) Reports{
		"ndjson": func(s *strings.Reader) Reports {
			return NDJSON(iotest.DataErrReader(&failing{s, broken}), testRules())
		},
		"csv": func(s *strings.Reader) Reports {
			return CSV(iotest.DataErrReader(&failing{s, broken}), testRules())
		},
	} {
		var last error
		n := 0
		for _, err := range read(strings.NewReader("address,seen\n")) {
			last = err
			n++
		}
		var refusal *Refusal
		if !errors.Is(last, broken) || errors.As(last, &refusal) {
			t.Errorf("%s: last of %d results is %v, want %v", name, n, last, broken)
		}
	}
}

// failing gives err where its reader ends.
type failing struct {
	r   *strings.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil {
		err = f.err
	}
	return n, err
}

// TestKey: what makes two reports one, and what does not.
func TestKey(t *testing.T) {
	base := Report{Address: netip.MustParseAddr("192.0.2.1"), Seen: 1, Reporter: "a", Kind: snapshot.Scan}
	with := func(change func(*Report)) Report {
		r := base
		change(&r)
		return r
	}
	rows := []struct {
		name string
		a, b Report
		same bool
	}{
		{"itself", base, base, true},
		{"other time, no id", base, with(func(r *Report) { r.Seen = 2 }), false},
		{"other kind, no id", base, with(func(r *Report) { r.Kind = snapshot.Manual }), false},
		{"other reporter", base, with(func(r *Report) { r.Reporter = "b" }), false},
		{"one id, all else differs", with(func(r *Report) { r.Evidence = "1" }),
			Report{Address: netip.MustParseAddr("192.0.2.9"), Seen: 9, Reporter: "a", Kind: snapshot.Spamtrap, Evidence: "1"}, true},
		{"one id, other reporter", with(func(r *Report) { r.Evidence = "1" }), with(func(r *Report) { r.Evidence, r.Reporter = "1", "b" }), false},
	}
	for _, row := range rows {
		if got := row.a.Key() == row.b.Key(); got != row.same {
			t.Errorf("%s: same key is %v, want %v", row.name, got, row.same)
		}
	}
}

// TestZoneFileTexts holds that texts, of which each is a word of the line and a
// kilobyte of $=, cost nothing: nobody reads them.
func TestZoneFileTexts(t *testing.T) {
	const many = 10_000
	var b bytes.Buffer
	fmt.Fprintf(&b, "$= %s$=\n", strings.Repeat("9 abusers from NAME/AS64496 ", 36))
	for i := range many {
		fmt.Fprintf(&b, "9.1.%d.%d :2:%d\n", i>>8, i&255, i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	for _, err := range ZoneFile(&b, Rules{Reporter: "trap", Kind: snapshot.Spamtrap, Now: 1_795_363_200, Window: DefaultWindow}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) / many; n != many || took > 1000 {
		t.Errorf("%d reports, each %d bytes of memory, want %d and less than 1000", n, took, many)
	}
}
