package zonefile

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"ucedge/snapshot"
)

// Export writes a zone and its listings as a file of rbldnsd, and returns the
// dataset type to load it as: ip4trie, ip6trie, or combined where there are
// both families or several levels. Same listings, in any order, give the same
// bytes. Listings of other levels than the zone's are left out; the combined
// zone takes all of them, and answers with the texts of the zones of their
// levels, which are given behind them.
//
// What a zone file cannot say is lost: ends, evidence, thresholds, and counts
// and AS numbers that no text speaks of. A text that a line cannot hold is an
// error. A zero serial lets rbldnsd take the time of the file.
func Export(w io.Writer, zone snapshot.Zone, serial snapshot.Serial, listings []snapshot.Listing, levels ...snapshot.Zone) (Kind, error) {
	e := exporter{out: bufio.NewWriter(w), zone: zone, levels: levels}
	sections := e.sections(listings)
	kind := Combined
	if len(sections) == 1 && zone.Level != snapshot.Combined {
		kind = sections[0].kind
	}
	e.settings(kind, serial)
	for _, s := range sections {
		if kind == Combined {
			fmt.Fprintf(e.out, "$DATASET %s:level%d @\n", s.kind, s.level)
		}
		e.section(s)
	}
	if err := e.out.Flush(); err != nil {
		return kind, err
	}
	return kind, e.err
}

// An exporter writes one file.
type exporter struct {
	out    *bufio.Writer
	zone   snapshot.Zone
	levels []snapshot.Zone
	speaks snapshot.Zone // whose texts the section answers with
	text   string        // template of the default line; empty if it has none
	err    error
}

// A section is the listings of one dataset, in order.
type section struct {
	kind     Kind
	level    snapshot.Level
	listings []snapshot.Listing
}

// sections sorts the listings of the zone's levels by family. There is always
// one section, so that an empty zone is a file too.
func (e *exporter) sections(listings []snapshot.Listing) []section {
	if !slices.IsSortedFunc(listings, compareListings) {
		listings = slices.SortedFunc(slices.Values(listings), compareListings)
	}
	var sections []section
	for level := snapshot.Address; level <= snapshot.System; level++ {
		if e.zone.Level != snapshot.Combined && e.zone.Level != level {
			continue
		}
		from, _ := slices.BinarySearchFunc(listings, level, func(l snapshot.Listing, level snapshot.Level) int { return cmp.Compare(l.Level, level) })
		to, _ := slices.BinarySearchFunc(listings, level+1, func(l snapshot.Listing, level snapshot.Level) int { return cmp.Compare(l.Level, level) })
		mine := listings[from:to]
		six := slices.IndexFunc(mine, func(l snapshot.Listing) bool { return l.Prefix.Addr().Is6() })
		if six < 0 {
			six = len(mine)
		}
		if six > 0 || len(mine) == 0 {
			sections = append(sections, section{IP4Trie, level, mine[:six]})
		}
		if six < len(mine) {
			sections = append(sections, section{IP6Trie, level, mine[six:]})
		}
	}
	return sections
}

// compareListings is the canonical order: by level, IPv4 before IPv6, by
// address, then by length.
func compareListings(a, b snapshot.Listing) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

// settings writes the lines that hold for the whole file.
func (e *exporter) settings(kind Kind, serial snapshot.Serial) {
	z := e.zone
	fmt.Fprintf(e.out, "# rbldnsd %s:%s:FILE\n", z.Suffix, kind)
	fmt.Fprintf(e.out, "$TTL %d\n", z.TTL)
	if z.MName != "" && z.RName != "" {
		fmt.Fprintf(e.out, "$SOA %d %s %s %d %d %d %d %d\n", z.SOATTL, z.MName, z.RName, serial, z.Refresh, z.Retry, z.Expire, z.Minimum)
	}
	if len(z.NS) > 0 {
		fmt.Fprintf(e.out, "$NS %d %s\n", z.NSTTL, strings.Join(z.NS, " "))
	}
}

// section writes the default, the test points and the listings of a dataset.
func (e *exporter) section(s section) {
	code := e.zone.Code
	e.speaks = e.zone
	if e.zone.Level == snapshot.Combined {
		code[3] += byte(s.level - snapshot.Address)
		for _, z := range e.levels {
			if z.Level == s.level {
				e.speaks = z
			}
		}
	}
	e.text = ""
	if !speaksOfFacts(e.speaks.Text) {
		e.text = e.speaks.Text
	}
	fmt.Fprintf(e.out, ":%s:%s\n", netip.AddrFrom4(code), e.raw(e.text, snapshot.Listing{}))
	e.testPoints(s)
	for _, l := range s.listings {
		e.listing(l)
	}
}

