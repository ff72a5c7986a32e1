package policy

import (
	"math"
	"math/bits"
	"net/netip"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A Coverage is what one level of a result reaches, for comparing profiles.
type Coverage struct {
	Level     snapshot.Level `json:"level"`
	Listings  int            `json:"listings"`
	Excluded  int            `json:"excluded"`
	Addresses uint64         `json:"addresses"` // IPv4, each once, exclusions left out
	Slash64s  uint64         `json:"slash64s"`  // IPv6, likewise; stops at 2^64-1
	Widest4   int            `json:"widest4"`   // length of the widest IPv4 listing; 0: none
	Widest6   int            `json:"widest6"`
}

// Coverages returns the coverage of Levels 1 to 3.
func (r *Result) Coverages() [3]Coverage {
	var all [3]Coverage
	for i := range all {
		all[i].Level = snapshot.Level(i + 1)
	}
	var open []snapshot.Listing
	for l := range r.All() {
		c := &all[l.Level-1]
		for len(open) > 0 && !inside(open[len(open)-1], l) {
			open = open[:len(open)-1]
		}
		// What a narrower entry answers for, the wider one does not.
		if len(open) > 0 && !open[len(open)-1].Excluded {
			c.cover(l.Prefix, true)
		}
		open = append(open, l)
		if l.Excluded {
			c.Excluded++
			continue
		}
		c.Listings++
		c.cover(l.Prefix, false)
		widest := &c.Widest4
		if l.Prefix.Addr().Is6() {
			widest = &c.Widest6
		}
		if *widest == 0 || l.Prefix.Bits() < *widest {
			*widest = l.Prefix.Bits()
		}
	}
	return all
}

// inside reports whether l lies in the open entry.
func inside(open, l snapshot.Listing) bool {
	return open.Level == l.Level && open.Prefix.Bits() <= l.Prefix.Bits() && open.Prefix.Contains(l.Prefix.Addr())
}

// cover adds the size of a prefix, or takes it back. One narrower than a /64
// has no size here.
func (c *Coverage) cover(p netip.Prefix, back bool) {
	total, width := &c.Addresses, 32
	if p.Addr().Is6() {
		total, width = &c.Slash64s, 64
	}
	if p.Bits() > width {
		return
	}
	size := uint64(1) << (width - p.Bits())
	if back {
		*total -= size
		return
	}
	sum, carry := bits.Add64(*total, size, 0)
	if carry != 0 {
		sum = math.MaxUint64
	}
	*total = sum
}

// A Change is one prefix that only one of two results lists.
type Change struct {
	Listing snapshot.Listing
	After   bool // listed only in the second one
}

// Compare returns what Levels 2 and 3 list in only one of two results, for
// what-if: the same evidence under two profiles, or under one at two times.
func Compare(before, after *Result) []Change {
	var all []Change
	a, b := before.nets, after.nets
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && compareListing(a[0], b[0]) < 0:
			all = append(all, Change{a[0], false})
			a = a[1:]
		case len(a) == 0 || compareListing(a[0], b[0]) > 0:
			all = append(all, Change{b[0], true})
			b = b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return all
}

// ends returns the times at which the abusers with keys from..to leave.
func (f *family) ends(from, to uint64, all []int64) []int64 {
	i := f.search(from)
	for ; i < len(f.abusers) && f.abusers[i].key <= to; i++ {
		all = append(all, f.abusers[i].last+Window)
	}
	return all
}

// span returns the first and last key of a prefix.
func span(p netip.Prefix) (v6 bool, first, last uint64) {
	u := routes.UnitOf(p.Addr())
	width := u.Prefix().Bits()
	return u.V6, u.Key, u.Key | (1<<max(0, width-p.Bits()) - 1)
}
