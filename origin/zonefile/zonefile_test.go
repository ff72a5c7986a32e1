package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"ucedge/snapshot"
)

func TestStrict(t *testing.T) {
	_, err := Parse(Options{Zone: snapshot.Zone{Level: snapshot.Address}, Strict: true}, Source{"a", strings.NewReader("9.1.1.1\n168.1=\nbad\n")})
	var strict *StrictError
	if !errors.As(err, &strict) || strict.Count != 2 || strict.Problems[0].String() != `a:2: invalid address in "168.1="` {
		t.Errorf("Parse = %v, want a StrictError with two problems", err)
	}
}

// TestLimits: what fits is read, one more is not.
func TestLimits(t *testing.T) {
	opts := Options{Zone: snapshot.Zone{Level: snapshot.Address}, MaxEntries: 10, MaxTextBytes: 1000}
	repeat := func(n int, format string) (text string) {
		for i := range n {
			text += fmt.Sprintf(format, i)
		}
		return text
	}
	for _, row := range []struct{ fits, passes, why string }{
		{repeat(10, "9.1.1.%d\n"), "9.1.1.99\n", "a:11: more than is taken in: 10 entries"},
		{repeat(10, "9.1.1.%d :2:own text %[1]d\n"), "9.1.1.99\n", "10 entries"},
		{"9.1.1.0-9.1.1.31\n9.1.2.0/24\n", "9.1.3.1-9.1.3.126\n", "10 entries"},
		{"9.1.1.1 " + strings.Repeat("x", 1000) + "\n", "9.1.1.2 y\n", "1000 bytes of texts"},
		{"$= " + strings.Repeat("x", 120) + "$=\n" + repeat(8, "9.1.1.%d :2:%[1]d\n"), "9.1.1.99 :2:9\n", "1000 bytes of texts"},
		{repeat(10, ":2:%d\n"), repeat(spareValues, ":2:%dm\n"), "10 texts"},
		{repeat(MaxDatasets, "$DATASET ip4set:level1 a%d\n"), "$DATASET ip4set:level1 b\n", "100 datasets"},
	} {
		if _, err := Parse(opts, Source{"a", strings.NewReader(row.fits)}); err != nil {
			t.Errorf("%.40q: %v", row.fits, err)
		}
		_, err := Parse(opts, Source{"a", strings.NewReader(row.fits + row.passes)})
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), row.why) {
			t.Errorf("%.40q and then %.40q: error is %v, want %q", row.fits, row.passes, err, row.why)
		}
	}
}

