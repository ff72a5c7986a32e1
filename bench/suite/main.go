// Command suite measures ucedge: sizes, look-up times natively and in the
// guest, start times, throughput beside peers in the same run, and that a
// snapshot change under load loses nothing. It prints progress to stderr and
// writes the figures as data and as a table.
//
//	go run ./bench/suite                 everything, about four minutes
//	go run ./bench/suite -only sizes     one section
//
// What is absent (h2load, dnsdist, the public data) is skipped with a line that
// says so. Everything listens on loopback, and only what the suite has started
// is stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// limit bounds a whole run.
const limit = 5 * time.Minute

// A suite is one run.
type suite struct {
	ctx     context.Context
	dir     string             // for files of this run
	built   map[string]objects // by name
	results *results
	seconds int    // of each load
	rounds  int    // of all loads
	profile string // file for a CPU profile, or ""
}

// A section is one part of the suite.
type section struct {
	name    string
	measure func(*suite) error
}

// sections are in the order of what a busy machine must not cost: it may take
// so long that limit ends the run before the last one.
var sections = []section{
	{"sizes", (*suite).sizes},
	{"start", (*suite).start},
	{"swap", (*suite).swap},
	{"load", (*suite).load},
	{"guest", (*suite).guest},
	{"lookup", (*suite).lookup},
}

func run(args []string) error {
	flags := flag.NewFlagSet("suite", flag.ExitOnError)
	out := flags.String("out", "bench/results", "folder for suite.json and suite.md; empty writes none")
	only := flags.String("only", "", "sections to run, with commas between; empty runs all of "+sectionNames())
	seconds := flags.Int("seconds", 1, "seconds of each load")
	rounds := flags.Int("rounds", 3, "rounds of all loads; the median counts")
	profile := flags.String("profile", "", "file for a CPU profile of the lookup section, native, on the three zones")
	serve := flags.String("serve", "", "used by the suite itself: what this process serves")
	dir := flags.String("dir", "", "used by the suite itself: its folder")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *serve != "" {
		return serveAs(ctx, *serve, *dir)
	}
	if *seconds < 1 || *rounds < 1 {
		return errors.New("a load takes at least one second and one round")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	temporary, err := os.MkdirTemp("", "ucedge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	s := &suite{ctx: ctx, dir: temporary, built: map[string]objects{}, results: newResults(), seconds: *seconds, rounds: *rounds, profile: *profile}
	err = s.measure(*only)
	return errors.Join(err, s.results.write(*out)) // what was measured before an error counts
}

// measure runs the sections that were asked for.
func (s *suite) measure(only string) error {
	wanted := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, w := range wanted {
		if !slices.ContainsFunc(sections, func(x section) bool { return x.name == w }) {
			return fmt.Errorf("unknown section %q, want some of %s", w, sectionNames())
		}
	}
	for _, x := range sections {
		if len(wanted) > 0 && !slices.Contains(wanted, x.name) {
			continue
		}
		progress("== %s", x.name)
		s.results.section = x.name
		err := x.measure(s)
		if errors.Is(s.ctx.Err(), context.DeadlineExceeded) {
			s.results.skip("what is missing from here on, since the run took longer than %v", limit)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

func sectionNames() string {
	var names []string
	for _, x := range sections {
		names = append(names, x.name)
	}
	return strings.Join(names, ", ")
}

// progress tells whoever waits what is going on.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
