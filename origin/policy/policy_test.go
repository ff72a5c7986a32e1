package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

const testNow = int64(1_800_000_000) // on the hour

var epoch = time.Unix(testNow, 0)

func named(tb testing.TB, name string) *Profile {
	tb.Helper()
	p, err := Named(name)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// demo returns a profile that may list documentation ranges.
func demo(tb testing.TB, name string) *Profile {
	tb.Helper()
	text := strings.Replace(named(tb, name).text, "documentation = false", "documentation = true", 1)
	p, err := ParseProfile(text)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// impactsIn makes n abusers at the start of a prefix, one impact each, from
// two reporters in turn.
func impactsIn(prefix string, n int, seen int64) []Impact {
	u := routes.UnitOf(netip.MustParsePrefix(prefix).Addr())
	var all []Impact
	for i := range n {
		all = append(all, Impact{Unit: routes.Unit{Key: u.Key + uint64(i), V6: u.V6}, Seen: seen, Reporter: uint32(i % 2), Kind: snapshot.Spamtrap})
	}
	return all
}

func tableOf(tb testing.TB, rows ...string) *routes.Table {
	tb.Helper()
	table, _, err := routes.Read(strings.NewReader(strings.Join(rows, "\n")), epoch)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

func listing(r *Result, level snapshot.Level, prefix string) (snapshot.Listing, bool) {
	for l := range r.All() {
		if l.Level == level && l.Prefix == netip.MustParsePrefix(prefix) && !l.Excluded {
			return l, true
		}
	}
	return snapshot.Listing{}, false
}

// TestThresholds is POLICY's table of Level 2, each row at T-1 and T, in IPv4
// and in every IPv6 length that maps to it.
func TestThresholds(t *testing.T) {
	rows := []struct{ bits, classic, impacts int }{
		{32, 1, 1}, {31, 1, 1}, {30, 1, 1}, {29, 1, 1}, {28, 1, 1}, {27, 1, 1},
		{26, 2, 2}, {25, 2, 3}, {24, 5, 4}, {23, 10, 6}, {22, 15, 9}, {21, 25, 15}, {20, 40, 21}, {19, 65, 30},
		{18, 105, 45}, {17, 170, 66}, {16, 275, 96}, {15, 445, 141}, {14, 720, 207}, {13, 1165, 303},
		{12, 1885, 444}, {11, 3050, 651}, {10, 4935, 954}, {9, 7985, 1398}, {8, 12920, 2049},
	}
	for _, row := range rows {
		prefixes := []string{fmt.Sprintf("8.0.0.0/%d", row.bits)}
		for bits := 16; bits <= 64; bits++ {
			if Row(true, bits) == row.bits {
				prefixes = append(prefixes, fmt.Sprintf("2a00::/%d", bits))
			}
		}
		if len(prefixes) != 3 && row.bits != 32 && row.bits != 8 {
			t.Errorf("/%d: IPv6 lengths %v, want two", row.bits, prefixes[1:])
		}
		for _, prefix := range prefixes {
			testThreshold(t, "classic", prefix, row.classic)
			testThreshold(t, "careful", prefix, row.classic)
			testThreshold(t, "impacts", prefix, row.impacts)
		}
	}
}

func testThreshold(t *testing.T, profile, prefix string, threshold int) {
	t.Helper()
	table := tableOf(t, prefix+"\t64500\tExample Net")
	for _, n := range []int{threshold - 1, threshold} {
		if profile == "careful" && n < 2 {
			continue // the profile asks for two reporters
		}
		impacts := impactsIn(prefix, n, testNow-3600)
		if width := routes.UnitOf(netip.MustParsePrefix(prefix).Addr()).Prefix().Bits(); 1<<min(40, width-netip.MustParsePrefix(prefix).Bits()) < n {
			t.Fatalf("%s cannot hold %d abusers", prefix, n)
		}
		l, got := listing(Decide(Input{Now: testNow, Profile: named(t, profile), Impacts: impacts, Routes: table}), snapshot.Allocation, prefix)
		if want := n >= threshold; got != want {
			t.Errorf("%s %s with %d of %d: listed %v, want %v", profile, prefix, n, threshold, got, want)
		}
		if got && (l.Count != uint32(n) || l.Threshold != uint32(threshold) || l.ASN != 64500 || l.ASName != "Example Net" || l.End != 0) {
			t.Errorf("%s %s: facts %+v", profile, prefix, l.Facts)
		}
	}
}

// TestRow is the mapping of IPv6 lengths in the words of POLICY.
func TestRow(t *testing.T) {
	for bits, want := range map[int]int{64: 32, 56: 28, 48: 24, 40: 20, 32: 16, 63: 31, 62: 31, 47: 23, 16: 8, 15: 7} {
		if got := Row(true, bits); got != want {
			t.Errorf("/%d maps to /%d, want /%d", bits, got, want)
		}
	}
	if got := named(t, "classic").Threshold(netip.MustParsePrefix("8.0.0.0/7")); got != 0 {
		t.Errorf("a /7 has threshold %d, want none", got)
	}
}

// TestWindow is the life of a Level 1 listing, to the second.
func TestWindow(t *testing.T) {
	const day = 86400
	t0 := testNow - 1234
	tests := []struct {
		name   string
		seen   []int64
		now    int64
		listed bool
		end    int64 // exact
	}{
		{"at once", []int64{t0}, t0, true, t0 + 7*day},
		{"a second before it is seen", []int64{t0}, t0 - 1, false, 0},
		{"last second", []int64{t0}, t0 + 7*day - 1, true, t0 + 7*day},
		{"seven days", []int64{t0}, t0 + 7*day, false, 0},
		{"a second later", []int64{t0}, t0 + 7*day + 1, false, 0},
		{"renewed on day 6", []int64{t0, t0 + 6*day}, t0 + 7*day, true, t0 + 13*day},
		{"day 13, last second", []int64{t0, t0 + 6*day}, t0 + 13*day - 1, true, t0 + 13*day},
		{"day 13", []int64{t0, t0 + 6*day}, t0 + 13*day, false, 0},
		{"too soon to count, but it renews", []int64{t0, t0 + 60}, t0 + 7*day + 59, true, t0 + 7*day + 60},
	}
	for _, tt := range tests {
		for _, profile := range Names() {
			for _, address := range []string{"8.8.4.4", "2a00:1:2:3::1"} {
				u := routes.UnitOf(netip.MustParseAddr(address))
				in := Input{Now: tt.now, Profile: named(t, profile)}
				for _, s := range tt.seen {
					in.Impacts = append(in.Impacts, Impact{Unit: u, Seen: s, Kind: snapshot.Scan})
				}
				l, got := listing(Decide(in), snapshot.Address, u.Prefix().String())
				if got != tt.listed {
					t.Errorf("%s, %s, %s: listed %v, want %v", tt.name, profile, address, got, tt.listed)
				}
				if got && l.End != snapshot.HourOf(tt.end) {
					t.Errorf("%s: end %d, want %d", tt.name, l.End.Seconds(), snapshot.HourOf(tt.end).Seconds())
				}
			}
		}
	}
}

// TestSpacing is the count of impacts at least four hours apart.
func TestSpacing(t *testing.T) {
	const h = 3600
	for _, tt := range []struct {
		seen []int64
		want uint32
	}{
		{[]int64{0}, 1},
		{[]int64{0, 0}, 1},
		{[]int64{0, 4*h - 1}, 1},
		{[]int64{0, 4 * h}, 2},
		{[]int64{0, 3 * h, 6 * h, 9 * h}, 2},
		{[]int64{9 * h, 0, 4 * h}, 3},
	} {
		in := Input{Now: testNow, Profile: named(t, "impacts"), Routes: tableOf(t, "8.8.0.0/27\t64500\tExample")}
		for _, s := range tt.seen {
			in.Impacts = append(in.Impacts, Impact{Unit: routes.UnitOf(netip.MustParseAddr("8.8.0.1")), Seen: testNow - 20*h + s, Kind: snapshot.Scan})
		}
		if l, _ := listing(Decide(in), snapshot.Allocation, "8.8.0.0/27"); l.Count != tt.want {
			t.Errorf("impacts at %v: count %d, want %d", tt.seen, l.Count, tt.want)
		}
		in.Profile = named(t, "classic")
		if l, _ := listing(Decide(in), snapshot.Address, "8.8.0.1/32"); l.Count != uint32(len(tt.seen)) {
			t.Errorf("impacts at %v: classic counts %d of the address, want all %d", tt.seen, l.Count, len(tt.seen))
		}
	}
}

// TestNesting keeps every nested candidate and judges each alone.
func TestNesting(t *testing.T) {
	table := tableOf(t, "8.8.0.0/16\t64500\tWide", "8.8.0.0/22\t64501\tMiddle", "8.8.0.0/25\t64502\tNarrow", "8.8.2.0/28\t64503\tTiny")
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: table}
	in.Impacts = slices.Concat(impactsIn("8.8.0.0/25", 4, testNow), impactsIn("8.8.2.0/28", 1, testNow),
		impactsIn("8.8.1.0/24", 5, testNow), impactsIn("8.8.3.128/25", 4, testNow), impactsIn("8.8.0.200/32", 1, testNow))
	r := Decide(in)
	want := map[string]uint32{
		"8.8.0.0/25": 4, // of 2
		"8.8.2.0/28": 1, // of 1
		"8.8.1.0/24": 5, // own net of abusers in the /22
		"8.8.0.0/24": 5, // own net of 8.8.0.200, with those of the /25
		"8.8.0.0/22": 15,
	}
	got := map[string]uint32{}
	for l := range r.All() {
		if l.Level == snapshot.Allocation {
			got[l.Prefix.String()] = l.Count
		}
	}
	for p, n := range want {
		if got[p] != n {
			t.Errorf("%s: count %d, want %d", p, got[p], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if l, _ := listing(r, snapshot.Allocation, "8.8.0.0/24"); l.ASN != 64501 {
		t.Errorf("own net is named for AS%d, want the narrowest announced prefix around it, AS64501", l.ASN)
	}
}

// TestOwnNet adds an abuser's own net only where its announced prefix is wider.
func TestOwnNet(t *testing.T) {
	for _, tt := range []struct {
		route, impacts, own string
		want                bool
	}{
		{"8.8.0.0/23", "8.8.1.0/24", "8.8.1.0/24", true},
		{"8.8.1.0/25", "8.8.1.0/25", "8.8.1.0/24", false},
		{"9.9.0.0/16", "8.8.1.0/24", "8.8.1.0/24", false}, // nobody announces it
		{"2a00::/47", "2a00:0:1::/48", "2a00:0:1::/48", true},
		{"2a00:0:1::/49", "2a00:0:1::/49", "2a00:0:1::/48", false},
	} {
		in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, tt.route+"\t64500\tExample"), Impacts: impactsIn(tt.impacts, 5, testNow)}
		if _, got := listing(Decide(in), snapshot.Allocation, tt.own); got != tt.want {
			t.Errorf("5 abusers in %s, announced %s: own net listed %v, want %v", tt.impacts, tt.route, got, tt.want)
		}
	}
}

// TestScore is POLICY's arithmetic and its printed examples.
func TestScore(t *testing.T) {
	for _, tt := range []struct{ impacts, size, tenths uint64 }{
		{55, 1024, 53711}, {160, 34025472, 5}, {50, 100000, 500}, {0, 1, 0}, {1, 0, 0},
		{49_975, 100_000_000, 500}, {49_949, 100_000_000, 499}, {49_950, 100_000_000, 500},
	} {
		if got := ScoreTenths(tt.impacts, tt.size); got != tt.tenths {
			t.Errorf("%d impacts / %d = %s, want %s", tt.impacts, tt.size, tenths(got), tenths(tt.tenths))
		}
	}
	p := named(t, "impacts")
	for _, size := range []uint64{1, 256, 1024, 100_000, 100_100, 100_101, 34_025_472, 1 << 40} {
		n := p.SystemThreshold(routes.System{Addresses: size})
		if n < 50 || ScoreTenths(n, size) < 500 || n > 50 && ScoreTenths(n-1, size) >= 500 {
			t.Errorf("size %d: threshold %d is not the least", size, n)
		}
	}
}

// TestSystemThresholds is Level 3 at T-1 and T.
func TestSystemThresholds(t *testing.T) {
	tests := []struct {
		profile string
		routes  []string
		where   string
		want    int
	}{
		{"classic", []string{"8.8.0.0/24"}, "8.8.0.0/24", 100},
		{"classic", []string{"8.8.0.0/16"}, "8.8.0.0/16", 132},                // 131.07 rounded up
		{"classic", []string{"8.8.0.0/16", "8.8.4.0/24"}, "8.8.0.0/16", 132},  // each address once
		{"classic", []string{"8.0.0.0/9"}, "8.0.0.0/9", 10000},                // not 16 778
		{"classic", []string{"2a00::/40"}, "2a00::/40", 132},                  // 256 x 256
		{"classic", []string{"2a00::/40", "8.8.0.0/24"}, "2a00::/40", 100},    // IPv4 sets the size
		{"impacts", []string{"8.8.0.0/24"}, "8.8.0.0/24", 50},                 // score is far above
		{"impacts", []string{"8.8.0.0/15"}, "8.8.0.0/15", 66},                 // 65.47
		{"impacts", []string{"2a00::/39"}, "2a00::/39", 66},                   // the same in IPv6
		{"impacts", []string{"8.8.0.0/15", "8.8.128.0/17"}, "8.8.0.0/15", 66}, // each address once
		{"careful", []string{"8.8.0.0/22", "8.8.0.0/23"}, "8.8.0.0/22", 50},
	}
	for _, tt := range tests {
		var rows []string
		for _, r := range tt.routes {
			rows = append(rows, r+"\t64500\tExample Net")
		}
		table := tableOf(t, rows...)
		for _, n := range []int{tt.want - 1, tt.want} {
			in := Input{Now: testNow, Profile: named(t, tt.profile), Routes: table, Impacts: impactsIn(tt.where, n, testNow)}
			r := Decide(in)
			for _, p := range tt.routes {
				l, got := listing(r, snapshot.System, p)
				if want := n >= tt.want; got != want {
					t.Errorf("%s %v with %d abusers: %s listed %v, want %v", tt.profile, tt.routes, n, p, got, want)
				}
				if got && (l.Count != uint32(n) || l.Threshold != uint32(tt.want) || l.ASN != 64500 || l.ASName != "Example Net") {
					t.Errorf("%s %v: facts %+v", tt.profile, tt.routes, l.Facts)
				}
			}
		}
	}
}

// TestCareful asks for two reporters, and for two nets at Level 3.
func TestCareful(t *testing.T) {
	table := tableOf(t, "8.8.0.0/22\t64500\tExample", "8.8.0.0/23\t64500\tExample")
	in := Input{Now: testNow, Profile: named(t, "careful"), Routes: table, Impacts: impactsIn("8.8.0.0/22", 60, testNow)}
	if _, ok := listing(Decide(in), snapshot.System, "8.8.0.0/22"); !ok {
		t.Error("60 abusers, two reporters, three nets: AS not listed")
	}
	for i := range in.Impacts {
		in.Impacts[i].Reporter = 9
	}
	for l := range Decide(in).All() {
		if l.Level != snapshot.Address {
			t.Errorf("one reporter alone: listed %v at level %d", l.Prefix, l.Level)
		}
	}
	// One net: a single announced /24 holds them all.
	in.Routes = tableOf(t, "8.8.0.0/24\t64500\tExample")
	in.Impacts = impactsIn("8.8.0.0/24", 60, testNow)
	r := Decide(in)
	if _, ok := listing(r, snapshot.Allocation, "8.8.0.0/24"); !ok {
		t.Error("two reporters: /24 not listed")
	}
	if _, ok := listing(r, snapshot.System, "8.8.0.0/24"); ok {
		t.Error("one listed net: AS listed")
	}
}

// TestMultiOrigin counts a shared prefix for every origin and names the lowest.
func TestMultiOrigin(t *testing.T) {
	table := tableOf(t, "8.8.0.0/24\t64501_64500\t", "9.9.0.0/24\t64501\tSecond", "7.7.0.0/24\t64500\tFirst")
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: table, Impacts: impactsIn("8.8.0.0/24", 100, testNow)}
	r := Decide(in)
	for _, p := range []string{"8.8.0.0/24", "9.9.0.0/24", "7.7.0.0/24"} {
		if _, ok := listing(r, snapshot.System, p); !ok {
			t.Errorf("%s is not on Level 3", p)
		}
	}
	if l, _ := listing(r, snapshot.System, "8.8.0.0/24"); l.ASN != 64500 || l.ASName != "First" {
		t.Errorf("shared prefix is listed for AS%d %q, want the lowest", l.ASN, l.ASName)
	}
}

// TestDocumentedText is the line that 301 abusers in a /16 have always given.
func TestDocumentedText(t *testing.T) {
	in := Input{Now: testNow, Profile: demo(t, "classic"), Routes: tableOf(t, "8.8.0.0/16\t64500\tEXAMPLE-NET"), Impacts: impactsIn("8.8.0.0/16", 301, testNow)}
	l, ok := listing(Decide(in), snapshot.Allocation, "8.8.0.0/16")
	if !ok {
		t.Fatal("301 abusers in a /16 are not listed")
	}
	const template = "Net {net} is UCEPROTECT-Level2 listed because of {count} abusers. Your ISP {as_name}/AS{asn} has to fix this. See: {url}?ipr={ip}"
	got := strings.NewReplacer("{net}", l.Prefix.String(), "{count}", fmt.Sprint(l.Count), "{as_name}", l.ASName,
		"{asn}", fmt.Sprint(l.ASN), "{url}", "https://bl.example/", "{ip}", "8.8.200.1").Replace(template)
	const want = "Net 8.8.0.0/16 is UCEPROTECT-Level2 listed because of 301 abusers. Your ISP EXAMPLE-NET/AS64500 has to fix this. See: https://bl.example/?ipr=8.8.200.1"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestExemption leaves an exempt address out of Levels 2 and 3 until it is on
// Level 1 itself.
func TestExemption(t *testing.T) {
	a := netip.MustParseAddr("8.8.0.200")
	in := Input{
		Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample"),
		Impacts:    impactsIn("8.8.0.0/24", 100, testNow-3600),
		Exemptions: []Exemption{{Address: a, From: testNow - 10}, {Address: netip.MustParseAddr("9.9.9.9")}},
	}
	excluded := func() (levels []snapshot.Level) {
		for l := range Decide(in).All() {
			if l.Excluded {
				if l.Prefix.Addr() != a {
					t.Errorf("%v is excluded", l.Prefix)
				}
				levels = append(levels, l.Level)
			}
		}
		return levels
	}
	if got := excluded(); !slices.Equal(got, []snapshot.Level{2, 3}) {
		t.Errorf("exempt: excluded at %v, want Levels 2 and 3", got)
	}
	in.Exemptions[0].Until = testNow
	if got := excluded(); got != nil {
		t.Errorf("ended exemption: excluded at %v", got)
	}
	in.Exemptions[0].Until = 0
	in.Impacts = append(in.Impacts, Impact{Unit: routes.UnitOf(a), Seen: testNow - 5, Kind: snapshot.Scan})
	if got := excluded(); got != nil {
		t.Errorf("own impact: excluded at %v, want the exemption suspended", got)
	}
	l, _ := listing(Decide(in), snapshot.Allocation, "8.8.0.0/24")
	if l.Count != 101 {
		t.Errorf("own impact: count %d, want it to count: 101", l.Count)
	}
	in.Now += Window - 5 // now the exempt address has expired, and it was the last
	if _, ok := listing(Decide(in), snapshot.Address, "8.8.0.200/32"); ok {
		t.Error("still listed after seven days")
	}
}

// TestNever keeps special-use and protected space off every level.
func TestNever(t *testing.T) {
	table := tableOf(t, "192.0.2.0/24\t64500\tDocs", "10.0.0.0/8\t64501\tPrivate", "8.8.0.0/16\t64502\tExample", "192.0.0.0/16\t64503\tAround")
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: table,
		Protected: []Protected{{netip.MustParsePrefix("8.8.1.0/24"), "our own mail servers"}}}
	in.Impacts = slices.Concat(impactsIn("192.0.2.0/24", 200, testNow), impactsIn("10.0.0.0/24", 200, testNow),
		impactsIn("8.8.1.0/24", 200, testNow), impactsIn("fe80::/64", 1, testNow), impactsIn("2001:db8::/64", 1, testNow))
	if got := Decide(in).Listings(); len(got) != 0 {
		t.Errorf("never-listed space gave %d listings, the first %+v", len(got), got[0])
	}
	in.Impacts = append(in.Impacts, impactsIn("8.8.128.0/17", 300, testNow)...)
	in.Impacts = append(in.Impacts, impactsIn("192.0.128.0/17", 300, testNow)...)
	r := Decide(in)
	if l, ok := listing(r, snapshot.Allocation, "8.8.0.0/16"); !ok || l.Count != 300 {
		t.Errorf("/16: listed %v with %d, want 300 without the protected ones", ok, l.Count)
	}
	var excluded []string
	for l := range r.All() {
		if l.Excluded {
			excluded = append(excluded, fmt.Sprintf("%d %v", l.Level, l.Prefix))
		}
	}
	want := []string{"2 8.8.1.0/24", "2 192.0.0.0/24", "2 192.0.2.0/24", "3 8.8.1.0/24", "3 192.0.0.0/24", "3 192.0.2.0/24"}
	for _, w := range want {
		if !slices.Contains(excluded, w) {
			t.Errorf("no exclusion %s inside a listed net; have %v", w, excluded)
		}
	}
	in.Profile = demo(t, "classic")
	if _, ok := listing(Decide(in), snapshot.Allocation, "192.0.2.0/24"); !ok {
		t.Error("the profile allows documentation ranges, but they are not listed")
	}
}

// TestNeverInsideUnit keeps a protected address off Level 1 while the /64 around
// it is listed for others, in the image that edges look it up in, too.
func TestNeverInsideUnit(t *testing.T) {
	own, neighbour := netip.MustParseAddr("2a00:1:2:3::25"), netip.MustParseAddr("2a00:1:2:3::26")
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "2a00:1::/32\t64500\tExample Net"),
		Protected: []Protected{{netip.PrefixFrom(own, 128), "our own mail server"}, {netip.MustParsePrefix("2a00:1:2:4::/96"), "a range"}}}
	byHand := Manual{netip.MustParsePrefix("2a00:1:2:4::/64"), testNow - 60, testNow + 3600, "a"}
	protected := Manual{netip.PrefixFrom(own, 128), testNow - 60, testNow + 3600, "b"}
	for _, tt := range []struct {
		name    string
		impacts []Impact
		manual  []Manual
		listed  bool // neighbour
	}{
		{"nothing", nil, []Manual{protected}, false},
		{"impacts", impactsIn("2a00:1:2:3::/64", 3, testNow-60), []Manual{byHand}, true},
		{"by hand", nil, []Manual{{netip.PrefixFrom(neighbour, 128), testNow - 60, testNow + 3600, "c"}, byHand}, true},
	} {
		in.Impacts, in.Manual = tt.impacts, tt.manual
		r := Decide(in)
		s, err := snapshot.Open(image(t, r))
		if err != nil {
			t.Fatal(err)
		}
		for a, want := range map[netip.Addr]bool{own: false, neighbour: tt.listed,
			netip.MustParseAddr("2a00:1:2:4::1"): false, netip.MustParseAddr("2a00:1:2:4:1::"): tt.listed} {
			if got := s.Lookup(snapshot.Address, a, testNow).Listed; got != want {
				t.Errorf("%s: %v listed %v, want %v", tt.name, a, got, want)
			}
			if got := Explain(in, r, a); got.Level1.Listed != want || got.LevelListed == 1 != want {
				t.Errorf("%s: %v explained as\n%s", tt.name, a, got.Text())
			}
		}
		limits := snapshot.Limits{Protected: []netip.Prefix{in.Protected[0].Prefix, in.Protected[1].Prefix}}
		if err := s.Sane(limits); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if excluded := int(s.Collateral()[0].Excluded); !tt.listed && excluded != 0 {
			t.Errorf("%s: %d exclusions where nothing is listed", tt.name, excluded)
		}
	}
	in.Impacts = impactsIn("2a00:1:2:3::/64", 3, testNow-86400)
	for a, want := range map[netip.Addr]string{own: "unlisted", neighbour: ""} {
		if got := ruleOf(CheckRemoval(in, RemovalRequest{a, true})); got != want {
			t.Errorf("removal of %v: refused by %q, want %q", a, got, want)
		}
	}
	if got := ruleOf(CheckManual(in, protected)); got != "never" {
		t.Errorf("listing of a protected address by hand: refused by %q, want never", got)
	}
}

