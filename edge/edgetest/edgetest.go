// Package edgetest is the one suite that every host of the core passes: the
// native and the wazero engine of the Go host, and the workers. It asks a URL
// and compares status, header fields, DNS messages and JSON with cases that
// are text (cases/*.txt; type Case tells how to read one).
//
// Most callers use Publish to make a signed snapshot of World for a host to
// follow, and then Run. Record gives the same exchanges as a transcript, so
// that two hosts can be compared byte for byte. Promised: a case fails only
// for what its text or a rule in rules.go says, and the failure shows got and
// want in words that a reader can check by hand. Not promised: anything about
// speed, or about what a host does before it has its first snapshot, unless
// the state Empty is asked for.
package edgetest

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
)

//go:embed cases
var caseFiles embed.FS

// A State is the condition of a host under which cases hold. Its name is the
// name of the folder with these cases.
type State string

const (
	Ready   State = "ready"   // answers from a current snapshot of World
	Empty   State = "empty"   // has never had a snapshot
	Stale   State = "stale"   // its snapshot is past its freshness, and nothing newer came
	Expired State = "expired" // its snapshot is past its expiry
	Keyed   State = "keyed"   // Ready, keys are on and Key is the only one
	Limited State = "limited" // Ready, and every client is past its quota
)

// Key is the only valid key of a host in state Keyed.
const Key = "edgetest-key-1"

// Run runs every case for a ready host against the edge at baseURL.
func Run(t *testing.T, client *http.Client, baseURL string) {
	t.Helper()
	RunState(t, client, baseURL, Ready)
}

// RunState runs every case for a host in that state, except those of the given
// names: what the HTTP library under a host answers before the host is asked.
func RunState(t *testing.T, client *http.Client, baseURL string, state State, except ...string) {
	t.Helper()
	cases, err := casesExcept(state, except)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(client, baseURL)
	if err := s.learn(state); err != nil {
		t.Fatalf("edge %q: %v", baseURL, err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if _, err := s.run(c); err != nil {
				t.Errorf("%s:%d\n%v", c.File, c.Line, err)
			}
		})
	}
}

// Record asks the edge at baseURL every case of that state and returns what it
// said as text. Only what depends on the moment of asking is masked, which is
// what a case's own text gives as a range; all else stands as it came, DNS
// messages in hexadecimal. Two hosts that follow one snapshot give equal
// transcripts. Cases with a name in except are left out.
func Record(client *http.Client, baseURL string, state State, except ...string) ([]byte, error) {
	cases, err := casesExcept(state, except)
	if err != nil {
		return nil, err
	}
	s := newSession(client, baseURL)
	if err := s.learn(state); err != nil {
		return nil, fmt.Errorf("edge %q: %w", baseURL, err)
	}
	var out bytes.Buffer
	for _, c := range cases {
		transcript, _ := s.run(c) // a wrong answer is recorded like any other
		fmt.Fprintf(&out, "-- %s --\n%s", c.Name, transcript)
	}
	return out.Bytes(), nil
}

// Cases returns the cases that hold in a state, in the order of their files.
func Cases(state State) ([]Case, error) {
	names, err := fs.Glob(caseFiles, "cases/"+string(state)+"/*.txt")
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no cases for state %q", state)
	}
	var cases []Case
	for _, name := range names {
		text, err := caseFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		prefix := strings.TrimSuffix(path.Base(name), ".txt")
		more, err := parseCases(name, prefix, string(text))
		if err != nil {
			return nil, err
		}
		cases = append(cases, more...)
	}
	return cases, nil
}

// casesExcept is Cases without those of the given names. State Ready must have
// them, so that no exception outlives its case; other states need not.
func casesExcept(state State, except []string) ([]Case, error) {
	cases, err := Cases(state)
	if err != nil {
		return nil, err
	}
	for _, name := range except {
		i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })
		if i < 0 && state == Ready {
			return nil, fmt.Errorf("no case %q in state %q", name, state)
		}
		if i >= 0 {
			cases = slices.Delete(cases, i, i+1)
		}
	}
	return cases, nil
}
