package zonefile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ucedge/origin/reserved"
	"ucedge/snapshot"
)

// finish turns what was collected into a Result.
func (p *parser) finish() (*Result, error) {
	if z := p.zone.Suffix; z != "" && (!validName(z) || len(z) > snapshot.NameMax) {
		return nil, fmt.Errorf("invalid zone suffix %q", p.opts.Zone.Suffix)
	}
	if !p.combined && (p.opts.Zone.Level < snapshot.Address || p.opts.Zone.Level > snapshot.System) {
		return nil, fmt.Errorf("zone %q: level %d is none that a file lists", p.opts.Zone.Suffix, p.opts.Zone.Level)
	}
	r := &Result{Kind: p.kind(), Serial: p.serial, Built: p.built, Expires: p.expires}
	for level := snapshot.Address; level <= snapshot.System; level++ {
		if sets := p.setsOf(level); len(sets) > 0 {
			p.finishLevel(r, level, sets)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	p.finishCombined(r)
	p.finishProblems(r)
	return r, nil
}

func (p *parser) kind() Kind {
	switch {
	case p.combined:
		return Combined
	case p.sets[0].kind == Auto:
		return kindOf(nil, p.opts.Zone.Level)
	}
	return p.sets[0].kind
}

func (p *parser) setsOf(level snapshot.Level) []*dataset {
	var sets []*dataset
	for _, s := range p.sets {
		if s.level == level {
			sets = append(sets, s)
		}
	}
	return sets
}

// finishLevel adds the listings and the zone of one level.
func (p *parser) finishLevel(r *Result, level snapshot.Level, sets []*dataset) {
	var four, six []entry
	for _, s := range sets {
		p.settle(s)
		four, six = p.join(four, s.four, false), p.join(six, s.six, true)
		s.four, s.six = nil, nil
	}
	if !p.opts.AllowSpecialUse {
		four, six = p.cutSpecialUse(four, false), p.cutSpecialUse(six, true)
	}
	zone := p.zone
	zone.Level = level
	zone.TTL = p.zoneTTL(sets)
	p.defaultSOA(&zone)
	name, named := p.zoneName(level)
	var shared *snapshot.Zone
	if !named {
		shared = p.shared
	}
	texts := newTexts(p, &zone, shared, sets, four, six)
	if !named && shared == nil {
		p.shared = &zone
	}
	first := len(r.Listings)
	r.Listings = slices.Grow(r.Listings, len(four)+len(six))
	for _, e := range four {
		r.Listings = append(r.Listings, texts.listing(e, false))
	}
	for _, e := range six {
		r.Listings = append(r.Listings, texts.listing(e, true))
	}
	if named {
		texts.promote(r.Listings[first:])
		zone.Suffix = name
		r.Zones = append(r.Zones, zone)
	}
}

// settle sorts a dataset and resolves what lines of it contradict each other,
// as rbldnsd does for its kind.
func (p *parser) settle(s *dataset) {
	if (s.kind == IP4TSet || s.kind == IP6TSet) && s.first != noValue {
		s.useFirstDefault()
	}
	for _, list := range []*[]entry{&s.four, &s.six} {
		sortEntries(*list)
		*list = unique(*list, s.kind == IP4Set, func(left, kept entry) { p.reportTwice(left, kept, list == &s.six) })
	}
	if s.kind == IP4Set {
		s.four = dropShadowed(s.four, func(e, by entry) {
			p.report(e.at, false, "%s lies in the exclusion %s, which goes first in an ip4set", e.prefix(false), by.prefix(false))
		})
	}
}

// useFirstDefault gives the first default of a trivial set to all its entries,
// those in front of it too.
func (s *dataset) useFirstDefault() {
	for _, list := range [][]entry{s.four, s.six} {
		for i := range list {
			if list[i].value != excludedValue {
				list[i].value = s.first
			}
		}
	}
	if s.testing != noValue {
		s.testing = s.first
	}
}

func (p *parser) reportTwice(left, kept entry, is6 bool) {
	file, line := p.locate(kept.at)
	p.report(left.at, false, "%s stands already in %s:%d", left.prefix(is6), file, line)
}

// join merges the entries of one more dataset into those of its level. The
// first dataset goes first.
func (p *parser) join(list, more []entry, is6 bool) []entry {
	if len(list) == 0 || len(more) == 0 {
		return append(list, more...)
	}
	list = append(list, more...)
	sortEntries(list)
	return unique(list, true, func(left, kept entry) { p.reportTwice(left, kept, is6) })
}

// cutSpecialUse adds an exclusion for every special-use range that lies in a
// wider listing.
func (p *parser) cutSpecialUse(list []entry, is6 bool) []entry {
	cut := map[netip.Prefix]entry{}
	for _, e := range list {
		if e.value == excludedValue || !is6 && e.bits >= narrowestReserved4 {
			continue
		}
		for _, r := range reserved.Within(e.prefix(is6)) {
			if r.Prefix.Addr().Is4() == is6 || r.Prefix.Addr().Is4In6() {
				continue // IPv4-mapped space is answered as IPv4
			}
			x := entry{bits: uint8(r.Prefix.Bits()), value: excludedValue, at: e.at}
			x.hi, x.lo = position(r.Prefix.Addr())
			if _, known := slices.BinarySearchFunc(list, x, entry.comparePrefix); known {
				continue
			}
			if _, known := cut[r.Prefix]; !known {
				p.drop(r).Cut++
			}
			cut[r.Prefix] = x
		}
	}
	if len(cut) == 0 {
		return list
	}
	for _, x := range cut {
		list = append(list, x)
	}
	sortEntries(list)
	return list
}

// narrowestReserved4 is the greatest length of a special-use range of IPv4.
const narrowestReserved4 = 24

// position returns an address as an entry has it.
func position(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32, 0
	}
	return halves(a)
}

func (p *parser) zoneTTL(sets []*dataset) uint32 {
	for _, s := range sets {
		if s.ttl != 0 {
			return s.ttl
		}
	}
	return cmp.Or(p.front.ttl, p.opts.Zone.TTL, DefaultTTL)
}

// SOA timers, in seconds, of a zone that nobody gave any.
const (
	defaultSOATTL  = 3600
	defaultRefresh = 3600
	defaultRetry   = 600
	defaultExpire  = 86400
	defaultMinimum = 120
)

// defaultSOA completes a zone without $SOA: every answer of ours that lists
// nothing carries one (RFC 2308).
func (p *parser) defaultSOA(z *snapshot.Zone) {
	if z.MName != "" || p.soa {
		return
	}
	z.MName, z.RName = p.zone.Suffix, "hostmaster"
	if p.zone.Suffix != "" {
		z.RName += "." + p.zone.Suffix
	}
	z.SOATTL, z.Refresh, z.Retry = defaultSOATTL, defaultRefresh, defaultRetry
	z.Expire, z.Minimum = defaultExpire, defaultMinimum
}

// zoneName returns the name of the zone of a level, the first that the file has;
// a snapshot has no second one.
func (p *parser) zoneName(level snapshot.Level) (name string, found bool) {
	for _, s := range p.sets {
		for _, sub := range s.subzones {
			l, ok := p.subzoneLevel(sub)
			switch {
			case !ok || l != level:
			case !found:
				name, found = p.suffix(sub), true
			case p.suffix(sub) != name:
				p.report(s.at, true, "subzone %q, where level %d has the zone %q already", sub, level, name)
			}
		}
	}
	return name, found
}

func (p *parser) suffix(sub string) string {
	switch {
	case sub == "@":
		return p.zone.Suffix
	case p.zone.Suffix == "":
		return foldName(sub)
	}
	return foldName(sub) + "." + p.zone.Suffix
}

// finishCombined adds the zone that answers for all levels, if a combined file
// has one.
func (p *parser) finishCombined(r *Result) {
	name, found := p.zoneName(snapshot.Combined)
	if !found {
		return
	}
	i := slices.IndexFunc(p.sets, func(s *dataset) bool {
		return slices.ContainsFunc(s.subzones, func(sub string) bool { return p.suffix(sub) == name })
	})
	zone := p.zone
	zone.Level, zone.Suffix = snapshot.Combined, name
	zone.TTL = p.zoneTTL(p.sets[i : i+1])
	zone.Code = p.combinedCode(p.sets[i])
	p.defaultSOA(&zone)
	if p.shared != nil {
		zone.Text, zone.TestText, zone.URL = p.shared.Text, p.shared.TestText, p.shared.URL
	} else if v := p.sets[i].testing; v != noValue {
		zone.TestText = p.values.list[v].template()
	}
	r.Zones = append(r.Zones, zone)
}

// combinedCode returns the code of Level 1 in the combined zone: one less for
// every level that the dataset stands above.
func (p *parser) combinedCode(s *dataset) [4]byte {
	v := s.value
	if s.first != noValue {
		v = s.first
	}
	code := p.values.list[v].code
	if down := byte(s.level - snapshot.Address); code[3] > down {
		code[3] -= down
	}
	return code
}

// finishProblems puts the problems in order and into words.
func (p *parser) finishProblems(r *Result) {
	slices.SortStableFunc(p.problems, func(a, b located) int { return cmp.Compare(a.at, b.at) })
	for _, l := range p.problems {
		name, line := p.locate(l.at)
		r.Problems = append(r.Problems, Problem{File: name, Line: line, Reason: l.reason, Kept: l.kept})
	}
	r.ProblemCount = p.problemCount
	for _, d := range p.dropped {
		r.SpecialUse = append(r.SpecialUse, *d)
	}
	slices.SortFunc(r.SpecialUse, func(a, b Dropped) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
}

// locate splits the number of a line among all into file and line.
func (p *parser) locate(at uint32) (name string, line int) {
	for i := len(p.files) - 1; i >= 0; i-- {
		if f := p.files[i]; int(at) > f.first {
			return f.name, int(at) - f.first
		}
	}
	return "", int(at)
}
