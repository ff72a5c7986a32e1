package zonefile

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"ucedge/snapshot"
)

// special takes a line that begins with $, without that sign.
func (p *parser) special(b []byte) {
	name, rest := cutWord(b)
	if p.ignored && !strings.EqualFold(name, "DATASET") {
		return
	}
	if err := p.setting(name, rest); err != nil {
		p.problem("%v in %s", err, quote(append([]byte{'$'}, b...)))
	}
}

// setting takes one named setting. Names are in any case, as in rbldnsd.
func (p *parser) setting(name string, rest []byte) error {
	args := strings.Fields(string(rest))
	switch strings.ToUpper(name) {
	case "SOA":
		return p.setSOA(args)
	case "NS":
		return p.setNS(args)
	case "TTL":
		return p.setTTL(args)
	case "TIMESTAMP":
		return p.setTimestamp(args)
	case "MAXRANGE4":
		return p.setMaxRange(args)
	case "DATASET":
		return p.openDataset(args)
	case "=":
		return setOnce(&p.scope().base, rest)
	}
	if len(name) == 1 && name[0]-'0' <= 9 {
		return setOnce(&p.scope().vars[name[0]-'0'], rest)
	}
	return fmt.Errorf("unknown setting")
}

// scope returns the settings that a line speaks of.
func (p *parser) scope() *scope {
	if p.set == nil {
		return &p.front
	}
	return &p.set.scope
}

// setOnce sets a word for texts. The first one in a dataset holds.
func setOnce(word *string, text []byte) error {
	text = trimBlanks(text)
	if len(text) == 0 {
		return fmt.Errorf("no text")
	}
	if *word == "" {
		*word = string(text)
	}
	return nil
}

// setSOA takes "ttl origin person serial refresh retry expire minttl". The
// first line holds.
func (p *parser) setSOA(args []string) error {
	if len(args) != 8 {
		return fmt.Errorf("%d fields where there must be 8", len(args))
	}
	var numbers [6]uint32
	for i, arg := range []string{args[0], args[4], args[5], args[6], args[7]} {
		n, err := parseSeconds(arg)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	serial, rest, ok := decimal([]byte(args[3]), 1<<32-1)
	if !ok || len(rest) > 0 {
		return fmt.Errorf("invalid serial")
	}
	if !validName(args[1]) || !validName(args[2]) {
		return fmt.Errorf("invalid domain name")
	}
	if p.soa {
		return nil
	}
	p.soa = true
	p.serial = snapshot.Serial(serial)
	z := &p.zone
	z.MName, z.RName = foldName(args[1]), foldName(args[2])
	z.SOATTL, z.Refresh, z.Retry, z.Expire, z.Minimum = p.orTTL(numbers[0]), numbers[1], numbers[2], numbers[3], numbers[4]
	return nil
}

// setNS takes "ttl name name...". A name after a minus sign is left out. The
// first line that names a server holds.
func (p *parser) setNS(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("no name server")
	}
	ttl, err := parseSeconds(args[0])
	if err != nil {
		return err
	}
	var names []string
	for _, arg := range args[1:] {
		name, off := strings.CutPrefix(arg, "-")
		if !validName(name) {
			return fmt.Errorf("invalid domain name")
		}
		if !off {
			names = append(names, foldName(name))
		}
	}
	if len(names) > snapshot.NSMax {
		p.report(p.at(), true, "%d name servers, of which the first %d count", len(names), snapshot.NSMax)
		names = names[:snapshot.NSMax]
	}
	if len(names) > 0 && !p.ns {
		p.ns = true
		p.zone.NS, p.zone.NSTTL = names, p.orTTL(ttl)
	}
	return nil
}

func (p *parser) setTTL(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d fields where there must be 1", len(args))
	}
	ttl, err := parseSeconds(args[0])
	if err != nil {
		return err
	}
	p.scope().ttl = ttl
	return nil
}

// orTTL returns ttl, or if it is zero the one that is in force.
func (p *parser) orTTL(ttl uint32) uint32 {
	for _, t := range []uint32{ttl, p.scope().ttl, p.front.ttl, p.opts.Zone.TTL} {
		if t != 0 {
			return t
		}
	}
	return DefaultTTL
}

