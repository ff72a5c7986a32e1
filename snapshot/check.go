package snapshot

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
)

// Check reads everything that Open leaves out. If it returns nil, the image is
// the one encoding of its listings, zones and profile, and the collateral
// figures are true. It takes about a second for two million listings.
func (s *Snapshot) Check() error {
	for _, check := range []func() error{s.checkTables, s.checkPoints, s.checkColumns, s.checkNets, s.checkCollateral} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func fault(section string, item int, problem string) error {
	return &FormatError{section, int64(item), problem}
}

// checkTables checks that tables are sorted, and that each row is used and
// there once.
func (s *Snapshot) checkTables() error {
	t := &s.facts
	if err := t.checkSystems(); err != nil {
		return err
	}
	if !t.texts.whole() {
		return fault("texts", 0, "texts of wrong lengths")
	}
	for i := range t.texts.n {
		if len(t.texts.at(i)) == 0 || i > 0 && bytes.Compare(t.texts.at(i-1), t.texts.at(i)) >= 0 {
			return fault("texts", i, "texts empty or out of order")
		}
	}
	return t.checkRows()
}

func (t *facts) checkSystems() error {
	if !t.names.whole() {
		return fault("systems", 0, "names of wrong lengths")
	}
	for i := range t.names.n {
		if t.numbers.at(i) == 0 && len(t.names.at(i)) == 0 || i > 0 && !t.lessSystem(i-1, i) {
			return fault("systems", i, "rows empty or out of order")
		}
	}
	return nil
}

// lessSystem says whether AS i comes before AS j.
func (t *facts) lessSystem(i, j int) bool {
	a, b := t.numbers.at(i), t.numbers.at(j)
	return a < b || a == b && bytes.Compare(t.names.at(i), t.names.at(j)) < 0
}

func (t *facts) checkRows() error {
	if i := t.rowTwice(); i >= 0 {
		return fault("rows", i, "row twice")
	}
	systems, texts := make([]bool, t.names.n+1), make([]bool, t.texts.n+1)
	for i := range t.rows {
		r := t.row(i)
		if int(r[rowSystem]) > t.names.n || int(r[rowText]) > t.texts.n {
			return fault("rows", i, "AS or text that is not there")
		}
		systems[r[rowSystem]], texts[r[rowText]] = true, true
	}
	if slices.Contains(systems[1:], false) || slices.Contains(texts[1:], false) {
		return fault("rows", 0, "AS or text that no row uses")
	}
	for k := range t.column {
		if !t.column[k].narrow(t.rows) {
			return fault("rows", k, "column wider than its numbers")
		}
	}
	return nil
}

// rowTwice returns a row that stands before, too, or -1. Rows that differ in
// their hashes do so themselves. Neither way makes a set of rows, as a row may
// be of one byte, and a set of them takes a hundred for each.
func (t *facts) rowTwice() int {
	hashes := make([]uint64, t.rows)
	for i := range hashes {
		var b [4 * rowColumns]byte
		for k, n := range t.row(i) {
			binary.LittleEndian.PutUint32(b[4*k:], n)
		}
		hashes[i] = Checksum(b[:])
	}
	slices.Sort(hashes)
	for i := 1; i < len(hashes); i++ {
		if hashes[i-1] == hashes[i] {
			return t.sameRows()
		}
	}
	return -1
}

// sameRows is rowTwice by the rows themselves, which takes ten times as long.
func (t *facts) sameRows() int {
	order := make([]uint32, t.rows)
	for i := range order {
		order[i] = uint32(i)
	}
	compare := func(i, j uint32) int {
		a, b := t.row(int(i)), t.row(int(j))
		return slices.Compare(a[:], b[:])
	}
	slices.SortFunc(order, compare)
	for k := 1; k < len(order); k++ {
		if compare(order[k-1], order[k]) == 0 {
			return int(max(order[k-1], order[k]))
		}
	}
	return -1
}

// families calls do for each family of each level.
func (s *Snapshot) families(do func(level Level, version uint8, f *family) error) error {
	for level := Address; level <= System; level++ {
		for _, version := range []uint8{4, 6} {
			if err := do(level, version, s.family(level, version)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPoints checks that blocks take no more bits than their codes, and that
// unused bits are zero.
func (s *Snapshot) checkPoints() error {
	return s.families(func(level Level, version uint8, f *family) error {
		name := Section{Kind: KindPoints, Level: level, Family: version}.String()
		for b := range f.points.blocks() {
			if !f.points.tight(b) {
				return fault(name, b, "unused bits in a block")
			}
		}
		return nil
	})
}

// tight says whether the payload of block b is exactly its codes and fewer
// than eight zero bits between the last two runs.
func (p *points) tight(b int) bool {
	var room block
	_, ends := p.decode(b, &room)
	gap := ends[3] - ends[2]
	d := decoder{b: p.bytes}
	return ends[0] == ends[1] && gap >= 0 && gap < 8 && d.bits(ends[2], gap) == 0
}

// checkColumns checks that dictionaries are sorted, all of their values fit
// and are used, and that no column has only zeros.
func (s *Snapshot) checkColumns() error {
	most := [...]uint64{math.MaxUint64, math.MaxUint32, math.MaxUint32, math.MaxUint8}
	return s.families(func(level Level, version uint8, f *family) error {
		for i := range f.columns {
			k := &f.columns[i]
			name := Section{Kind: KindTerms + Kind(i), Level: level, Family: version}.String()
			if k.n == 1 && k.value(0) == 0 || k.n > 0 && k.value(k.n-1) > most[i] {
				return fault(name, 0, "value out of range")
			}
			for j := 1; j < k.n; j++ {
				if k.value(j-1) >= k.value(j) {
					return fault(name, j, "dictionary out of order")
				}
			}
			if !k.allUsed(f.points.n) {
				return fault(name, 0, "index past the dictionary, or value that no point has")
			}
		}
		return nil
	})
}

func (k *column) allUsed(points int) bool {
	if k.n == 0 {
		return true
	}
	used := make([]bool, k.n)
	for rank := range points {
		i := int(k.index.at(rank))
		if i >= k.n {
			return false
		}
		used[i] = true
	}
	return !slices.Contains(used, false)
}

// checkNets checks that prefixes are in order and linked to their parents,
// that rows are in the order in which prefixes use them, and that there are
// none that the builder never makes: IPv4-mapped ones, and nets that are
// points, too, or should be.
func (s *Snapshot) checkNets() error {
	used := uint32(0) // rows
	err := s.families(func(level Level, version uint8, f *family) error {
		name := Section{Kind: KindNets, Level: level, Family: version}.String()
		t := &f.nets
		if item, problem := t.check(&used); problem != "" {
			return fault(name, item, problem)
		}
		for i := range t.len() {
			a := t.addr(i)
			if version == 6 && a.netip(6).Is4In6() {
				return fault(name, i, "IPv4-mapped prefix")
			}
			if level != Address || t.bits(i) != f.bits {
				continue
			}
			if _, twice := f.points.search(f.points.keyOf(a)); twice && f.points.n > 0 {
				return fault(name, i, "prefix is a point, too")
			}
			if n := t.row(i); n != 0 && s.facts.fitsPoint(int(n-1)) {
				return fault(name, i, "prefix should be a point")
			}
		}
		return nil
	})
	if err == nil && int(used) != s.facts.rows {
		err = fault("rows", int(used), "row that no prefix uses")
	}
	return err
}

// check returns the first prefix that breaks the format, and how. used is the
// number of rows that earlier nets use, and rises.
func (t *nets) check(used *uint32) (item int, problem string) {
	deepest, last := 0, -1 // the prefix before, and so the innermost that may hold the next
	for i := range t.n {
		l, a := int(t.lengths[i]), t.addr(i)
		deepest = max(deepest, l)
		switch {
		case l > t.deepest:
			return i, "prefix too long"
		case a.masked(l) != a || t.family == 4 && a.hi<<32 != 0:
			return i, "bits set after the prefix"
		case i > 0 && !t.stands(i-1, a, l):
			return i, "prefixes out of order"
		}
		for last >= 0 && !t.covers(last, a) {
			last = t.parent(last)
		}
		if want := t.distance(i, last); t.parents.at(i) != want {
			return i, "parent is not the next wider prefix"
		}
		last = i
		if row := t.facts.at(i); row > *used+1 || row > t.rows {
			return i, "row that no prefix before it uses"
		} else if row > *used {
			*used = row
		}
	}
	if deepest != t.deepest || !t.parents.narrow(t.n) || !t.facts.narrow(t.n) {
		return t.n, "columns wider than what they hold"
	}
	return 0, ""
}

// distance returns how many prefixes before i its parent stands, or 0 if it has
// none.
func (t *nets) distance(i, parent int) uint32 {
	if parent < 0 {
		return 0
	}
	return uint32(i - parent)
}

// fitsPoint says whether the columns of points can hold the facts of row i.
func (t *facts) fitsPoint(i int) bool {
	return t.column[rowThreshold].at(i) == 0 && t.column[rowSystem].at(i) == 0 && t.column[rowText].at(i) == 0
}

func (s *Snapshot) checkCollateral() error {
	for i, want := range s.Measure() {
		if s.collateral[i] != want {
			return fault("collateral", i, "figures of level "+strconv.Itoa(i+1)+" are not those of its listings")
		}
	}
	return nil
}
