package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"ucedge/core"
)

// A tally counts how the answers compare.
type tally struct {
	examples int
	agree    map[string]int // by what both say
	differ   map[difference]*seen
	ttls     map[[2]uint32]int      // ours and theirs, where they differ
	listed   map[uint8][]netip.Addr // by zone, what rbldnsd lists
	partials map[*question]bool     // partial names, and whether we say that they exist
	buf      []byte
}

// A difference is a kind of disagreement.
type difference struct {
	kind    string
	allowed bool
}

type seen struct {
	count    int
	examples []string
}

func newTally(examples int) *tally {
	return &tally{examples: examples, agree: map[string]int{}, differ: map[difference]*seen{}, ttls: map[[2]uint32]int{}, listed: map[uint8][]netip.Addr{}, partials: map[*question]bool{}}
}

// judge compares one answer of rbldnsd with ours.
func (t *tally) judge(w *world, q *question, theirs []byte) {
	t.buf = q.wire(t.buf[:0], 1, w.zones[q.zone].Suffix)
	n := len(t.buf)
	t.buf = w.core.AppendAnswer(t.buf, t.buf, now, core.Open)
	us, them := read(t.buf[n:], q.qtype), read(theirs, q.qtype)
	switch {
	case q.nature == address && len(them.data) > 0:
		t.listed[q.zone] = append(t.listed[q.zone], q.addr)
	case q.nature != zeros && len(us.data) == 0 && len(below(q.labels)) > 0:
		t.partials[q] = us.rcode == dns.RcodeSuccess
	}
	if us.same(them) {
		t.agree[us.kind(q.qtype)]++
		if us.ttl != them.ttl {
			t.ttls[[2]uint32{us.ttl, them.ttl}]++
		}
		return
	}
	t.note(classify(q, us, them), fmt.Sprintf("%s: ucedge %s, rbldnsd %s", q.name(w), us, them))
}

func (q *question) name(w *world) string {
	return fmt.Sprintf("%s%s %s", q.labels, w.zones[q.zone].Suffix, dns.TypeToString[q.qtype])
}

func (t *tally) note(d difference, example string) {
	s := t.differ[d]
	if s == nil {
		s = &seen{}
		t.differ[d] = s
	}
	if s.count++; len(s.examples) < t.examples {
		s.examples = append(s.examples, example)
	}
}

// judgePartials holds what we said of partial names, and of addresses that are
// such names too when read as nibbles, against the addresses that rbldnsd lists:
// such a name exists exactly if one of them is below it. All ends of listings
// and of the names' own prefixes were asked for, so none is missed. What every
// zone of ours lists and a file of IPv4 cannot is the test point in nibbles.
func (t *tally) judgePartials(w *world) {
	for zone, list := range t.listed {
		list = append(list, testPoint6)
		slices.SortFunc(list, netip.Addr.Compare)
		t.listed[zone] = list
	}
	for q, exists := range t.partials {
		want := slices.ContainsFunc(below(q.labels), func(p netip.Prefix) bool { return anyIn(t.listed[q.zone], p) })
		if want != exists {
			t.note(difference{"partial name", false}, fmt.Sprintf("%s: ucedge says exists %v, and that something below is listed is %v", q.name(w), exists, want))
		} else {
			t.agree[fmt.Sprintf("partial name, something listed below: %v", want)]++
		}
	}
}

// testPoint6 is ::ffff:127.0.0.2.
var testPoint6 = netip.AddrFrom16(netip.AddrFrom4([4]byte{127, 0, 0, 2}).As16())

// mapped is the nibble names of IPv4 addresses.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// anyIn reports whether an address of the sorted list lies in p. IPv4 addresses
// lie in the IPv4-mapped part of IPv6 too.
func anyIn(list []netip.Addr, p netip.Prefix) bool {
	i, _ := slices.BinarySearchFunc(list, p.Addr(), netip.Addr.Compare)
	switch {
	case i < len(list) && p.Contains(list[i]):
		return true
	case p.Addr().Is4() || !p.Overlaps(mapped):
		return false
	case p.Bits() < mapped.Bits():
		return len(list) > 0 && list[0].Is4()
	}
	return anyIn(list, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped.Bits()))
}

// A reply is what is compared of an answer.
type reply struct {
	broken error
	rcode  int
	data   []string // of the answer section's records of the type asked for, sorted
	ttl    uint32   // of the first of them
}

func read(message []byte, qtype uint16) reply {
	var m dns.Msg
	if err := m.Unpack(message); err != nil {
		return reply{broken: err}
	}
	r := reply{rcode: m.Rcode}
	for _, rr := range m.Answer {
		if rr.Header().Rrtype != qtype {
			continue
		}
		r.ttl = rr.Header().Ttl
		switch rr := rr.(type) {
		case *dns.A:
			r.data = append(r.data, rr.A.String())
		case *dns.TXT:
			r.data = append(r.data, strings.Join(rr.Txt, "|"))
		}
	}
	slices.Sort(r.data)
	return r
}

