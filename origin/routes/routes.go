// Package routes maps addresses to the prefixes that are announced for them,
// and autonomous systems to their names, sizes and prefixes.
//
// Most callers use Open or Load, which read the public routing formats in
// whatever compression they come, and then Table.Covering and Table.System. A
// Table never changes and may be read by many goroutines at once. Promised:
// nested prefixes are all kept, and a file that is mostly bad gives an error
// and no table. Not promised: that the routes are true; they are as good as
// the file.
//
// # Several origins
//
// One prefix may be announced by several systems, on purpose (anycast, a
// customer with two providers) or by an AS set. Such a prefix belongs to each
// of them: its addresses and its abusers count for every origin, because each
// of them announces it and each of them can end the abuse. Where one name is
// wanted, in the text of a listing, it is that of the lowest number, so that
// the choice does not depend on the order of the file.
package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"time"

	"ucedge/snapshot"
)

// Limits of what a table holds. A prefix wider than the narrowest of POLICY's
// rows (/8, or /16 in IPv6) is no allocation but a default route or a mistake;
// one longer than /64 is narrower than the unit in which IPv6 is counted.
const (
	MinBits4  = 8
	MinBits6  = 16
	MaxRoutes = 1 << 23 // eight times the Internet of 2026
)

// A Unit is what policy counts: an IPv4 address, or an IPv6 /64. Key is the
// address as a number, or the upper half of one.
type Unit struct {
	Key uint64
	V6  bool
}

// UnitOf returns the unit of an address, IPv4-mapped ones as IPv4. The address
// must be valid.
func UnitOf(a netip.Addr) Unit {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return Unit{Key: uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])}
	}
	b := a.As16()
	var k uint64
	for _, x := range b[:8] {
		k = k<<8 | uint64(x)
	}
	return Unit{Key: k, V6: true}
}

// Prefix returns the unit as a /32 or a /64.
func (u Unit) Prefix() netip.Prefix { return prefixOf(u.V6, u.Key, width(u.V6)) }

// Compare orders units, IPv4 before IPv6.
func (u Unit) Compare(v Unit) int {
	switch {
	case u.V6 != v.V6 && v.V6, u.V6 == v.V6 && u.Key < v.Key:
		return -1
	case u == v:
		return 0
	}
	return 1
}

// Within reports whether the whole unit lies inside p.
func (u Unit) Within(p netip.Prefix) bool {
	q := u.Prefix()
	return p.Bits() <= q.Bits() && p.Contains(q.Addr())
}

// width returns the number of bits of a key.
func width(v6 bool) int {
	if v6 {
		return 64
	}
	return 32
}

// prefixOf returns the prefix of that many bits which starts at key.
func prefixOf(v6 bool, key uint64, bits int) netip.Prefix {
	if !v6 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)}), bits)
	}
	var b [16]byte
	for i := range 8 {
		b[i] = byte(key >> (56 - 8*i))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), bits)
}

// lastKey returns the last key of the prefix that starts at key.
func lastKey(v6 bool, key uint64, bits int) uint64 {
	return key | (1<<(width(v6)-bits) - 1)
}

// A Route is one announced prefix and the systems that originate it, in
// ascending order; none if the source names none.
type Route struct {
	Prefix  netip.Prefix
	Origins []snapshot.ASN
}

// ASN returns the origin that names the route: the lowest, or 0.
func (r Route) ASN() snapshot.ASN {
	if len(r.Origins) == 0 {
		return 0
	}
	return r.Origins[0]
}

// A System is one autonomous system as the table knows it.
type System struct {
	ASN       snapshot.ASN
	Name      string // in the words of the source; may be empty
	Addresses uint64 // IPv4 addresses in the union of its prefixes, each once
	Slash48s  uint64 // IPv6 /48s that its prefixes touch, each once
}

// An Announcement is one prefix of one system, by its place in a Family.
// Outermost says that no wider prefix of the same system covers it, so that
// summing over outermost announcements counts each address once.
type Announcement struct {
	V6        bool
	Outermost bool
	Index     int
}

// A Family holds the routes of IPv4 or of IPv6, ordered by first address and
// then by length, wider ones first: a route comes after every route that
// covers it.
type Family struct {
	v6      bool
	starts  []uint64
	bits    []uint8
	parents []int32
	offsets []uint32 // of the origins of each route, and one more
	origins []snapshot.ASN
}

