package routes

import (
	"cmp"
	"errors"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ucedge/snapshot"
)

// row is one prefix and one of its origins; asn 0 is none.
type row struct {
	start uint64
	asn   snapshot.ASN
	bits  uint8
}

// A Builder collects routes in any order and makes a Table of them. The zero
// Builder is empty and ready.
type Builder struct {
	rows  [2][]row // IPv4, IPv6
	names map[snapshot.ASN]string
}

// errFull is returned when a file has more routes than a table holds.
var errFull = errors.New("more routes than a table holds")

// Add adds a prefix, masked, with its origins; a prefix added again belongs to
// all origins it was ever added with, the originsMax lowest of them. Origin 0 is
// left out. The error is a
// RangeError, or says that the table is full.
func (b *Builder) Add(p netip.Prefix, origins ...snapshot.ASN) error {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	v6 := p.Addr().Is6()
	if !p.IsValid() || p.Bits() > width(v6) || p.Bits() < minBits(v6) {
		return &RangeError{p}
	}
	u := UnitOf(p.Masked().Addr())
	return b.add(v6, u.Key, p.Bits(), origins)
}

// minBits returns the shortest length of a route.
func minBits(v6 bool) int {
	if v6 {
		return MinBits6
	}
	return MinBits4
}

// add appends rows; the prefix is masked and within the limits.
func (b *Builder) add(v6 bool, key uint64, bits int, origins []snapshot.ASN) error {
	side := &b.rows[0]
	if v6 {
		side = &b.rows[1]
	}
	if len(*side)+len(origins) >= MaxRoutes {
		return errFull
	}
	any := false
	for _, asn := range origins {
		if asn != 0 {
			*side = append(*side, row{key, asn, uint8(bits)})
			any = true
		}
	}
	if !any {
		*side = append(*side, row{key, 0, uint8(bits)})
	}
	return nil
}

// AddRange adds the addresses from first to last, both included, as the fewest
// prefixes. Of an IPv6 range only whole /64s are kept. It returns the number
// of prefixes. A range that takes more than rangeMax of the widest routes is a
// RangeError.
func (b *Builder) AddRange(first, last netip.Addr, origins ...snapshot.ASN) (int, error) {
	first, last = first.Unmap(), last.Unmap()
	if !first.IsValid() || first.BitLen() != last.BitLen() || last.Less(first) {
		return 0, errors.New("range ends before it starts")
	}
	from, to := UnitOf(first), UnitOf(last)
	if from.V6 {
		wholeFirst := first == from.Prefix().Addr()
		wholeLast := lowBitsSet(last)
		if from.Key == to.Key && !(wholeFirst && wholeLast) {
			return 0, nil
		}
		if !wholeFirst {
			from.Key++
		}
		if !wholeLast {
			to.Key-- // to.Key > from.Key's old value, so not below zero
		}
		if from.Key > to.Key {
			return 0, nil
		}
	}
	if (to.Key-from.Key)>>(width(from.V6)-minBits(from.V6)) >= rangeMax {
		common := bits.LeadingZeros64(from.Key^to.Key) - (64 - width(from.V6))
		return 0, &RangeError{netip.PrefixFrom(first, common).Masked()}
	}
	return b.addKeys(from.V6, from.Key, to.Key, origins)
}

// lowBitsSet reports whether the lower 64 bits of an IPv6 address are all ones.
func lowBitsSet(a netip.Addr) bool {
	b := a.As16()
	for _, x := range b[8:] {
		if x != 0xff {
			return false
		}
	}
	return true
}

// addKeys adds the keys from..to as the fewest prefixes that are not wider
// than the widest route.
func (b *Builder) addKeys(v6 bool, from, to uint64, origins []snapshot.ASN) (int, error) {
	for n := 0; ; n++ {
		bits := minBits(v6)
		for from != from&^(lastKey(v6, 0, bits)) || lastKey(v6, from, bits) > to {
			bits++
		}
		if err := b.add(v6, from, bits, origins); err != nil {
			return n, err
		}
		end := lastKey(v6, from, bits)
		if end == to {
			return n + 1, nil
		}
		from = end + 1
	}
}

