package report

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// errLong is why a record of more than MaxRecord bytes is refused.
var errLong = fmt.Errorf("line is longer than %d bytes", MaxRecord)

// A lineReader gives the lines of a body one by one, without their ends (LF or
// CRLF), holding no more than one.
type lineReader struct {
	r      *bufio.Reader
	number int // of the line that next gave last
}

func newLineReader(body io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(body, MaxRecord+2)}
}

// next returns the next line, valid until it is called again. errLong means
// that this line was skipped; io.EOF, that there are no more; any other error
// is that of the body.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		return nil, err
	}
	l.number++
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, l.skip()
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if l.number == 1 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) > MaxRecord {
		return nil, errLong
	}
	return line, nil
}

// skip reads past the end of a line that is too long.
func (l *lineReader) skip() error {
	for {
		_, err := l.r.ReadSlice('\n')
		switch {
		case err == nil || err == io.EOF:
			return errLong
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// eachLine gives what parse makes of every line of the body. Blank lines, and
// those for which skip is true, are no records.
func eachLine(lines *lineReader, skip func([]byte) bool, parse func([]byte) (Report, error)) Reports {
	return func(yield func(Report, error) bool) {
		for {
			line, err := lines.next()
			if err == io.EOF {
				return
			}
			if err != nil && err != errLong {
				yield(Report{}, fmt.Errorf("read after line %d: %w", lines.number, err))
				return
			}
			if err == nil && (len(bytes.TrimSpace(line)) == 0 || skip(line)) {
				continue
			}
			var r Report
			if err == nil {
				r, err = parse(line)
			}
			if err != nil {
				r, err = Report{}, &Refusal{Line: lines.number, Reason: err.Error()}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// nothing is the skip of formats that have no comments.
func nothing([]byte) bool { return false }

// comment is the skip of formats whose comments begin with # or ;.
func comment(line []byte) bool {
	line = bytes.TrimSpace(line)
	return line[0] == '#' || line[0] == ';'
}
