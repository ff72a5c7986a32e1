package report

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ucedge/snapshot"
)

// errRepeated is why a record that names a field twice is refused.
var errRepeated = errors.New("is given twice")

// fields is one record while its fields are collected. The parsers share it,
// so that a field means the same in each format.
type fields struct {
	report Report
	given  uint8 // fields met so far, one bit each
}

// fieldNames are the fields of a record, in the order of the bits of given.
var fieldNames = [...]string{"address", "seen", "kind", "reporter", "evidence"}

// indexOf returns the place of a field in fieldNames, or -1.
func indexOf(name []byte) int {
	for i, known := range fieldNames {
		if string(name) == known {
			return i
		}
	}
	return -1
}

// set stores the text of the field with that index.
func (f *fields) set(i int, value []byte) error {
	if f.given&(1<<i) != 0 {
		return fmt.Errorf("field %q %w", fieldNames[i], errRepeated)
	}
	f.given |= 1 << i
	var err error
	switch fieldNames[i] {
	case "address":
		f.report.Address, err = parseAddress(string(value))
	case "seen":
		f.report.Seen, err = parseSeen(value)
	case "kind":
		f.report.Kind, err = parseKind(string(value))
	case "reporter":
		f.report.Reporter = string(value)
	case "evidence":
		f.report.Evidence = string(value)
	}
	return err
}

// done returns the record's report if the rules take it. Where is the place in
// the format for the time that a record may lack.
func (f *fields) done(rules *Rules, where string) (Report, error) {
	if f.given&1 == 0 {
		return Report{}, errors.New("address is missing")
	}
	if f.given&2 == 0 {
		if rules.Seen == 0 {
			return Report{}, errors.New(NoTime + ": " + where)
		}
		f.report.Seen = rules.Seen
	}
	return rules.Check(f.report)
}

// parseAddress reads an address in its usual text form (RFC 4291 2.2). A
// mapped one is unmapped; one with a zone means nothing elsewhere.
func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address %q is not an IP address", clip(text))
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("address %q has a zone", clip(text))
	}
	return a.Unmap(), nil
}

// parseSeen reads a time: RFC 3339, or whole seconds since the Unix epoch.
func parseSeen(text []byte) (int64, error) {
	if len(text) > 0 && len(text) <= 12 && len(bytes.Trim(text, "0123456789")) == 0 {
		return strconv.ParseInt(string(text), 10, 64)
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return 0, fmt.Errorf("seen %q is neither RFC 3339 nor unix seconds", clip(string(text)))
	}
	return t.Unix(), nil
}

func parseKind(text string) (snapshot.Kinds, error) {
	kind, ok := snapshot.ParseKind(text)
	if !ok {
		return 0, unknown("kind", text, snapshot.Kinds(math.MaxUint8).Names())
	}
	return kind, nil
}

// unknown refuses a name, and says which ones are known.
func unknown(what, name string, known []string) error {
	return fmt.Errorf("%s %q is unknown: known are %s", what, clip(name), strings.Join(known, ", "))
}

// formatTime writes a time as an operator reads it.
func formatTime(unix int64) string {
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// printable reports whether s is UTF-8 without control characters, so that it
// can stand in a line of text.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// clip shortens what a refusal quotes: it is sent back, and may be hostile.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
