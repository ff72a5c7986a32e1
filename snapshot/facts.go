package snapshot

import "math"

// facts is what is known of listings: rows for nets, and the tables of AS
// names and texts that rows refer to.
type facts struct {
	systems []system
	texts   [][]byte
	rows    []row
}

// A system is one AS under one of its names.
type system struct {
	asn  ASN
	name []byte // view into the image
}

// A row is one combination of facts.
type row struct {
	count, threshold uint32
	system, text     uint32 // 1 + index into the tables, or 0
	first, last, end Hour
	kinds            Kinds
}

// openSystems reads the AS table, sorted by number, then name: the difference
// to the number before, and the name.
func openSystems(x Section, b []byte) ([]system, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || 2*x.Count > len(b) {
		c.fail("more systems than bytes")
		return nil, c.err
	}
	systems := make([]system, x.Count)
	asn := uint64(0)
	for i := range systems {
		asn += c.uint(math.MaxUint32 - asn)
		systems[i] = system{ASN(asn), c.bytes(c.uint(ASNameMax))}
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return systems, nil
}

// openTexts reads the texts of single listings, sorted.
func openTexts(x Section, b []byte) ([][]byte, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || 2*x.Count > len(b) {
		c.fail("more texts than bytes")
		return nil, c.err
	}
	texts := make([][]byte, x.Count)
	for i := range texts {
		if texts[i] = c.bytes(c.uint(TemplateMax)); len(texts[i]) == 0 {
			c.fail("empty text")
		}
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return texts, nil
}

// rowColumns is the number of columns of the section rows.
const rowColumns = 8

// openRows reads the eight columns of facts.
func openRows(x Section, b []byte, systems, texts int) ([]row, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || rowColumns*x.Count > len(b) {
		c.fail("more rows than bytes")
		return nil, c.err
	}
	rows := make([]row, x.Count)
	for i := range rows {
		rows[i].count = uint32(c.uint(math.MaxUint32))
	}
	for i := range rows {
		rows[i].threshold = uint32(c.uint(math.MaxUint32))
	}
	for i := range rows {
		rows[i].system = uint32(c.uint(uint64(systems)))
	}
	for i := range rows {
		rows[i].first = Hour(c.uint(math.MaxUint32))
	}
	for i := range rows {
		rows[i].last = Hour(c.uint(math.MaxUint32))
	}
	for i := range rows {
		rows[i].end = Hour(c.uint(math.MaxUint32))
	}
	for i := range rows {
		rows[i].kinds = Kinds(c.uint(math.MaxUint8))
	}
	for i := range rows {
		rows[i].text = uint32(c.uint(uint64(texts)))
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return rows, nil
}

// columns are the facts of points, by kind of section from KindTerms on.
type columns [KindKinds - KindTerms + 1]column

// A column has one value for each point: an index, in width bytes, into a
// sorted dictionary of the values that occur. The zero column has only zeros.
type column struct {
	n     int    // values of the dictionary
	width int    // bytes of an index: 0 with one value, 1 up to 256, 2 up to 65536, else 4
	dict  []byte // u64 a value
	index []byte
}

// IndexWidth returns the bytes of an index into a dictionary of n values.
func IndexWidth(n int) int {
	switch {
	case n <= 1:
		return 0
	case n <= 1<<8:
		return 1
	case n <= 1<<16:
		return 2
	}
	return 4
}

func openColumn(x Section, b []byte, points int) (column, error) {
	c := cursor{name: x.String(), b: b}
	k := column{n: x.Count, width: IndexWidth(x.Count)}
	if x.Count == 0 || points == 0 || uint64(len(b)) != uint64(8*x.Count)+uint64(points)*uint64(k.width) {
		c.fail("length does not match the number of points")
		return column{}, c.err
	}
	k.dict = c.bytes(uint64(8 * x.Count))
	k.index = c.bytes(uint64(points * k.width))
	return k, c.end()
}

// at returns the value of the point of that rank; an index past the dictionary
// is 0.
func (k *column) at(rank int) uint64 {
	i := k.indexOf(rank)
	if uint(i) >= uint(k.n) {
		return 0
	}
	return k.value(i)
}

// indexOf returns the index into the dictionary for the point of that rank.
func (k *column) indexOf(rank int) int {
	switch k.width {
	case 0:
		return 0
	case 1:
		return int(k.index[rank])
	case 2:
		return int(le16(k.index[2*rank:]))
	}
	return int(le32(k.index[4*rank:]))
}

// value returns the value i of the dictionary.
func (k *column) value(i int) uint64 { return le64(k.dict[8*i:]) }

// end returns the hour in which the point of that rank ends. A term is the end
// in its high half and the last hour in its low half.
func (k *columns) end(rank int) Hour {
	if k[0].n == 0 {
		return 0
	}
	return Hour(k[0].at(rank) >> 32)
}

// fill tells the facts of the point of that rank.
func (k *columns) fill(m *MatchFacts, rank int) {
	if k[0].n != 0 {
		term := k[0].at(rank)
		m.End, m.Last = Hour(term>>32), Hour(uint32(term))
	}
	if k[KindFirsts-KindTerms].n != 0 {
		m.First = Hour(k[KindFirsts-KindTerms].at(rank))
	}
	if k[KindCounts-KindTerms].n != 0 {
		m.Count = uint32(k[KindCounts-KindTerms].at(rank))
	}
	if k[KindKinds-KindTerms].n != 0 {
		m.Kinds = Kinds(k[KindKinds-KindTerms].at(rank))
	}
}
