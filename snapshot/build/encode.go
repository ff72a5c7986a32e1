package build

import (
	"encoding/binary"
	"maps"
	"slices"

	"ucedge/snapshot"
)

// encode returns all sections in canonical order; that of collateral, the
// third, is still empty.
func encode(zones []snapshot.Zone, profile snapshot.Profile, parts []part) []section {
	sections := []section{
		{kind: snapshot.KindZones, count: len(zones), body: encodeZones(zones)},
		{kind: snapshot.KindProfile, count: 1, body: appendString(appendString(nil, profile.Name), profile.Text)},
		{kind: snapshot.KindCollateral, count: int(snapshot.System)},
	}
	points := make(chan []section, 1)
	go func() { points <- encodePoints(parts) }()
	t := newTables(parts)
	nets := make([]section, 0, len(parts))
	for i := range parts {
		if p := &parts[i]; len(p.nets) > 0 {
			nets = append(nets, section{snapshot.KindNets, p.level, p.family, len(p.nets), p.encodeNets(t)})
		}
	}
	sections = append(sections, t.sections()...) // the rows are complete now
	sections = append(sections, nets...)
	return append(sections, <-points...)
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
	systems  []system
	systemOf map[system]uint32 // 1 + the index; 0 for none
	texts    []string
	textOf   map[string]uint32 // 1 + the index; 0 for none
	rows     []row
	rowOf    map[row]int
}

// A row is facts with references to the tables.
type row struct {
	count, threshold, system, text uint32
	first, last, end               snapshot.Hour
	kinds                          snapshot.Kinds
}

func newTables(parts []part) *tables {
	t := &tables{systemOf: map[system]uint32{}, textOf: map[string]uint32{}, rowOf: map[row]int{}}
	for i := range parts {
		var before system
		for j := range parts[i].nets {
			l := &parts[i].nets[j]
			if x := systemOf(*l); x != before {
				t.systemOf[x] = 0
				before = x
			}
			if l.Text != "" {
				t.textOf[l.Text] = 0
			}
		}
	}
	delete(t.systemOf, system{})
	t.systems = slices.SortedFunc(maps.Keys(t.systemOf), system.compare)
	for i, x := range t.systems {
		t.systemOf[x] = uint32(i + 1)
	}
	t.texts = slices.Sorted(maps.Keys(t.textOf))
	for i, text := range t.texts {
		t.textOf[text] = uint32(i + 1)
	}
	return t
}

// ref returns the reference to the facts of the next net: 0 for an exclusion, 1
// for facts that are new, else 2 for the newest row, 3 for the one before.
func (t *tables) ref(l *snapshot.Listing) uint64 {
	if l.Excluded {
		return 0
	}
	r := row{
		count: l.Count, threshold: l.Threshold, system: t.systemOf[systemOf(*l)], text: t.textOf[l.Text],
		first: l.First, last: l.Last, end: l.End, kinds: l.Kinds,
	}
	if i, ok := t.rowOf[r]; ok {
		return uint64(len(t.rows) - i + 1)
	}
	t.rowOf[r] = len(t.rows)
	t.rows = append(t.rows, r)
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
	columns := []func(r *row) uint64{
		func(r *row) uint64 { return uint64(r.count) },
		func(r *row) uint64 { return uint64(r.threshold) },
		func(r *row) uint64 { return uint64(r.system) },
		func(r *row) uint64 { return uint64(r.first) },
		func(r *row) uint64 { return uint64(r.last) },
		func(r *row) uint64 { return uint64(r.end) },
		func(r *row) uint64 { return uint64(r.kinds) },
		func(r *row) uint64 { return uint64(r.text) },
	}
	var b []byte
	for _, column := range columns {
		for i := range t.rows {
			b = binary.AppendUvarint(b, column(&t.rows[i]))
		}
	}
	return b
}