// setMaxRange takes a number of addresses or a prefix length. The limit can
// only go down.
func (p *parser) setMaxRange(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d fields where there must be 1", len(args))
	}
	text, isLength := strings.CutPrefix(args[0], "/")
	limit := uint32(1<<32 - 1)
	if isLength {
		limit = 32
	}
	n, rest, ok := decimal([]byte(text), limit)
	if !ok || n == 0 || len(rest) > 0 {
		return fmt.Errorf("invalid size of a range")
	}
	size := uint64(n)
	if isLength {
		size = 1 << (32 - n)
	}
	s := p.scope()
	if s.maxRange != 0 && size > s.maxRange {
		return fmt.Errorf("attempt to raise the limit from %d to %d addresses", s.maxRange, size)
	}
	s.maxRange = size
	return nil
}

// openDataset takes "type[:name] subzone...", which begins a dataset of a
// combined file.
func (p *parser) openDataset(args []string) error {
	if !p.combined && !p.becomeCombined() {
		return fmt.Errorf("no combined file")
	}
	p.set, p.ignored = nil, true
	if len(args) == 0 {
		return fmt.Errorf("no dataset type")
	}
	kindName, name, _ := strings.Cut(args[0], ":")
	kind, err := ParseKind(kindName)
	if err != nil || kind == Auto || kind == Combined {
		return fmt.Errorf("dataset of a type that lists no addresses")
	}
	level, err := p.datasetLevel(name, args[1:])
	if err != nil {
		return err
	}
	p.ignored = false
	p.openSet(kind, level, args[1:])
	return nil
}

// becomeCombined makes a file of kind Auto a combined one, if it has no entry
// and no default so far.
func (p *parser) becomeCombined() bool {
	s := p.set
	if p.opts.Kind != Auto || s == nil || s.kind != Auto || s.first != noValue {
		return false
	}
	p.combined = true
	p.front = s.scope
	p.sets = p.sets[:0]
	return true
}

// datasetLevel tells the level of a dataset: from its name "level1" to
// "level3", else from its subzones, the combined zone left aside.
func (p *parser) datasetLevel(name string, subzones []string) (snapshot.Level, error) {
	if len(subzones) == 0 {
		return 0, fmt.Errorf("no subzone")
	}
	for _, sub := range subzones {
		if sub != "@" && (!validName(sub) || len(p.suffix(sub)) > snapshot.NameMax) {
			return 0, fmt.Errorf("invalid domain name")
		}
	}
	if l, ok := strings.CutPrefix(name, "level"); ok && len(l) == 1 && '1' <= l[0] && l[0] <= '3' {
		return snapshot.Level(l[0] - '0'), nil
	}
	level := snapshot.Combined
	for _, sub := range subzones {
		l, ok := p.subzoneLevel(sub)
		switch {
		case !ok:
			return 0, fmt.Errorf("subzone %q whose level is not known", sub)
		case l == snapshot.Combined:
		case level != snapshot.Combined && l != level:
			return 0, fmt.Errorf("subzones of levels %d and %d", level, l)
		default:
			level = l
		}
	}
	if level == snapshot.Combined {
		return 0, fmt.Errorf("dataset whose level is not known")
	}
	return level, nil
}

// subzoneLevel returns the level of a subzone of a combined file.
func (p *parser) subzoneLevel(sub string) (snapshot.Level, bool) {
	if sub == "@" {
		return p.opts.Zone.Level, true
	}
	if l, ok := p.opts.Subzones[foldName(sub)]; ok {
		return l, true
	}
	label, _, _ := strings.Cut(foldName(sub), ".")
	switch c := label[len(label)-1]; c {
	case '1', '2', '3':
		return snapshot.Level(c - '0'), true
	}
	return 0, false
}

