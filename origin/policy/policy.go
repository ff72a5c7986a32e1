// Package policy turns evidence into listings by the published rule.
//
// Most callers use Decide, which makes the listings of all three levels, and
// Explain, which tells for one address how they came about. Both are pure
// functions: no clock, no I/O, and the order of their arguments does not
// matter, so that anyone with the same evidence, routes and profile gets the
// same result. Promised: times are exact to the second. Not promised: that the
// evidence is true; reporters have budgets (Admit) and can be withdrawn.
//
// Where the published rule leaves room, this package reads it so:
//
//   - A report that is closer to another than the spacing of the profile does
//     not count twice at Levels 2 and 3, but the address stays listed for
//     seven days from it: otherwise the end of a listing could move to an
//     earlier time as older reports leave the window.
//   - An abuser inside nested prefixes counts for each of them, and once for
//     every AS that announces any of them: what is listed, what is counted and
//     what is measured are the same addresses.
//   - An address that nobody announces is on Level 1 only.
//   - A purge drops the addresses that stand on withdrawn reporters alone. One
//     that somebody else has reported too keeps its whole count.
package policy

import (
	"net/netip"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// An Impact is one report that weighs on a unit: an IPv4 address or an IPv6
// /64. It is small and free of pointers, so that millions fit.
type Impact struct {
	Unit     routes.Unit
	Seen     int64          // seconds since the Unix epoch
	Reporter uint32         // any number that stands for the reporter
	Kind     snapshot.Kinds // exactly one
}

// Input is everything that a decision depends on. What lies after Now is left
// out, so that a past moment can be replayed from a ledger that has gone on.
type Input struct {
	Now        int64         // seconds since the Unix epoch
	Profile    *Profile      // must not be nil
	Impacts    []Impact      // in any order; those outside the window do not matter
	Routes     *routes.Table // nil: none, so that only Level 1 has listings
	Exemptions []Exemption
	Protected  []Protected // the site's own list; special-use space is known
	Removals   []Removal   // granted ones
	Manual     []Manual
	Withdrawn  []Withdrawal
}

// An Exemption takes an address off Levels 2 and 3, except while it is on
// Level 1 itself.
type Exemption struct {
	Address netip.Addr
	From    int64
	Until   int64 // 0: for good
}

// Protected is a prefix that is never listed at any level.
type Protected struct {
	Prefix netip.Prefix
	Why    string
}

// A Manual listing is an operator's own decision on a prefix. A whole unit is
// listed at Level 1, anything wider at Level 2. It ends no later than seven
// days after it begins, whatever Until says, and is not counted as an abuser.
type Manual struct {
	Prefix   netip.Prefix
	From     int64
	Until    int64
	Evidence string
}

// end returns when the listing ends.
func (m Manual) end() int64 { return min(m.Until, m.From+Window) }

// level returns the level of the listing.
func (m Manual) level() snapshot.Level {
	if m.Prefix.Bits() >= routes.UnitOf(m.Prefix.Addr()).Prefix().Bits() {
		return snapshot.Address
	}
	return snapshot.Allocation
}

// prefix returns what the listing covers: at least a unit.
func (m Manual) prefix() netip.Prefix {
	if m.level() == snapshot.Address {
		return routes.UnitOf(m.Prefix.Addr()).Prefix()
	}
	return m.Prefix.Masked()
}

// A Withdrawal says that the reports of a reporter no longer stand alone.
type Withdrawal struct {
	Reporter uint32
	At       int64
}

// Decide makes the listings in force at in.Now. It keeps a reference to
// in.Profile and in.Routes and changes nothing.
func Decide(in Input) *Result {
	r := &Result{Now: in.Now, Profile: in.Profile, Routes: in.Routes, guard: newGuard(in)}
	d := newDrops(in)
	for i, v6 := range []bool{false, true} {
		f := &r.families[i]
		f.v6 = v6
		f.abusers, f.reporters = gather(in, v6, d, &r.guard)
		f.sweep(in.Routes.Family(v6), func(o *ownNet) bool { return r.listsAllocation(o.prefix(v6), &o.tally) })
	}
	r.judgeAllocations()
	r.judgeSystems()
	r.addManual(in)
	r.exclude(in)
	return r
}

// drops is what takes impacts out of the count.
type drops struct {
	removed   map[routes.Unit]int64 // impacts up to then are set aside
	withdrawn map[uint32]bool
}

func newDrops(in Input) drops {
	d := drops{removed: map[routes.Unit]int64{}, withdrawn: map[uint32]bool{}}
	for _, r := range in.Removals {
		if u := routes.UnitOf(r.Address); r.At <= in.Now {
			d.removed[u] = max(d.removed[u], r.At)
		}
	}
	for _, w := range in.Withdrawn {
		if w.At <= in.Now {
			d.withdrawn[w.Reporter] = true
		}
	}
	return d
}
