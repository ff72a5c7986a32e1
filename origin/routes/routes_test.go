package routes

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ucedge/internal/trial"
	"ucedge/snapshot"
)

// TestRealTable loads the real tables and looks at a few things known of them.
func TestRealTable(t *testing.T) {
	table, stats, err := Load(trial.File(t, "routes/asn-v4.tsv.zst"), trial.File(t, "routes/asn-v6.tsv.zst"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d routes, %d systems; %+v", table.Len(), len(table.Systems()), stats)
	for i, want := range []int{564580, 167903} {
		if s := stats[i]; s.Lines != want || s.Bad != 0 || s.Routes+s.Skipped != want {
			t.Errorf("file %d: %+v, want %d good lines", i, s, want)
		}
	}
	if got, ok := table.System(13335); !ok || got.Name == "" || got.Addresses < 1_000_000 || got.Slash48s == 0 {
		t.Errorf("AS13335 is %+v", got)
	}
}

// small is a table in which a linear scan is quick.
func small(rnd *rand.Rand) (*Table, []Route) {
	var b Builder
	merged := map[netip.Prefix][]snapshot.ASN{}
	for range 1 + rnd.IntN(40) {
		a, bits := netip.AddrFrom4([4]byte{45, byte(rnd.IntN(2)), byte(rnd.IntN(256)), byte(rnd.IntN(256))}), 8+rnd.IntN(25)
		if rnd.IntN(3) == 0 {
			a, bits = netip.AddrFrom16([16]byte{0x2a, 0, 0, byte(rnd.IntN(2)), byte(rnd.IntN(4)), byte(rnd.IntN(4)), byte(rnd.IntN(256)), byte(rnd.IntN(256))}), 16+rnd.IntN(49)
		}
		p := netip.PrefixFrom(a, bits).Masked()
		merged[p] = merged[p][:len(merged[p]):len(merged[p])]
		var origins []snapshot.ASN
		for range rnd.IntN(3) {
			asn := snapshot.ASN(64496 + rnd.IntN(4))
			origins = append(origins, asn)
			if !slices.Contains(merged[p], asn) {
				merged[p] = append(merged[p], asn)
			}
		}
		if err := b.Add(p, origins...); err != nil {
			panic(err)
		}
	}
	var all []Route
	for p, origins := range merged {
		slices.Sort(origins)
		all = append(all, Route{p, origins})
	}
	return b.Table(epoch), all
}

// TestCovering compares Covering with a linear scan.
func TestCovering(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	for range 300 {
		table, all := small(rnd)
		if table.Len() != len(all) {
			t.Fatalf("%d routes, want %d", table.Len(), len(all))
		}
		for range 100 {
			a := netip.AddrFrom4([4]byte{45, byte(rnd.IntN(2)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
			if rnd.IntN(2) == 0 {
				a = all[rnd.IntN(len(all))].Prefix.Addr()
			}
			var want []Route
			for _, r := range all {
				if r.Prefix.Contains(a) {
					want = append(want, r)
				}
			}
			slices.SortFunc(want, func(a, b Route) int { return b.Prefix.Bits() - a.Prefix.Bits() })
			got := table.Covering(UnitOf(a))
			if !slices.EqualFunc(got, want, func(a, b Route) bool { return a.Prefix == b.Prefix && slices.Equal(a.Origins, b.Origins) }) {
				t.Fatalf("%v: got %v, want %v", a, got, want)
			}
		}
	}
}

// TestSizes counts every address and every /48 once.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		prefixes  []string
		addresses uint64
		slash48s  uint64
	}{
		{[]string{"192.0.2.0/24"}, 256, 0},
		{[]string{"192.0.2.0/24", "192.0.2.0/25", "192.0.2.128/32"}, 256, 0},
		{[]string{"192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/30"}, 260, 0},
		{[]string{"2001:db8::/32", "2001:db8:1::/48"}, 0, 65536},
		{[]string{"2001:db8::/56", "2001:db8:0:100::/56", "2001:db8:1::/64"}, 0, 2},
		{[]string{"2001:db8::/64", "2001:db8::/47"}, 0, 2},
		{[]string{"2001:db8:0:ff00::/56", "2001:db8:1::/48"}, 0, 2},
		{[]string{"ffff:ffff:ffff:ffff::/64"}, 0, 1},
	} {
		var b Builder
		for _, p := range tt.prefixes {
			if err := b.Add(netip.MustParsePrefix(p), 64500); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Add(netip.MustParsePrefix("192.0.0.0/8"), 64501); err != nil { // around it, another's
			t.Fatal(err)
		}
		s, ok := b.Table(epoch).System(64500)
		if !ok || s.Addresses != tt.addresses || s.Slash48s != tt.slash48s {
			t.Errorf("%v: %+v, want %d addresses and %d /48s", tt.prefixes, s, tt.addresses, tt.slash48s)
		}
	}
}

// TestAddRange compares the prefixes of a range with the addresses in it.
func TestAddRange(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 9))
	for range 2000 {
		from := uint64(45<<24) + rnd.Uint64N(700)
		to := from + rnd.Uint64N(700)
		var b Builder
		n, err := b.AddRange(prefixOf(false, from, 32).Addr(), prefixOf(false, to, 32).Addr(), 64500)
		if err != nil {
			t.Fatal(err)
		}
		table := b.Table(epoch)
		f := table.Family(false)
		if f.Len() != n || f.Start(0) != from || f.Last(n-1) != to {
			t.Fatalf("range %d-%d: %d prefixes from %d to %d", from, to, f.Len(), f.Start(0), f.Last(n-1))
		}
		for i := 1; i < n; i++ {
			if f.Start(i) != f.Last(i-1)+1 {
				t.Fatalf("range %d-%d has a hole or an overlap before %v", from, to, f.Prefix(i))
			}
			if f.Bits(i) == f.Bits(i-1) && f.Start(i-1)&(1<<(33-f.Bits(i))-1) == 0 {
				t.Fatalf("range %d-%d: %v and %v could be one", from, to, f.Prefix(i-1), f.Prefix(i))
			}
		}
	}
	for _, tt := range []struct {
		first, last string
		want        []string
	}{
		{"0.0.0.0", "255.255.255.255", nil}, // 256 of them
		{"2001:db8::", "2001:db8:0:1:ffff:ffff:ffff:ffff", []string{"2001:db8::/63"}},
		{"2001:db8::1", "2001:db8:0:2::", []string{"2001:db8:0:1::/64"}},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:fffe", []string{}},
		{"2001:db8::1", "2001:db8:0:1::1", []string{}},
		{"::ffff:192.0.2.0", "192.0.2.255", []string{"192.0.2.0/24"}},
	} {
		var b Builder
		n, err := b.AddRange(netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.last), 64500)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range b.Table(epoch).Prefixes(64500) {
			got = append(got, p.String())
		}
		if tt.want == nil && n != 256 || tt.want != nil && !slices.Equal(got, tt.want) {
			t.Errorf("%s-%s: got %d, %v, want %v", tt.first, tt.last, n, got, tt.want)
		}
	}
	if _, err := new(Builder).AddRange(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::")); err == nil {
		t.Error("a range of two families is accepted")
	}
}

// TestRefused is one useless file per row.
func TestRefused(t *testing.T) {
	good := strings.Repeat("192.0.2.0/24\t64500\tExample\n", 100)
	for name, tt := range map[string]struct{ file, want string }{
		"empty":                {"", "no route in it"},
		"comments alone":       {"# nothing\n", "no route in it"},
		"prose":                {"this is not a routing file\n", "fits no format"},
		"a page":               {"<html>\n<a,b>\n", "fits no format"},
		"mostly bad":           {good + strings.Repeat("bad\n", 11), "11 of 111 lines are bad"},
		"default route alone":  {"0.0.0.0/0\t64500\tExample\n", "no route in it"},
		"binary":               {"\x00\x01\x02\x03garbage", "invalid MaxMind DB"},
		"cut gzip":             {string(gzipped(t, []byte(good))[:40]), "unexpected EOF"},
		"cut zstd":             {string(zstandard(t, []byte(good))[:20]), "EOF"},
		"cut dump":             {string(sampleRIB(t)[:100]), "cut off"},
		"dump, endless record": {"\x00\x00\x00\x00\x00\x0d\x00\x02\xff\xff\xff\xff", "bytes"},
	} {
		table, _, err := Read(strings.NewReader(tt.file), epoch)
		if err == nil || table != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: table %v, error %v, want %q", name, table != nil, err, tt.want)
		}
	}
	table, s, err := Read(strings.NewReader(good+strings.Repeat("bad\n", 10)), epoch)
	if err != nil || table.Len() != 1 || s.Bad != 10 || s.Problems[0].Line != 101 {
		t.Errorf("ten bad lines: %v, %+v", err, s)
	}
	long := good + strings.Repeat("x", 3*lineBytesMax) + "\n198.51.100.0/24\t64501\tafter\n"
	table, s, err = Read(strings.NewReader(long), epoch)
	if err != nil || table.Len() != 2 || s.Bad != 1 || s.Problems[0].Line != 101 {
		t.Errorf("an overlong line: %v, %+v", err, s)
	}
}