// setTimestamp takes "built [expires]".
func (p *parser) setTimestamp(args []string) error {
	if len(args) != 1 && len(args) != 2 {
		return fmt.Errorf("%d fields where there must be 1 or 2", len(args))
	}
	built, err := parseStamp(args[0])
	if err != nil {
		return err
	}
	var expires int64
	if len(args) == 2 {
		if expires, err = parseExpiry(args[1], built); err != nil {
			return err
		}
	}
	if now := p.opts.Now; now != 0 && built > now && p.err == nil {
		p.err = fmt.Errorf("%s:%d: %w: built at %s", p.files[len(p.files)-1].name, p.line, ErrExpired, time.Unix(built, 0).UTC().Format(time.RFC3339))
	}
	if now := p.opts.Now; now != 0 && expires != 0 && now >= expires && p.err == nil {
		p.err = fmt.Errorf("%s:%d: %w: expired at %s", p.files[len(p.files)-1].name, p.line, ErrExpired, time.Unix(expires, 0).UTC().Format(time.RFC3339))
	}
	p.built = max(p.built, built)
	if expires != 0 && (p.expires == 0 || expires < p.expires) {
		p.expires = expires
	}
	return nil
}

func parseExpiry(arg string, built int64) (int64, error) {
	relative, ok := strings.CutPrefix(arg, "+")
	if !ok {
		return parseStamp(arg)
	}
	n, err := parseSeconds(relative)
	if err != nil || built == 0 {
		return 0, fmt.Errorf("invalid time of expiry")
	}
	return built + int64(n), nil
}

// parseStamp reads yyyy:mm:dd[:hh[:mi[:ss]]] in UTC, where each colon may be a
// dash or be left out; "0" and "-" are no time.
func parseStamp(s string) (int64, error) {
	if s == "0" || s == "-" {
		return 0, nil
	}
	fields := [6]int{}
	limits := [6]int{9999, 12, 31, 23, 59, 59}
	count := 0
	for ; count < 6 && s != ""; count++ {
		if count > 0 && (s[0] == ':' || s[0] == '-') {
			s = s[1:]
		}
		digits := 2
		if count == 0 {
			digits = 4
		}
		end := 0
		for end < digits && end < len(s) && s[end]-'0' <= 9 {
			fields[count] = fields[count]*10 + int(s[end]-'0')
			end++
		}
		if end == 0 || fields[count] > limits[count] {
			return 0, fmt.Errorf("invalid time")
		}
		s = s[end:]
	}
	if s != "" || count < 3 {
		return 0, fmt.Errorf("invalid time")
	}
	t := time.Date(fields[0], time.Month(fields[1]), fields[2], fields[3], fields[4], fields[5], 0, time.UTC)
	if t.Day() != fields[2] || fields[1] == 0 || t.Unix() <= 0 {
		return 0, fmt.Errorf("invalid time")
	}
	return t.Unix(), nil
}

// secondsIn are the units of time in settings.
var secondsIn = map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}

// parseSeconds reads a number of seconds, or of the unit that follows it. It is
// at most what a TTL can be (RFC 2181 8).
func parseSeconds(s string) (uint32, error) {
	n, rest, ok := decimal([]byte(s), 1<<32-1)
	unit := uint64(1)
	if ok && len(rest) == 1 {
		unit, ok = secondsIn[rest[0]|0x20]
		rest = nil
	}
	if !ok || len(rest) > 0 || uint64(n)*unit > math.MaxInt32 {
		return 0, fmt.Errorf("invalid time %q", s)
	}
	return uint32(uint64(n) * unit), nil
}

// notInName reports whether a host name or zone name has no place for r.
func notInName(r rune) bool {
	return !('a' <= r|0x20 && r|0x20 <= 'z' && r < 0x80 || '0' <= r && r <= '9' || r == '-' || r == '_')
}

// validName reports whether a DNS name fits into a message: labels of 1 to 63
// bytes, 253 in all (RFC 1035 2.3.4). The root is none.
func validName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInName) {
			return false
		}
	}
	return true
}

// cutWord returns the bytes up to the first blank, and what follows it.
func cutWord(b []byte) (word string, rest []byte) {
	i := bytes.IndexAny(b, " \t")
	if i < 0 {
		return string(b), nil
	}
	return string(b[:i]), b[i:]
}
