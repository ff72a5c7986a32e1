package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A Derivation tells for one address what is listed around it and why. It may
// be shown to anybody: reporters are not in it, times are whole hours.
type Derivation struct {
	Address netip.Addr   `json:"address"`
	Unit    netip.Prefix `json:"unit"` // what Level 1 lists: the address, or its /64
	Now     time.Time    `json:"now"`
	Profile string       `json:"profile"`
	Never   string       `json:"never,omitempty"` // why this space is never listed
	Exempt  string       `json:"exempt,omitempty"`

	Impacts     []Evidence  `json:"impacts"`
	Level1      Level1      `json:"level1"`
	Allocations []Candidate `json:"level2"` // the narrowest first
	Systems     []Candidate `json:"level3"`

	// LevelListed is the narrowest level that lists the address, 0 if none.
	LevelListed snapshot.Level `json:"level_listed"`
	// Advice says what to do, one sentence each.
	Advice []string `json:"advice"`

	// EndsExactly is the second in which the Level 1 listing ends, 0 if there
	// is none. It tells when a trap was hit, so it is for the operator alone.
	EndsExactly int64 `json:"-"`

	around time.Time // when the listing ends of a unit that holds the address, if that is never listed
}

// Words of Derivation.Exempt.
const (
	ExemptInForce   = "in force"
	ExemptSuspended = "suspended while the address is on Level 1"
)

// Evidence is impacts as they may be shown: all of a kind and an hour that count,
// or that do not for one reason. There are a few thousand such at most, however
// many reports came.
type Evidence struct {
	Kind   string    `json:"kind"`
	Hour   time.Time `json:"hour"`
	Counts bool      `json:"counts"`
	Why    string    `json:"why,omitempty"` // why they do not count
	Times  int       `json:"times"`         // how many impacts
}

// Level1 is the verdict on the address itself. An address that is never listed
// may lie in a /64 that is.
type Level1 struct {
	Listed bool      `json:"listed"`
	ByHand bool      `json:"by_hand,omitempty"`
	Count  uint32    `json:"count"`         // of the unit
	Ends   time.Time `json:"ends,omitzero"` // the hour by which every edge has dropped it
}

// A Candidate is one prefix or AS that was judged.
type Candidate struct {
	Prefix    netip.Prefix `json:"prefix,omitzero"` // Level 2
	Own       bool         `json:"own,omitempty"`   // the /24 or /48 around an abuser, not itself announced
	ASN       snapshot.ASN `json:"asn"`
	ASName    string       `json:"as_name"`
	Addresses uint64       `json:"addresses,omitempty"` // Level 3: by which the AS is judged
	Counts    Counting     `json:"counts"`
	Count     uint64       `json:"count"`
	Threshold uint64       `json:"threshold"`              // 0: too wide to be listed
	Score     string       `json:"spamscore,omitempty"`    // Level 3 by score
	Nets      int          `json:"listed_nets,omitempty"`  // Level 3: allocations of the AS on Level 2
	Listed    bool         `json:"listed"`                 // the candidate; an exempt address in it is not
	ByHand    bool         `json:"by_hand,omitempty"`      // an operator listed it
	WhyNot    string       `json:"why_not,omitempty"`      // why it is not listed
	LeavesAt  uint64       `json:"leaves_at,omitempty"`    // the count at which it leaves
	Ends      time.Time    `json:"ends,omitzero"`          // ByHand: the hour by which it ends
	Forecast  time.Time    `json:"if_no_more,omitzero"`    // the hour by which it leaves if no impact comes in
	Others    uint64       `json:"other_abusers,omitzero"` // abusers inside, the asked address left out
}

// Explain derives the listings of one address. It is Decide's own result that
// it tells of; if r is nil it decides first. Of in.Impacts it reads only those
// of the address, so that a caller who has r need not hold the others.
func Explain(in Input, r *Result, a netip.Addr) Derivation {
	if r == nil {
		r = Decide(in)
	}
	a = a.Unmap().WithZone("")
	u := routes.UnitOf(a)
	d := Derivation{
		Address: a, Unit: u.Prefix(), Now: time.Unix(r.Now, 0).UTC(), Profile: r.Profile.Name,
		Allocations: []Candidate{}, Systems: []Candidate{},
	}
	d.Never, _ = r.guard.neverAround(netip.PrefixFrom(a, a.BitLen()))
	d.Impacts = evidence(in, r, u)
	d.level1(r, u)
	if d.Never != "" {
		d.spare()
	}
	d.exempt(in, u)
	d.allocations(r, u)
	d.systems(r, u)
	d.conclude()
	return d
}

