package report

import (
	"errors"
	"fmt"
	"io"
)

// CSV reads comma-separated values (RFC 4180) under a header line that names
// the columns in any order:
//
//	address,seen,kind,evidence
//	192.0.2.1,2026-11-22T16:00:00Z,spamtrap,a1
//
// Columns mean what the fields of NDJSON do; an empty value is an absent one.
// A record is one line: a line break inside quotes is refused, so that one
// stray quote cannot swallow the lines after it. A bad header refuses the body.
func CSV(body io.Reader, rules Rules) Reports {
	return func(yield func(Report, error) bool) {
		lines := newLineReader(body)
		columns, err := readHeader(lines, &rules)
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(Report{}, err)
			return
		}
		eachLine(lines, nothing, func(line []byte) (Report, error) {
			return parseRow(line, columns, &rules)
		})(yield)
	}
}

// readHeader returns the field of each column.
func readHeader(lines *lineReader, rules *Rules) ([]int, error) {
	header, err := lines.next()
	if err != nil && err != errLong {
		return nil, err
	}
	var columns []int
	if err == nil {
		columns, err = parseHeader(header, rules)
	}
	if err != nil {
		return nil, &Refusal{Line: 1, Reason: err.Error()}
	}
	return columns, nil
}

func parseHeader(line []byte, rules *Rules) ([]int, error) {
	var columns []int
	var seen uint8
	err := splitRow(line, func(name []byte) error {
		field := indexOf(name)
		if field < 0 {
			return unknown("column", string(name), fieldNames[:])
		}
		if seen&(1<<field) != 0 {
			return fmt.Errorf("column %q %w", name, errRepeated)
		}
		seen |= 1 << field
		columns = append(columns, field)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case seen&1 == 0:
		return nil, errors.New("header needs the columns address and seen")
	case seen&2 == 0 && rules.Seen == 0:
		return nil, errors.New(NoTime + ": header needs the columns address and seen")
	}
	return columns, nil
}

func parseRow(line []byte, columns []int, rules *Rules) (Report, error) {
	var f fields
	n := 0
	err := splitRow(line, func(value []byte) error {
		n++
		if n > len(columns) {
			return fmt.Errorf("more than the %d columns of the header", len(columns))
		}
		if len(value) == 0 {
			return nil
		}
		return f.set(columns[n-1], value)
	})
	if err != nil {
		return Report{}, err
	}
	if n < len(columns) {
		return Report{}, fmt.Errorf("%d columns where the header has %d", n, len(columns))
	}
	return f.done(rules, "its column is empty")
}

// errQuote is why a line with a quote in the wrong place is refused.
var errQuote = errors.New("a quote is not closed or stands inside a value")

// splitRow gives each value of a row to take, quotes removed.
func splitRow(line []byte, take func([]byte) error) error {
	for {
		value, rest, more, err := cutValue(line)
		if err != nil {
			return err
		}
		if err := take(value); err != nil {
			return err
		}
		if !more {
			return nil
		}
		line = rest
	}
}

// cutValue takes the first value off a row; more is true if a comma follows.
func cutValue(line []byte) (value, rest []byte, more bool, err error) {
	if len(line) > 0 && line[0] == '"' {
		return cutQuoted(line[1:])
	}
	for i, c := range line {
		switch c {
		case ',':
			return line[:i], line[i+1:], true, nil
		case '"':
			return nil, nil, false, errQuote
		}
	}
	return line, nil, false, nil
}

// cutQuoted does so where the opening quote has been taken.
func cutQuoted(line []byte) (value, rest []byte, more bool, err error) {
	for i := 0; i < len(line); i++ {
		if line[i] != '"' {
			value = append(value, line[i])
			continue
		}
		switch after := line[i+1:]; {
		case len(after) == 0:
			return value, nil, false, nil
		case after[0] == ',':
			return value, after[1:], true, nil
		case after[0] == '"':
			value = append(value, '"')
			i++
		default:
			return nil, nil, false, errQuote
		}
	}
	return nil, nil, false, errQuote
}