// TestOneCopy: a text that many listings have is held once.
func TestOneCopy(t *testing.T) {
	const many, most = 10_000, 200 // bytes of a listing
	text := ":2:first\n9.0.0.0\n:2:3 abusers from NAME/AS64496 " + strings.Repeat("x", 200) + "\n"
	for i := range many {
		text += fmt.Sprintf("9.1.%d.%d\n", i>>8, i&255)
	}
	before := heap()
	r, err := Parse(Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Address}}, Source{"a", strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	if got := (heap() - before) / many; len(r.Listings) != many+1 || got > most {
		t.Errorf("%d listings of %d bytes each, want %d of at most %d", len(r.Listings), got, many+1, most)
	}
	for _, l := range r.Listings[1:] {
		if !strings.HasPrefix(l.Text, "{count} abusers from {as_name}/AS{asn} x") || l.ASName != "NAME" {
			t.Fatalf("%v: text %.50q, name %q", l.Prefix, l.Text, l.ASName)
		}
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSources reads several files as one: settings go on, a default ends.
func TestSources(t *testing.T) {
	r, err := Parse(Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Allocation}},
		Source{"head", strings.NewReader("$TTL 77\n:3:head $\n127.0.0.2 test\n")},
		Source{"body", strings.NewReader("9.1.0.0/16\nbad\n9.1.0.0/16 again\n")})
	if err != nil {
		t.Fatal(err)
	}
	want := `kind ip4trie
zone bl.example level 2 code 127.0.0.2 ttl 77
  soa 3600 bl.example hostmaster.bl.example 3600 600 86400 120
  text "head {ip}" test "test" url ""
2 9.1.0.0/16
body:1: 9.1.0.0/16 has no text, listed with the zone's (kept)
body:2: invalid address in "bad" (left out)
body:3: 9.1.0.0/16 stands already in body:1 (left out)
`
	if got := describe(r); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 3*MaxLine)
	text := "9.1.1.1\n#" + long + "\n9.1.1.2 " + long + "\n9.1.1.3 " + strings.Repeat("y", 300) + "\n9.1.1.4"
	r := mustParse(t, Options{Zone: snapshot.Zone{Level: snapshot.Address}}, text)
	if len(r.Listings) != 3 || r.ProblemCount != 2 {
		t.Fatalf("%d listings and %d problems, want 3 and 2: %v", len(r.Listings), r.ProblemCount, r.Problems)
	}
	if got := r.Problems[0].String(); got != "test:3: line of more than 8192 bytes" {
		t.Errorf("problem %q", got)
	}
	if got := r.Problems[1].String(); got != "test:4: text of 300 bytes, answers carry 255" {
		t.Errorf("problem %q", got)
	}
	if got := len(r.Listings[1].Text); got != 300 {
		t.Errorf("text of %d bytes kept, want all 300", got)
	}
}

// TestGrowingTexts bounds what $ words that repeat each other can cost.
func TestGrowingTexts(t *testing.T) {
	text := "$1 " + strings.Repeat("one", 2000) + "\n$= " + strings.Repeat("$1$=", 2000) + "\n:2:" + strings.Repeat("$=$1", 2000) + "\n9.1.1.1\n"
	r := mustParse(t, Options{Zone: snapshot.Zone{Level: snapshot.Address}}, text)
	if got := len(r.Zones[0].Text); got != snapshot.TemplateMax {
		t.Errorf("text of %d bytes, want %d", got, snapshot.TemplateMax)
	}
}

func TestManyProblems(t *testing.T) {
	r := mustParse(t, Options{Zone: snapshot.Zone{Level: snapshot.Address}}, strings.Repeat("bad\n", MaxProblems+5))
	if len(r.Problems) != MaxProblems || r.ProblemCount != MaxProblems+5 {
		t.Errorf("%d problems kept of %d", len(r.Problems), r.ProblemCount)
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	r, err := Parse(Options{Zone: snapshot.Zone{Level: snapshot.Address}}, Source{"a", io.MultiReader(strings.NewReader("9.1.1.1\n"), iotest.ErrReader(broken))})
	if r != nil || !errors.Is(err, broken) || err.Error() != `read "a": disk on fire` {
		t.Errorf("Parse = %v, %v", r, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, z := range []snapshot.Zone{{Suffix: "bl.example"}, {Suffix: "bl.example", Level: 4}, {Suffix: "bl..example", Level: 1}} {
		if r, err := Parse(Options{Zone: z}, Source{"a", strings.NewReader("9.1.1.1\n")}); r != nil || err == nil {
			t.Errorf("Parse with zone %+v = %v, %v", z, r, err)
		}
	}
}

func TestParseKind(t *testing.T) {
	for k := Auto; k <= Combined; k++ {
		if got, err := ParseKind(strings.ToUpper(k.String())); got != k || err != nil {
			t.Errorf("ParseKind(%s) = %s, %v", k, got, err)
		}
	}
	if _, err := ParseKind("dnset"); err == nil {
		t.Error("ParseKind took dnset")
	}
}

// TestBlocks holds the splitting of ranges against single addresses.
func TestBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		first := uint32(9)<<24 | random.Uint32N(600)
		last := first + random.Uint32N(700)
		r := mustParse(t, Options{Zone: snapshot.Zone{Level: snapshot.Address}, Kind: IP4Set}, fmt.Sprintf("%s-%s\n", ip4(first), ip4(last)))
		next := first
		for _, l := range r.Listings {
			if l.Prefix.Addr() != ip4(next) || l.Prefix != l.Prefix.Masked() {
				t.Fatalf("%s-%s: %s follows where %s must", ip4(first), ip4(last), l.Prefix, ip4(next))
			}
			next += 1 << (32 - l.Prefix.Bits())
		}
		if next != last+1 {
			t.Fatalf("%s-%s: ends at %s", ip4(first), ip4(last), ip4(next-1))
		}
	}
}

func ip4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// TestExportOrder gives the listings in another order and expects the same
// bytes.
func TestExportOrder(t *testing.T) {
	r := mustParse(t, Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Allocation}}, "9.1.0.0/16 a\n9.1.1.0/24 b\n!9.1.1.1\n9.1.1.0/25\n8.0.0.0/8\n")
	var want bytes.Buffer
	if _, err := Export(&want, r.Zones[0], 1, r.Listings); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		random.Shuffle(len(r.Listings), func(i, j int) { r.Listings[i], r.Listings[j] = r.Listings[j], r.Listings[i] })
		var got bytes.Buffer
		if _, err := Export(&got, r.Zones[0], 1, r.Listings); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("other order: %v\n%s\nwant\n%s", err, got.Bytes(), want.Bytes())
		}
	}
}

