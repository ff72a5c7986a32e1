package policy

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ucedge/internal/trial"
	"ucedge/origin/routes"
	"ucedge/origin/routes/routestest"
	"ucedge/snapshot"
)

// The model is the rule written down a second time, as a person would work it
// out with pencil and paper: no sweep, no packing, and none of the package's
// arithmetic. It is slow and only has to be right.

type modelRoute struct {
	prefix  netip.Prefix
	origins []uint32
	name    string // of a single origin
}

type modelRule struct {
	impacts      bool // count impacts, 4 h apart, at Levels 2 and 3
	minReporters int
	share        bool // Level 3 by share, else by score
	minNets      int
}

var modelRules = map[string]modelRule{
	"classic": {share: true, minReporters: 1},
	"impacts": {impacts: true, minReporters: 1},
	"careful": {minReporters: 2, minNets: 2},
}

// The table of POLICY, Level 2, from /27 to /8.
var (
	classicRows = []int{1, 2, 2, 5, 10, 15, 25, 40, 65, 105, 170, 275, 445, 720, 1165, 1885, 3050, 4935, 7985, 12920}
	impactsRows = []int{1, 2, 3, 4, 6, 9, 15, 21, 30, 45, 66, 96, 141, 207, 303, 444, 651, 954, 1398, 2049}
)

func (m modelRule) threshold(p netip.Prefix) int {
	n := p.Bits()
	if p.Addr().Is6() {
		down := 64 - n
		n = 32 - (down/2 + down%2)
	}
	rows := classicRows
	if m.impacts {
		rows = impactsRows
	}
	switch {
	case n > 27:
		return 1
	case n < 8:
		return 1 << 40
	}
	return rows[27-n]
}

type modelAbuser struct {
	unit        netip.Prefix
	last, first int64
	count       int
	kinds       snapshot.Kinds
	who         map[uint32]bool
}

func unitOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	return netip.PrefixFrom(a, 64).Masked()
}

func (m modelRule) abusers(in Input) []modelAbuser {
	byUnit := map[netip.Prefix][]Impact{}
	for _, i := range in.Impacts {
		if i.Seen <= in.Now && in.Now < i.Seen+7*86400 {
			u := i.Unit.Prefix()
			byUnit[u] = append(byUnit[u], i)
		}
	}
	var all []modelAbuser
	for unit, list := range byUnit {
		var kept []Impact
		alone := true
		for _, i := range list {
			gone := false
			for _, r := range in.Removals {
				gone = gone || unitOf(r.Address) == unit && r.At <= in.Now && i.Seen <= r.At
			}
			if gone {
				continue
			}
			kept = append(kept, i)
			withdrawn := false
			for _, w := range in.Withdrawn {
				withdrawn = withdrawn || w.Reporter == i.Reporter && w.At <= in.Now
			}
			alone = alone && withdrawn
		}
		if len(kept) == 0 || alone || m.protected(in, unit) {
			continue
		}
		sort.Slice(kept, func(a, b int) bool { return kept[a].Seen < kept[b].Seen })
		a := modelAbuser{unit: unit, first: kept[0].Seen, last: kept[len(kept)-1].Seen, who: map[uint32]bool{}}
		counted := int64(0)
		for n, i := range kept {
			a.kinds |= i.Kind
			a.who[i.Reporter] = true
			if !m.impacts || n == 0 || i.Seen >= counted+4*3600 {
				a.count++
				counted = i.Seen
			}
		}
		all = append(all, a)
	}
	return all
}

