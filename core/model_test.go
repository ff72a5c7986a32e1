package core

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// A model is the rule of DESIGN §5 as a linear scan over the listings.
type model struct {
	zones    []snapshot.Zone
	listings []snapshot.Listing
}

// lists says whether the level lists the address: the longest prefix that
// holds it and has not ended decides.
func (m *model) lists(level snapshot.Level, a netip.Addr, now int64) (end snapshot.Hour, ok bool) {
	bits := -1
	for _, l := range m.listings {
		over := l.End != 0 && now >= l.End.Seconds()
		if l.Level == level && !over && l.Prefix.Contains(a) && l.Prefix.Bits() > bits {
			bits, end, ok = l.Prefix.Bits(), l.End, !l.Excluded
		}
	}
	return end, ok
}

// answers gives the A records of the address in the zone, as code and TTL. They
// are one set, and have the TTL of what ends first (RFC 2181 5.2).
func (m *model) answers(z *snapshot.Zone, a netip.Addr, now int64) (records []string) {
	levels := []snapshot.Level{z.Level}
	if z.Level == snapshot.Combined {
		levels = []snapshot.Level{snapshot.Address, snapshot.Allocation, snapshot.System}
	}
	ttl := int64(z.TTL)
	for i, level := range levels {
		code := z.Code
		code[3] += byte(i)
		switch a.String() {
		case "127.0.0.1":
			continue
		case "127.0.0.2", "127.0.0.3", "127.0.0.4":
			if a.As4()[3] != 2+byte(i) {
				continue
			}
		default:
			end, ok := m.lists(level, a, now)
			if !ok {
				continue
			}
			if end != 0 {
				ttl = min(ttl, end.Seconds()-now)
			}
		}
		records = append(records, netip.AddrFrom4(code).String())
	}
	for i := range records {
		records[i] += fmt.Sprintf(" %d", ttl)
	}
	return records
}

// below says whether the zone lists any address inside p. Verdicts change only
// where a prefix begins or ends, so it asks at those addresses.
func (m *model) below(z *snapshot.Zone, p netip.Prefix, now int64) bool {
	at := []netip.Addr{p.Addr(), netip.MustParseAddr("127.0.0.2")}
	for _, l := range m.listings {
		at = append(at, l.Prefix.Addr(), last(l.Prefix).Next())
	}
	if p.Addr().Is6() && p.Overlaps(mapped) {
		return m.belowMapped(z, p, now)
	}
	return slices.ContainsFunc(at, func(a netip.Addr) bool {
		return a.IsValid() && p.Contains(a) && len(m.answers(z, a, now)) > 0
	})
}

