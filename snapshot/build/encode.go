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
	rowOf    map[row]uint32 // 1 + the index
}

// A row is facts with references to the tables, in the order of the columns of
// the section.
type row struct {
	count, threshold, system, first, last, end, kinds, text uint32
}

func (r *row) columns() [8]uint32 {
	return [...]uint32{r.count, r.threshold, r.system, r.first, r.last, r.end, r.kinds, r.text}
}

func newTables(parts []part) *tables {
	t := &tables{systemOf: map[system]uint32{}, textOf: map[string]uint32{}, rowOf: map[row]uint32{}}
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

// ref returns the reference to the facts of the next net: 0 for an exclusion,
// else 1 + the index of the row.
func (t *tables) ref(l *snapshot.Listing) uint32 {
	if l.Excluded {
		return 0
	}
	r := row{
		count: l.Count, threshold: l.Threshold, system: t.systemOf[systemOf(*l)], text: t.textOf[l.Text],
		first: uint32(l.First), last: uint32(l.Last), end: uint32(l.End), kinds: uint32(l.Kinds),
	}
	i, ok := t.rowOf[r]
	if !ok {
		t.rows = append(t.rows, r)
		i = uint32(len(t.rows))
		t.rowOf[r] = i
	}
	return i
}

func (t *tables) sections() (out []section) {
	if len(t.systems) > 0 {
		out = append(out, section{kind: snapshot.KindSystems, count: len(t.systems), body: t.encodeSystems()})
	}
	if len(t.texts) > 0 {
		out = append(out, section{kind: snapshot.KindTexts, count: len(t.texts), body: appendWords(nil, t.texts)})
	}
	if len(t.rows) > 0 {
		out = append(out, section{kind: snapshot.KindRows, count: len(t.rows), body: t.encodeRows()})
	}
	return out
}

func (t *tables) encodeSystems() (b []byte) {
	names := make([]string, len(t.systems))
	for i, x := range t.systems {
		b = le.AppendUint32(b, uint32(x.asn))
		names[i] = x.name
	}
	return appendWords(b, names)
}

// appendWords appends strings: the width of the places where they end, these
// places, their bytes.
func appendWords(b []byte, words []string) []byte {
	ends := make([]uint32, len(words))
	end := uint32(0)
	for i, w := range words {
		end += uint32(len(w))
		ends[i] = end
	}
	b = appendNumbers(append(b, byte(numberWidth(ends))), ends)
	for _, w := range words {
		b = append(b, w...)
	}
	return b
}

// encodeRows returns the widths of the columns, and the columns.
func (t *tables) encodeRows() []byte {
	var widths, body []byte
	column := make([]uint32, len(t.rows))
	for k := range (&row{}).columns() {
		for i := range t.rows {
			column[i] = t.rows[i].columns()[k]
		}
		widths = append(widths, byte(numberWidth(column)))
		body = appendNumbers(body, column)
	}
	return append(widths, body...)
}