// TestExportCombined writes the combined zone with the texts of its levels, and
// reads it again.
func TestExportCombined(t *testing.T) {
	zones := []snapshot.Zone{
		{Suffix: "dnsbl.bl.example", Level: snapshot.Combined, Code: [4]byte{127, 0, 0, 2}, TTL: 60, Text: "combined", TestText: "Test"},
		{Suffix: "dnsbl-1.bl.example", Level: snapshot.Address, Text: "Address {ip}, see {url}", URL: "https://bl.example/1"},
		{Suffix: "dnsbl-2.bl.example", Level: snapshot.Allocation, Text: "Net {net}: {count} abusers, from {as_name}/AS{asn}"},
	}
	listings := []snapshot.Listing{
		{Level: snapshot.Address, Prefix: netip.MustParsePrefix("9.1.1.1/32")},
		{Level: snapshot.Address, Prefix: netip.MustParsePrefix("2600::/64")},
		{Level: snapshot.Allocation, Prefix: netip.MustParsePrefix("9.1.1.0/24"), Facts: snapshot.Facts{Count: 5, ASN: 64496, ASName: "EXAMPLE"}},
		{Level: snapshot.System, Prefix: netip.MustParsePrefix("9.0.0.0/8"), Facts: snapshot.Facts{Text: "$ by hand"}},
	}
	want := `# rbldnsd dnsbl.bl.example:combined:FILE
$TTL 60
$DATASET ip4trie:level1 @
:127.0.0.2:Address $, see https://bl.example/1
127.0.0.2 Test
!127.0.0.1
9.1.1.1
$DATASET ip6trie:level1 @
:127.0.0.2:Address $, see https://bl.example/1
::ffff:7f00:2 Test
!::ffff:7f00:1
2600::/64
$DATASET ip4trie:level2 @
:127.0.0.3:
127.0.0.3 Test
!127.0.0.1
9.1.1.0/24 Net 9.1.1.0/24: 5 abusers, from EXAMPLE/AS64496
$DATASET ip4trie:level3 @
:127.0.0.4:combined
127.0.0.4 Test
!127.0.0.1
9.0.0.0/8 $$ by hand
`
	var file bytes.Buffer
	kind, err := Export(&file, zones[0], 0, listings, zones...)
	if err != nil || kind != Combined {
		t.Fatalf("Export = %s, %v", kind, err)
	}
	if file.String() != want {
		t.Errorf("got:\n%swant:\n%s", file.String(), want)
	}
	r := mustParse(t, Options{Zone: snapshot.Zone{Suffix: "dnsbl.bl.example"}, Strict: true}, file.String())
	for i, l := range r.Listings {
		speaks := zones[0]
		if int(l.Level) < len(zones) {
			speaks = zones[l.Level]
		}
		want := listings[i].Text
		if want == "" {
			want = speaks.Text
		}
		got := l.Text
		if got == "" {
			got = r.Zones[0].Text
		}
		if l.Prefix != listings[i].Prefix || Expand(got, l, r.Zones[0], "IP") != Expand(want, listings[i], speaks, "IP") {
			t.Errorf("%s with %q came back as %s with %q", listings[i].Prefix, want, l.Prefix, got)
		}
	}
	if z := r.Zones[0]; z.Level != snapshot.Combined || z.Code != zones[0].Code || z.TestText != "Test" {
		t.Errorf("zone came back as %+v", z)
	}
}

