package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/zonefile"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// importFlags are the flags of commands that read zone files.
type importFlags struct {
	files      [snapshot.System][]string // by level, from 1
	suffix     string
	types      [snapshot.System]string
	strict     bool
	specialUse bool
}

func (f *importFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	for i := range f.files {
		level := i + 1
		flags.StringArrayVar(&f.files[i], fmt.Sprintf("l%d", level), nil,
			fmt.Sprintf("Level %d zone file of rbldnsd, as [ZONE=]FILE (repeatable)", level))
		types := []string{"auto", "ip4set", "ip4trie", "ip4tset", "ip6trie", "ip6tset", "combined"}
		addChoice(cmd, &f.types[i], fmt.Sprintf("l%d-type", level), types[0],
			fmt.Sprintf("dataset type of the Level %d files: %s", level, strings.Join(types[1:], ", ")), types...)
	}
	flags.StringVar(&f.suffix, "suffix", "bl.example", "name under which zones without a name of their own stand, and the combined zone dnsbl.SUFFIX")
	flags.BoolVar(&f.strict, "strict", false, "refuse files with any bad line")
	flags.BoolVar(&f.specialUse, "allow-special-use", false, "keep listings in special-use space (RFC 6890), as demos need; but for documentation ranges, no edge takes such a list")
}

// given says whether any zone file was named.
func (f *importFlags) given() bool {
	for _, files := range f.files {
		if len(files) > 0 {
			return true
		}
	}
	return false
}

// maxShownProblems is how many bad lines a person is shown of each zone.
const maxShownProblems = 10

// read imports the files that the flags name, and reports bad lines to w.
func (f *importFlags) read(w io.Writer, now time.Time) (build.Input, error) {
	in := build.Input{Profile: snapshot.Profile{Name: "imported"}}
	for i, files := range f.files {
		if len(files) == 0 {
			continue
		}
		level := snapshot.Level(i + 1)
		result, err := f.readLevel(level, files, now)
		if err != nil {
			return build.Input{}, fmt.Errorf("import Level %d: %w", level, err)
		}
		reportImport(w, level, result)
		if len(result.Listings) == 0 && result.ProblemCount > 0 {
			return build.Input{}, fmt.Errorf("import Level %d: not one line of %s lists anything: is this a zone file?", level, strings.Join(files, ", "))
		}
		in.Zones = append(in.Zones, result.Zones...)
		in.Listings = append(in.Listings, result.Listings...)
	}
	in.Zones = append(in.Zones, f.combined(in.Zones))
	return in, nil
}

func (f *importFlags) readLevel(level snapshot.Level, files []string, now time.Time) (*zonefile.Result, error) {
	kind := zonefile.Auto
	if name := f.types[level-1]; name != "auto" {
		k, err := zonefile.ParseKind(name)
		if err != nil {
			return nil, err
		}
		kind = k
	}
	zone := defaultZone(level, fmt.Sprintf("dnsbl-%d.%s", level, f.suffix), f.suffix)
	var sources []zonefile.Source
	for _, file := range files {
		name, path, named := strings.Cut(file, "=")
		if !named {
			name, path = zoneNameOf(file), file
		}
		if name != "" {
			zone.Suffix = strings.ToLower(strings.TrimSuffix(name, "."))
		}
		r, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		sources = append(sources, zonefile.Source{Name: path, Reader: r})
	}
	return zonefile.Parse(zonefile.Options{
		Zone: zone, Kind: kind, Strict: f.strict, AllowSpecialUse: f.specialUse, Now: now.Unix(),
	}, sources...)
}

// zoneNameOf returns the zone that a file is named after, as lists distribute
// them, or nothing.
func zoneNameOf(path string) string {
	name := filepath.Base(path)
	if label, rest, ok := strings.Cut(name, "."); ok && strings.HasPrefix(label, "dnsbl") && strings.Contains(rest, ".") {
		return name
	}
	return ""
}

// defaultZone is the settings of a zone whose file is silent.
func defaultZone(level snapshot.Level, name, suffix string) snapshot.Zone {
	return snapshot.Zone{
		Suffix: name, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: zonefile.DefaultTTL,
		MName: "ns." + suffix, RName: "hostmaster." + suffix,
		SOATTL: 3600, Refresh: 3600, Retry: 600, Expire: 604800, Minimum: 120,
		NSTTL: 3600,
		Text:  defaultTexts[level],
		URL:   "https://" + suffix + "/",
	}
}

// defaultTexts are the texts of zones whose files give none, by level. They
// speak of no count and no AS: a file without texts has none to tell.
var defaultTexts = [...]string{
	snapshot.Combined:   "{ip} is listed. See {url}?ipr={ip}",
	snapshot.Address:    "IP {ip} is UCEPROTECT-Level 1 listed. See {url}?ipr={ip}",
	snapshot.Allocation: "Net {net} is UCEPROTECT-Level2 listed. See: {url}?ipr={ip}",
	snapshot.System:     "Net {net} is UCEPROTECT-Level3 listed for its AS. See: {url}?ipr={ip}",
}

// combined is the zone that answers for all the others.
func (f *importFlags) combined(zones []snapshot.Zone) snapshot.Zone {
	z := defaultZone(snapshot.Combined, "dnsbl."+f.suffix, f.suffix)
	if len(zones) > 0 {
		first := zones[0]
		z.TTL, z.MName, z.RName, z.SOATTL = first.TTL, first.MName, first.RName, first.SOATTL
		z.Refresh, z.Retry, z.Expire, z.Minimum = first.Refresh, first.Retry, first.Expire, first.Minimum
		z.NS, z.NSTTL, z.URL = first.NS, first.NSTTL, first.URL
	}
	return z
}

// reportImport tells what was read, and what was not.
func reportImport(w io.Writer, level snapshot.Level, r *zonefile.Result) {
	var listed, excluded int
	for _, l := range r.Listings {
		if l.Excluded {
			excluded++
		} else {
			listed++
		}
	}
	fmt.Fprintf(w, "Level %d: %d listings, %d exclusions (%s)\n", level, listed, excluded, r.Kind)
	for i, p := range r.Problems {
		if i == maxShownProblems {
			break
		}
		fmt.Fprintf(w, "  %s\n", p)
	}
	if more := r.ProblemCount - maxShownProblems; more > 0 {
		fmt.Fprintf(w, "  and %d more problems\n", more)
	}
	for _, d := range r.SpecialUse {
		fmt.Fprintf(w, "  warning: %s (%s): %d listings dropped, %d cut", d.Prefix, d.Name, d.Listings, d.Cut)
		if strings.HasPrefix(d.Name, "Documentation") { // all other space edges refuse
			fmt.Fprint(w, "; --allow-special-use keeps them")
		}
		fmt.Fprintln(w)
	}
}