func (m modelRule) protected(in Input, p netip.Prefix) bool {
	for _, s := range in.Protected {
		if s.Prefix.Contains(p.Addr()) && s.Prefix.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

// sum adds up the abusers for which in says yes.
func (m modelRule) sum(abusers []modelAbuser, in func(netip.Addr) bool) (f snapshot.Facts, who int) {
	names := map[uint32]bool{}
	first, last := int64(1<<60), int64(0)
	n := 0
	for _, a := range abusers {
		if !in(a.unit.Addr()) {
			continue
		}
		if m.impacts {
			n += a.count
		} else {
			n++
		}
		first, last = min(first, a.first), max(last, a.last)
		f.Kinds |= a.kinds
		for w := range a.who {
			names[w] = true
		}
	}
	if n > 0 {
		f.Count, f.First, f.Last = uint32(n), snapshot.Hour(first/3600), snapshot.Hour(last/3600)
	}
	return f, len(names)
}

// narrowest returns the narrowest route around a.
func narrowest(all []modelRoute, a netip.Addr) (best modelRoute, ok bool) {
	for _, r := range all {
		if r.prefix.Contains(a) && (!ok || r.prefix.Bits() > best.prefix.Bits()) {
			best, ok = r, true
		}
	}
	return best, ok
}

// decide returns all listings, one line of text each, sorted.
func (m modelRule) decide(in Input, all []modelRoute) []string {
	var out []string
	abusers := m.abusers(in)
	listed := map[snapshot.Level]map[netip.Prefix]bool{1: {}, 2: {}, 3: {}}
	put := func(level snapshot.Level, p netip.Prefix, f snapshot.Facts) {
		listed[level][p] = true
		out = append(out, modelLine(snapshot.Listing{Level: level, Prefix: p, Facts: f}))
	}
	names := map[uint32]string{}
	for _, r := range all {
		if len(r.origins) == 1 && names[r.origins[0]] == "" {
			names[r.origins[0]] = r.name
		}
	}
	for _, a := range abusers {
		put(1, a.unit, snapshot.Facts{
			Count: uint32(a.count), Kinds: a.kinds,
			First: snapshot.Hour(a.first / 3600), Last: snapshot.Hour(a.last / 3600),
			End: snapshot.Hour((a.last + 7*86400 + 3599) / 3600),
		})
	}
	candidates := map[netip.Prefix][]uint32{}
	for _, a := range abusers {
		own := netip.PrefixFrom(a.unit.Addr(), 24).Masked()
		if a.unit.Addr().Is6() {
			own = netip.PrefixFrom(a.unit.Addr(), 48).Masked()
		}
		best, ok := narrowest(all, a.unit.Addr())
		if ok && best.prefix.Bits() < own.Bits() {
			candidates[own] = best.origins
		}
		for _, r := range all {
			if r.prefix.Contains(a.unit.Addr()) {
				candidates[r.prefix] = r.origins
			}
		}
	}
	nets := map[uint32]int{}
	for p, origins := range candidates {
		f, who := m.sum(abusers, p.Contains)
		if int(f.Count) < m.threshold(p) || who < m.minReporters || m.protected(in, p) {
			continue
		}
		f.Threshold = uint32(m.threshold(p))
		for _, asn := range origins {
			nets[asn]++
		}
		if len(origins) > 0 {
			low := slices.Min(origins)
			f.ASN, f.ASName = snapshot.ASN(low), names[low]
		}
		put(2, p, f)
	}
	byASN := map[uint32][]netip.Prefix{}
	for _, r := range all {
		for _, asn := range r.origins {
			byASN[asn] = append(byASN[asn], r.prefix)
		}
	}
	system := map[netip.Prefix]snapshot.Facts{}
	for asn, prefixes := range byASN {
		f, who := m.sum(abusers, func(a netip.Addr) bool {
			return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		})
		t, ok := m.system(int(f.Count), modelSize(prefixes))
		if !ok || f.Count == 0 || who < m.minReporters || nets[asn] < m.minNets {
			continue
		}
		f.Threshold, f.ASN, f.ASName = uint32(t), snapshot.ASN(asn), names[asn]
		for _, p := range prefixes {
			if old, ok := system[p]; (!ok || f.ASN < old.ASN) && !m.protected(in, p) {
				system[p] = f
			}
		}
	}
	for p, f := range system {
		put(3, p, f)
	}
	return append(out, m.exclusions(in, abusers, listed)...)
}

func (m modelRule) exclusions(in Input, abusers []modelAbuser, listed map[snapshot.Level]map[netip.Prefix]bool) []string {
	lines := map[string]bool{}
	add := func(p netip.Prefix) {
		for level := snapshot.Level(2); level <= 3; level++ {
			for l := range listed[level] {
				if l.Bits() <= p.Bits() && l.Contains(p.Addr()) {
					lines[modelLine(snapshot.Listing{Level: level, Prefix: p, Excluded: true})] = true
				}
			}
		}
	}
	for _, s := range in.Protected {
		add(s.Prefix)
		for _, a := range abusers {
			if a.unit.Bits() < s.Prefix.Bits() && a.unit.Contains(s.Prefix.Addr()) {
				lines[modelLine(snapshot.Listing{Level: 1, Prefix: s.Prefix, Excluded: true})] = true
			}
		}
	}
	for _, e := range in.Exemptions {
		u := unitOf(e.Address)
		own := slices.ContainsFunc(abusers, func(a modelAbuser) bool { return a.unit == u })
		if !own && e.From <= in.Now && (e.Until == 0 || in.Now < e.Until) {
			add(u)
		}
	}
	var all []string
	for l := range lines {
		all = append(all, l)
	}
	return all
}

// system returns the threshold of an AS of that size and whether count is
// enough. The threshold is found by trying.
func (m modelRule) system(count int, size uint64) (threshold int, listed bool) {
	enough := func(n int) bool {
		if m.share {
			return n >= 100 && (n >= 10000 || uint64(n)*1000 >= 2*size)
		}
		score := (2*uint64(n)*1_000_000 + size) / (2 * size)
		return n >= 50 && score >= 500
	}
	if !enough(count) {
		return 0, false
	}
	return sort.Search(count, enough), true
}

// modelSize returns the IPv4 addresses of prefixes, each once, or 256 for each
// /48 if there are none.
func modelSize(prefixes []netip.Prefix) uint64 {
	type span struct{ from, to uint64 }
	count := func(v6 bool) (n uint64) {
		var spans []span
		for _, p := range prefixes {
			if p.Addr().Is6() != v6 {
				continue
			}
			b := p.Addr().As16()
			start, size := uint64(0), uint64(1)
			if v6 {
				for _, x := range b[:6] {
					start = start<<8 | uint64(x)
				}
				if p.Bits() < 48 {
					size <<= 48 - p.Bits()
				}
			} else {
				for _, x := range b[12:] {
					start = start<<8 | uint64(x)
				}
				size <<= 32 - p.Bits()
			}
			spans = append(spans, span{start, start + size})
		}
		sort.Slice(spans, func(i, j int) bool { return spans[i].from < spans[j].from })
		end := uint64(0)
		for _, s := range spans {
			if s.to > end {
				n += s.to - max(s.from, end)
				end = s.to
			}
		}
		return n
	}
	if n := count(false); n > 0 {
		return n
	}
	return 256 * count(true)
}

// modelLine writes a listing so that a difference can be read.
func modelLine(l snapshot.Listing) string {
	return fmt.Sprintf("level %d %v excluded=%v count=%d/%d AS%d %q first=%d last=%d end=%d kinds=%v",
		l.Level, l.Prefix, l.Excluded, l.Count, l.Threshold, l.ASN, l.ASName, l.First, l.Last, l.End, l.Kinds.Names())
}

func compareWithModel(t *testing.T, in Input, all []modelRoute) {
	t.Helper()
	want := modelRules[in.Profile.Name].decide(in, all)
	var got []string
	for l := range Decide(in).All() {
		got = append(got, modelLine(l))
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, line := range got {
		if _, ok := slices.BinarySearch(want, line); !ok {
			t.Errorf("only Decide has:    %s", line)
		}
	}
	for _, line := range want {
		if _, ok := slices.BinarySearch(got, line); !ok {
			t.Errorf("only the model has: %s", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d listings, want %d", len(got), len(want))
	}
}

// modelTable makes a table of the model's routes.
func modelTable(t *testing.T, all []modelRoute) *routes.Table {
	t.Helper()
	var b routes.Builder
	for _, r := range all {
		var origins []snapshot.ASN
		for _, asn := range r.origins {
			origins = append(origins, snapshot.ASN(asn))
		}
		if err := b.Add(r.prefix, origins...); err != nil {
			t.Fatal(err)
		}
		if len(origins) == 1 {
			b.SetName(origins[0], r.name)
		}
	}
	return b.Table(epoch)
}

// randomWorld makes a small world in which everything happens: nested and
// multi-origin routes, both families, crowded networks, removals, withdrawals,
// exemptions and protected space.
func randomWorld(rnd *rand.Rand) (Input, []modelRoute) {
	now := int64(1_800_000_000) + rnd.Int64N(7200)
	addr := func() netip.Addr { return randomAddress(rnd) }
	var all []modelRoute
	seen := map[netip.Prefix]bool{}
	for range 3 + rnd.IntN(12) {
		a := addr()
		bits := 19 + rnd.IntN(14)
		if a.Is6() {
			bits = 28 + rnd.IntN(37)
		}
		p := netip.PrefixFrom(a, bits).Masked()
		if seen[p] {
			continue
		}
		seen[p] = true
		r := modelRoute{prefix: p}
		for range []int{0, 1, 1, 1, 2}[rnd.IntN(5)] {
			if asn := uint32(64496 + rnd.IntN(4)); !slices.Contains(r.origins, asn) {
				r.origins = append(r.origins, asn)
			}
		}
		if len(r.origins) == 1 {
			r.name = fmt.Sprintf("Net %d", r.origins[0])
		}
		all = append(all, r)
	}
	in := Input{Now: now}
	for range rnd.IntN(400) {
		in.Impacts = append(in.Impacts, Impact{
			Unit: routes.UnitOf(addr()), Seen: now - rnd.Int64N(Window+90000) + 40000,
			Reporter: uint32(rnd.IntN(4)), Kind: 1 << rnd.IntN(6),
		})
	}
	for range rnd.IntN(20) {
		i := in.Impacts
		a := addr()
		if len(i) > 0 && rnd.IntN(2) == 0 {
			a = i[rnd.IntN(len(i))].Unit.Prefix().Addr()
		}
		switch at := now - rnd.Int64N(Window) + 3600; rnd.IntN(5) {
		case 0:
			in.Removals = append(in.Removals, Removal{Address: a, At: at})
		case 1:
			in.Withdrawn = append(in.Withdrawn, Withdrawal{uint32(rnd.IntN(4)), at})
		case 2, 3:
			in.Exemptions = append(in.Exemptions, Exemption{Address: a, From: at, Until: []int64{0, at + 7200, now}[rnd.IntN(3)]})
		case 4:
			bits := 26 + rnd.IntN(7)
			if a.Is6() {
				bits = 44 + rnd.IntN(30)
			}
			p, _ := a.Prefix(bits)
			in.Protected = append(in.Protected, Protected{p, "own"})
		}
	}
	return in, all
}

func TestModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	levels := map[string]int{}
	for n := range 200 {
		in, all := randomWorld(rnd)
		in.Routes = modelTable(t, all)
		for _, name := range Names() {
			in.Profile = named(t, name)
			compareWithModel(t, in, all)
			for l := range Decide(in).All() {
				levels[fmt.Sprintf("%s level %d excluded=%v", name, l.Level, l.Excluded)]++
			}
			if t.Failed() {
				t.Fatalf("world %d, profile %s", n, name)
			}
		}
	}
	// A world in which nothing is listed would agree with anything.
	for _, name := range Names() {
		for _, what := range []string{"level 1 excluded=false", "level 1 excluded=true", "level 2 excluded=false", "level 3 excluded=false", "level 2 excluded=true", "level 3 excluded=true"} {
			if levels[name+" "+what] == 0 {
				t.Errorf("the worlds never gave %s %s", name, what)
			}
		}
	}
	t.Log(levels)
}

// TestModelRealData decides the public Level 1 list over the real table.
func TestModelRealData(t *testing.T) {
	zone := trial.Unxz(t, "uceprotect-2026-07/dnsbl-1.uceprotect.net.xz")
	table := routestest.Table(t)
	in := Input{Now: 1_800_000_000, Routes: table}
	lines := bufio.NewScanner(bytes.NewReader(zone))
	for lines.Scan() {
		if a, err := netip.ParseAddr(strings.TrimSpace(lines.Text())); err == nil {
			in.Impacts = append(in.Impacts, Impact{Unit: routes.UnitOf(a), Seen: in.Now - int64(len(in.Impacts)*7), Reporter: uint32(len(in.Impacts) % 3), Kind: snapshot.Spamtrap})
		}
	}
	if len(in.Impacts) < 50000 {
		t.Fatalf("only %d addresses in the zone", len(in.Impacts))
	}
	announced, byASN := readReal(t)
	for _, name := range Names() {
		in.Profile = named(t, name)
		r := Decide(in)
		t.Logf("%s: %+v", name, r.Coverages())
		compareReal(t, in, r, announced, byASN)
	}
}

// readReal reads the real tables with as little as that takes.
func readReal(t *testing.T) (announced map[netip.Prefix][]uint32, byASN map[uint32][]netip.Prefix) {
	t.Helper()
	announced = map[netip.Prefix][]uint32{}
	byASN = map[uint32][]netip.Prefix{}
	for _, name := range []string{"asn-v4.tsv.zst", "asn-v6.tsv.zst"} {
		f, err := os.Open(trial.File(t, "routes/"+name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for lines := bufio.NewScanner(z); lines.Scan(); {
			cols := strings.Split(lines.Text(), "\t")
			p := netip.MustParsePrefix(cols[0])
			asn, err := strconv.Atoi(cols[1])
			if err != nil {
				t.Fatal(err)
			}
			if p.Addr().Is6() && p.Bits() > 64 || slices.Contains(announced[p], uint32(asn)) {
				continue
			}
			announced[p] = append(announced[p], uint32(asn))
			byASN[uint32(asn)] = append(byASN[uint32(asn)], p)
		}
	}
	return announced, byASN
}

// compareReal checks a result on the real table against maps by prefix: too
// many routes for the model's loops, and none of Decide's code either.
func compareReal(t *testing.T, in Input, r *Result, announced map[netip.Prefix][]uint32, byASN map[uint32][]netip.Prefix) {
	t.Helper()
	rule := modelRules[in.Profile.Name]
	type sum struct {
		n   int
		who map[uint32]bool
		asn []uint32
	}
	add := func(s *sum, who uint32, asn []uint32) *sum {
		if s == nil {
			s = &sum{who: map[uint32]bool{}, asn: asn}
		}
		s.n++
		s.who[who] = true
		return s
	}
	abusers := map[netip.Addr]uint32{}
	for _, i := range in.Impacts {
		abusers[i.Unit.Prefix().Addr()] = i.Reporter
	}
	nets, systems := map[netip.Prefix]*sum{}, map[uint32]*sum{}
	ownWanted := map[netip.Prefix][]uint32{}
	for a, who := range abusers {
		own := netip.PrefixFrom(a, 24).Masked()
		origins := map[uint32]bool{}
		var narrowest netip.Prefix
		for bits := 8; bits <= 32; bits++ {
			p := netip.PrefixFrom(a, bits).Masked()
			asns, ok := announced[p]
			if !ok && p != own {
				continue
			}
			nets[p] = add(nets[p], who, asns)
			if ok {
				narrowest = p
			}
			for _, asn := range asns {
				origins[asn] = true
			}
		}
		if narrowest.IsValid() && narrowest.Bits() < 24 {
			ownWanted[own] = announced[narrowest]
		}
		for asn := range origins {
			systems[asn] = add(systems[asn], who, nil)
		}
	}
	want := map[string]bool{}
	listedNets := map[uint32]int{}
	for p, s := range nets {
		asns := s.asn
		if _, ok := announced[p]; !ok {
			if asns, ok = ownWanted[p]; !ok {
				continue
			}
		}
		if s.n >= rule.threshold(p) && len(s.who) >= rule.minReporters {
			want[fmt.Sprintf("2 %v %d/%d AS%d", p, s.n, rule.threshold(p), slices.Min(asns))] = true
			for _, asn := range asns {
				listedNets[asn]++
			}
		}
	}
	named := map[netip.Prefix]uint32{}
	lines := map[netip.Prefix]string{}
	for asn, s := range systems {
		threshold, ok := rule.system(s.n, modelSize(byASN[asn]))
		if !ok || len(s.who) < rule.minReporters || listedNets[asn] < rule.minNets {
			continue
		}
		for _, p := range byASN[asn] {
			if old, ok := named[p]; !ok || asn < old {
				named[p] = asn
				lines[p] = fmt.Sprintf("3 %v %d/%d AS%d", p, s.n, threshold, asn)
			}
		}
	}
	for _, line := range lines {
		want[line] = true
	}
	got := map[string]bool{}
	for l := range r.All() {
		if l.Level >= 2 && !l.Excluded {
			got[fmt.Sprintf("%d %v %d/%d AS%d", l.Level, l.Prefix, l.Count, l.Threshold, l.ASN)] = true
		}
	}
	bad := 0
	for line := range got {
		if !want[line] && bad < 10 {
			bad++
			t.Errorf("%s: only Decide has %s", in.Profile.Name, line)
		}
	}
	for line := range want {
		if !got[line] && bad < 10 {
			bad++
			t.Errorf("%s: only the model has %s", in.Profile.Name, line)
		}
	}
	t.Logf("%s: %d listings of Levels 2 and 3 compared", in.Profile.Name, len(want))
}
