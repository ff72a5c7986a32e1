package build

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ucedge/snapshot"
)

// Canonical returns the listings as an image holds them, in the order of
// Snapshot.Listings for Levels 1, 2, 3. Listings of the same prefix at the same
// level become one: if any is an exclusion, an exclusion, else with the latest
// end (no end is the latest), the greatest counts, the earliest known first
// hour, the latest last hour, all kinds, the smallest known AS with its name,
// and the smallest text. Exclusions have no facts. An error names the listing
// that an image cannot hold.
func Canonical(listings []snapshot.Listing) ([]snapshot.Listing, error) {
	out := slices.Clone(listings)
	for i := range out {
		if err := check(&out[i]); err != nil {
			return nil, err
		}
		if out[i].Excluded {
			out[i].Facts = snapshot.Facts{}
		}
	}
	slices.SortFunc(out, compare)
	merged := out[:0]
	for _, l := range out {
		if n := len(merged); n > 0 && merged[n-1].Level == l.Level && merged[n-1].Prefix == l.Prefix {
			merged[n-1] = merge(merged[n-1], l)
			continue
		}
		merged = append(merged, l)
	}
	return merged, nil
}

// compare orders by level, then as Snapshot.Listings does.
func compare(a, b snapshot.Listing) int {
	if c := cmp.Compare(a.Level, b.Level); c != 0 {
		return c
	}
	if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
		return c // IPv4 is less than IPv6
	}
	return cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits())
}

func check(l *snapshot.Listing) error {
	problem := ""
	switch p := l.Prefix; {
	case l.Level < snapshot.Address || l.Level > snapshot.System:
		problem = "unknown level"
	case !p.IsValid():
		problem = "invalid prefix"
	case p.Addr().Is4In6():
		problem = "IPv4-mapped prefix, which must come as IPv4"
	case p != p.Masked():
		problem = "bits set after the prefix"
	case len(l.ASName) > snapshot.ASNameMax:
		problem = "AS name too long"
	case len(l.Text) > snapshot.TemplateMax:
		problem = "text too long"
	default:
		return nil
	}
	return fmt.Errorf("listing %q of level %d: %s", l.Prefix, l.Level, problem)
}

// merge makes one listing of two of the same prefix and level; order does not
// matter.
func merge(a, b snapshot.Listing) snapshot.Listing {
	if a.Excluded || b.Excluded {
		return snapshot.Listing{Level: a.Level, Prefix: a.Prefix, Excluded: true}
	}
	a.Count = max(a.Count, b.Count)
	a.Threshold = max(a.Threshold, b.Threshold)
	a.First = smallest(a.First, b.First)
	a.Last = max(a.Last, b.Last)
	if a.End == 0 || b.End == 0 {
		a.End = 0
	} else {
		a.End = max(a.End, b.End)
	}
	a.Kinds |= b.Kinds
	if x, y := systemOf(a), systemOf(b); x == (system{}) || y != (system{}) && y.compare(x) < 0 {
		a.ASN, a.ASName = y.asn, y.name
	}
	a.Text = smallest(a.Text, b.Text)
	return a
}

// smallest returns the smaller of two values, of which zero is none.
func smallest[T cmp.Ordered](a, b T) T {
	var zero T
	if a == zero || b != zero && b < a {
		return b
	}
	return a
}

// A system is a row of the AS table; the zero system is none.
type system struct {
	asn  snapshot.ASN
	name string
}

func systemOf(l snapshot.Listing) system { return system{l.ASN, l.ASName} }

func (x system) compare(y system) int {
	return cmp.Or(cmp.Compare(x.asn, y.asn), cmp.Compare(x.name, y.name))
}

// isPoint says whether an image holds the listing as a point: an address or a
// /64 of Level 1 with nothing but what the columns of points hold.
func isPoint(l *snapshot.Listing) bool {
	return l.Level == snapshot.Address && l.Prefix.Bits() == pointBits(l.Prefix.Addr()) && !l.Excluded &&
		l.Threshold == 0 && l.Text == "" && systemOf(*l) == (system{})
}

func pointBits(a netip.Addr) int {
	if a.Is4() {
		return 32
	}
	return 64
}
