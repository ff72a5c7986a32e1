package report

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// NDJSON reads one JSON object a line:
//
//	{"address":"192.0.2.1","seen":"2026-11-22T16:00:00Z","kind":"spamtrap","evidence":"a1"}
//
// The field address is required, seen and kind are unless the rules have them,
// reporter and evidence are optional. All are strings, seen may be a number.
// Names are compared exactly, an unknown or repeated one refuses the line.
func NDJSON(body io.Reader, rules Rules) Reports {
	return eachLine(newLineReader(body), nothing, func(line []byte) (Report, error) {
		var f fields
		if err := parseObject(line, f.set); err != nil {
			return Report{}, err
		}
		return f.done(&rules, `the field "seen" takes a time as 2026-11-22T16:00:00Z or unix seconds`)
	})
}

// AppendNDJSON appends r to dst as a line that NDJSON reads back, without an
// end of line.
func (r Report) AppendNDJSON(dst []byte) []byte {
	dst = append(dst, `{"address":"`...)
	dst = r.Address.AppendTo(dst)
	dst = append(dst, `","seen":`...)
	dst = strconv.AppendInt(dst, r.Seen, 10)
	for _, name := range r.Kind.Names() {
		dst = append(append(append(dst, `,"kind":"`...), name...), '"')
	}
	dst = appendMember(dst, "reporter", r.Reporter)
	dst = appendMember(dst, "evidence", r.Evidence)
	return append(dst, '}')
}

// appendMember appends a member with a text, unless the text is empty.
func appendMember(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("report: a string cannot fail to marshal: " + err.Error())
	}
	dst = append(append(append(dst, ',', '"'), name...), '"', ':')
	return append(dst, quoted...)
}

var errNotObject = errors.New("line is not one flat JSON object of strings and whole numbers")

// parseObject gives each member of a flat JSON object to set. It exists because
// a decoder of general JSON takes names in any case, takes repeated ones, and
// costs three times as much per line.
func parseObject(line []byte, set func(field int, value []byte) error) error {
	s := objectScanner{rest: line}
	if !s.punct('{') {
		return errNotObject
	}
	for first := true; !s.punct('}'); first = false {
		if !first && !s.punct(',') {
			return errNotObject
		}
		name, ok := s.text()
		if !ok || !s.punct(':') {
			return errNotObject
		}
		field := indexOf(name)
		if field < 0 {
			return unknown("field", string(name), fieldNames[:])
		}
		value, ok := s.value(fieldNames[field] == "seen")
		if !ok {
			return errNotObject
		}
		if err := set(field, value); err != nil {
			return err
		}
	}
	s.space()
	if len(s.rest) != 0 {
		return errNotObject
	}
	return nil
}

// An objectScanner takes tokens of JSON (RFC 8259) off the front of a line.
type objectScanner struct{ rest []byte }

func (s *objectScanner) space() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\t' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

// punct takes the character c, if it is next.
func (s *objectScanner) punct(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// value takes a string, or, where numbers may stand, a whole number.
func (s *objectScanner) value(number bool) ([]byte, bool) {
	s.space()
	if number && len(s.rest) > 0 && s.rest[0] != '"' {
		return s.digits()
	}
	return s.text()
}

// digits takes a whole number, which JSON writes without leading zeros.
func (s *objectScanner) digits() ([]byte, bool) {
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	digits := s.rest[:n]
	s.rest = s.rest[n:]
	return digits, n > 0 && (digits[0] != '0' || n == 1)
}

// text takes a string and returns what it stands for.
func (s *objectScanner) text() ([]byte, bool) {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false
	}
	escaped := false
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			token := s.rest[:i+1]
			s.rest = s.rest[i+1:]
			if escaped {
				return unescape(token)
			}
			return token[1:i], utf8.Valid(token)
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// unescape leaves the rare string with escapes to the standard library.
func unescape(token []byte) ([]byte, bool) {
	var text string
	if !utf8.Valid(token) || json.Unmarshal(token, &text) != nil {
		return nil, false
	}
	return []byte(text), true
}