// TestHostile holds what files may cost that nobody should have made.
func TestHostile(t *testing.T) {
	var many strings.Builder
	for asn := range 1000 {
		fmt.Fprintf(&many, "192.0.2.0/24\t%d\n", 65536+asn)
	}
	const whole = "::\tffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\t64496\n"
	for _, tt := range []struct {
		name, file               string
		routes, origins, skipped int // of all, of the first, of lines
	}{
		{"one prefix of a thousand systems", many.String(), 1, originsMax, 0},
		{"all of IPv6 is 65536 routes", "192.0.2.0\t192.0.2.255\t64496\n" + whole, 1, 1, 1},
		{"a range of /8s", "0.0.0.0\t255.255.255.255\t64496\n", 256, 1, 0},
	} {
		table, s, err := Read(strings.NewReader(tt.file), epoch)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if f := table.Family(false); table.Len() != tt.routes || len(f.Origins(0)) != tt.origins || s.Skipped != tt.skipped {
			t.Errorf("%s: %d routes, %d origins, %+v", tt.name, table.Len(), len(f.Origins(0)), s)
		}
	}
	delegated := "example|ZZ|ipv4|192.0.2.0|256|20260101|allocated|"
	_, s, err := Read(strings.NewReader(delegated+"a\n"+delegated+strings.Repeat("b", 1000)+"\n"), epoch)
	if err != nil || s.Bad != 1 {
		t.Errorf("a holder of a thousand bytes: %v, %+v", err, s)
	}
}