func (r reply) same(o reply) bool {
	return r.broken == nil && o.broken == nil && r.rcode == o.rcode && slices.Equal(r.data, o.data)
}

// kind names an answer on which both agree.
func (r reply) kind(qtype uint16) string {
	if len(r.data) > 0 {
		return "listed, " + dns.TypeToString[qtype]
	}
	if r.rcode == dns.RcodeSuccess {
		return "no data"
	}
	return strings.ToLower(dns.RcodeToString[r.rcode])
}

func (r reply) String() string {
	if r.broken != nil {
		return fmt.Sprintf("unreadable (%v)", r.broken)
	}
	return fmt.Sprintf("%s %q", dns.RcodeToString[r.rcode], r.data)
}

// classify names a difference. Two kinds are allowed: of a name above a listed
// one ucedge says that it exists, and judgePartials checks that there is one; to
// octets with leading zeros it answers as to any other label.
func classify(q *question, us, them reply) difference {
	none := len(us.data) == 0 && us.broken == nil
	switch {
	case q.nature != zeros && len(below(q.labels)) > 0 && none && us.rcode == dns.RcodeSuccess && them.rcode == dns.RcodeNameError:
		return difference{"empty non-terminal: NODATA here, NXDOMAIN there", true}
	case q.nature == zeros && none && us.rcode == dns.RcodeNameError && len(them.data) > 0:
		return difference{"leading zeros: NXDOMAIN here, listed there", true}
	case q.nature == zeros && none && us.rcode == dns.RcodeNameError && them.rcode == dns.RcodeSuccess:
		return difference{"leading zeros: NXDOMAIN here, NODATA there", true}
	case us.broken != nil || them.broken != nil:
		return difference{"unreadable answer", false}
	case len(us.data) > 0 && len(them.data) == 0:
		return difference{"listed here only", false}
	case len(us.data) == 0 && len(them.data) > 0:
		return difference{"listed there only", false}
	case us.rcode != them.rcode:
		return difference{"other RCODE", false}
	}
	return difference{"other " + dns.TypeToString[q.qtype] + " data", false}
}

// print writes the tally and reports whether nothing differs but what may.
func (t *tally) print(out io.Writer) (same bool) {
	for _, kind := range slices.Sorted(maps.Keys(t.agree)) {
		fmt.Fprintf(out, "  agree   %8d  %s\n", t.agree[kind], kind)
	}
	same = true
	for _, d := range slices.SortedFunc(maps.Keys(t.differ), func(a, b difference) int { return strings.Compare(a.kind, b.kind) }) {
		word := "allowed"
		if !d.allowed {
			word, same = "DIFFER ", false
		}
		fmt.Fprintf(out, "  %s %8d  %s\n", word, t.differ[d].count, d.kind)
		for _, example := range t.differ[d].examples {
			fmt.Fprintf(out, "                     %s\n", example)
		}
	}
	for _, ttl := range slices.SortedFunc(maps.Keys(t.ttls), func(a, b [2]uint32) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(out, "  TTL     %8d  %d s here, %d s there\n", t.ttls[ttl], ttl[0], ttl[1])
	}
	return same
}

// speedQuestions is how many questions the speeds are measured on.
const speedQuestions = 200_000

// speeds prints what the same questions cost either side: rbldnsd over UDP as it
// is used, the core by itself. The second number is no server's, only what is
// left for one.
func speeds(out io.Writer, w *world, s *server, questions []question) error {
	questions = questions[:min(len(questions), speedQuestions)]
	begun := time.Now()
	if err := w.askAll(s.address, questions, func(*question, []byte) {}); err != nil {
		return err
	}
	theirs := float64(len(questions)) / time.Since(begun).Seconds()
	var query, answer []byte
	begun = time.Now()
	for i := range questions {
		query = questions[i].wire(query[:0], 1, w.zones[questions[i].zone].Suffix)
		answer = w.core.AppendAnswer(answer[:0], query, now, core.Open)
	}
	ours := float64(len(questions)) / time.Since(begun).Seconds()
	fmt.Fprintf(out, "  rbldnsd over UDP %.0f questions/s, the core alone %.0f/s (%.1f times)\n", theirs, ours, ours/theirs)
	if resident := s.residentBytes(); resident > 0 {
		fmt.Fprintf(out, "  rbldnsd %.1f MB resident, image and filter %.1f MB (%.2f times)\n", float64(resident)/1e6, float64(w.bytes)/1e6, float64(w.bytes)/float64(resident))
	}
	return nil
}
