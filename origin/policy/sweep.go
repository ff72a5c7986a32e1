package policy

import (
	"net/netip"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A tally is what the abusers inside a prefix or an AS add up to.
type tally struct {
	abusers uint64
	impacts uint64
	first   snapshot.Hour
	last    snapshot.Hour
	kinds   snapshot.Kinds
	who     reporters // empty unless the profile asks for several
}

// add takes one abuser.
func (t *tally) add(a *abuser, who *reporters) {
	if t.abusers == 0 || a.first < t.first {
		t.first = a.first
	}
	t.last = max(t.last, hourOf(a.last))
	t.abusers++
	t.impacts += uint64(a.count)
	t.kinds |= a.kinds
	if who != nil {
		t.who.merge(who)
	}
}

// merge takes the abusers of another tally, which must be others.
func (t *tally) merge(o *tally) {
	if o.abusers == 0 {
		return
	}
	if t.abusers == 0 || o.first < t.first {
		t.first = o.first
	}
	t.last = max(t.last, o.last)
	t.abusers += o.abusers
	t.impacts += o.impacts
	t.kinds |= o.kinds
	t.who.merge(&o.who)
}

// count returns what a rule adds up.
func (t *tally) count(by Counting) uint64 {
	if by == ByImpacts {
		return t.impacts
	}
	return t.abusers
}

// enough reports whether enough reporters stand behind the tally.
func (t *tally) enough(p *Profile) bool {
	return p.MinReporters <= 1 || int(t.who.n) >= p.MinReporters
}

// facts returns the facts of a listing with this tally.
func (t *tally) facts(count, threshold uint64) snapshot.Facts {
	return snapshot.Facts{
		Count:     clamp32(count),
		Threshold: clamp32(threshold),
		First:     t.first,
		Last:      t.last,
		Kinds:     t.kinds,
	}
}

// A family is the abusers of IPv4 or IPv6 and what they add up to.
type family struct {
	v6        bool
	abusers   []abuser
	reporters []reporters // of each abuser, or nil
	routes    []tally     // of each route of the table
	own       []ownNet    // the listed ones, in order
}

// An ownNet is the /24 (IPv6: /48) of an abuser whose narrowest announced
// prefix, route, is wider.
type ownNet struct {
	key   uint64
	route int
	tally tally
}

// ownBits is the length of an abuser's own allocation.
func ownBits(v6 bool) int {
	if v6 {
		return 48
	}
	return 24
}

// ownShift is how many bits of a key lie below it.
func ownShift(v6 bool) int {
	if v6 {
		return 64 - 48
	}
	return 32 - 24
}

// sweep walks abusers and routes side by side, both in order: each abuser is
// added to its narrowest route, and then each route to the one around it. Own
// nets are kept only if lists says so, since most of them hold one abuser.
func (f *family) sweep(table *routes.Family, lists func(*ownNet) bool) {
	f.routes = make([]tally, table.Len())
	shift := ownShift(f.v6)
	next, open := 0, -1
	var own ownNet
	wanted := false
	flush := func() {
		if wanted && lists(&own) {
			f.own = append(f.own, own)
		}
	}
	for i := range f.abusers {
		a := &f.abusers[i]
		for ; next < table.Len() && table.Start(next) <= a.key; next++ {
			open = next
		}
		for open >= 0 && table.Last(open) < a.key {
			open = table.Parent(open)
		}
		if key := a.key >> shift << shift; i == 0 || key != own.key {
			flush()
			own, wanted = ownNet{key: key}, false
		}
		who := f.reportersOf(i)
		own.tally.add(a, who)
		if open < 0 {
			continue
		}
		f.routes[open].add(a, who)
		if table.Bits(open) < ownBits(f.v6) {
			own.route, wanted = open, true
		}
	}
	flush()
	for i := table.Len() - 1; i >= 0; i-- {
		if up := table.Parent(i); up >= 0 {
			f.routes[up].merge(&f.routes[i])
		}
	}
}

// reportersOf returns the reporters of an abuser, or nil if nobody asks.
func (f *family) reportersOf(i int) *reporters {
	if f.reporters == nil {
		return nil
	}
	return &f.reporters[i]
}

// ownNet returns the own net around a key, listed or not, or nil if no abuser
// gives cause to judge it.
func (f *family) ownNet(table *routes.Family, key uint64) *ownNet {
	shift := ownShift(f.v6)
	own := ownNet{key: key >> shift << shift, route: -1}
	for i := f.search(own.key); i < len(f.abusers) && f.abusers[i].key>>shift == key>>shift; i++ {
		own.tally.add(&f.abusers[i], f.reportersOf(i))
		if route := table.Find(f.abusers[i].key); route >= 0 && table.Bits(route) < ownBits(f.v6) {
			own.route = route
		}
	}
	if own.route < 0 {
		return nil
	}
	return &own
}

// judgeAllocations makes the listings of Level 2, in order: routes and own nets
// are in order each, and a net that is announced is never an own one.
func (r *Result) judgeAllocations() {
	r.nets = make([]snapshot.Listing, 0, r.countAllocations())
	for i := range r.families {
		f := &r.families[i]
		table := r.Routes.Family(f.v6)
		own := f.own
		for j := range f.routes {
			if f.routes[j].abusers == 0 {
				continue
			}
			for len(own) > 0 && own[0].before(table.Start(j), table.Bits(j), f.v6) {
				r.judgeOwn(f.v6, &own[0])
				own = own[1:]
			}
			r.judgeAllocation(table.Prefix(j), &f.routes[j], table.Origins(j))
		}
		for j := range own {
			r.judgeOwn(f.v6, &own[j])
		}
	}
}

// countAllocations returns how many listings Level 2 will have: growing a list
// of them step by step costs several times its size.
func (r *Result) countAllocations() int {
	n := 0
	for i := range r.families {
		f := &r.families[i]
		n += len(f.own)
		for j := range f.routes {
			if f.routes[j].abusers > 0 && r.listsAllocation(r.Routes.Family(f.v6).Prefix(j), &f.routes[j]) {
				n++
			}
		}
	}
	return n
}

// before reports whether the net comes before a route.
func (o *ownNet) before(start uint64, bits int, v6 bool) bool {
	return o.key < start || o.key == start && ownBits(v6) < bits
}

// judgeOwn lists an own net if it must be.
func (r *Result) judgeOwn(v6 bool, o *ownNet) {
	r.judgeAllocation(o.prefix(v6), &o.tally, r.Routes.Family(v6).Origins(o.route))
}

// prefix returns the net as a prefix.
func (o *ownNet) prefix(v6 bool) netip.Prefix {
	p, _ := routes.Unit{Key: o.key, V6: v6}.Prefix().Addr().Prefix(ownBits(v6))
	return p
}

// listsAllocation reports whether the profile lists an allocation with that
// tally.
func (r *Result) listsAllocation(p netip.Prefix, t *tally) bool {
	threshold := r.Profile.Threshold(p)
	if t.abusers == 0 || threshold == 0 || t.count(r.Profile.Counts) < uint64(threshold) || !t.enough(r.Profile) {
		return false
	}
	_, never := r.guard.never(p)
	return !never
}

// judgeAllocation lists one candidate if it must be.
func (r *Result) judgeAllocation(p netip.Prefix, t *tally, origins []snapshot.ASN) {
	if !r.listsAllocation(p, t) {
		return
	}
	l := snapshot.Listing{Level: snapshot.Allocation, Prefix: p}
	l.Facts = t.facts(t.count(r.Profile.Counts), uint64(r.Profile.Threshold(p)))
	if len(origins) > 0 {
		l.ASN, l.ASName = origins[0], r.nameOf(origins[0])
	}
	for _, asn := range origins {
		if s, ok := r.Routes.Index(asn); ok {
			r.systemTally(s).nets++
		}
	}
	r.nets = append(r.nets, l)
}