// SetName sets the name of a system, of which a snapshot has room for no more
// than ASNameMax bytes. Sources repeat the name on each line; the first one
// stays. Past namesMax systems have none.
func (b *Builder) SetName(asn snapshot.ASN, name string) {
	if asn == 0 || name == "" || len(b.names) == namesMax {
		return
	}
	if b.names == nil {
		b.names = map[snapshot.ASN]string{}
	}
	if _, ok := b.names[asn]; !ok {
		b.names[asn] = strings.Clone(cutName(name))
	}
}

// cutName cuts a name that is too long, between characters if it is UTF-8.
func cutName(name string) string {
	if len(name) <= snapshot.ASNameMax {
		return name
	}
	end := snapshot.ASNameMax
	for end > snapshot.ASNameMax-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// Table makes the table. The Builder must not be used afterwards.
func (b *Builder) Table(dated time.Time) *Table {
	t := &Table{dated: dated}
	t.v4 = family(false, b.rows[0])
	t.v6 = family(true, b.rows[1])
	b.rows = [2][]row{}
	t.gather(b.names)
	return t
}

// family sorts rows into routes: equal prefixes become one with all origins.
func family(v6 bool, rows []row) Family {
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.bits, b.bits), cmp.Compare(a.asn, b.asn))
	})
	rows = slices.Compact(rows)
	f := Family{v6: v6, offsets: []uint32{0}}
	origins := 0 // of the prefix
	for i, r := range rows {
		if i == 0 || r.start != rows[i-1].start || r.bits != rows[i-1].bits {
			f.starts = append(f.starts, r.start)
			f.bits = append(f.bits, r.bits)
			f.offsets = append(f.offsets, uint32(len(f.origins)))
			origins = 0
		}
		if r.asn != 0 && origins < originsMax {
			f.origins = append(f.origins, r.asn)
			origins++
		}
		f.offsets[len(f.offsets)-1] = uint32(len(f.origins))
	}
	f.link()
	return f
}

// link finds the parent of each route.
func (f *Family) link() {
	f.parents = make([]int32, len(f.starts))
	open := int32(-1)
	for i := range f.starts {
		for open >= 0 && f.Last(int(open)) < f.starts[i] {
			open = f.parents[open]
		}
		f.parents[i] = open
		open = int32(i)
	}
}

// gather lists the announcements of each system and sums up their sizes.
func (t *Table) gather(names map[snapshot.ASN]string) {
	type placed struct {
		asn   snapshot.ASN
		place uint32
	}
	var all []placed
	for _, f := range []*Family{&t.v4, &t.v6} {
		for i := range f.Len() {
			for _, asn := range f.Origins(i) {
				all = append(all, placed{asn, f.place(i, asn)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.asn, b.asn) })
	t.places = make([]uint32, 0, len(all))
	for i, p := range all {
		if i == 0 || p.asn != all[i-1].asn {
			t.systems = append(t.systems, System{ASN: p.asn, Name: names[p.asn]})
			t.offsets = append(t.offsets, uint32(i))
		}
		t.places = append(t.places, p.place)
	}
	t.offsets = append(t.offsets, uint32(len(all)))
	for i := range t.systems {
		t.measure(i)
	}
}

// place encodes route i as an announcement of asn.
func (f *Family) place(i int, asn snapshot.ASN) uint32 {
	p := uint32(i)<<2 | 2
	for up := f.Parent(i); up >= 0; up = f.Parent(up) {
		if slices.Contains(f.Origins(up), asn) {
			p &^= 2
			break
		}
	}
	if f.v6 {
		p |= 1
	}
	return p
}

// measure sets the sizes of the system at that place.
func (t *Table) measure(system int) {
	s := &t.systems[system]
	lastNet := uint64(math.MaxUint64) // number of the last /48 counted
	for a := range t.Announcements(system) {
		f := t.Family(a.V6)
		switch {
		case !a.Outermost:
		case !a.V6:
			s.Addresses += f.Last(a.Index) - f.Start(a.Index) + 1
		default:
			from, to := f.Start(a.Index)>>16, f.Last(a.Index)>>16
			if from == lastNet {
				from++
			}
			if from <= to {
				s.Slash48s += to - from + 1
			}
			lastNet = to
		}
	}
}
