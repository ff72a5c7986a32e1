package h2

import (
	"hash/maphash"
	"strconv"
)

// An encoder writes header blocks (RFC 7541). The answers on one connection are
// much alike, so nearly every field has been sent before and is one byte. It
// does not follow which entries the client's table has dropped: before the
// table would drop one, it has it emptied (RFC 7541 4.3).
type encoder struct {
	limit    int  // bytes of the client's table that may be used
	empty    bool // the next block begins with emptying it
	used     int  // bytes of it
	inserted int  // entries in it
	slots    [64]entry
}

// An entry is a field that is in the client's table, if number is not 0: the
// first one that was inserted has 1.
type entry struct {
	name, value []byte
	number      int
}

var entrySeed = maphash.MakeSeed()

// setLimit takes the client's SETTINGS_HEADER_TABLE_SIZE, which the next block
// must acknowledge (RFC 7541 4.2).
func (e *encoder) setLimit(n int) { e.limit, e.empty = n, true }

// begin begins a block.
func (e *encoder) begin(dst []byte) []byte {
	if !e.empty {
		return dst
	}
	for i := range e.slots {
		e.slots[i].number = 0
	}
	e.empty, e.used, e.inserted = false, 0, 0
	dst = appendInteger(dst, 0x20, 5, 0)
	return appendInteger(dst, 0x20, 5, e.limit)
}

// field appends one field.
func (e *encoder) field(dst, name, value []byte) []byte {
	slot := &e.slots[(maphash.Bytes(entrySeed, name)^maphash.Bytes(entrySeed, value)*3)%uint64(len(e.slots))]
	if slot.number > 0 && string(slot.value) == string(value) && string(slot.name) == string(name) {
		return appendInteger(dst, 0x80, 7, staticEntries+e.inserted-slot.number+1)
	}
	size := len(name) + len(value) + 32 // RFC 7541 4.1
	if e.used+size > e.limit {
		e.empty = e.inserted > 0
		return appendLiteral(dst, 0, 4, name, value)
	}
	e.used += size
	e.inserted++
	slot.name, slot.value, slot.number = append(slot.name[:0], name...), append(slot.value[:0], value...), e.inserted
	return appendLiteral(dst, 0x40, 6, name, value)
}

// appendLiteral appends a field in full, as the first bits say (RFC 7541 6.2).
func appendLiteral(dst []byte, first byte, bits int, name, value []byte) []byte {
	i := staticNames[string(name)]
	dst = appendInteger(dst, first, bits, i)
	if i == 0 {
		dst = append(appendInteger(dst, 0, 7, len(name)), name...)
	}
	return append(appendInteger(dst, 0, 7, len(value)), value...)
}

// appendStatus appends the pseudo-header :status (RFC 9113 8.3.2).
func appendStatus(dst []byte, status int) []byte {
	for i, known := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if status == known {
			return append(dst, 0x80|byte(8+i)) // RFC 7541 A
		}
	}
	return strconv.AppendInt(append(dst, 8, 3), int64(status), 10)
}

// appendContinue appends an interim answer (RFC 9110 15.2.1).
func appendContinue(dst []byte, id uint32) []byte {
	const block = "\x08\x03100"
	return append(appendFrameHeader(dst, kindHeaders, flagEndHeaders, id, len(block)), block...)
}

// appendInteger appends an integer with a prefix of so many bits, after the
// bits of first (RFC 7541 5.1).
func appendInteger(dst []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
