package policy

import (
	"net/netip"
	"slices"
	"strings"

	"ucedge/origin/reserved"
	"ucedge/origin/routes"
)

// A guard knows the space that is never listed: what the registries reserve
// and what the site protects.
type guard struct {
	documentation bool // documentation ranges may be listed
	protected     map[netip.Prefix]string
	lengths       [2][]int // lengths of protected prefixes, IPv4 and IPv6
}

func newGuard(in Input) guard {
	g := guard{documentation: in.Profile.Documentation, protected: map[netip.Prefix]string{}}
	for _, s := range in.Protected {
		p := s.Prefix.Masked()
		if old, ok := g.protected[p]; ok && old <= s.Why {
			continue // the same whatever the order
		}
		g.protected[p] = s.Why
		lengths := &g.lengths[side(p.Addr().Is6())]
		if !slices.Contains(*lengths, p.Bits()) {
			*lengths = append(*lengths, p.Bits())
		}
	}
	for i := range g.lengths {
		slices.Sort(g.lengths[i])
	}
	return g
}

// Never returns a function that tells why the whole of a prefix is never listed
// under a profile: what the registries reserve and what the site protects, and
// prefixes narrower than a unit that may not be listed.
func Never(p *Profile, protected []Protected) func(netip.Prefix) (why string, never bool) {
	g := newGuard(Input{Profile: p, Protected: protected})
	return g.neverAround
}

// side returns the index of a family.
func side(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// reserved reports whether a range of the registries is off limits here.
func (g *guard) reserved(r reserved.Range) bool {
	return !g.documentation || !strings.HasPrefix(r.Name, "Documentation")
}

// mapped are the IPv4-mapped addresses, which are special-use space and so never
// listed (POLICY). An image has no IPv6 prefix in there, so no exclusion either:
// what lies around them cannot be listed without them. Of the units of Level 1
// that is ::/64 alone, in which no host can be (RFC 4291 2.5.2 to 2.5.5), and of
// allocations what is announced around it: global unicast begins at 2000::.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// never returns why the whole of p may not be listed.
func (g *guard) never(p netip.Prefix) (why string, ok bool) {
	if p.Bits() < mapped.Bits() && p.Contains(mapped.Addr()) {
		return "space around the IPv4-mapped addresses (RFC 4291)", true
	}
	if r, ok := reserved.Covering(p); ok && g.reserved(r) {
		return r.Name + " (" + r.Source + ")", true
	}
	for _, bits := range g.lengths[side(p.Addr().Is6())] {
		if bits > p.Bits() {
			break
		}
		wider, err := p.Addr().Prefix(bits)
		if err != nil {
			break
		}
		if why, ok := g.protected[wider]; ok {
			return why, true
		}
	}
	return "", false
}

// neverAround returns why p may not be listed, or the unit around it, if p is
// narrower.
func (g *guard) neverAround(p netip.Prefix) (why string, ok bool) {
	if why, ok := g.never(p); ok {
		return why, true
	}
	if unit := routes.UnitOf(p.Addr()).Prefix(); unit.Bits() < p.Bits() {
		return g.never(unit)
	}
	return "", false
}

// prefixes returns every prefix that is never listed.
func (g *guard) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, r := range reserved.Ranges() {
		if g.reserved(r) {
			all = append(all, r.Prefix)
		}
	}
	for p := range g.protected {
		all = append(all, p)
	}
	return all
}