// belowMapped is below for a prefix that holds IPv4-mapped addresses, or is
// one of them.
func (m *model) belowMapped(z *snapshot.Zone, p netip.Prefix, now int64) bool {
	four := netip.MustParsePrefix("0.0.0.0/0")
	if p.Bits() > 96 {
		four = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return m.below(z, four, now)
}

// last returns the last address of p.
func last(p netip.Prefix) netip.Addr {
	octets := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(octets); i++ {
		octets[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(octets)
	return a
}

// exists says whether the name of these labels exists in the zone, and which A
// records it has.
func (m *model) exists(z *snapshot.Zone, labels []string, now int64) (records []string, ok bool) {
	if octets, good := reversed(labels, 4, func(s string) bool {
		n, err := strconv.ParseUint(s, 10, 8)
		return err == nil && strconv.FormatUint(n, 10) == s
	}); good {
		text := strings.Join(octets, ".") + strings.Repeat(".0", 4-len(octets))
		p := netip.PrefixFrom(netip.MustParseAddr(text), 8*len(octets))
		if len(octets) == 4 {
			records = m.answers(z, p.Addr(), now)
			ok = len(records) > 0
		} else {
			ok = m.below(z, p, now)
		}
	}
	if nibbles, good := reversed(labels, 32, func(s string) bool {
		return len(s) == 1 && strings.Contains("0123456789abcdefABCDEF", s)
	}); good {
		digits := strings.Join(nibbles, "") + strings.Repeat("0", 32-len(nibbles))
		var groups []string
		for i := 0; i < 32; i += 4 {
			groups = append(groups, digits[i:i+4])
		}
		p := netip.PrefixFrom(netip.MustParseAddr(strings.Join(groups, ":")), 4*len(nibbles))
		if len(nibbles) == 32 {
			records = m.answers(z, p.Addr().Unmap(), now)
			ok = len(records) > 0
		} else {
			ok = ok || m.below(z, p, now)
		}
	}
	return records, ok
}

// reversed returns the labels most significant first, if there are one to most
// of them and all of them are good.
func reversed(labels []string, most int, good func(string) bool) ([]string, bool) {
	out := slices.Clone(labels)
	slices.Reverse(out)
	for _, label := range out {
		if !good(label) {
			return nil, false
		}
	}
	return out, len(out) > 0 && len(out) <= most
}

// newModel makes a small random world, dense enough for prefixes to nest.
func newModel(random *rand.Rand) *model {
	m := &model{zones: worldZones()}
	seen := map[string]bool{}
	for range 2 + random.IntN(25) {
		l := snapshot.Listing{Level: snapshot.Level(1 + random.IntN(3)), Excluded: random.IntN(5) == 0}
		switch random.IntN(3) {
		case 0:
			l.Prefix = netip.PrefixFrom(randomAddr4(random), 20+random.IntN(13)).Masked()
		case 1:
			l.Prefix = netip.PrefixFrom(randomAddr6(random), 30+random.IntN(99)).Masked()
		default:
			l.Prefix = netip.PrefixFrom(randomAddr4(random), 32)
			if random.IntN(2) == 0 {
				l.Prefix = netip.PrefixFrom(randomAddr6(random), 64).Masked()
			}
		}
		if !l.Excluded && random.IntN(3) == 0 {
			l.End = snapshot.Hour(noon/3600 - 1 + random.IntN(4))
		}
		if key := fmt.Sprint(l.Level, l.Prefix); !seen[key] {
			seen[key] = true
			m.listings = append(m.listings, l)
		}
	}
	return m
}

func randomAddr4(random *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{1, 0, 0, byte(random.IntN(12))})
}

func randomAddr6(random *rand.Rand) netip.Addr {
	a := [16]byte{0x10, 0x00, 0x00, 0x01, 7: byte(random.IntN(4)), 15: byte(random.IntN(4))}
	return netip.AddrFrom16(a)
}

// randomLabels gives the labels of a name that is likely to touch something.
func randomLabels(random *rand.Rand) []string {
	var labels []string
	switch random.IntN(5) {
	case 0, 1:
		a := randomAddr4(random).As4()
		if random.IntN(6) == 0 {
			a = [4]byte{127, 0, 0, byte(random.IntN(6))}
		}
		for _, octet := range slices.Backward(a[:]) {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
	case 2, 3:
		labels = nibblesOf(randomAddr6(random))
	default:
		a := randomAddr4(random)
		if random.IntN(4) == 0 {
			a = netip.AddrFrom4([4]byte{127, 0, 0, byte(random.IntN(6))})
		}
		labels = nibblesOf(netip.AddrFrom16(a.As16()))
	}
	labels = labels[random.IntN(len(labels)):]
	if random.IntN(20) == 0 {
		labels = append([]string{[]string{"00", "x", "256", "1"}[random.IntN(4)]}, labels...)
	}
	if random.IntN(3) == 0 {
		labels = labels[:max(1, len(labels)-random.IntN(3))]
	}
	return labels
}

func nibblesOf(a netip.Addr) (labels []string) {
	for _, octet := range slices.Backward(a.AsSlice()) {
		labels = append(labels, strconv.FormatUint(uint64(octet&15), 16), strconv.FormatUint(uint64(octet>>4), 16))
	}
	return labels
}

// TestModel compares the core with the slow rule, with and without a filter,
// on the wire and as dns-json, over random small worlds.
func TestModel(t *testing.T) {
	worlds, names := 60, 80
	if testing.Short() {
		worlds = 15
	}
	for seed := range worlds {
		random := rand.New(rand.NewPCG(uint64(seed), 5782))
		m := newModel(random)
		exact, gated := m.cores(t)
		for range names {
			z := &m.zones[random.IntN(len(m.zones))]
			labels := randomLabels(random)
			now := noon + int64(random.IntN(3*3600))
			name := strings.Join(labels, ".") + "." + z.Suffix + "."
			wire := ask(t, exact, name, dns.TypeA, now)
			m.compare(t, z, labels, now, wire)
			qtype := []uint16{dns.TypeA, dns.TypeTXT, dns.TypeANY, dns.TypeAAAA}[random.IntN(4)]
			compareJSON(t, exact, ask(t, exact, name, qtype, now), now)
			if got, want := ask(t, gated, name, qtype, now).String(), ask(t, exact, name, qtype, now).String(); got != want {
				t.Errorf("%s behind the filter:\ngot  %s\nwant %s", name, got, want)
			}
			if t.Failed() {
				t.Fatalf("world %d: %v", seed, m.listings)
			}
		}
	}
}

// cores builds the world, and the same behind its filter.
func (m *model) cores(t *testing.T) (exact, gated *Core) {
	t.Helper()
	image, err := build.Image(build.Input{Zones: m.zones, Listings: slices.Clone(m.listings), Profile: snapshot.Profile{Name: "imported"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	object, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(object)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := s.WithFilter(f)
	if err != nil {
		t.Fatal(err)
	}
	return New(s, worldManifest), New(behind, worldManifest)
}

// ask asks one question on the wire, with EDNS and recursion desired.
func ask(t *testing.T, c *Core, name string, qtype uint16, now int64) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.Id = 0
	q.SetEdns0(4096, false)
	raw, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(c.AppendAnswer(nil, raw, now, Open)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// compare compares an answer for A with the model's.
func (m *model) compare(t *testing.T, z *snapshot.Zone, labels []string, now int64, got *dns.Msg) {
	t.Helper()
	want, ok := m.exists(z, labels, now)
	rcode := dns.RcodeNameError
	if ok {
		rcode = dns.RcodeSuccess
	}
	var records []string
	for _, rr := range got.Answer {
		records = append(records, fmt.Sprintf("%s %d", rr.(*dns.A).A, rr.Header().Ttl))
	}
	if got.Rcode != rcode || !slices.Equal(records, want) {
		t.Errorf("%s at noon + %d:\ngot  %s %q\nwant %s %q", got.Question[0].Name, now-noon,
			dns.RcodeToString[got.Rcode], records, dns.RcodeToString[rcode], want)
	}
	if (len(got.Ns) == 1) != (len(want) == 0) {
		t.Errorf("%s: %d authority records beside %d answers", got.Question[0].Name, len(got.Ns), len(want))
	}
}

// A jsonAnswer is dns-json as clients read it.
type jsonAnswer struct {
	Status             int
	TC, RD, RA, AD, CD bool
	Question           []jsonRecord
	Answer, Authority  []jsonRecord
}

type jsonRecord struct {
	Name string `json:"name"`
	Type uint16 `json:"type"`
	TTL  uint32
	Data string `json:"data"`
}

// compareJSON holds that dns-json says what the wire says.
func compareJSON(t *testing.T, c *Core, wire *dns.Msg, now int64) {
	t.Helper()
	question := wire.Question[0]
	target := "/resolve?name=" + url.QueryEscape(question.Name) + "&type=" + strconv.Itoa(int(question.Qtype))
	var resp Response
	c.Serve(&Request{Now: now, Method: []byte("GET"), Target: []byte(target)}, &resp)
	var got jsonAnswer
	if err := json.Unmarshal(resp.Body, &got); err != nil || resp.Status != 200 {
		t.Fatalf("%s: %d %v %s", target, resp.Status, err, resp.Body)
	}
	want := jsonAnswer{
		Status: wire.Rcode,
		TC:     wire.Truncated, RD: wire.RecursionDesired, RA: wire.RecursionAvailable,
		AD: wire.AuthenticatedData, CD: wire.CheckingDisabled,
		Question:  []jsonRecord{{Name: question.Name, Type: question.Qtype}},
		Answer:    jsonRecords(wire.Answer),
		Authority: jsonRecords(wire.Ns),
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", target, got, want)
	}
}

// jsonRecords gives records as dns-json should.
func jsonRecords(records []dns.RR) (out []jsonRecord) {
	for _, rr := range records {
		head := rr.Header()
		data := strings.TrimPrefix(rr.String(), head.String())
		out = append(out, jsonRecord{head.Name, head.Rrtype, head.Ttl, data})
	}
	return out
}

// TestCheckAgrees holds that /v1/check lists an address at a level exactly when
// the level's zone does on the wire.
func TestCheckAgrees(t *testing.T) {
	for seed := range 25 {
		random := rand.New(rand.NewPCG(uint64(seed), 8484))
		m := newModel(random)
		exact, _ := m.cores(t)
		for range 40 {
			a := randomAddr4(random)
			if random.IntN(2) == 0 {
				a = randomAddr6(random)
			}
			now := noon + int64(random.IntN(3*3600))
			for level, got := range checkLevels(t, exact, a, now) {
				if want := m.answers(&m.zones[level-1], a, now); got != (len(want) > 0) {
					t.Fatalf("world %d, %s at level %d: listed %v, want %q\n%v", seed, a, level, got, want, m.listings)
				}
			}
		}
	}
}

// checkLevels asks /v1/check and returns for each level whether it lists the
// address.
func checkLevels(t *testing.T, c *Core, a netip.Addr, now int64) map[int]bool {
	t.Helper()
	var resp Response
	c.Serve(&Request{Now: now, Method: []byte("GET"), Target: []byte("/v1/check?ip=" + a.String())}, &resp)
	var got struct {
		Results []struct {
			Listed bool
			Levels []struct {
				Level  int
				Listed bool
			}
		}
	}
	if err := json.Unmarshal(resp.Body, &got); err != nil || len(got.Results) != 1 {
		t.Fatalf("%s: %v %s", a, err, resp.Body)
	}
	levels, any := map[int]bool{1: false, 2: false, 3: false}, false
	for _, l := range got.Results[0].Levels {
		levels[l.Level] = l.Listed
		any = any || l.Listed
	}
	if any != got.Results[0].Listed {
		t.Errorf("%s: listed %v, levels %v", a, got.Results[0].Listed, levels)
	}
	return levels
}