// Len returns the number of routes.
func (f *Family) Len() int { return len(f.starts) }

// Start returns the first key of route i.
func (f *Family) Start(i int) uint64 { return f.starts[i] }

// Last returns the last key of route i.
func (f *Family) Last(i int) uint64 { return lastKey(f.v6, f.starts[i], int(f.bits[i])) }

// Bits returns the length of route i.
func (f *Family) Bits(i int) int { return int(f.bits[i]) }

// Parent returns the narrowest route that covers route i, or -1.
func (f *Family) Parent(i int) int { return int(f.parents[i]) }

// Origins returns the origins of route i in ascending order. The caller must
// not change them.
func (f *Family) Origins(i int) []snapshot.ASN {
	return f.origins[f.offsets[i]:f.offsets[i+1]:f.offsets[i+1]]
}

// Prefix returns the prefix of route i.
func (f *Family) Prefix(i int) netip.Prefix { return prefixOf(f.v6, f.starts[i], int(f.bits[i])) }

// Find returns the narrowest route that covers key, or -1.
func (f *Family) Find(key uint64) int {
	i := sort.Search(len(f.starts), func(i int) bool { return f.starts[i] > key }) - 1
	for i >= 0 && f.Last(i) < key {
		i = int(f.parents[i])
	}
	return i
}

// A Table is all routes and systems of one moment. It never changes. The nil
// Table is empty.
type Table struct {
	v4, v6  Family
	dated   time.Time
	systems []System // by ASN
	offsets []uint32 // of the announcements of each system, and one more
	places  []uint32 // announcements: index<<2 | outermost<<1 | v6
}

// none is what a nil Table looks like from inside.
var none = Table{v6: Family{v6: true}}

// Dated returns the time for which the routes stand: the one given, or that of
// the oldest file.
func (t *Table) Dated() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.dated
}

// Family returns the routes of one family.
func (t *Table) Family(v6 bool) *Family {
	if t == nil {
		t = &none
	}
	if v6 {
		return &t.v6
	}
	return &t.v4
}

// Len returns the number of routes of both families.
func (t *Table) Len() int { return t.Family(false).Len() + t.Family(true).Len() }

// Covering returns every announced prefix that covers the unit, the narrowest
// first.
func (t *Table) Covering(u Unit) []Route {
	f := t.Family(u.V6)
	var all []Route
	for i := f.Find(u.Key); i >= 0; i = f.Parent(i) {
		all = append(all, Route{f.Prefix(i), f.Origins(i)})
	}
	return all
}

// Systems returns all systems in ascending order. The caller must not change
// them.
func (t *Table) Systems() []System {
	if t == nil {
		return nil
	}
	return t.systems
}

// Index returns the place of a system in Systems.
func (t *Table) Index(asn snapshot.ASN) (int, bool) {
	return slices.BinarySearchFunc(t.Systems(), asn, func(s System, a snapshot.ASN) int { return int(int64(s.ASN) - int64(a)) })
}

// System returns what is known of a system.
func (t *Table) System(asn snapshot.ASN) (System, bool) {
	i, ok := t.Index(asn)
	if !ok {
		return System{}, false
	}
	return t.systems[i], true
}

// Announcements calls yield for each prefix of the system at that place of
// Systems, IPv4 before IPv6, in order.
func (t *Table) Announcements(system int) func(yield func(Announcement) bool) {
	return func(yield func(Announcement) bool) {
		for _, p := range t.places[t.offsets[system]:t.offsets[system+1]] {
			if !yield(Announcement{V6: p&1 != 0, Outermost: p&2 != 0, Index: int(p >> 2)}) {
				return
			}
		}
	}
}

// Prefixes returns every prefix that the system announces, IPv4 before IPv6,
// in order; nil if the table does not know it.
func (t *Table) Prefixes(asn snapshot.ASN) []netip.Prefix {
	i, ok := t.Index(asn)
	if !ok {
		return nil
	}
	var all []netip.Prefix
	for a := range t.Announcements(i) {
		all = append(all, t.Family(a.V6).Prefix(a.Index))
	}
	return all
}

// A RangeError says that a prefix cannot be a route here: it is not valid, or
// shorter or longer than the limits of a table.
type RangeError struct{ Prefix netip.Prefix }

func (e *RangeError) Error() string {
	return fmt.Sprintf("prefix %q is outside the lengths /%d to /32, or /%d to /64", e.Prefix, MinBits4, MinBits6)
}
