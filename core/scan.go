package core

import (
	"bytes"
	"unicode/utf8"
)

// A scanner reads the JSON that /v1/check takes: strings, arrays of them, and
// objects with one member. It is strict (RFC 8259), and knows nothing else.
type scanner struct {
	rest    []byte
	strings [][]byte // the strings of the list, at most as many as prove that there are too many
}

// scanJSON reads {"addresses":[…]} or a bare array. It returns what is wrong
// with it, or nothing.
func scanJSON(text []byte) (subjects [][]byte, problem string) {
	s := scanner{rest: text}
	var ok bool
	if s.next() == '{' {
		ok = s.object("addresses", s.array)
	} else {
		ok = s.array()
	}
	if !ok || s.next() != 0 || len(s.rest) > 0 {
		return nil, `the body is neither {"addresses":["…"]} nor an array of strings`
	}
	return s.strings, ""
}

// scanLines reads lines that are a string or {"address":"…"} each. Empty lines
// are skipped.
func scanLines(text []byte) (subjects [][]byte, problem string) {
	var s scanner
	for len(text) > 0 && len(s.strings) <= checksMax {
		s.rest, text, _ = bytes.Cut(text, newline)
		if s.next() == 0 && len(s.rest) == 0 {
			continue
		}
		ok := false
		if s.next() == '{' {
			ok = s.object("address", s.element)
		} else {
			ok = s.element()
		}
		if !ok || s.next() != 0 || len(s.rest) > 0 {
			return nil, `a line of the body is neither a string nor {"address":"…"}`
		}
	}
	return s.strings, ""
}

// next skips white space and returns the byte after it, 0 at the end.
func (s *scanner) next() byte {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	if len(s.rest) == 0 {
		return 0
	}
	return s.rest[0]
}

// take takes one byte, which must be c.
func (s *scanner) take(c byte) bool {
	if s.next() != c || len(s.rest) == 0 {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// object takes an object with the one member of that name.
func (s *scanner) object(name string, value func() bool) bool {
	if !s.take('{') {
		return false
	}
	key, ok := s.string()
	return ok && string(key) == name && s.take(':') && value() && s.take('}')
}

// array takes an array of strings.
func (s *scanner) array() bool {
	if !s.take('[') {
		return false
	}
	if s.next() == ']' {
		return s.take(']')
	}
	for s.element() {
		if s.next() == ']' {
			return s.take(']')
		}
		if !s.take(',') {
			break
		}
	}
	return false
}

// element takes a string of the list.
func (s *scanner) element() bool {
	one, ok := s.string()
	if ok && len(s.strings) <= checksMax {
		s.strings = append(s.strings, one)
	}
	return ok
}

// string takes a string and resolves its escapes. What has none is a view of
// the body.
func (s *scanner) string() (value []byte, ok bool) {
	if !s.take('"') {
		return nil, false
	}
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			value, s.rest = s.rest[:i], s.rest[i+1:]
			return value, utf8.Valid(value)
		case c == '\\':
			return s.escaped(i)
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// escaped takes a string whose first escape is at i.
func (s *scanner) escaped(i int) (value []byte, ok bool) {
	value = append(value, s.rest[:i]...)
	for i < len(s.rest) {
		c := s.rest[i]
		i++
		switch {
		case c == '"':
			s.rest = s.rest[i:]
			return value, utf8.Valid(value)
		case c < ' ':
			return nil, false
		case c != '\\':
			value = append(value, c)
			continue
		}
		r, size := unescapeJSON(s.rest[i:])
		if size == 0 {
			return nil, false
		}
		value = utf8.AppendRune(value, r)
		i += size
	}
	return nil, false
}

// unescapeJSON reads what comes after a backslash. A surrogate becomes the
// replacement character: no address needs one. A size of 0 is an error.
func unescapeJSON(text []byte) (r rune, size int) {
	if len(text) == 0 {
		return 0, 0
	}
	switch c := text[0]; c {
	case '"', '\\', '/':
		return rune(c), 1
	case 'b':
		return '\b', 1
	case 'f':
		return '\f', 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'u':
		if len(text) < 5 {
			return 0, 0
		}
		for _, digit := range text[1:5] {
			if hexDigit[digit] > 15 {
				return 0, 0
			}
			r = r<<4 | rune(hexDigit[digit])
		}
		return r, 5
	}
	return 0, 0
}