// testPoints writes the test points that every zone has (RFC 5782, 5). In the
// combined zone every level has its own.
func (e *exporter) testPoints(s section) {
	point := testPoint4
	if e.zone.Level == snapshot.Combined {
		point = testPointOf(s.level)
	}
	listed, never := point.String(), neverList4.String()
	if s.kind == IP6Trie {
		listed, never = mappedText(point), mappedText(neverList4)
	}
	e.out.WriteString(listed)
	speaks := e.speaks
	e.speaks = e.zone
	e.ownText(e.zone.TestText, snapshot.Listing{Prefix: netip.PrefixFrom(point, point.BitLen())})
	e.speaks = speaks
	fmt.Fprintf(e.out, "!%s\n", never)
}

// testPointOf returns the address that the combined zone lists at a level.
func testPointOf(level snapshot.Level) netip.Addr {
	a := testPoint4.As4()
	a[3] += byte(level - snapshot.Address)
	return netip.AddrFrom4(a)
}

// mappedText writes an IPv4-mapped address in words, since rbldnsd does not
// read dotted quads in IPv6 addresses.
func mappedText(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("::ffff:%x:%x", uint(b[0])<<8|uint(b[1]), uint(b[2])<<8|uint(b[3]))
}

// listing writes one line. The test points have theirs already.
func (e *exporter) listing(l snapshot.Listing) {
	if a := l.Prefix.Addr(); l.Prefix.IsSingleIP() && (a == testPoint4 || a == neverList4) {
		return
	}
	if l.Excluded {
		e.out.WriteByte('!')
	}
	var buf [48]byte
	if l.Prefix.IsSingleIP() {
		e.out.Write(l.Prefix.Addr().AppendTo(buf[:0]))
	} else {
		e.out.Write(l.Prefix.AppendTo(buf[:0]))
	}
	switch {
	case l.Excluded:
		e.out.WriteByte('\n')
	case l.Text != "":
		e.ownText(l.Text, l)
	default:
		e.ownText(e.speaks.Text, l)
	}
}

// ownText writes the rest of a line: the text if it is not the default, and the
// line's end.
func (e *exporter) ownText(template string, l snapshot.Listing) {
	if template != "" && template != e.text {
		e.out.WriteByte(' ')
		e.out.WriteString(e.raw(template, l))
	}
	e.out.WriteByte('\n')
}

// speaksOfFacts reports whether a template has words that differ from listing
// to listing.
func speaksOfFacts(template string) bool {
	found := false
	expand(template, func(word string) (string, bool) {
		found = found || word == "net" || word == "count" || word == "as_name" || word == "asn"
		return "", false
	})
	return found
}

// raw returns a template as rbldnsd's own: $ is the address, $$ a dollar sign,
// and a text that could be taken for something else stands behind "=".
func (e *exporter) raw(template string, l snapshot.Listing) string {
	const address = "\x00"
	l.ASName = e.fitName(template, l)
	text := Expand(template, l, e.speaks, address)
	if !writable(text) && e.err == nil {
		e.err = fmt.Errorf("text %q of %s cannot stand in a zone file", template, l.Prefix)
	}
	text = strings.ReplaceAll(text, "$", "$$")
	text = strings.ReplaceAll(text, address, "$")
	if text != "" && strings.IndexByte(":=#; \t", text[0]) >= 0 {
		text = "=" + text
	}
	return text
}

// writable reports whether a line can hold a text, in which a zero byte stands
// for the address. It has to be one line, and no digit, dollar or equals sign
// may follow the address: rbldnsd would take both for one word.
func writable(text string) bool {
	for i, c := range []byte(text) {
		if c == '\n' || c == 0 && i+1 < len(text) && strings.IndexByte("0123456789$=\x00", text[i+1]) >= 0 {
			return false
		}
	}
	return true
}

// fitName returns the AS name cut so that the longest address fits into the
// text with it, as answers cut it.
func (e *exporter) fitName(template string, l snapshot.Listing) string {
	over := len(Expand(template, l, e.speaks, longestAddr(l.Prefix))) - snapshot.MaxText
	if over <= 0 || len(l.ASName) == 0 {
		return l.ASName
	}
	return l.ASName[:max(0, len(l.ASName)-over)]
}
