// Package fuel makes WebAssembly modules that stop by themselves: each turn of
// a loop burns one unit of a global variable, and who burns the last one traps.
//
// Callers use Add before they compile a module, and set the global that it then
// exports before each call. Promised: a call takes no more turns than it was
// given, and a module does nothing else differently. So every call ends: what a
// function does between two turns is as long as its code, and how deep
// functions call each other is the runtime's to bound. Not promised: a measure
// of time. A turn is some nanoseconds.
package fuel

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Export is the name of the global, a mutable i64. It is 0 in a new instance,
// and 0 bounds nothing: only a call that had fuel traps when none is left.
const Export = "fuel"

// Sections of a module (WebAssembly core specification 5.5.2).
const (
	sectionImport = 2
	sectionGlobal = 6
	sectionExport = 7
	sectionCode   = 10
)

// What an import or an export may be (5.5.5, 5.5.10).
const (
	kindFunction = 0
	kindGlobal   = 3
)

const preamble = "\x00asm\x01\x00\x00\x00"

// Add returns module with fuel. It takes what Go's compiler makes: a module
// that imports functions alone, has globals, exports and code, and instructions
// of WebAssembly 2.0 without vectors. Anything else is an error; that a module
// is valid is not looked at.
func Add(module []byte) ([]byte, error) {
	made, err := add(module)
	if err != nil {
		return nil, fmt.Errorf("add fuel to a module: %w", err)
	}
	return made, nil
}

func add(module []byte) ([]byte, error) {
	in := reader{rest: module}
	if string(in.bytes(len(preamble))) != preamble {
		return nil, errors.New("it is none, or not of version 1")
	}
	made := append(make([]byte, 0, len(module)+len(module)/16), preamble...)
	global, exported, coded := -1, false, false // the number of the global, and what has been seen
	for len(in.rest) > 0 && in.err == nil {
		id := in.byte()
		section := reader{rest: in.bytes(in.length())}
		body := section.rest
		switch id {
		case sectionImport:
			section.functionsAlone()
		case sectionGlobal:
			global = section.length()
			body = withGlobal(section.rest, global)
		case sectionExport:
			count := section.length()
			body = withExport(section.rest, count, global)
			exported = global >= 0
		case sectionCode:
			body = withTurns(&section, global)
			coded = true
		}
		if section.err != nil {
			return nil, fmt.Errorf("section %d: %w", id, section.err)
		}
		made = appendPart(append(made, id), body)
	}
	if in.err == nil && !(exported && coded) {
		in.err = errors.New("it has no globals, exports or code")
	}
	return made, in.err
}

// functionsAlone fails if the section of imports has another global, which
// would come before those that the module numbers itself.
func (r *reader) functionsAlone() {
	for range r.length() {
		r.bytes(r.length()) // module and name
		r.bytes(r.length())
		if kind := r.byte(); kind != kindFunction {
			r.fail("an import of kind %d", kind)
		}
		r.skipNumber()
	}
}

// withGlobal returns the section of count globals with one more.
func withGlobal(globals []byte, count int) []byte {
	const i64, mutable, i64Const, end = 0x7e, 1, 0x42, 0x0b
	return append(append(appendNumber(nil, count+1), globals...), i64, mutable, i64Const, 0, end)
}

// withExport returns the section of count exports with one more, the global.
func withExport(exports []byte, count, global int) []byte {
	body := append(appendNumber(nil, count+1), exports...)
	return appendNumber(append(appendPart(body, []byte(Export)), kindGlobal), global)
}

// withTurns returns the section of code with fuel burnt wherever a loop begins
// or begins again.
func withTurns(code *reader, global int) []byte {
	body, burn := make([]byte, 0, len(code.rest)+len(code.rest)/16), burning(global)
	count := code.length()
	body = appendNumber(body, count)
	var made []byte
	for range count {
		function := reader{rest: code.bytes(code.length())}
		made = function.appendBurning(made[:0], burn)
		if function.err != nil && code.err == nil {
			code.err = function.err
		}
		body = appendPart(body, made)
	}
	return body
}

// burning returns the instructions that burn one unit of the global, and trap
// if that was the last one.
func burning(global int) []byte {
	const get, set, i64Const, i64Add, i64Eqz, ifElse, noResult, unreachable, end = 0x23, 0x24, 0x42, 0x7c, 0x50, 0x04, 0x40, 0x00, 0x0b
	const minusOne = 0x7f
	b := append(appendNumber([]byte{get}, global), i64Const, minusOne, i64Add)
	b = appendNumber(append(b, set), global)
	b = appendNumber(append(b, get), global)
	return append(b, i64Eqz, ifElse, noResult, unreachable, end)
}

// appendBurning appends the function that r reads, with burn after the head of
// each loop: there it begins, and there every branch to it goes.
func (r *reader) appendBurning(dst, burn []byte) []byte {
	whole, from := r.rest, 0
	for range r.length() { // locals
		r.skipNumber()
		r.byte()
	}
	for len(r.rest) > 0 {
		if op := r.byte(); r.skipOperands(op) {
			at := len(whole) - len(r.rest)
			dst = append(append(dst, whole[from:at]...), burn...)
			from = at
		}
	}
	return append(dst, whole[from:]...)
}

// appendPart appends a vector of bytes (5.1.3): their number and themselves.
func appendPart(dst, part []byte) []byte { return append(appendNumber(dst, len(part)), part...) }

// appendNumber appends a number in LEB128 (5.2.2).
func appendNumber(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }
