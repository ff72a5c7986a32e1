package policy

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"sort"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A Result is the listings in force at one moment, and what Explain needs to
// tell why. It never changes and may be read by many goroutines at once.
type Result struct {
	Now     int64
	Profile *Profile
	Routes  *routes.Table

	guard    guard
	families [2]family // IPv4, IPv6
	systems  []systemTally
	besides  []snapshot.Listing // Level 1, in order, besides the abusers: listings by hand, exclusions
	nets     []snapshot.Listing // Levels 2 and 3 with their exclusions, in order
}

// family returns the abusers and allocations of one family.
func (r *Result) family(v6 bool) *family {
	if v6 {
		return &r.families[1]
	}
	return &r.families[0]
}

// Abusers returns the number of units on Level 1 by their impacts.
func (r *Result) Abusers() int { return len(r.families[0].abusers) + len(r.families[1].abusers) }

// Len returns the number of listings and exclusions.
func (r *Result) Len() int { return r.Abusers() + len(r.besides) + len(r.nets) }

// Listings returns all listings and exclusions by level, IPv4 before IPv6, by
// address and then by length.
func (r *Result) Listings() []snapshot.Listing {
	all := make([]snapshot.Listing, 0, r.Len())
	for l := range r.All() {
		all = append(all, l)
	}
	return all
}

