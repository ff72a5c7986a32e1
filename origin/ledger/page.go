package ledger

import (
	"context"
	"net/netip"
	"strings"
)

// indexes are those of the decisions. Open makes those that a ledger of an
// earlier release lacks. SQLite ends each with the number of the row.
const indexes = `
CREATE INDEX IF NOT EXISTS decisions_kind ON decisions (kind, at);
CREATE INDEX IF NOT EXISTS decisions_newest ON decisions (kind);
CREATE INDEX IF NOT EXISTS decisions_subject ON decisions (address, bits, kind, at);
`

// fewDecisions is up to how many decisions are gone through in an index, which
// takes a few milliseconds. Where there are more, the newest of their kind are
// gone through until the page is full.
const fewDecisions = 20_000

// clauses are those of the query for a page. Decisions are never taken out, so
// no page may cost what all of them would: their numbers come out of indexes,
// and only the rows of the page are read.
func (s *SQLite) clauses(ctx context.Context, page Page) (clauses string, args []any, err error) {
	from, args, err := s.candidates(ctx, page)
	return "WHERE id IN (" + from + ") ORDER BY id DESC LIMIT ?", append(args, page.length()), err
}

// candidates returns a query for numbers of decisions, of which the greatest are
// those of the page.
func (s *SQLite) candidates(ctx context.Context, page Page) (query string, args []any, err error) {
	if page.Within.IsValid() {
		var subject conditions
		subject.within(page.Within)
		few, err := s.few(ctx, "decisions_subject", subject)
		if err != nil {
			return "", nil, err
		}
		if few {
			c := conditionsOf(page)
			c.kinds(page.Kinds)
			return "SELECT id FROM decisions INDEXED BY decisions_subject " + c.where(), c.args, nil
		}
	}
	var parts []string
	for _, kind := range numbersOf(page.Kinds) {
		part, some, err := s.newest(ctx, kind, page)
		if err != nil {
			return "", nil, err
		}
		parts, args = append(parts, part), append(args, some...)
	}
	return strings.Join(parts, " UNION ALL "), args, nil
}

// newest asks for the newest decisions of one kind, as many as the page may
// hold, or for all of them if few are so new.
func (s *SQLite) newest(ctx context.Context, kind int, page Page) (query string, args []any, err error) {
	few := false
	if page.Since > 0 {
		var c conditions
		c.add("kind = ? AND at >= ?", kind, page.Since)
		if few, err = s.few(ctx, "decisions_kind", c); err != nil {
			return "", nil, err
		}
	}
	c := conditionsOf(page)
	c.add("kind = ?", kind)
	if few {
		return "SELECT id FROM decisions INDEXED BY decisions_kind " + c.where(), c.args, nil
	}
	query = "SELECT * FROM (SELECT id FROM decisions INDEXED BY decisions_newest " + c.where() + " ORDER BY id DESC LIMIT ?)"
	return query, append(c.args, page.length()), nil
}

// few reports whether few entries of an index meet conditions that bound a part
// of it.
func (s *SQLite) few(ctx context.Context, index string, c conditions) (bool, error) {
	var n int
	query := "SELECT count(*) FROM (SELECT 1 FROM decisions INDEXED BY " + index + " " + c.where() + " LIMIT ?)"
	err := s.db.QueryRowContext(ctx, query, append(c.args, fewDecisions)...).Scan(&n)
	return n < fewDecisions, err
}

// conditionsOf are those of a page but for the kinds.
func conditionsOf(page Page) (c conditions) {
	if page.Before > 0 {
		c.add("id < ?", page.Before)
	}
	if page.Since > 0 {
		c.add("at >= ?", page.Since)
	}
	if page.Within.IsValid() {
		c.within(page.Within)
	}
	return c
}

// conditions collects the parts of a WHERE clause.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

// kinds asks for decisions of these kinds, of any if there are none.
func (c *conditions) kinds(kinds []DecisionKind) {
	numbers := numbersOf(kinds)
	args := make([]any, len(numbers))
	for i, number := range numbers {
		args[i] = number
	}
	c.add("kind IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
}

// within asks for subjects inside p: their first address is between its first
// and last, and they are no shorter. Those of IPv4, which are kept as IPv4-mapped
// addresses, are in no prefix of IPv6.
func (c *conditions) within(p netip.Prefix) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	first := p.Masked().Addr().As16()
	last := lastOf(first, bits)
	if !p.Addr().Is6() || !p.Contains(mapped.Addr()) {
		c.add("address BETWEEN ? AND ? AND bits >= ?", first[:], last[:], bits)
		return
	}
	before, after := mapped.Addr().Prev().As16(), netip.AddrFrom16(lastOf(mapped.Addr().As16(), mapped.Bits())).Next().As16()
	c.add("(address BETWEEN ? AND ? OR address BETWEEN ? AND ?) AND bits >= ?", first[:], before[:], after[:], last[:], bits)
}

// mapped are the IPv4-mapped addresses (RFC 4291 2.5.5.2).
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// lastOf returns the last address of a prefix.
func lastOf(first [16]byte, bits int) [16]byte {
	for i := bits; i < 128; i++ {
		first[i/8] |= 0x80 >> (i % 8)
	}
	return first
}

func (c *conditions) where() string { return "WHERE " + strings.Join(c.parts, " AND ") }
