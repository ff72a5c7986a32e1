package core

import (
	"bytes"

	"ucedge/snapshot"
)

// The two things that a profile can have a level count, as its text calls them.
const (
	countsAbusers = "abusers"
	countsImpacts = "impacts"
)

// countsOf returns for each level what its counts and thresholds are of. Level
// 1 counts impacts. For the others the text of the profile says it, the same
// TOML that the origin decided by: the key counts is for Level 2, and that of
// the table system for Level 3. Where it does not say, as for a list that was
// imported, it is abusers. Only counts on a line of its own is understood, bare
// or dotted, which is how every profile that comes with the program has it.
func countsOf(text string) (counts [snapshot.System + 1]string) {
	counts[snapshot.Address] = countsImpacts
	counts[snapshot.Allocation], counts[snapshot.System] = countsAbusers, countsAbusers
	var table []byte
	for rest := []byte(text); len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, newline)
		line = bytes.TrimSpace(line)
		if name, ok := bytes.CutPrefix(line, []byte("[")); ok {
			name, _, _ = bytes.Cut(name, []byte("]"))
			table = append(bytes.TrimSpace(name), '.')
			continue
		}
		key, value, _ := bytes.Cut(line, equals)
		if unquoted(bytes.TrimSpace(value)) != countsImpacts {
			continue
		}
		switch string(table) + string(bytes.TrimSpace(key)) {
		case "counts":
			counts[snapshot.Allocation] = countsImpacts
		case "system.counts":
			counts[snapshot.System] = countsImpacts
		}
	}
	return counts
}

// unquoted returns the text of a TOML string on one line, without escapes, or
// nothing.
func unquoted(value []byte) string {
	if len(value) == 0 || value[0] != '"' && value[0] != '\'' {
		return ""
	}
	end := bytes.IndexByte(value[1:], value[0])
	if end < 0 {
		return ""
	}
	return string(value[1 : 1+end])
}
