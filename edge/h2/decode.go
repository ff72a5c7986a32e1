package h2

import "golang.org/x/net/http2/hpack"

// staticTable is the static table (RFC 7541 A), whose first entry has number 1,
// and staticNames the first number of each name in it.
var (
	staticTable = func() (table []Field) {
		decoder := hpack.NewDecoder(0, func(f hpack.HeaderField) {
			table = append(table, Field{[]byte(f.Name), []byte(f.Value)})
		})
		for i := byte(1); i <= staticEntries; i++ {
			if _, err := decoder.Write([]byte{0x80 | i}); err != nil {
				panic(err)
			}
		}
		return table
	}()
	staticNames = func() map[string]int {
		names := make(map[string]int)
		for i := len(staticTable) - 1; i >= 0; i-- {
			names[string(staticTable[i].Name)] = i + 1
		}
		return names
	}()
)

// staticEntries is the size of the static table.
const staticEntries = 61

// A decoder reads header blocks (RFC 7541) without allocating. The one in
// golang.org/x/net makes two strings of each field.
type decoder struct {
	text    []byte                 // of all entries, in the order in which they came, and of some that are gone
	entries [tableMax / 32]extents // a ring
	first   int                    // the oldest entry
	count   int
	used    int // as RFC 7541 4.1 counts
	limit   int // that the client has chosen

	fresh   bool   // the block has begun
	scratch []byte // of the field that is being read
}

// extents say where a field is in decoder.text.
type extents struct{ at, name, value int }

// size is what the entry counts (RFC 7541 4.1).
func (e extents) size() int { return e.name + e.value + 32 }

// begin begins a block.
func (d *decoder) begin() { d.fresh = true }

// next reads the next field of a block, and returns the rest of the block. The
// field is valid until the next call. Not every step gives a field: a change of
// the table's size gives an empty name, which no field that is sent has.
func (d *decoder) next(block []byte) (f Field, rest []byte, ok bool) {
	switch b := block[0]; {
	case b&0x80 != 0: // RFC 7541 6.1
		i, rest, ok := readInteger(block, 7)
		if !ok {
			return f, nil, false
		}
		f, ok = d.entry(i)
		d.fresh = false
		return f, rest, ok
	case b&0xc0 == 0x40: // 6.2.1
		f, rest, ok = d.literal(block, 6)
		if ok {
			d.add(f)
		}
	case b&0xe0 == 0x20: // 6.3
		rest, ok = d.resize(block)
		return f, rest, ok
	default: // 6.2.2 and 6.2.3
		f, rest, ok = d.literal(block, 4)
	}
	d.fresh = false
	return f, rest, ok
}

// entry returns the entry of that number (RFC 7541 2.3.3).
func (d *decoder) entry(i int) (f Field, ok bool) {
	switch {
	case i == 0 || i > staticEntries+d.count:
		return f, false
	case i <= staticEntries:
		return staticTable[i-1], true
	}
	e := d.entries[(d.first+d.count-(i-staticEntries))%len(d.entries)]
	return Field{d.text[e.at : e.at+e.name], d.text[e.at+e.name : e.at+e.name+e.value]}, true
}

// literal reads a field whose value, and perhaps name, is in the block.
func (d *decoder) literal(block []byte, bits int) (f Field, rest []byte, ok bool) {
	i, rest, ok := readInteger(block, bits)
	if !ok {
		return f, nil, false
	}
	d.scratch = d.scratch[:0]
	if i == 0 {
		rest, ok = d.readString(rest)
	} else if f, ok = d.entry(i); ok {
		d.scratch = append(d.scratch, f.Name...)
	}
	name := len(d.scratch)
	if ok {
		rest, ok = d.readString(rest)
	}
	return Field{d.scratch[:name:name], d.scratch[name:]}, rest, ok
}

// readString appends a string to the scratch (RFC 7541 5.2).
func (d *decoder) readString(from []byte) (rest []byte, ok bool) {
	if len(from) == 0 {
		return nil, false
	}
	huffman := from[0]&0x80 != 0
	n, rest, ok := readInteger(from, 7)
	if !ok || n > len(rest) {
		return nil, false
	}
	if !huffman {
		d.scratch = append(d.scratch, rest[:n]...)
		return rest[n:], true
	}
	d.scratch, ok = appendHuffman(d.scratch, rest[:n])
	return rest[n:], ok
}

// add inserts a field, which is not in d.text, and drops the oldest ones for it
// (RFC 7541 4.4).
func (d *decoder) add(f Field) {
	e := extents{name: len(f.Name), value: len(f.Value)}
	d.shrink(d.limit - e.size())
	if e.size() > d.limit {
		return
	}
	if len(d.text)+e.name+e.value > cap(d.text) {
		d.compact()
	}
	e.at = len(d.text)
	d.text = append(append(d.text, f.Name...), f.Value...)
	d.entries[(d.first+d.count)%len(d.entries)] = e
	d.count++
	d.used += e.size()
}

// shrink drops the oldest entries until the rest count at most that much.
func (d *decoder) shrink(most int) {
	for d.count > 0 && d.used > most {
		d.used -= d.entries[d.first].size()
		d.first = (d.first + 1) % len(d.entries)
		d.count--
	}
}

// compact moves the texts of the entries to the front of a buffer that has room
// for two tables, so that it happens once for many entries.
func (d *decoder) compact() {
	var live []byte
	if d.count > 0 {
		live = d.text[d.entries[d.first].at:]
	}
	if cap(d.text) == 0 {
		d.text = make([]byte, 0, 2*tableMax)
	}
	moved := len(d.text) - len(live)
	d.text = d.text[:copy(d.text[:cap(d.text)], live)]
	for i := range d.count {
		d.entries[(d.first+i)%len(d.entries)].at -= moved
	}
}

// resize takes a change of the table's size, which comes before all fields of a
// block (RFC 7541 4.2).
func (d *decoder) resize(block []byte) (rest []byte, ok bool) {
	n, rest, ok := readInteger(block, 5)
	if !ok || !d.fresh || n > tableMax {
		return nil, false
	}
	d.limit = n
	d.shrink(n)
	return rest, true
}

// readInteger reads an integer with a prefix of so many bits (RFC 7541 5.1). No
// integer that makes sense here has more than 28 bits.
func readInteger(from []byte, bits int) (n int, rest []byte, ok bool) {
	most := 1<<bits - 1
	n, from = int(from[0])&most, from[1:]
	if n < most {
		return n, from, true
	}
	for shift := 0; shift < 28 && len(from) > 0; shift += 7 {
		b := from[0]
		from = from[1:]
		n += int(b&0x7f) << shift
		if b < 0x80 {
			return n, from, true
		}
	}
	return 0, nil, false
}
