package build

import (
	"encoding/binary"
	"maps"
	"slices"

	"ucedge/snapshot"
)

// encode returns all sections in canonical order; that of collateral, the
// third, is still empty.
func encode(zones []snapshot.Zone, profile snapshot.Profile, listings []snapshot.Listing) []section {
	sections := []section{
		{kind: snapshot.KindZones, count: len(zones), body: encodeZones(zones)},
		{kind: snapshot.KindProfile, count: 1, body: appendString(appendString(nil, profile.Name), profile.Text)},
		{kind: snapshot.KindCollateral, count: int(snapshot.System)},
	}
	var parts []part
	for _, level := range []snapshot.Level{snapshot.Address, snapshot.Allocation, snapshot.System} {
		for _, family := range []uint8{4, 6} {
			if p := newPart(level, family, listings); len(p.nets)+len(p.points) > 0 {
				parts = append(parts, p)
			}
		}
	}
	t := newTables(parts)
	nets := make([]section, 0, len(parts))
	for _, p := range parts {
		if len(p.nets) > 0 {
			nets = append(nets, section{snapshot.KindNets, p.level, p.family, len(p.nets), p.encodeNets(t)})
		}
	}
	sections = append(sections, t.sections()...) // the rows are complete now
	sections = append(sections, nets...)
	return append(sections, encodePoints(parts)...)
}

// A part is what one level lists of one family, in canonical order.
type part struct {
	level        snapshot.Level
	family       uint8
	nets, points []snapshot.Listing
}

// newPart returns the part of canonical listings, among which it lies in one
// piece. It is not copied unless it mixes nets and points: there may be millions.
func newPart(level snapshot.Level, family uint8, listings []snapshot.Listing) part {
	p := part{level: level, family: family}
	inside := func(l *snapshot.Listing) bool { return l.Level == level && l.Prefix.Addr().Is4() == (family == 4) }
	first := 0
	for first < len(listings) && !inside(&listings[first]) {
		first++
	}
	last, points := first, 0
	for ; last < len(listings) && inside(&listings[last]); last++ {
		if isPoint(&listings[last]) {
			points++
		}
	}
	switch all := listings[first:last]; points {
	case 0:
		p.nets = all
	case len(all):
		p.points = all
	default:
		p.points, p.nets = make([]snapshot.Listing, 0, points), make([]snapshot.Listing, 0, len(all)-points)
		for i := range all {
			if isPoint(&all[i]) {
				p.points = append(p.points, all[i])
			} else {
				p.nets = append(p.nets, all[i])
			}
		}
	}
	return p
}

func encodeZones(zones []snapshot.Zone) []byte {
	var b []byte
	for _, z := range zones {
		b = appendString(b, z.Suffix)
		b = append(b, byte(z.Level))
		b = append(b, z.Code[:]...)
		for _, n := range []uint32{z.TTL, z.SOATTL, z.Refresh, z.Retry, z.Expire, z.Minimum, z.NSTTL} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		b = appendString(b, z.MName)
		b = appendString(b, z.RName)
		b = binary.AppendUvarint(b, uint64(len(z.NS)))
		for _, ns := range z.NS {
			b = appendString(b, ns)
		}
		b = appendString(b, z.Text)
		b = appendString(b, z.TestText)
		b = appendString(b, z.URL)
	}
	return b
}

func collateral(rows []snapshot.Collateral) []byte {
	var b []byte
	for _, r := range rows {
		for _, n := range []uint64{r.Entries, r.Excluded, r.Addresses, r.Slash64s, r.Abusers} {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

// tables are the AS names and texts of all nets, sorted, and their facts in
// the order in which nets first use them.
type tables struct {
	systems []system
	texts   []string
	rows    []snapshot.Facts
	rowOf   map[snapshot.Facts]int
}

func newTables(parts []part) *tables {
	systems, texts := map[system]bool{}, map[string]bool{}
	for _, p := range parts {
		for _, l := range p.nets {
			systems[systemOf(l)] = true
			texts[l.Text] = true
		}
	}
	delete(systems, system{})
	delete(texts, "")
	return &tables{
		systems: slices.SortedFunc(maps.Keys(systems), system.compare),
		texts:   slices.Sorted(maps.Keys(texts)),
		rowOf:   map[snapshot.Facts]int{},
	}
}

// ref returns the reference to the facts of the next net: 0 for an exclusion, 1
// for facts that are new, else 2 for the newest row, 3 for the one before.
func (t *tables) ref(l *snapshot.Listing) uint64 {
	if l.Excluded {
		return 0
	}
	if i, ok := t.rowOf[l.Facts]; ok {
		return uint64(len(t.rows) - i + 1)
	}
	t.rowOf[l.Facts] = len(t.rows)
	t.rows = append(t.rows, l.Facts)
	return 1
}

func (t *tables) sections() (out []section) {
	var b []byte
	asn := snapshot.ASN(0)
	for _, x := range t.systems {
		b = appendString(binary.AppendUvarint(b, uint64(x.asn-asn)), x.name)
		asn = x.asn
	}
	if len(b) > 0 {
		out = append(out, section{kind: snapshot.KindSystems, count: len(t.systems), body: b})
	}
	b = nil
	for _, text := range t.texts {
		b = appendString(b, text)
	}
	if len(b) > 0 {
		out = append(out, section{kind: snapshot.KindTexts, count: len(t.texts), body: b})
	}
	if len(t.rows) > 0 {
		out = append(out, section{kind: snapshot.KindRows, count: len(t.rows), body: t.encodeRows()})
	}
	return out
}

func (t *tables) encodeRows() []byte {
	columns := []func(f *snapshot.Facts) uint64{
		func(f *snapshot.Facts) uint64 { return uint64(f.Count) },
		func(f *snapshot.Facts) uint64 { return uint64(f.Threshold) },
		func(f *snapshot.Facts) uint64 { return t.system(f) },
		func(f *snapshot.Facts) uint64 { return uint64(f.First) },
		func(f *snapshot.Facts) uint64 { return uint64(f.Last) },
		func(f *snapshot.Facts) uint64 { return uint64(f.End) },
		func(f *snapshot.Facts) uint64 { return uint64(f.Kinds) },
		func(f *snapshot.Facts) uint64 { return t.text(f) },
	}
	var b []byte
	for _, column := range columns {
		for i := range t.rows {
			b = binary.AppendUvarint(b, column(&t.rows[i]))
		}
	}
	return b
}

// system returns 1 + the index of the AS in the table, or 0 for none.
func (t *tables) system(f *snapshot.Facts) uint64 {
	i, ok := slices.BinarySearchFunc(t.systems, system{f.ASN, f.ASName}, system.compare)
	if !ok {
		return 0
	}
	return uint64(i + 1)
}

// text returns 1 + the index of the text in the table, or 0 for none.
func (t *tables) text(f *snapshot.Facts) uint64 {
	i, ok := slices.BinarySearch(t.texts, f.Text)
	if !ok {
		return 0
	}
	return uint64(i + 1)
}
