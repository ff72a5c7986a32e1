package snapshot

// facts is what is known of nets: rows, and the tables of AS names and texts
// that rows refer to. All are read where they lie.
type facts struct {
	rows    int
	column  [rowColumns]numbers // by the constants below
	numbers numbers             // of ASes
	names   words               // of ASes
	texts   words
}

// The columns of the section rows.
const (
	rowCount = iota
	rowThreshold
	rowSystem // 1 + index into the systems, or 0
	rowFirst  // hours
	rowLast
	rowEnd
	rowKinds
	rowText // 1 + index into the texts, or 0

	rowColumns
)

// A row is one combination of facts, by column.
type row [rowColumns]uint32

// openSystems slices the AS table: the numbers, then the names.
func (t *facts) openSystems(x Section, b []byte) error {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 {
		c.fail("no systems")
	}
	t.numbers = c.numbers(x.Count, 4)
	t.names = c.words(x.Count, ASNameMax)
	return c.end()
}

// openTexts slices the texts of single listings.
func (t *facts) openTexts(x Section, b []byte) error {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || x.Count > len(b) { // none is empty
		c.fail("no texts, or more than bytes")
	}
	t.texts = c.words(x.Count, TemplateMax)
	return c.end()
}

// openRows slices the columns of facts, which follow their widths.
func (t *facts) openRows(x Section, b []byte) error {
	c := cursor{name: x.String(), b: b}
	if x.Count == 0 || x.Count > len(b) { // no two are alike, so all but one take a byte
		c.fail("no rows, or more than bytes")
	}
	t.rows = x.Count
	widths := c.bytes(rowColumns)
	for i, width := range widths {
		t.column[i] = c.numbers(x.Count, int(width))
	}
	if len(widths) > 0 && t.column[rowKinds].width > 1 {
		c.fail("kinds of more than a byte")
	}
	return c.end()
}

// row returns row i.
func (t *facts) row(i int) (r row) {
	for k := range r {
		r[k] = t.column[k].at(i)
	}
	return r
}

// fill resolves row i; Text stays empty if the listing has none of its own.
func (t *facts) fill(m *MatchFacts, i int) {
	m.Count, m.Threshold = t.column[rowCount].at(i), t.column[rowThreshold].at(i)
	m.First, m.Last, m.End = Hour(t.column[rowFirst].at(i)), Hour(t.column[rowLast].at(i)), Hour(t.column[rowEnd].at(i))
	m.Kinds = Kinds(t.column[rowKinds].at(i))
	m.ASN, m.ASName = 0, nil
	if k := int(t.column[rowSystem].at(i)); k > 0 && k <= t.names.n {
		m.ASN, m.ASName = ASN(t.numbers.at(k-1)), t.names.at(k-1)
	}
	m.Text = t.text(i)
}

// text returns the text of row i, or nothing.
func (t *facts) text(i int) []byte {
	if k := int(t.column[rowText].at(i)); k > 0 && k <= t.texts.n {
		return t.texts.at(k - 1)
	}
	return nil
}

// end returns the hour in which listings with that row, 1 + its index, end.
func (t *facts) end(row uint32) Hour {
	if row == 0 {
		return 0
	}
	return Hour(t.column[rowEnd].at(int(row - 1)))
}

// columns are the facts of points, by kind of section from KindTerms on.
type columns [KindKinds - KindTerms + 1]column

// A column has one value for each point: an index into a sorted dictionary of
// the values that occur. The zero column has only zeros.
type column struct {
	n     int    // values of the dictionary
	dict  []byte // u64 a value
	index numbers
}

func openColumn(x Section, b []byte, points int) (column, error) {
	c := cursor{name: x.String(), b: b}
	k := column{n: x.Count}
	if x.Count == 0 || points == 0 {
		c.fail("no values, or no points")
		return column{}, c.err
	}
	k.dict = c.bytes(8 * uint64(x.Count))
	k.index = c.numbers(points, NumberWidth(uint32(x.Count-1)))
	return k, c.end()
}

// at returns the value of the point of that rank; an index past the dictionary
// is 0.
func (k *column) at(rank int) uint64 {
	i := int(k.index.at(rank))
	if uint(i) >= uint(k.n) {
		return 0
	}
	return k.value(i)
}

// value returns the value i of the dictionary.
func (k *column) value(i int) uint64 { return le64(k.dict[8*i:]) }

// end returns the hour in which the point of that rank ends. A term is the end
// in its high half and the last hour in its low half.
func (k *columns) end(rank int) Hour {
	return Hour(k.value(KindTerms, rank) >> 32)
}

// fill tells the facts of the point of that rank.
func (k *columns) fill(m *MatchFacts, rank int) {
	term := k.value(KindTerms, rank)
	m.End, m.Last = Hour(term>>32), Hour(uint32(term))
	m.First, m.Count, m.Kinds = Hour(k.value(KindFirsts, rank)), uint32(k.value(KindCounts, rank)), Kinds(k.value(KindKinds, rank))
	m.Threshold, m.ASN, m.ASName = 0, 0, nil
}

// value returns what a column says of the point of that rank.
func (k *columns) value(kind Kind, rank int) uint64 {
	if column := &k[kind-KindTerms]; column.n != 0 {
		return column.at(rank)
	}
	return 0
}
