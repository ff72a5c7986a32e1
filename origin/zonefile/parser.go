package zonefile

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"ucedge/origin/reserved"
	"ucedge/snapshot"
)

// A parser collects what lines say; finish turns it into a Result.
type parser struct {
	opts     Options
	combined bool
	front    scope    // of a combined file, in front of its first $DATASET
	set      *dataset // where lines go; nil in front of the first $DATASET
	ignored  bool     // within a section of a type that lists no addresses
	sets     []*dataset
	values   valueTable

	soa, ns bool // $SOA and $NS were seen
	zone    snapshot.Zone
	serial  snapshot.Serial
	built   int64
	expires int64
	shared  *snapshot.Zone // the first level without a zone of its own

	files   []file
	line    int // of the last file, from 1
	entries int
	err     error // a limit was passed

	problems     []located
	problemCount int
	dropped      map[netip.Prefix]*Dropped
}

// A file is one source; its lines are numbered on from those before it.
type file struct {
	name  string
	first int // lines in front of it
}

// A located is a problem before its line number is split into file and line.
type located struct {
	at     uint32
	reason string
	kept   bool
}

// A scope holds the settings that $ lines give to a dataset, or to all datasets
// of a combined file.
type scope struct {
	ttl      uint32
	maxRange uint64 // addresses of one entry; zero is no limit
	vars     [10]string
	base     string // $=
}

// A dataset is the entries of one kind, with what their texts refer to.
type dataset struct {
	scope
	id        uint32 // its place among the datasets
	kind      Kind
	level     snapshot.Level
	subzones  []string
	at        uint32 // line of $DATASET
	outer     *scope
	four, six []entry

	code    [4]byte // the default that is in force
	text    string
	value   uint32 // the number of that default among the values
	first   uint32 // the first default of the set, or noValue
	testing uint32 // the value of the test entry, or noValue
}

func newParser(opts Options) *parser {
	opts.MaxEntries = cmp.Or(opts.MaxEntries, MaxEntries)
	opts.MaxTextBytes = cmp.Or(opts.MaxTextBytes, MaxTextBytes)
	p := &parser{opts: opts, zone: opts.Zone, dropped: map[netip.Prefix]*Dropped{}}
	p.values.index = map[string]uint32{}
	p.zone.Suffix = foldName(opts.Zone.Suffix)
	if opts.Kind == Combined {
		p.combined = true
		return p
	}
	p.openSet(opts.Kind, opts.Zone.Level, []string{"@"})
	return p
}

func (p *parser) openFile(name string) {
	first := 0
	if n := len(p.files); n > 0 {
		first = p.files[n-1].first + p.line
	}
	p.files = append(p.files, file{name, first})
	p.line = 0
	if p.combined {
		p.set, p.ignored = nil, false
		return
	}
	p.resetDefault(p.set)
}

func (p *parser) openSet(kind Kind, level snapshot.Level, subzones []string) {
	s := &dataset{id: uint32(len(p.sets)), kind: kind, level: level, subzones: subzones, outer: &p.front, first: noValue, testing: noValue}
	s.maxRange = p.front.maxRange
	if len(p.files) > 0 {
		s.at = p.at()
	}
	if p.sets = append(p.sets, s); len(p.sets) > MaxDatasets {
		p.limit("datasets", MaxDatasets)
	}
	p.set = s
	p.resetDefault(s)
}

// resetDefault puts the default that rbldnsd has in front of any default line.
func (p *parser) resetDefault(s *dataset) {
	s.code, s.text = defaultCode, ""
	if p.opts.Zone.Code != [4]byte{} {
		s.code = p.opts.Zone.Code
	}
	s.value = p.addValue(s.code, nil)
}

// at is the number of the current line among those of all files.
func (p *parser) at() uint32 {
	return uint32(min(p.files[len(p.files)-1].first+p.line, 1<<32-1))
}

// problem reports that the current line is left out.
func (p *parser) problem(format string, args ...any) {
	p.report(p.at(), false, format, args...)
}