// anMMDB returns a database of 24-bit records, one node, and one record for both
// halves of IPv4. Its metadata end with more.
func anMMDB(record, more string) string {
	const metadata = "\x4anode_count\xc1\x01" + "\x4brecord_size\xa1\x18" + "\x4aip_version\xa1\x04"
	pairs := "\xe3"
	if more != "" {
		pairs = "\xe4"
	}
	return "\x00\x00\x11\x00\x00\x11" + strings.Repeat("\x00", mmdbGap) + record + string(mmdbMark) + pairs + metadata + more
}

// TestHostileMMDB holds that values which claim millions of others are refused in
// front of the library, which would end the program or take a gigabyte.
func TestHostileMMDB(t *testing.T) {
	const (
		asn     = "\x58autonomous_system_number\xc2\xfb\xf0" // 24 bytes, uint32 64496
		slice   = "\x1f\x04\xff\xff\xff"                     // 16,843,036 values
		aMap    = "\xff\xff\xff\xff"
		pointer = "\x20"
	)
	empty := strings.Repeat("\x40", 16_843_036)
	for _, tt := range []struct{ name, record, more, want string }{
		{"good", "\xe1" + asn, "", ""},
		{"good, by a pointer", pointer + "\x02\xe1" + asn, "", ""},
		{"values that nobody asks for", "\xe2\x41x" + slice + empty + asn, "", "too large"},
		{"values by a pointer", pointer + "\x02" + "\xe2\x41x" + slice + empty + asn, "", "too large"},
		{"slices in slices", "\xe2\x41x" + strings.Repeat("\x01\x04", 2000) + "\x40" + asn, "", "too large"},
		{"a text of five kilobytes", "\xe2\x47as_name\x5e\x12\x00" + strings.Repeat("x", 5000) + asn, "", "too large"},
		{"a record that points to itself", pointer + "\x00", "", "too large"},
		{"a record that is not there", pointer + "\xff", "", "too large"},
		{"metadata with values that nobody asks for", "\xe1" + asn, "\x41x" + slice + empty, "too large"},
		{"metadata with room for as many languages", "\xe1" + asn, "\x49languages" + slice, "too large"},
		{"metadata with a description of as many", "\xe1" + asn, "\x4bdescription" + aMap, "too large"},
	} {
		table, _, err := Read(strings.NewReader(anMMDB(tt.record, tt.more)), epoch)
		if tt.want == "" && (err != nil || table.Len() != 256) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.want != "" && (err == nil || table != nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: table %v, error %v, want %q", tt.name, table != nil, err, tt.want)
		}
	}
}

