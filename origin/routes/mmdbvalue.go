package routes

import (
	"bytes"
	"fmt"
)

// What a value of an MMDB may be. The library walks what nobody asks for by one
// call within the other, so that ten million values in a record are the end of
// the program, and makes room for as many as a map claims. Records of the usual
// databases have up to two hundred values, and texts of some hundred bytes.
const (
	mmdbValuesMax = 1000
	mmdbTextMax   = 4 << 10 // bytes
	mmdbHopsMax   = 4       // pointers to the record
)

// The types of values that matter here, as the format has them.
const (
	mmdbPointer = 1
	mmdbMap     = 7
	mmdbSlice   = 11
	mmdbBool    = 14
)

// mmdbMark stands before the metadata, which end the file.
var mmdbMark = []byte("\xab\xcd\xefMaxMind.com")

// checkMetadata returns an error if the metadata are larger than they may be.
func checkMetadata(whole []byte) error {
	at := bytes.LastIndex(whole, mmdbMark)
	if at >= 0 && !mmdbValues(whole[at+len(mmdbMark):]).small(0) {
		return fmt.Errorf("%w: metadata of an MMDB that are too large or broken", ErrBad)
	}
	return nil
}

// mmdbValues are a section of values: metadata or data.
type mmdbValues []byte

// small says whether the value at an offset has, with all values in it, no more
// than it may.
func (v mmdbValues) small(at uint) bool {
	for range mmdbHopsMax {
		x, ok := v.control(at)
		if !ok {
			return false
		}
		if x.kind != mmdbPointer {
			break
		}
		at = x.target
	}
	left := uint(1) // values that are still to come
	for n := 0; left > 0; n++ {
		x, ok := v.control(at)
		if !ok || n == mmdbValuesMax || !v.bounded(x) {
			return false
		}
		left += x.inside - 1
		at = x.next
	}
	return true
}

// bounded says whether a value, or the one that it points to, is not too large by
// itself. A pointer to a pointer is not in use.
func (v mmdbValues) bounded(x mmdbControl) bool {
	if x.kind == mmdbPointer {
		var ok bool
		if x, ok = v.control(x.target); !ok || x.kind == mmdbPointer {
			return false
		}
	}
	return x.inside <= mmdbValuesMax && x.length <= mmdbTextMax
}

// An mmdbControl is what the first bytes of a value say of it.
type mmdbControl struct {
	kind   uint
	inside uint // values that follow, as they are in it
	length uint // bytes of a text or a number
	next   uint // offset of the value after it, or of the first inside
	target uint // of a pointer
}

// control reads the control bytes of the value at an offset; it is false if they
// are not there.
func (v mmdbValues) control(at uint) (x mmdbControl, ok bool) {
	if at >= uint(len(v)) {
		return x, false
	}
	first := uint(v[at])
	x.kind, x.next = first>>5, at+1
	if x.kind == 0 {
		extended, ok := v.number(x.next, 1, 0)
		if !ok {
			return x, false
		}
		x.kind, x.next = extended+7, x.next+1
	}
	if x.kind == mmdbPointer {
		ok = v.point(&x, first)
		return x, ok
	}
	size := first & 31
	if size >= 29 {
		more := size - 28
		n, ok := v.number(x.next, more, 0)
		if !ok {
			return x, false
		}
		size, x.next = n+[...]uint{29, 285, 65821}[more-1], x.next+more
	}
	switch x.kind {
	case mmdbMap:
		x.inside = 2 * size
	case mmdbSlice:
		x.inside = size
	case mmdbBool:
	default:
		x.length, x.next = size, x.next+size
	}
	return x, true
}

// point reads where a pointer points. The highest form has no use for the low
// bits of its first byte; the library takes some of them for a length.
func (v mmdbValues) point(x *mmdbControl, first uint) bool {
	bytes, high := first>>3&3+1, first&7
	if bytes == 4 && high != 0 {
		return false
	}
	n, ok := v.number(x.next, bytes, high)
	x.target, x.next = n+[...]uint{0, 2048, 526336, 0}[bytes-1], x.next+bytes
	return ok
}

// number reads so many bytes, the highest first, behind a number.
func (v mmdbValues) number(at, bytes, high uint) (n uint, ok bool) {
	if at+bytes > uint(len(v)) {
		return 0, false
	}
	n = high
	for _, b := range v[at : at+bytes] {
		n = n<<8 | uint(b)
	}
	return n, true
}
