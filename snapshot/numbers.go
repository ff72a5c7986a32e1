package snapshot

// numbers is a column of numbers of one width, read where they lie.
type numbers struct {
	width int // bytes of each: 0 if all are 0, else 1, 2 or 4
	b     []byte
}

// NumberWidth returns the bytes that each number of a column takes of which
// the greatest is most.
func NumberWidth(most uint32) int {
	switch {
	case most == 0:
		return 0
	case most < 1<<8:
		return 1
	case most < 1<<16:
		return 2
	}
	return 4
}

// at returns number i. Most columns of real lists have nothing but zeros, which
// costs no call.
func (v *numbers) at(i int) uint32 {
	if v.width == 0 {
		return 0
	}
	return v.read(i)
}

func (v *numbers) read(i int) uint32 {
	switch v.width {
	case 1:
		return uint32(v.b[i])
	case 2:
		return uint32(le16(v.b[2*i:]))
	}
	return le32(v.b[4*i:])
}

// numbers returns a view of the next n numbers.
func (c *cursor) numbers(n, width int) numbers {
	if width > 4 || width == 3 {
		c.fail("numbers of a width that there is not")
	}
	return numbers{width, c.bytes(uint64(n) * uint64(width))}
}

// narrow says whether the n numbers take no more bytes than they need.
func (v *numbers) narrow(n int) bool {
	most := uint32(0)
	for i := range n {
		most = max(most, v.at(i))
	}
	return v.width == NumberWidth(most)
}

// A words is a list of strings, read where they lie: where each one ends, and
// their bytes.
type words struct {
	n    int
	most uint32 // bytes of the longest that may be
	ends numbers
	b    []byte
}

// words reads the rest of a section, of which one byte tells the width of the
// ends.
func (c *cursor) words(n int, most uint32) words {
	w := words{n: n, most: most, ends: c.numbers(n, int(c.byte()))}
	w.b = c.bytes(uint64(len(c.b) - c.at))
	return w
}

// at returns a view of string i. One that breaks the format is empty.
func (w *words) at(i int) []byte {
	from, to := w.span(i)
	if from > to || to > uint32(len(w.b)) || to-from > w.most {
		return nil
	}
	return w.b[from:to:to]
}

func (w *words) span(i int) (from, to uint32) {
	if i > 0 {
		from = w.ends.at(i - 1)
	}
	return from, w.ends.at(i)
}

// whole says whether the strings are of allowed lengths, and all of the bytes.
func (w *words) whole() bool {
	to := uint32(0)
	for i := range w.n {
		var from uint32
		if from, to = w.span(i); from > to || to-from > w.most {
			return false
		}
	}
	return to == uint32(len(w.b)) && w.ends.narrow(w.n)
}