// TestNames: a snapshot has room for 255 bytes of a name, and a table for as many
// names as there may be systems.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		strings.Repeat("x", 255):              strings.Repeat("x", 255),
		strings.Repeat("x", 1000):             strings.Repeat("x", 255),
		strings.Repeat("x", 254) + "é":        strings.Repeat("x", 254),
		strings.Repeat("\xb0", 300):           strings.Repeat("\xb0", 251), // no UTF-8, and what might be a part of it is gone
		strings.Repeat("x", 252) + "€" + "xx": strings.Repeat("x", 252) + "€",
	} {
		table, _, err := Read(strings.NewReader("192.0.2.0/24\t64496\t"+name+"\n"), epoch)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := table.System(64496); got.Name != want {
			t.Errorf("%.10q of %d bytes: got %d bytes, want %d", name, len(name), len(got.Name), len(want))
		}
	}
	var b Builder
	for i := range namesMax + 100 {
		b.SetName(snapshot.ASN(1+i), "N")
	}
	if len(b.names) != namesMax {
		t.Errorf("%d names, want %d", len(b.names), namesMax)
	}
}

// TestNilTable is empty and answers.
func TestNilTable(t *testing.T) {
	var none *Table
	u := UnitOf(netip.MustParseAddr("2001:db8::"))
	if none.Len() != 0 || none.Covering(u) != nil || none.Systems() != nil || none.Prefixes(64500) != nil || !none.Dated().IsZero() || !none.Family(true).v6 {
		t.Error("the nil table is not empty")
	}
}

// TestReload keeps the old table when a file turns bad.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	v4, v6 := filepath.Join(dir, "v4"), filepath.Join(dir, "v6")
	put := func(path, text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	four := "192.0.2.0/24\t64500\tA\n198.51.100.0/24\t64500\tA\n203.0.113.0/24\t64500\tA\n"
	put(v4, four, epoch)
	put(v6, "2001:db8::/32\t64501\tB\n", epoch.Add(-time.Hour))
	s, stats, err := Open(v4, v6)
	if err != nil || len(stats) != 2 || s.Table().Len() != 4 || !s.Table().Dated().Equal(epoch.Add(-time.Hour)) {
		t.Fatalf("open: %v, %+v", err, stats)
	}
	if s.changed() {
		t.Error("changed at once")
	}
	old := s.Table()
	put(v4, "nothing of use\n", epoch.Add(time.Second))
	if !s.changed() {
		t.Error("a change goes unseen")
	}
	if _, err := s.Reload(); err == nil || !strings.Contains(err.Error(), v4) || s.Table() != old {
		t.Errorf("bad file: error %v, or the old table is gone", err)
	}
	if s.changed() {
		t.Error("a bad file is read again without a change")
	}
	put(v4, "", epoch.Add(2*time.Second))
	put(v6, "2001:db8::/32\t64501\tB\n", epoch)
	if err := os.Remove(v6); err != nil {
		t.Fatal(err)
	}
	if s.changed() {
		t.Error("a missing file counts as a change")
	}
	if _, err := s.Reload(); err == nil || s.Table() != old {
		t.Errorf("missing file: error %v, or the old table is gone", err)
	}
	put(v6, "2001:db8::/32\t64501\tB\n", epoch)
	put(v4, "192.0.2.0/24\t64500\tA\n", epoch.Add(3*time.Second))
	if _, err := s.Reload(); err != nil || s.Table().Len() != 2 {
		t.Errorf("half of the routes: error %v", err)
	}
	put(v4, four, epoch.Add(4*time.Second))
	if _, err := s.Reload(); err != nil || s.Table().Len() != 4 {
		t.Errorf("good again: error %v", err)
	}
	put(v4, "2001:db8::/32\t64501\tB\n", epoch.Add(5*time.Second))
	if _, err := s.Reload(); err == nil || s.Table().Len() != 4 {
		t.Errorf("a quarter of the routes: error %v, want it refused", err)
	}
	if _, _, err := Open(filepath.Join(dir, "none")); err == nil {
		t.Error("open of a missing file succeeds")
	}
}

