package ledger

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ucedge/snapshot"
)

// auditStart is when the first decision of these tests was made, and auditStep
// the time to the next.
const auditStart, auditStep = 1_795_363_200, 2

// manyDecisions returns more decisions than are gone through one by one: nearly
// all of one kind, a few of others, all but some within one /16.
func manyDecisions() []Decision {
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]Decision, fewDecisions+2000)
	for i := range out {
		d := Decision{ID: int64(i + 1), At: auditStart + int64(i)*auditStep, Kind: Listed, Level: snapshot.Address}
		a := netip.AddrFrom4([4]byte{198, 18, byte(random.Uint32()), byte(random.Uint32())})
		d.Prefix = netip.PrefixFrom(a, 32)
		switch random.IntN(200) {
		case 0:
			d.Kind, d.Level, d.Prefix = Delisted, snapshot.Allocation, netip.PrefixFrom(a, 24).Masked()
		case 1:
			d.Kind, d.Level, d.ASN, d.Prefix = Listed, snapshot.System, 64496, netip.Prefix{}
		case 2:
			d.Kind, d.Level, d.Prefix = Removed, 0, netip.MustParsePrefix("2001:db8::1/128")
		case 3:
			d.Kind, d.Level, d.Reporter, d.Prefix = BudgetTaken, 0, "a", netip.Prefix{}
		case 4:
			d.Kind, d.Level, d.Prefix = Exempted, 0, netip.MustParsePrefix("::1/128") // before the IPv4 ones
		case 5:
			d.At -= 1000 * auditStep // of a clock that was set back
		}
		out[i] = d
	}
	return out
}

// auditPages are pages of manyDecisions, by what is asked for.
func auditPages() map[string]Page {
	half, end := int64(auditStart+fewDecisions/2*auditStep), int64(auditStart+(fewDecisions+1900)*auditStep)
	pages := map[string]Page{
		"all":                        {},
		"public":                     {Kinds: PublicKinds()},
		"one kind":                   {Kinds: []DecisionKind{Delisted}},
		"a kind twice":               {Kinds: []DecisionKind{Removed, Removed}},
		"no such kind":               {Kinds: []DecisionKind{Purged}},
		"before":                     {Before: fewDecisions / 2},
		"since long ago":             {Since: auditStart + 1},
		"since the middle":           {Since: half},
		"since lately":               {Since: end},
		"since lately, of a kind":    {Since: end, Kinds: []DecisionKind{Delisted, Removed}},
		"since the middle, and old":  {Since: half, Before: fewDecisions/2 + 500},
		"within nearly all":          {Within: netip.MustParsePrefix("198.18.0.0/16")},
		"within nearly all, a kind":  {Within: netip.MustParsePrefix("198.18.0.0/16"), Kinds: []DecisionKind{Delisted}},
		"within nearly all, lately":  {Within: netip.MustParsePrefix("198.18.0.0/16"), Since: end},
		"within a net":               {Within: netip.MustParsePrefix("198.18.7.0/24")},
		"within a net, in the past":  {Within: netip.MustParsePrefix("198.18.7.0/24"), Before: 5000},
		"within a net, since then":   {Within: netip.MustParsePrefix("198.18.7.0/24"), Since: half, Kinds: PublicKinds()},
		"within an address":          {Within: netip.MustParsePrefix("198.18.7.7/32")},
		"within what is not masked":  {Within: netip.MustParsePrefix("198.18.7.7/24")},
		"within another net":         {Within: netip.MustParsePrefix("203.0.113.0/24")},
		"within IPv6":                {Within: netip.MustParsePrefix("2001:db8::/32")},
		"within all of IPv6":         {Within: netip.MustParsePrefix("::/0")},
		"within all of IPv6, a kind": {Within: netip.MustParsePrefix("::/0"), Kinds: []DecisionKind{Listed, Removed}},
		"within much of IPv6":        {Within: netip.MustParsePrefix("::/64")},
		"within all of IPv4":         {Within: netip.MustParsePrefix("0.0.0.0/0")},
		"within IPv6, of other kind": {Within: netip.MustParsePrefix("2000::/3"), Kinds: []DecisionKind{Listed}},
	}
	for name, page := range maps.Clone(pages) {
		page.Limit = 7
		pages[name+", seven"] = page
	}
	return pages
}

// asked is the slow rule of Audit.
func asked(all []Decision, page Page) (found []Decision) {
	within := page.Within.Masked()
	for _, d := range slices.Backward(all) {
		switch {
		case len(found) == page.length():
			return found
		case page.Before > 0 && d.ID >= page.Before, d.At < page.Since:
		case len(page.Kinds) > 0 && !slices.Contains(page.Kinds, d.Kind):
		case within.IsValid() && (!d.Prefix.IsValid() || !within.Contains(d.Prefix.Addr()) || d.Prefix.Bits() < within.Bits()):
		default:
			found = append(found, d)
		}
	}
	return found
}

func openMany(t *testing.T) (*SQLite, []Decision) {
	t.Helper()
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	all := manyDecisions()
	if err := s.AppendDecisions(context.Background(), all); err != nil {
		t.Fatal(err)
	}
	return s, all
}

// TestAuditPages: a page holds what a look at each decision finds, and its query
// neither looks at each nor sorts.
func TestAuditPages(t *testing.T) {
	s, all := openMany(t)
	for name, page := range auditPages() {
		got, err := s.Audit(context.Background(), page)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := asked(all, page); !slices.Equal(got, want) {
			t.Errorf("%s: %d decisions, want %d\ngot  %.200v\nwant %.200v", name, len(got), len(want), got, want)
		}
		clauses, args, err := s.clauses(context.Background(), page)
		if err != nil {
			t.Fatal(err)
		}
		plan := planOf(t, s, "SELECT id FROM decisions "+clauses, args)
		if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN decisions") || !strings.Contains(plan, "SEARCH decisions") {
			t.Errorf("%s: plan of the query\n%s", name, plan)
		}
	}
}

// planOf returns how SQLite would answer a query.
func planOf(t *testing.T, s *SQLite, query string, args []any) string {
	t.Helper()
	found, err := s.db.QueryContext(context.Background(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var plan []string
	for found.Next() {
		var id, parent, unused int
		var detail string
		if err := found.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	return strings.Join(plan, "\n")
}

// TestOpenMakesIndexes: a ledger of an earlier release gets the indexes that it
// lacks.
func TestOpenMakesIndexes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger")
	for i := range 2 {
		s, err := Open(context.Background(), file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		found, err := s.db.QueryContext(context.Background(), "SELECT name FROM sqlite_schema WHERE tbl_name = 'decisions' AND sql LIKE 'CREATE INDEX%' ORDER BY name")
		for err == nil && found.Next() {
			names = append(names, "")
			err = found.Scan(&names[len(names)-1])
		}
		if want := []string{"decisions_kind", "decisions_newest", "decisions_subject"}; err != nil || !slices.Equal(names, want) {
			t.Fatalf("opening %d: indexes %q, want %q: %v", i+1, names, want, err)
		}
		for _, name := range names[1:] {
			if _, err := s.db.ExecContext(context.Background(), fmt.Sprintf("DROP INDEX %s", name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