// hour returns an hour as a time.
func hour(h snapshot.Hour) time.Time { return time.Unix(h.Seconds(), 0).UTC() }

// ByTime is the order in which the impacts of one unit are told.
func ByTime(a, b Impact) int { return cmp.Or(cmp.Compare(a.Seen, b.Seen), cmp.Compare(a.Kind, b.Kind)) }

// impactsOf returns the impacts of a unit up to a time, the oldest first. It
// copies them only if they are not all, in order.
func impactsOf(all []Impact, u routes.Unit, now int64) []Impact {
	other := func(i Impact) bool { return i.Unit != u || i.Seen > now }
	if !slices.ContainsFunc(all, other) && slices.IsSortedFunc(all, ByTime) {
		return all
	}
	own := slices.DeleteFunc(slices.Clone(all), other)
	slices.SortFunc(own, ByTime)
	return own
}

// evidence tells of the impacts of the unit up to now, the oldest first.
func evidence(in Input, r *Result, u routes.Unit) []Evidence {
	d := newDrops(in)
	_, listed := r.family(u.V6).find(u.Key)
	_, never := r.guard.never(u.Prefix())
	counted := int64(-1 << 62)
	all := []Evidence{}
	type told struct {
		Evidence
		kind snapshot.Kinds
	}
	places := map[told]int{}
	for _, i := range impactsOf(in.Impacts, u, r.Now) {
		e := told{Evidence{Hour: hour(hourOf(i.Seen))}, i.Kind}
		switch removed, ok := d.removed[u]; {
		case i.Seen <= r.Now-Window:
			e.Why = "older than seven days"
		case ok && i.Seen <= removed:
			e.Why = "set aside by an express removal"
		case never:
			e.Why = "this space is never listed"
		case !listed:
			e.Why = "its reporter was withdrawn"
		case i.Seen-counted < r.Profile.SpacingSeconds:
			e.Why = "too soon after another one to count twice"
		default:
			e.Counts, counted = true, i.Seen
		}
		place, known := places[e]
		if !known {
			place = len(all)
			places[e] = place
			all = append(all, e.Evidence)
			all[place].Kind = strings.Join(i.Kind.Names(), "") // exactly one
		}
		all[place].Times++
	}
	return all
}

// level1 fills in the verdict on the unit.
func (d *Derivation) level1(r *Result, u routes.Unit) {
	if a, ok := r.family(u.V6).find(u.Key); ok {
		d.EndsExactly = a.last + Window
		d.Level1 = Level1{Listed: true, Count: a.count, Ends: hour(snapshot.HourOf(d.EndsExactly))}
	}
	for _, l := range r.besides {
		if l.Prefix == u.Prefix() {
			d.Level1.Listed, d.Level1.ByHand = true, true
			if ends := hour(l.End); ends.After(d.Level1.Ends) {
				d.Level1.Ends = ends
			}
		}
	}
}

// spare turns the verdict on the unit into that on an address in it which is
// never listed.
func (d *Derivation) spare() {
	d.around, d.EndsExactly = d.Level1.Ends, 0
	d.Level1 = Level1{Count: d.Level1.Count}
}

// exempt fills in the exemption.
func (d *Derivation) exempt(in Input, u routes.Unit) {
	for _, e := range in.Exemptions {
		if routes.UnitOf(e.Address) != u || !e.inForce(in.Now) {
			continue
		}
		d.Exempt = ExemptInForce
		if d.Level1.Listed {
			d.Exempt = ExemptSuspended
		}
	}
}

// allocations fills in every announced prefix around the unit, and its own /24
// or /48 where that was judged.
func (d *Derivation) allocations(r *Result, u routes.Unit) {
	f, table := r.family(u.V6), r.Routes.Family(u.V6)
	own := f.ownNet(table, u.Key)
	for i := table.Find(u.Key); i >= 0; i = table.Parent(i) {
		if own != nil && table.Bits(i) < ownBits(u.V6) {
			d.Allocations = append(d.Allocations, r.candidate(own.prefix(u.V6), &own.tally, table.Origins(own.route), d))
			d.Allocations[len(d.Allocations)-1].Own = true
			own = nil
		}
		d.Allocations = append(d.Allocations, r.candidate(table.Prefix(i), &f.routes[i], table.Origins(i), d))
	}
	for _, l := range r.nets {
		if l.Level == snapshot.Allocation && l.End != 0 && u.Within(l.Prefix) {
			d.byHand(l)
		}
	}
}