// report counts a problem of a line and keeps it while there is room.
func (p *parser) report(at uint32, kept bool, format string, args ...any) {
	p.problemCount++
	if len(p.problems) < MaxProblems {
		p.problems = append(p.problems, located{at, fmt.Sprintf(format, args...), kept})
	}
}

// takeLine sorts one line, without its end, into comments, settings, defaults
// and entries.
func (p *parser) takeLine(b []byte) {
	b = trimBlanks(b)
	if len(b) == 0 {
		return
	}
	special := b[0] == '$' || len(b) > 1 && b[1] == '$' && (b[0] == '#' || b[0] == ';' || b[0] == ':')
	switch {
	case !special && (b[0] == '#' || b[0] == ';' || p.ignored):
	case bytes.IndexByte(b, 0) >= 0:
		p.problem("line with a zero byte")
	case special:
		p.special(b[bytes.IndexByte(b, '$')+1:])
	case p.set == nil:
		p.problem("entry in front of the first $DATASET")
	case b[0] == ':' && (len(b) == 1 || b[1] != ':'):
		p.defaultLine(b)
	default:
		p.entry(b)
	}
}

// defaultLine takes ":A:TXT", which holds for the entries after it.
func (p *parser) defaultLine(b []byte) {
	v, err := parseValue(b, p.set.code, "")
	if err != "" {
		p.problem("%s in %s", err, quote(b))
		return
	}
	s := p.set
	s.code, s.text = v.code, string(v.text)
	s.value = p.addValue(v.code, v.text)
	if s.first == noValue {
		s.first = s.value
	}
}

// entry takes one listing or exclusion.
func (p *parser) entry(b []byte) {
	s := p.set
	excluded := b[0] == '!'
	rest := b
	if excluded {
		rest = trimBlanks(b[1:])
	}
	if s.kind == Auto {
		s.kind = kindOf(rest, s.level)
	}
	if s.kind.is6() {
		p.entry6(b, rest, excluded)
		return
	}
	first, last, rest, err := parse4(rest, s.kind, p.opts.AllowHostBits)
	if err == "" && excluded && s.kind == IP4TSet {
		err = "exclusion, which an ip4tset has not,"
	}
	if err != "" {
		p.problem("%s in %s", err, quote(b))
		return
	}
	if size := uint64(last-first) + 1; s.maxRange != 0 && size > s.maxRange {
		p.problem("%d addresses in %s, more than the %d of $MAXRANGE4", size, quote(b), s.maxRange)
		return
	}
	value, ok := p.ownValue(b, rest, excluded)
	if !ok {
		return
	}
	for {
		bits := blockBits(first, last)
		p.add4(first, bits, value)
		end := first | mask4(bits)
		if end == last {
			return
		}
		first = end + 1
	}
}

// entry6 takes one IPv6 entry; line is the whole of it, rest without the "!".
func (p *parser) entry6(line, rest []byte, excluded bool) {
	addr, bits, rest, err := parse6(rest, p.set.kind, excluded, p.opts.AllowHostBits)
	if err != "" {
		p.problem("%s in %s", err, quote(line))
		return
	}
	if value, ok := p.ownValue(line, rest, excluded); ok {
		p.add6(addr, bits, value)
	}
}

// ownValue returns the number of the value that an entry has: its own, what it
// leaves out taken from the default.
func (p *parser) ownValue(line, rest []byte, excluded bool) (value uint32, ok bool) {
	s := p.set
	rest = trimBlanks(rest)
	if excluded {
		return excludedValue, true
	}
	if len(rest) == 0 || rest[0] == '#' || rest[0] == ';' || s.kind == IP4TSet || s.kind == IP6TSet {
		return s.value, true
	}
	v, err := parseValue(rest, s.code, s.text)
	if err != "" {
		p.problem("%s in %s", err, quote(line))
		return 0, false
	}
	return p.addValue(v.code, v.text), true
}