// TestNeverAroundMapped lists nothing around the IPv4-mapped addresses, which no
// image can leave out, and refuses reports about it.
func TestNeverAroundMapped(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "::/32\t64500\tExample Net")}
	in.Impacts = slices.Concat(impactsIn("::/64", 1, testNow), impactsIn("0:0:1::/48", 300, testNow))
	r := Decide(in)
	if r.Abusers() != 300 {
		t.Errorf("%d abusers, want 300 and not ::/64", r.Abusers())
	}
	s, err := snapshot.Open(image(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sane(snapshot.DefaultLimits()); err != nil {
		t.Error(err)
	}
	const around = "space around the IPv4-mapped addresses (RFC 4291)" // true of an address and of its /64
	never := Never(in.Profile, nil)
	for p, want := range map[string]string{
		"::5/128": around, "::/64": around, "::/96": around, "::/8": around, "0:0:0:1::5/128": "", "0:0:0:1::/64": "",
		"::1/128": "Loopback Address (RFC 4291)", "64:ff9b:0:0:1::/128": "", "64:ff9b::1/128": "IPv4-IPv6 Translation (RFC 6052)",
	} {
		if why, _ := never(netip.MustParsePrefix(p)); why != want {
			t.Errorf("%s is never listed because of %q, want %q", p, why, want)
		}
	}
}

// TestManual lists by hand for seven days at most, and without counting.
func TestManual(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/16\t64500\tExample")}
	in.Manual = []Manual{
		{netip.MustParsePrefix("8.8.0.1/32"), testNow - 60, testNow + 3600, "a"},
		{netip.MustParsePrefix("8.8.4.0/22"), testNow - 60, testNow + 90*86400, "b"},
		{netip.MustParsePrefix("10.0.0.0/24"), testNow - 60, testNow + 3600, "c"},
	}
	r := Decide(in)
	if l, ok := listing(r, snapshot.Address, "8.8.0.1/32"); !ok || l.Kinds != snapshot.Manual || l.End != snapshot.HourOf(testNow+3600) {
		t.Errorf("address: %v %+v", ok, l)
	}
	if l, ok := listing(r, snapshot.Allocation, "8.8.4.0/22"); !ok || l.ASN != 64500 || l.End != snapshot.HourOf(testNow-60+Window) {
		t.Errorf("allocation: %v %+v", ok, l)
	}
	if got := r.Len(); got != 2 {
		t.Errorf("%d listings, want 2: never-listed space stays so by hand", got)
	}
	in.Now = testNow - 60 + Window
	if got := Decide(in).Len(); got != 0 {
		t.Errorf("%d listings after seven days", got)
	}
	in.Now = testNow
	in.Impacts = impactsIn("8.8.0.1/32", 1, testNow-10)
	l, _ := listing(Decide(in), snapshot.Address, "8.8.0.1/32")
	if l.End != snapshot.HourOf(testNow-10+Window) || l.Kinds != snapshot.Manual|snapshot.Spamtrap {
		t.Errorf("listed by both: %+v, want the later end and both kinds", l)
	}
	for m, want := range map[Manual]string{
		{netip.MustParsePrefix("8.8.0.1/32"), testNow, testNow + 60, "new"}:       "",
		{netip.MustParsePrefix("8.8.0.1/32"), testNow, testNow + 60, "a"}:         "evidence",
		{netip.MustParsePrefix("8.8.0.1/32"), testNow, testNow + 60, ""}:          "evidence",
		{netip.MustParsePrefix("8.8.0.1/32"), testNow, testNow + Window + 1, "d"}: "term",
		{netip.MustParsePrefix("8.0.0.0/7"), testNow, testNow + 60, "d"}:          "wide",
		{netip.MustParsePrefix("127.0.0.1/32"), testNow, testNow + 60, "d"}:       "never",
	} {
		if got := ruleOf(CheckManual(in, m)); got != want {
			t.Errorf("manual %v %q: refused by %q, want %q", m.Prefix, m.Evidence, got, want)
		}
	}
}

// TestPurge removes what stands on a withdrawn reporter alone.
func TestPurge(t *testing.T) {
	in := Input{Now: testNow, Profile: named(t, "classic"), Routes: tableOf(t, "8.8.0.0/24\t64500\tExample")}
	add := func(a string, reporter uint32, ago int64) {
		in.Impacts = append(in.Impacts, Impact{Unit: routes.UnitOf(netip.MustParseAddr(a)), Seen: testNow - ago, Reporter: reporter, Kind: snapshot.Scan})
	}
	for i := range 4 {
		add(fmt.Sprintf("8.8.0.%d", i), 1, 60)
	}
	add("8.8.0.3", 2, 100)
	add("8.8.0.4", 2, 60)
	if _, ok := listing(Decide(in), snapshot.Allocation, "8.8.0.0/24"); !ok {
		t.Fatal("five abusers: /24 not listed")
	}
	in.Withdrawn = []Withdrawal{{Reporter: 1, At: testNow + 1}}
	if got := Decide(in).Abusers(); got != 5 {
		t.Errorf("withdrawal to come: %d abusers, want 5", got)
	}
	in.Withdrawn[0].At = testNow
	r := Decide(in)
	if got := r.Abusers(); got != 2 {
		t.Errorf("%d abusers, want the 2 that another reporter named", got)
	}
	if l, _ := listing(r, snapshot.Address, "8.8.0.3/32"); l.Count != 2 {
		t.Errorf("an address of both: count %d, want its 2 kept", l.Count)
	}
	if _, ok := listing(r, snapshot.Allocation, "8.8.0.0/24"); ok {
		t.Error("/24 is still listed with 2 abusers")
	}
}

// TestOrder gives the same result for the same evidence in any order.
func TestOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	for range 50 {
		in, all := randomWorld(rnd)
		in.Routes = modelTable(t, all)
		for _, name := range Names() {
			in.Profile = named(t, name)
			want := Decide(in).Listings()
			again := in
			again.Impacts = slices.Clone(in.Impacts)
			again.Removals = slices.Clone(in.Removals)
			again.Exemptions = slices.Clone(in.Exemptions)
			again.Protected = slices.Clone(in.Protected)
			shuffle(rnd, again.Impacts)
			shuffle(rnd, again.Removals)
			shuffle(rnd, again.Exemptions)
			shuffle(rnd, again.Protected)
			if got := Decide(again).Listings(); !slices.Equal(got, want) {
				t.Fatalf("%s: another order gives %d listings, or others than the %d", name, len(got), len(want))
			}
			if !slices.IsSortedFunc(want, compareListing) {
				t.Fatalf("%s: listings are not in canonical order", name)
			}
		}
	}
}

