package fuel

import (
	"encoding/binary"
	"fmt"
)

// A reader takes a module apart. After its first failure it has nothing left.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.rest = nil
}

// bytes takes n bytes.
func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.fail("ends too early")
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// byte takes one byte, 0 after a failure.
func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("ends too early")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// length takes the number of the bytes or things that follow, each of which has
// one byte at least.
func (r *reader) length() int {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64(len(r.rest)-size) {
		r.fail("ends too early")
		return 0
	}
	r.rest = r.rest[size:]
	return int(n)
}

// skipNumber takes a number in LEB128 of any size, signed or not.
func (r *reader) skipNumber() {
	for i, b := range r.rest {
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return
		}
	}
	r.fail("ends too early")
}

// skipOperands takes what follows the opcode op (5.4), and reports whether it
// begins a loop.
func (r *reader) skipOperands(op byte) (loop bool) {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, // unreachable, nop; else; end; return
		op == 0x1a, op == 0x1b, // drop, select
		0x45 <= op && op <= 0xc4, // comparisons, arithmetic, conversions
		op == 0xd1:               // ref.is_null
	case op <= 0x04, op == 0x0c, op == 0x0d, op == 0x10, // block, loop, if; br, br_if; call
		0x20 <= op && op <= 0x26, // variables, tables
		0x3f <= op && op <= 0x42, // memory.size, memory.grow, i32.const, i64.const
		op == 0xd0, op == 0xd2:   // ref.null, ref.func
		r.skipNumber()
	case op == 0x11, 0x28 <= op && op <= 0x3e: // call_indirect; loads and stores
		r.skipNumber()
		r.skipNumber()
	case op == 0x0e: // br_table: labels, and one more
		for range r.length() + 1 {
			r.skipNumber()
		}
	case op == 0x1c: // select with types
		r.bytes(r.length())
	case op == 0x43:
		r.bytes(4) // f32.const
	case op == 0x44:
		r.bytes(8) // f64.const
	case op == 0xfc:
		r.skipMore()
	default:
		r.fail("an instruction %#x", op)
	}
	return op == 0x03
}

// skipMore takes the rest of an instruction that begins with 0xfc.
func (r *reader) skipMore() {
	n, size := binary.Uvarint(r.rest)
	r.bytes(max(size, 0))
	switch {
	case size <= 0 || n > 17:
		r.fail("an instruction 0xfc %d", n)
	case n <= 7: // conversions that saturate
	case n == 8, n == 10, n == 12, n == 14: // memory.init, memory.copy, table.init, table.copy
		r.skipNumber()
		r.skipNumber()
	default: // data.drop, memory.fill, elem.drop, table.grow, table.size, table.fill
		r.skipNumber()
	}
}