// All yields what Listings returns without holding it all. A unit that is
// listed by its impacts and by hand is one listing with the later end.
func (r *Result) All() iter.Seq[snapshot.Listing] {
	return func(yield func(snapshot.Listing) bool) {
		besides := r.besides
		for i := range r.families {
			f := &r.families[i]
			for j := range f.abusers {
				l := f.abusers[j].listing(f.v6)
				for len(besides) > 0 && compareListing(besides[0], l) < 0 {
					if !yield(besides[0]) {
						return
					}
					besides = besides[1:]
				}
				if len(besides) > 0 && besides[0].Prefix == l.Prefix {
					l.End = max(l.End, besides[0].End)
					l.Kinds |= snapshot.Manual
					besides = besides[1:]
				}
				if !yield(l) {
					return
				}
			}
		}
		for _, rest := range [][]snapshot.Listing{besides, r.nets} {
			for _, l := range rest {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// listing returns the Level 1 listing of an abuser.
func (a *abuser) listing(v6 bool) snapshot.Listing {
	return snapshot.Listing{
		Level:  snapshot.Address,
		Prefix: routes.Unit{Key: a.key, V6: v6}.Prefix(),
		Facts: snapshot.Facts{
			Count: a.count,
			First: a.first,
			Last:  hourOf(a.last),
			End:   snapshot.HourOf(a.last + Window),
			Kinds: a.kinds,
		},
	}
}

// compareListing orders listings as Listings returns them.
func compareListing(a, b snapshot.Listing) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), comparePrefix(a.Prefix, b.Prefix), compareBool(a.Excluded, b.Excluded))
}

// comparePrefix orders prefixes: IPv4 before IPv6, by address, by length.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// search returns the place of the first abuser at or after a key.
func (f *family) search(key uint64) int {
	return sort.Search(len(f.abusers), func(i int) bool { return f.abusers[i].key >= key })
}

// find returns the abuser of a key.
func (f *family) find(key uint64) (*abuser, bool) {
	i := f.search(key)
	if i == len(f.abusers) || f.abusers[i].key != key {
		return nil, false
	}
	return &f.abusers[i], true
}

// addManual adds the manual listings in force.
func (r *Result) addManual(in Input) {
	merged := map[netip.Prefix]snapshot.Listing{}
	for _, m := range in.Manual {
		if m.From > in.Now || m.end() <= in.Now {
			continue
		}
		if _, never := r.guard.neverAround(m.Prefix); never {
			continue
		}
		l, ok := merged[m.prefix()]
		if !ok {
			l = snapshot.Listing{Level: m.level(), Prefix: m.prefix()}
			l.First = hourOf(m.From)
		}
		l.First = min(l.First, hourOf(m.From))
		l.Last = max(l.Last, hourOf(m.From))
		l.End = max(l.End, snapshot.HourOf(m.end()))
		l.Kinds = snapshot.Manual
		merged[m.prefix()] = l
	}
	var nets []snapshot.Listing
	for _, l := range merged {
		if l.Level == snapshot.Address {
			r.besides = append(r.besides, l)
			continue
		}
		if _, listed := r.net(snapshot.Allocation, l.Prefix); !listed { // an own listing has no end and says more
			r.nameOrigin(&l)
			nets = append(nets, l)
		}
	}
	slices.SortFunc(r.besides, compareListing)
	r.addNets(nets)
}

// addNets merges further listings into r.nets.
func (r *Result) addNets(more []snapshot.Listing) {
	if len(more) == 0 {
		return
	}
	slices.SortFunc(more, compareListing)
	more = slices.Compact(more)
	all := make([]snapshot.Listing, 0, len(r.nets)+len(more))
	rest := r.nets
	for _, l := range more {
		n, _ := slices.BinarySearchFunc(rest, l, compareListing)
		all = append(append(all, rest[:n]...), l)
		rest = rest[n:]
	}
	r.nets = append(all, rest...)
}

// nameOrigin sets the AS of a listing to that of the narrowest route around it.
func (r *Result) nameOrigin(l *snapshot.Listing) {
	for _, c := range r.Routes.Covering(routes.UnitOf(l.Prefix.Addr())) {
		if c.Prefix.Bits() <= l.Prefix.Bits() {
			l.ASN, l.ASName = c.ASN(), r.nameOf(c.ASN())
			return
		}
	}
}

// nameOf returns the name of a system, or "".
func (r *Result) nameOf(asn snapshot.ASN) string {
	s, _ := r.Routes.System(asn)
	return s.Name
}

// net returns the Level 2 or 3 listing of exactly that prefix.
func (r *Result) net(level snapshot.Level, p netip.Prefix) (snapshot.Listing, bool) {
	want := snapshot.Listing{Level: level, Prefix: p}
	i, ok := slices.BinarySearchFunc(r.nets, want, compareListing)
	if !ok {
		return snapshot.Listing{}, false
	}
	return r.nets[i], true
}

// exclude adds the exclusions: never-listed space and exempt units, each where
// a listing of the level would cover it and nowhere else, since only there
// does it change an answer. On Level 1 these are prefixes inside a listed /64.
func (r *Result) exclude(in Input) {
	var out []snapshot.Listing
	add := func(level snapshot.Level, p netip.Prefix) {
		if r.covered(level, p) {
			out = append(out, snapshot.Listing{Level: level, Prefix: p, Excluded: true})
		}
	}
	for _, level := range []snapshot.Level{snapshot.Allocation, snapshot.System} {
		for _, p := range r.guard.prefixes() {
			add(level, p)
		}
		for _, e := range in.Exemptions {
			if u := routes.UnitOf(e.Address); e.inForce(in.Now) && !r.onLevel1(u) {
				add(level, u.Prefix())
			}
		}
	}
	r.addNets(out)
	var inside []snapshot.Listing
	for _, p := range r.guard.prefixes() {
		if u := routes.UnitOf(p.Addr()); p.Bits() > u.Prefix().Bits() && r.onLevel1(u) {
			inside = append(inside, snapshot.Listing{Level: snapshot.Address, Prefix: p, Excluded: true})
		}
	}
	r.besides = append(r.besides, inside...)
	slices.SortFunc(r.besides, compareListing)
}

// inForce reports whether the exemption has begun and not ended.
func (e Exemption) inForce(now int64) bool {
	return e.From <= now && (e.Until == 0 || now < e.Until)
}

// onLevel1 reports whether the unit is listed by its impacts or by hand.
func (r *Result) onLevel1(u routes.Unit) bool {
	if _, ok := r.family(u.V6).find(u.Key); ok {
		return true
	}
	_, ok := slices.BinarySearchFunc(r.besides, snapshot.Listing{Level: snapshot.Address, Prefix: u.Prefix()}, compareListing)
	return ok
}

// covered reports whether a listing of the level covers p.
func (r *Result) covered(level snapshot.Level, p netip.Prefix) bool {
	for bits := p.Bits(); bits >= 0; bits-- {
		wider, err := p.Addr().Prefix(bits)
		if err != nil {
			return false
		}
		if _, ok := r.net(level, wider); ok {
			return true
		}
	}
	return false
}