func TestExportErrors(t *testing.T) {
	listings := []snapshot.Listing{{Level: snapshot.Address, Prefix: netip.MustParsePrefix("9.1.1.1/32")}}
	for _, text := range []string{"two\nlines", "{ip}{ip}", "{ip}0", "{ip}$", "{ip}="} {
		listings[0].Text = text
		if _, err := Export(io.Discard, snapshot.Zone{Level: snapshot.Address}, 0, listings); err == nil {
			t.Errorf("Export took the text %q", text)
		}
	}
	listings[0].Text = ""
	if _, err := Export(brokenWriter{}, snapshot.Zone{Level: snapshot.Address}, 0, listings); err == nil {
		t.Error("Export did not see that writing failed")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestExportLongName cuts an AS name so that the longest address fits.
func TestExportLongName(t *testing.T) {
	l := snapshot.Listing{Level: snapshot.Address, Prefix: netip.MustParsePrefix("9.1.1.1/32"), Facts: snapshot.Facts{ASName: strings.Repeat("N", 300)}}
	var file bytes.Buffer
	if _, err := Export(&file, snapshot.Zone{Level: snapshot.Address, Text: "{as_name} {ip}"}, 0, []snapshot.Listing{l}); err != nil {
		t.Fatal(err)
	}
	want := "\n9.1.1.1 " + strings.Repeat("N", 255-16) + " $\n"
	if !strings.Contains(file.String(), want) {
		t.Errorf("got %q, want %q in it", file.String(), want)
	}
}

// FuzzLine takes any one line as any kind: what is accepted survives export and
// import.
func FuzzLine(f *testing.F) {
	for _, g := range goldens(f) {
		for line := range bytes.Lines(g.text) {
			f.Add(uint8(g.options.Kind), uint8(max(1, g.options.Zone.Level)), line)
		}
	}
	f.Fuzz(func(t *testing.T, kind, level uint8, line []byte) {
		if kind > uint8(Combined) || level == 0 || level > 3 || bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		survives(t, Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Level(level)}, Kind: Kind(kind), AllowHostBits: true}, line)
	})
}

// FuzzParse takes whole files.
func FuzzParse(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(uint8(g.options.Kind), uint8(g.options.Zone.Level), g.options.AllowSpecialUse, g.text)
	}
	f.Fuzz(func(t *testing.T, kind, level uint8, special bool, text []byte) {
		if kind > uint8(Combined) || level > 3 || len(text) > 16<<10 {
			return // a line may be 62 entries, and more of them find no more
		}
		survives(t, Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Level(level)}, Kind: Kind(kind), AllowSpecialUse: special}, text)
	})
}