// byHand adds a manual listing of an allocation.
func (d *Derivation) byHand(l snapshot.Listing) {
	i := slices.IndexFunc(d.Allocations, func(c Candidate) bool { return c.Prefix == l.Prefix })
	if i < 0 {
		i = slices.IndexFunc(d.Allocations, func(c Candidate) bool { return c.Prefix.Bits() < l.Prefix.Bits() })
		if i < 0 {
			i = len(d.Allocations)
		}
		d.Allocations = slices.Insert(d.Allocations, i, Candidate{Prefix: l.Prefix, ASN: l.ASN, ASName: l.ASName})
	}
	c := &d.Allocations[i]
	c.Listed, c.ByHand, c.WhyNot, c.Ends = true, true, "", hour(l.End)
}

// candidate tells of one allocation.
func (r *Result) candidate(p netip.Prefix, t *tally, origins []snapshot.ASN, d *Derivation) Candidate {
	c := Candidate{Prefix: p, Counts: r.Profile.Counts, Count: t.count(r.Profile.Counts), Threshold: uint64(r.Profile.Threshold(p))}
	if len(origins) > 0 {
		c.ASN, c.ASName = origins[0], r.nameOf(origins[0])
	}
	c.Listed = r.listsAllocation(p, t)
	c.Others = d.others(t)
	if c.Listed {
		v6, first, last := span(p)
		c.leaving(r.family(v6).ends(first, last, nil))
		return c
	}
	why, never := r.guard.never(p)
	switch {
	case never:
		c.WhyNot = "never listed: " + why
	case c.Threshold == 0:
		c.WhyNot = "wider than any allocation that is listed"
	case c.Count < c.Threshold:
		c.WhyNot = "below the threshold"
	default:
		c.WhyNot = "too few reporters"
	}
	return c
}

// others returns the abusers of a tally without the asked unit.
func (d *Derivation) others(t *tally) uint64 {
	if d.EndsExactly != 0 && t.abusers > 0 {
		return t.abusers - 1
	}
	return t.abusers
}

// leaving fills in when a listed candidate leaves. ends are the times at which
// its abusers do; they foretell it only where abusers are what is counted.
func (c *Candidate) leaving(ends []int64) {
	c.LeavesAt = c.Threshold - 1
	if c.Counts != ByAbusers || uint64(len(ends)) != c.Count {
		return
	}
	slices.Sort(ends)
	c.Forecast = hour(snapshot.HourOf(ends[c.Count-c.Threshold]))
}

// systems fills in every AS that announces a prefix around the unit.
func (d *Derivation) systems(r *Result, u routes.Unit) {
	var seen []snapshot.ASN
	for _, route := range r.Routes.Covering(u) {
		for _, asn := range route.Origins {
			if !slices.Contains(seen, asn) {
				seen = append(seen, asn)
				d.Systems = append(d.Systems, r.system(asn, d))
			}
		}
	}
}

// system tells of one AS.
func (r *Result) system(asn snapshot.ASN, d *Derivation) Candidate {
	place, _ := r.Routes.Index(asn)
	s, t := r.Routes.Systems()[place], &r.systems[place]
	rule := r.Profile.System
	c := Candidate{
		ASN: asn, ASName: s.Name, Addresses: Size(s), Counts: rule.Counts, Count: t.count(rule.Counts),
		Threshold: r.Profile.SystemThreshold(s), Nets: t.nets, Listed: t.listed, Others: d.others(&t.tally),
	}
	if rule.Rule == ByScore {
		c.Score = tenths(ScoreTenths(c.Count, c.Addresses))
	}
	switch {
	case c.Listed:
		var ends []int64
		for a := range r.Routes.Announcements(place) {
			if f := r.Routes.Family(a.V6); a.Outermost {
				ends = r.family(a.V6).ends(f.Start(a.Index), f.Last(a.Index), ends)
			}
		}
		c.leaving(ends)
	case c.Count < c.Threshold:
		c.WhyNot = "below the threshold"
	case c.Nets < rule.MinNets:
		c.WhyNot = "too few of its allocations are on Level 2"
	default:
		c.WhyNot = "too few reporters"
	}
	return c
}
