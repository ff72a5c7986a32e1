package routes

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"ucedge/snapshot"
)

// A textReader reads lines of one format, chosen by the first line that holds
// data.
type textReader struct {
	b      *Builder
	s      *Stats
	comma  bool
	fields []string
	rir    *delegation
}

// readText reads a line-based format.
func (b *Builder) readText(br *bufio.Reader, s *Stats) error {
	t := textReader{b: b, s: s}
	for line := 1; ; line++ {
		text, err := readLine(br)
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, errLongLine) {
			return err
		}
		if err == nil {
			err = t.line(text)
		}
		if errors.Is(err, errFull) {
			return err
		}
		s.Lines = line
		if err != nil {
			s.bad(line, err)
		}
	}
	if t.rir != nil {
		return t.rir.resolve(b, s)
	}
	return nil
}

var errLongLine = fmt.Errorf("line is longer than %d bytes", lineBytesMax)

// readLine returns the next line without its end. A line that is too long is
// read to its end and gives errLongLine.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		for err == bufio.ErrBufferFull {
			_, err = br.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, errLongLine
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// line takes one line. Empty lines and comments are good and say nothing.
func (t *textReader) line(raw []byte) error {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] == '#' || trimmed[0] == ';' {
		return nil
	}
	text := string(raw)
	if t.s.Format == "" {
		heading, err := t.detect(text)
		if heading || err != nil {
			return err
		}
	}
	if t.rir != nil {
		return t.rir.line(text, t.s)
	}
	if err := t.split(text); err != nil {
		return err
	}
	switch t.s.Format {
	case Pfx2AS:
		return t.pfx2as()
	case Ranges:
		return t.ranges()
	}
	return t.prefixes()
}

// detect chooses the format by one line. heading says that the line names
// columns and holds no data.
func (t *textReader) detect(text string) (heading bool, err error) {
	if strings.Count(text, "|") >= 3 {
		t.s.Format = Delegated
		t.rir = newDelegation()
		return false, nil
	}
	t.comma = !strings.Contains(text, "\t") && strings.Contains(text, ",")
	if err := t.split(text); err != nil {
		return false, err
	}
	f := t.fields
	if len(f) < 2 {
		return false, fmt.Errorf("line %q has one field and fits no format", clip(text))
	}
	_, bits := strconv.ParseUint(f[1], 10, 8)
	_, prefix := netip.ParsePrefix(f[0])
	_, first := parseAddr(f[0], f[1])
	switch {
	case prefix == nil:
		t.s.Format = Prefixes
	case first == nil && bits == nil && !t.comma:
		t.s.Format = Pfx2AS
	case first == nil:
		t.s.Format = Ranges
	case t.s.Lines == 0 && t.comma && !strings.ContainsAny(f[0], ".:"):
		return true, nil
	default:
		return false, fmt.Errorf("%q is neither a prefix nor an address", clip(f[0]))
	}
	return false, nil
}

// prefixes takes: prefix, ASN, name.
func (t *textReader) prefixes() error {
	f := t.fields
	if len(f) < 2 {
		return fmt.Errorf("got %d fields, want prefix, ASN and name", len(f))
	}
	p, err := netip.ParsePrefix(f[0])
	if err != nil {
		return fmt.Errorf("%q is not a prefix", clip(f[0]))
	}
	return t.add(p, f[1], field(f, 2))
}

// pfx2as takes: address, length, origins.
func (t *textReader) pfx2as() error {
	f := t.fields
	if len(f) != 3 {
		return fmt.Errorf("got %d fields, want address, length and ASN", len(f))
	}
	a, err := netip.ParseAddr(f[0])
	if err != nil {
		return fmt.Errorf("%q is not an address", clip(f[0]))
	}
	bits, err := strconv.Atoi(f[1])
	if err != nil || bits < 0 || bits > a.BitLen() {
		return fmt.Errorf("%q is not a prefix length", clip(f[1]))
	}
	return t.add(netip.PrefixFrom(a, bits), f[2], "")
}

