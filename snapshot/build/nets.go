package build

import (
	"encoding/binary"
	"net/netip"

	"ucedge/snapshot"
)

// encodeNets writes a section of nets: its head, prefix lengths, starts,
// distances to parents, rows.
func (p *part) encodeNets(t *tables) []byte {
	deepest := 0
	lengths := make([]byte, 0, len(p.nets))
	parents, rows := make([]uint32, len(p.nets)), make([]uint32, len(p.nets))
	var around []int // the last prefix, and those that hold it
	for i := range p.nets {
		prefix := p.nets[i].Prefix
		for len(around) > 0 && !p.nets[around[len(around)-1]].Prefix.Overlaps(prefix) {
			around = around[:len(around)-1]
		}
		if n := len(around); n > 0 {
			parents[i] = uint32(i - around[n-1])
		}
		around = append(around, i)
		deepest = max(deepest, prefix.Bits())
		lengths = append(lengths, byte(prefix.Bits()))
		rows[i] = t.ref(&p.nets[i])
	}
	b := []byte{byte(deepest), byte(numberWidth(parents)), byte(numberWidth(rows)), 0}
	b = append(b, lengths...)
	b = p.appendStarts(b, snapshot.StartParts(p.family, deepest))
	b = appendNumbers(b, parents)
	return appendNumbers(b, rows)
}

// appendStarts appends the first addresses in columns of 16 bits, the highest
// ones first.
func (p *part) appendStarts(b []byte, parts int) []byte {
	for k := range parts {
		for i := range p.nets {
			b = le.AppendUint16(b, addressPart(p.nets[i].Prefix.Addr(), k))
		}
	}
	return b
}

// addressPart returns 16 bits of an address, counted from the highest ones.
func addressPart(a netip.Addr, k int) uint16 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint16(b[2*k:])
	}
	b := a.As16()
	return binary.BigEndian.Uint16(b[2*k:])
}

// numberWidth returns the bytes that each number of a column takes.
func numberWidth(column []uint32) int {
	most := uint32(0)
	for _, v := range column {
		most = max(most, v)
	}
	return snapshot.NumberWidth(most)
}

// appendNumbers appends a column in numbers of its width.
func appendNumbers(b []byte, column []uint32) []byte {
	width := numberWidth(column)
	for _, v := range column {
		b = appendNumber(b, v, width)
	}
	return b
}

func appendNumber(b []byte, v uint32, width int) []byte {
	switch width {
	case 1:
		return append(b, byte(v))
	case 2:
		return le.AppendUint16(b, uint16(v))
	case 4:
		return le.AppendUint32(b, v)
	}
	return b
}
