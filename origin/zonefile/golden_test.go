package zonefile

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"ucedge/snapshot"
)

var update = flag.Bool("update", false, "write what the golden files want anew")

// A golden is one file of testdata/golden: the options, the zone file and what
// it means.
type golden struct {
	path    string
	archive *txtar.Archive
	options Options
	text    []byte
}

func goldens(tb testing.TB) []golden {
	tb.Helper()
	paths, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no golden files: %v", err)
	}
	var all []golden
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil || len(archive.Files) < 2 || archive.Files[0].Name != "options" || archive.Files[1].Name != "zone" {
			tb.Fatalf("%s: no options and zone: %v", path, err)
		}
		g := golden{path: path, archive: archive, text: archive.Files[1].Data}
		// Backslash escapes keep the golden files themselves plain text.
		g.text = bytes.ReplaceAll(g.text, []byte(`\r`), []byte("\r"))
		g.text = bytes.ReplaceAll(g.text, []byte(`\t`), []byte("\t"))
		g.text = bytes.ReplaceAll(g.text, []byte(`\0`), []byte("\x00"))
		g.text = bytes.ReplaceAll(g.text, []byte(`\xa9`), []byte("\xa9"))
		g.text = bytes.ReplaceAll(g.text, []byte(`\s`), []byte(" "))
		g.options = parseOptions(tb, string(archive.Files[0].Data))
		all = append(all, g)
	}
	return all
}

// parseOptions reads one option a line.
func parseOptions(tb testing.TB, text string) Options {
	o := Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Address}, Now: 1763827200}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "kind":
			o.Kind, err = ParseKind(value)
		case "level":
			_, err = fmt.Sscan(value, &o.Zone.Level)
		case "text":
			o.Zone.Text = value
		case "allow-special-use":
			o.AllowSpecialUse = true
		case "allow-host-bits":
			o.AllowHostBits = true
		default:
			err = errors.New("unknown option")
		}
		if err != nil {
			tb.Fatalf("option %q: %v", line, err)
		}
	}
	return o
}

// describe writes a result as text that a reader can check by hand.
func describe(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %s\n", r.Kind)
	if r.Serial != 0 || r.Built != 0 || r.Expires != 0 {
		fmt.Fprintf(&b, "serial %d built %d expires %d\n", r.Serial, r.Built, r.Expires)
	}
	for _, z := range r.Zones {
		fmt.Fprintf(&b, "zone %s level %d code %d.%d.%d.%d ttl %d\n", z.Suffix, z.Level, z.Code[0], z.Code[1], z.Code[2], z.Code[3], z.TTL)
		fmt.Fprintf(&b, "  soa %d %s %s %d %d %d %d\n", z.SOATTL, z.MName, z.RName, z.Refresh, z.Retry, z.Expire, z.Minimum)
		if len(z.NS) > 0 {
			fmt.Fprintf(&b, "  ns %d %s\n", z.NSTTL, strings.Join(z.NS, " "))
		}
		fmt.Fprintf(&b, "  text %q test %q url %q\n", z.Text, z.TestText, z.URL)
	}
	for _, l := range r.Listings {
		fmt.Fprintf(&b, "%d %s", l.Level, l.Prefix)
		if l.Excluded {
			b.WriteString(" excluded")
		}
		if l.Text != "" {
			fmt.Fprintf(&b, " %q", l.Text)
		}
		if l.Count != 0 || l.ASN != 0 || l.ASName != "" {
			fmt.Fprintf(&b, " count %d AS%d %q", l.Count, l.ASN, l.ASName)
		}
		b.WriteByte('\n')
	}
	for _, p := range r.Problems {
		kept := map[bool]string{false: "left out", true: "kept"}[p.Kept]
		fmt.Fprintf(&b, "%s (%s)\n", p, kept)
	}
	for _, d := range r.SpecialUse {
		fmt.Fprintf(&b, "special use %s %s: %d left out, %d cut\n", d.Prefix, d.Name, d.Listings, d.Cut)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(filepath.Base(g.path), func(t *testing.T) {
			r, err := Parse(g.options, Source{"file", bytes.NewReader(g.text)})
			got := ""
			if err != nil {
				got = "error " + err.Error() + "\n"
			} else {
				got = describe(r)
			}
			if *update {
				g.archive.Files = append(g.archive.Files[:2], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(g.archive.Files[2].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if err == nil {
				roundTrip(t, g.options, r)
			}
		})
	}
}

// roundTrip exports every zone of a result and imports it again.
func roundTrip(t *testing.T, o Options, r *Result) {
	t.Helper()
	for _, z := range r.Zones {
		var file, again bytes.Buffer
		kind, err := Export(&file, z, r.Serial, r.Listings, r.Zones...)
		if err != nil {
			t.Errorf("export of %s: %v", z.Suffix, err)
			continue
		}
		if z.Level == snapshot.Combined {
			continue // its levels share one zone's texts then: see TestExportCombined
		}
		o := Options{Zone: snapshot.Zone{Suffix: z.Suffix, Level: z.Level}, Kind: kind, Strict: true, AllowSpecialUse: o.AllowSpecialUse}
		back, err := Parse(o, Source{"exported", bytes.NewReader(file.Bytes())})
		if err != nil {
			t.Errorf("import of the exported %s: %v\n%s", z.Suffix, err, file.Bytes())
			continue
		}
		var mine []snapshot.Listing
		for _, l := range r.Listings {
			if l.Level == z.Level {
				mine = append(mine, l)
			}
		}
		want := describe(&Result{Kind: kind, Serial: r.Serial, Zones: []snapshot.Zone{z}, Listings: mine})
		if got := describe(back); got != want {
			t.Errorf("after the trip:\n%s\nbefore it:\n%s\nfile:\n%s", got, want, file.Bytes())
		}
		if _, err := Export(&again, back.Zones[0], back.Serial, back.Listings); err != nil || !bytes.Equal(again.Bytes(), file.Bytes()) {
			t.Errorf("second export differs: %v\n%s\nfirst:\n%s", err, again.Bytes(), file.Bytes())
		}
		if !reflect.DeepEqual(back.Zones[0], z) {
			t.Errorf("zone after the trip %+v, before it %+v", back.Zones[0], z)
		}
	}
}