// ranges takes: first, last, ASN, name; or with TABs as iptoasn has it: first,
// last, ASN, country, name.
func (t *textReader) ranges() error {
	f := t.fields
	if len(f) < 3 {
		return fmt.Errorf("got %d fields, want first, last, ASN and name", len(f))
	}
	first, err := parseAddr(f[0], f[1])
	if err != nil {
		return err
	}
	last, err := parseAddr(f[1], f[0])
	if err != nil {
		return err
	}
	origins, err := parseOrigins(f[2])
	if err != nil {
		return err
	}
	if unrouted(origins) {
		t.s.Skipped++
		return nil
	}
	name := field(f, 3)
	if !t.comma && len(f) > 4 {
		name = f[4]
	}
	n, err := t.b.AddRange(first, last, origins...)
	if err == nil {
		t.name(origins, name)
	}
	return t.s.took(n, err)
}

// add takes one prefix with the text of its origins. A prefix with bits below
// its length is a bad line: it is not clear which of both is wrong.
func (t *textReader) add(p netip.Prefix, asns, name string) error {
	if p != p.Masked() {
		return fmt.Errorf("prefix %q has bits set past its length", p)
	}
	origins, err := parseOrigins(asns)
	if err != nil {
		return err
	}
	if unrouted(origins) {
		t.s.Skipped++
		return nil
	}
	t.name(origins, name)
	if err := t.b.Add(p, origins...); err != nil {
		return t.s.took(0, err)
	}
	return t.s.took(1, nil)
}

// name keeps the name of a single origin; for several it is not clear whose it
// is.
func (t *textReader) name(origins []snapshot.ASN, name string) {
	if len(origins) == 1 {
		t.b.SetName(origins[0], name)
	}
}

// unrouted reports whether a line says that nobody announces the addresses.
func unrouted(origins []snapshot.ASN) bool {
	return len(origins) == 1 && origins[0] == 0
}

// split sets t.fields. With commas a field may stand in double quotes, inside
// which a doubled one is one (RFC 4180); it cannot go on in the next line.
func (t *textReader) split(text string) error {
	t.fields = t.fields[:0]
	if !t.comma {
		for f := range strings.SplitSeq(text, "\t") {
			t.fields = append(t.fields, strings.TrimSpace(f))
		}
		return nil
	}
	for {
		f, rest, more, err := commaField(text)
		if err != nil {
			return err
		}
		t.fields = append(t.fields, f)
		if !more {
			return nil
		}
		text = rest
	}
}

// commaField cuts the first field off a line.
func commaField(text string) (f, rest string, more bool, err error) {
	trimmed := strings.TrimLeft(text, " ")
	if !strings.HasPrefix(trimmed, `"`) {
		f, rest, more = strings.Cut(text, ",")
		return strings.TrimSpace(f), rest, more, nil
	}
	var b strings.Builder
	for rest = trimmed[1:]; ; {
		i := strings.IndexByte(rest, '"')
		if i < 0 {
			return "", "", false, fmt.Errorf("field %q has no closing quote", clip(trimmed))
		}
		b.WriteString(rest[:i])
		rest = rest[i+1:]
		if !strings.HasPrefix(rest, `"`) {
			break
		}
		b.WriteByte('"')
		rest = rest[1:]
	}
	rest = strings.TrimLeft(rest, " ")
	if rest == "" {
		return b.String(), "", false, nil
	}
	if rest[0] != ',' {
		return "", "", false, fmt.Errorf("text %q after a closing quote", clip(rest))
	}
	return b.String(), rest[1:], true, nil
}

// parseAddr parses an address, or an IPv4 address as one number if the other
// end of its range is one too.
func parseAddr(s, other string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	_, err2 := strconv.ParseUint(other, 10, 32)
	if err != nil || err2 != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an address", clip(s))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b), nil
}

// parseOrigins parses one ASN, with or without AS in front, or several: a
// multi-origin route 64496_64497 or an AS set {64496,64497}.
func parseOrigins(s string) ([]snapshot.ASN, error) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("_,{} ", r) })
	if len(parts) == 0 || len(parts) > originsMax {
		return nil, fmt.Errorf("%q is not an AS number", clip(s))
	}
	origins := make([]snapshot.ASN, 0, len(parts))
	for _, p := range parts {
		if len(p) > 2 && strings.EqualFold(p[:2], "AS") {
			p = p[2:]
		}
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is not an AS number", clip(s))
		}
		origins = append(origins, snapshot.ASN(n))
	}
	return origins, nil
}

// field returns field i, or "" if the line is shorter.
func field(f []string, i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

// clip shortens a text from a file for an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
