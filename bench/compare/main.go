// Command compare asks ucedge and rbldnsd the same questions about the same
// zone files, and tells where their answers differ.
//
// It compares two worlds: one made from a seed, with nested nets, exclusions
// and IPv6, and the public lists if their files are here (UCEDGE_DATA, or
// ../shared/data beside the repository). Asked is every listed prefix and every
// exclusion at both ends and one address to either side, random addresses, names
// of fewer octets, and octets with leading zeros; each for A and TXT.
//
// Names of fewer octets are held against the addresses that rbldnsd lists, since
// it knows no names but addresses.
//
// The exit code is 1 if they differ in any way but these two, in which ucedge
// follows the RFCs: names above a listed one exist (RFC 8020), and octets with
// leading zeros are no addresses. It is 0 if there is nothing to compare with,
// and the output says so.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"ucedge/internal/data"
)

// errSkip is why a comparison cannot be made here.
var errSkip = errors.New("skipped")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	random := flags.Int("random", 20_000, "random addresses to ask for in every zone")
	examples := flags.Int("examples", 3, "examples to show of each difference")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	code := 0
	for _, w := range worlds {
		same, err := compareWorld(stdout, w, *random, *examples)
		switch {
		case errors.Is(err, errSkip):
			fmt.Fprintf(stdout, "%s: %v\n", w.name, err)
		case err != nil:
			fmt.Fprintf(stderr, "compare: %s: %v\n", w.name, err)
			code = 1
		case !same:
			code = 1
		}
	}
	return code
}

// compareWorld compares one world and reports whether the answers agree but for
// what is allowed.
func compareWorld(out io.Writer, m maker, random, examples int) (same bool, err error) {
	dir, err := os.MkdirTemp("", "ucedge-compare-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // rbldnsd drops its rights
		return false, err
	}
	w, err := m.make(dir)
	if err != nil {
		return false, err
	}
	server, err := startRbldnsd(dir, w.files)
	if err != nil {
		return false, err
	}
	defer server.stop()
	describeWorld(out, m.name, w)
	questions := w.questions(random)
	t := newTally(examples)
	begun := time.Now()
	if err := w.askAll(server.address, questions, func(q *question, theirs []byte) { t.judge(w, q, theirs) }); err != nil {
		return false, err
	}
	t.judgePartials(w)
	fmt.Fprintf(out, "  asked %d questions for %d names in %.1f s\n", len(questions), len(questions)/2, time.Since(begun).Seconds())
	same = t.print(out)
	return same, speeds(out, w, server, questions)
}

// readPublic returns the text of a file of the public lists.
func readPublic(name string) ([]byte, error) {
	folder, err := data.Folder()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errSkip, err)
	}
	path := filepath.Join(folder, "uceprotect-2026-07", name+".xz")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: the public zone file %q is not here", errSkip, name)
	}
	text, err := exec.Command("xz", "-dc", path).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: no xz to open %q with", errSkip, name)
	}
	return text, err
}