// survives imports a text; what it accepts must come back from an export.
func survives(t *testing.T, o Options, text []byte) {
	r, err := Parse(o, Source{"file", bytes.NewReader(text)})
	if err != nil {
		if r != nil {
			t.Fatalf("a result beside the error %v", err)
		}
		return
	}
	for i, l := range r.Listings {
		if l.Prefix != l.Prefix.Masked() || l.Prefix.Addr().Is4In6() || i > 0 && compareListings(r.Listings[i-1], l) >= 0 {
			t.Fatalf("listing %d, %v, is out of order or form", i, l)
		}
	}
	for _, z := range r.Zones {
		if z.Level == snapshot.Combined {
			continue
		}
		var file bytes.Buffer
		kind, err := Export(&file, z, r.Serial, r.Listings)
		if err != nil {
			if bytes.Contains(text, []byte("$=")) && strings.HasSuffix(err.Error(), "cannot stand in a zone file") {
				continue // the base template can put an address where no line can
			}
			t.Fatalf("export: %v", err)
		}
		o := Options{Zone: snapshot.Zone{Suffix: z.Suffix, Level: z.Level}, Kind: kind, AllowSpecialUse: o.AllowSpecialUse}
		back, err := Parse(o, Source{"exported", bytes.NewReader(file.Bytes())})
		if err != nil {
			t.Fatalf("import of the export: %v", err)
		}
		var mine []snapshot.Listing
		for _, l := range r.Listings {
			if l.Level == z.Level {
				mine = append(mine, l)
			}
		}
		if len(mine)+len(back.Listings) > 0 && !reflect.DeepEqual(mine, back.Listings) {
			t.Fatalf("listings after the trip:\n%v\nbefore:\n%v\nfile:\n%q", back.Listings, mine, file.Bytes())
		}
		if !reflect.DeepEqual(z, back.Zones[0]) {
			t.Fatalf("zone after the trip:\n%+v\nbefore:\n%+v\nfile:\n%q", back.Zones[0], z, file.Bytes())
		}
	}
}

// plainFile is a file of n addresses in the order of their digits, as lists are
// published.
func plainFile(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteString(":127.0.0.2:IP $ is listed. See http://bl.example/?ipr=$\n")
	for range n {
		fmt.Fprintf(&b, "%s\n", ip4(1<<24+random.Uint32N(222<<24)))
	}
	return b.Bytes()
}

// TestMemory holds what one plain line costs: 32 bytes for the entry and 112 for
// the listing, with room for slices that grow.
func TestMemory(t *testing.T) {
	const n, bytesMax = 200_000, 400
	text := plainFile(n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Parse(Options{Zone: snapshot.Zone{Suffix: "bl.example", Level: snapshot.Address}}, Source{"test", bytes.NewReader(text)})
	runtime.ReadMemStats(&after)
	if err != nil || len(r.Listings) < n*95/100 {
		t.Fatalf("%d lines: %v", n, err)
	}
	each := (after.TotalAlloc - before.TotalAlloc) / n
	t.Logf("%d bytes allocated a line", each)
	if each > bytesMax {
		t.Errorf("%d bytes allocated a line, want at most %d", each, bytesMax)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		text func(testing.TB) []byte
		zone snapshot.Zone
	}{
		{"addresses", func(testing.TB) []byte { return plainFile(2_000_000) }, snapshot.Zone{Level: snapshot.Address}},
		{"level2", func(tb testing.TB) []byte { return realFile(tb, "dnsbl-2.uceprotect.net") }, snapshot.Zone{Level: snapshot.Allocation}},
		{"level3", func(tb testing.TB) []byte { return realFile(tb, "level3-prefixes.txt") }, snapshot.Zone{Level: snapshot.System}},
	} {
		b.Run(c.name, func(b *testing.B) {
			text := c.text(b)
			lines := bytes.Count(text, []byte("\n"))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if r, err := Parse(Options{Zone: c.zone}, Source{"bench", bytes.NewReader(text)}); err != nil || len(r.Listings) == 0 {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
		})
	}
}

func BenchmarkExport(b *testing.B) {
	r := mustParse(b, Options{Zone: snapshot.Zone{Level: snapshot.Address}}, string(plainFile(2_000_000)))
	for b.Loop() {
		if _, err := Export(io.Discard, r.Zones[0], 1, r.Listings); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(r.Listings)), "ns/listing")
}