// TestWatch reloads a file that has changed.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(path, []byte("192.0.2.0/24\t64500\tA\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reloaded := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, time.Millisecond, func(_ []Stats, err error) { reloaded <- err })
	}()
	if err := os.WriteFile(path+".new", []byte("192.0.2.0/24\t64500\tA\n198.51.100.0/24\t64500\tA\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if err := <-reloaded; err != nil || s.Table().Len() != 2 {
		t.Errorf("reload: %v, %d routes", err, s.Table().Len())
	}
	cancel()
	<-ended
}

// FuzzRead holds every reader to: no panic, no table with an error, and a table
// whose routes are masked, in order and linked.
func FuzzRead(f *testing.F) {
	seeds, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(seeds) < 9 {
		f.Fatalf("seeds %q: %v", seeds, err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 4<<10 && !strings.HasSuffix(path, ".want") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 8<<10 {
			return // every byte of an MMDB costs time, and more of them find no more
		}
		table, s, err := Read(bytes.NewReader(in), epoch)
		if err != nil {
			if table != nil {
				t.Fatal("a table with an error")
			}
			return
		}
		if s.Routes == 0 || table.Len() == 0 || table.Len() > s.Routes {
			t.Fatalf("%d routes, statistics %+v", table.Len(), s)
		}
		for _, v6 := range []bool{false, true} {
			fam := table.Family(v6)
			for i := range fam.Len() {
				checkRoute(t, fam, i)
			}
		}
	})
}

func checkRoute(t *testing.T, f *Family, i int) {
	p := f.Prefix(i)
	if p != p.Masked() || p.Bits() < minBits(f.v6) || p.Bits() > width(f.v6) || !slices.IsSorted(f.Origins(i)) {
		t.Fatalf("route %v %v", p, f.Origins(i))
	}
	if i > 0 && (f.Start(i) < f.Start(i-1) || f.Start(i) == f.Start(i-1) && f.Bits(i) <= f.Bits(i-1)) {
		t.Fatalf("%v comes after %v", p, f.Prefix(i-1))
	}
	if up := f.Parent(i); up >= 0 && (f.Start(up) > f.Start(i) || f.Last(up) < f.Last(i)) {
		t.Fatalf("%v is no parent of %v", f.Prefix(up), p)
	}
	if f.Find(f.Start(i)) < i {
		t.Fatalf("%v is not found", p)
	}
}

// BenchmarkLoad asks how long a million prefixes take.
func BenchmarkLoad(b *testing.B) {
	rnd := rand.New(rand.NewPCG(4, 9))
	var text bytes.Buffer
	for range 1_000_000 {
		bits := 16 + rnd.IntN(9)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + rnd.IntN(220)), byte(rnd.IntN(256)), byte(rnd.IntN(256))}), bits).Masked()
		fmt.Fprintf(&text, "%v\t%d\tExample Network %d\n", p, 64496+rnd.IntN(16), rnd.IntN(1000))
	}
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		table, _, err := Read(bytes.NewReader(text.Bytes()), epoch)
		if err != nil || table.Len() < 500_000 {
			b.Fatal(err)
		}
	}
}