func (p *parser) addValue(code [4]byte, text []byte) uint32 {
	if p.opts.AddressesOnly {
		code, text = defaultCode, nil
	}
	v := p.values.add(p.set, code, text)
	switch {
	case p.values.bytes > p.opts.MaxTextBytes:
		p.limit("bytes of texts", p.opts.MaxTextBytes)
	case len(p.values.list) > p.opts.MaxEntries+spareValues:
		p.limit("texts", p.opts.MaxEntries)
	}
	return v
}

// spareValues is how many values no entry needs to have: that of exclusions, and
// what each dataset begins with.
const spareValues = 1 + MaxDatasets

// limit ends the parsing at the current line.
func (p *parser) limit(what string, most int) {
	if p.err == nil {
		p.err = fmt.Errorf("%s:%d: %w: %d %s", p.files[len(p.files)-1].name, p.line, ErrLimit, most, what)
	}
}

var (
	testPoint4 = netip.MustParseAddr("127.0.0.2")
	neverList4 = netip.MustParseAddr("127.0.0.1")
)

// add4 keeps one IPv4 prefix.
func (p *parser) add4(addr uint32, bits int, value uint32) {
	prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)}), bits)
	if p.take(prefix, value) {
		p.set.four = append(p.set.four, entry{hi: uint64(addr) << 32, bits: uint8(bits), value: value, at: p.at()})
	}
}

// add6 keeps one IPv6 prefix, or the IPv4 prefix that it maps.
func (p *parser) add6(addr netip.Addr, bits int, value uint32) {
	if addr.Is4In6() && bits >= 96 {
		a := addr.As16()
		p.add4(uint32(a[12])<<24|uint32(a[13])<<16|uint32(a[14])<<8|uint32(a[15]), bits-96, value)
		return
	}
	if p.take(netip.PrefixFrom(addr, bits), value) {
		hi, lo := halves(addr)
		p.set.six = append(p.set.six, entry{hi: hi, lo: lo, bits: uint8(bits), value: value, at: p.at()})
	}
}

// take reports whether the prefix becomes an entry: test points are settings,
// and special-use space is not listed.
func (p *parser) take(prefix netip.Prefix, value uint32) bool {
	if prefix.IsSingleIP() && (p.isTestPoint(prefix.Addr()) || prefix.Addr() == neverList4) {
		p.takePoint(prefix.Addr(), value)
		return false
	}
	if value != excludedValue && !p.opts.AllowSpecialUse {
		if r, ok := reserved.Covering(prefix); ok {
			p.drop(r).Listings++
			return false
		}
	}
	if p.entries++; p.entries > p.opts.MaxEntries {
		p.limit("entries", p.opts.MaxEntries)
	}
	return true
}

// takePoint takes an entry for one of the addresses whose answers are the same
// in every zone. That of the test point is its text.
func (p *parser) takePoint(a netip.Addr, value uint32) {
	switch {
	case a == neverList4 && value != excludedValue:
		p.problem("%s, which no zone lists", a)
	case a != neverList4 && value == excludedValue:
		p.problem("exclusion of %s, which every zone lists", a)
	case a != neverList4 && p.set.testing == noValue:
		p.set.testing = value
	}
}

// isTestPoint reports whether an address stands for the test entry of the
// dataset: 127.0.0.2, and in a combined file that of its level.
func (p *parser) isTestPoint(a netip.Addr) bool {
	return a == testPoint4 || p.combined && a == testPointOf(p.set.level)
}

func (p *parser) drop(r reserved.Range) *Dropped {
	d := p.dropped[r.Prefix]
	if d == nil {
		d = &Dropped{Range: r}
		p.dropped[r.Prefix] = d
	}
	return d
}

// trimBlanks takes the blanks that rbldnsd takes, space and tab, off both ends.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// maxQuoted is how much of a bad line a problem shows.
const maxQuoted = 60

func quote(b []byte) string {
	if len(b) > maxQuoted {
		return fmt.Sprintf("%q…", b[:maxQuoted])
	}
	return fmt.Sprintf("%q", b)
}

// foldName returns a DNS name as it stands in a snapshot.Zone.
func foldName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
