package report

import (
	"bytes"
	"fmt"
	"io"
)

// List reads a plain list: an address, the time it was seen, and the kind,
// with white space between. The kind may be left out if the rules have one, and
// the time too if they have both.
// Comments begin with # or ; and stand on lines of their own.
//
//	192.0.2.1 2026-11-22T16:00:00Z spamtrap
func List(body io.Reader, rules Rules) Reports {
	return eachLine(newLineReader(body), comment, func(line []byte) (Report, error) {
		words := bytes.Fields(line)
		if len(words) > 3 {
			return Report{}, fmt.Errorf("%d words where address, seen and kind are expected", len(words))
		}
		var f fields
		for i, word := range words {
			if err := f.set(i, word); err != nil {
				return Report{}, err
			}
		}
		return f.done(&rules, "the time stands after the address, as in 192.0.2.1 2026-11-22T16:00:00Z scan")
	})
}