func shuffle[T any](rnd *rand.Rand, s []T) {
	rnd.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// TestProfileRefused is one bad change to a good profile per row.
func TestProfileRefused(t *testing.T) {
	good := named(t, "classic").text
	for _, tt := range []struct{ old, new, want string }{
		{"24 = 5", "", "no threshold for /24"},
		{"24 = 5", "24 = 0", "no threshold for /24"},
		{"24 = 5", "24 = 1", "is less than"},
		{"24 = 5", "24 = 5\n7 = 3", "21 rows"},
		{"24 = 5", "24 = 5\nx = 3", "rows"},
		{"min_reporters = 1", "min_reporter = 1", "unknown key"},
		{"min_reporters = 1", "min_reporters = 9", "min_reporters"},
		{"floor = 100", "floor = 0", "floor"},
		{"ceiling = 10000", "ceiling = 10", "ceiling"},
		{`rule = "share"`, `rule = "guess"`, "guess"},
		{`name = "classic"`, `name = "imported"`, "reserved"},
		{`name = "classic"`, `name = ""`, "not a profile name"},
		{`name = "classic"`, `name = "My Profile"`, "not a profile name"},
		{`name = "classic"`, `name = "a\nb"`, "not a profile name"},
		{`name = "classic"`, `name = "` + strings.Repeat("a", 33) + `"`, "not a profile name"},
		{`name = "classic"`, `name = "careful"`, "the profile of that name is another one"},
		{"24 = 5", "24 = 4", "the profile of that name is another one"},
		{"floor = 100", "floor = 99", "the profile of that name is another one"},
		{"24 = 5", "24 = 5 # " + strings.Repeat("five ", 1<<14), "more than a snapshot carries"},
		{"net_limit = 3", "net_limit = 0", "at least 1"},
		{"share_percent = 60", "share_percent = 160", "above 100"},
		{`counts = "abusers"`, `counts = "votes"`, "votes"},
	} {
		bad := strings.Replace(good, tt.old, tt.new, 1)
		if bad == good {
			t.Fatalf("the profile has no %q", tt.old)
		}
		if _, err := ParseProfile(bad); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q for %q: error %v, want %q", tt.new, tt.old, err, tt.want)
		}
	}
	if _, err := Named("none"); err == nil {
		t.Error("profile none exists")
	}
	for _, tt := range []struct{ old, new string }{
		{"# The default.", "# Our copy."},
		{"documentation = false", "documentation = true"},
		{`name = "classic"`, `name = "our-own-2"`},
		{`name = "classic"`, `name = "` + strings.Repeat("a", 32) + `"`},
	} {
		if _, err := ParseProfile(strings.Replace(good, tt.old, tt.new, 1)); err != nil {
			t.Errorf("%q for %q: %v", tt.new, tt.old, err)
		}
	}
}

// TestWithDocumentation: the rule stays, and text and rule say the same, however
// the text said it.
func TestWithDocumentation(t *testing.T) {
	plain := strings.Replace(named(t, "classic").text, `name = "classic"`, `name = "mine"`, 1)
	for name, line := range map[string]string{
		"as the program writes it": "documentation = false\n",
		"tight, with a comment":    "\tdocumentation=false # nowhere\n",
		"allowed already":          "documentation = true\n",
		"at the end of a line":     "documentation = false\r\n",
		"not at all":               "",
		"in a comment alone":       "# documentation = false\n",
	} {
		p, err := ParseProfile(strings.Replace(plain, "documentation = false\n", line, 1))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q, err := p.WithDocumentation()
		if err != nil || !q.Documentation || !q.sameRule(p) {
			t.Errorf("%s: documentation ranges may be listed: %v, %v", name, err == nil && q.Documentation, err)
			continue
		}
		if again, err := ParseProfile(q.text); err != nil || !again.Documentation {
			t.Errorf("%s: the text tells another rule: %v\n%s", name, err, q.text)
		}
	}
}
