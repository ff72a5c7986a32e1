package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/routes"
	"ucedge/origin/state"
)

// ruleFlags are what a decision depends on beside the ledger.
type ruleFlags struct {
	routes     []string
	profile    string
	specialUse bool
	protected  []string

	served *ledger.Rule // of the origin that serves from the ledger; nil: it is not asked, or none has
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	f.addWorld(cmd)
	cmd.Flags().StringVar(&f.profile, "profile", policy.Names()[0], "rule: "+strings.Join(policy.Names(), ", ")+", or a TOML file")
	offer(cmd, "profile", policy.Names()...)
}

// addWorld adds all flags but that of the profile.
func (f *ruleFlags) addWorld(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.routes, "routes", nil, "file with routes: pfx2as, prefix or range tables, MMDB, MRT, RIR delegated (repeatable)")
	flags.BoolVar(&f.specialUse, "allow-special-use", false, "allow documentation ranges to be listed, as demos need")
	flags.StringArrayVar(&f.protected, "protect", nil, "prefix that is never listed, as PREFIX[=WHY] (repeatable); of one inside an IPv6 /64 the rest may be")
}

// ruleNames are the flags of a rule.
var ruleNames = []string{"profile", "allow-special-use", "protect", "routes"}

// addServed adds the flags to a command that judges a ledger: what they leave
// out is as the origin has it.
func (f *ruleFlags) addServed(cmd *cobra.Command) {
	f.add(cmd)
	cmd.Flags().Lookup("profile").Usage += asTheOrigin
	cmd.Flags().Lookup("profile").DefValue = "" // in -h; a ledger from which no origin has served has the first one
	asServed(cmd)
}

// asTheOrigin ends the help of a flag that has no default of its own.
const asTheOrigin = "; without it as the serving origin has it"

// asServed says so in the help of all flags but that of the profile.
func asServed(cmd *cobra.Command) {
	for _, name := range ruleNames[1:] {
		cmd.Flags().Lookup(name).Usage += asTheOrigin
	}
}

// given reports whether a setting was named, on the command line or otherwise.
func given(cmd *cobra.Command, name string) bool {
	flag := cmd.Flags().Lookup(name)
	return flag != nil && flag.Changed
}

// Whether what is judged depends on routes, which take a second to read.
const (
	withRoutes    = true
	withoutRoutes = false
)

// inherit takes what the flags leave out from the origin that has served from
// the ledger last, if one has.
func (f *ruleFlags) inherit(cmd *cobra.Command, l ledger.Ledger, routes bool) error {
	served, err := l.Rule(cmd.Context())
	if errors.Is(err, ledger.ErrNoRule) {
		return nil
	}
	if err != nil {
		return err
	}
	f.served = &served
	if !given(cmd, "allow-special-use") {
		f.specialUse = served.SpecialUse
	}
	if !given(cmd, "protect") {
		f.protected = nil
		for _, p := range served.Protected {
			f.protected = append(f.protected, p.Prefix+"="+p.Why)
		}
	}
	if routes && !given(cmd, "routes") {
		f.routes = served.Routes
	}
	return nil
}

// binding is the rule by which a command decides. It is that of the origin: flags
// may repeat it, and a ledger that knows none is not judged by a guess.
func (f *ruleFlags) binding(cmd *cobra.Command, l ledger.Ledger, file string, routes bool) (state.Settings, error) {
	if err := f.inherit(cmd, l, routes); err != nil {
		return state.Settings{}, err
	}
	if f.served == nil && !given(cmd, "profile") {
		return state.Settings{}, fmt.Errorf("ledger %q does not tell by which rule to decide, since no origin of this version has served from it: "+
			"start `ucedge origin serve`, or name the --profile that it will have, and its --allow-special-use and --protect", file)
	}
	if f.served != nil {
		if err := f.checkSame(cmd); err != nil {
			return state.Settings{}, err
		}
	}
	s, _, err := f.settings(cmd)
	return s, err
}

// looking is the rule by which a command looks, with the routes.
func (f *ruleFlags) looking(cmd *cobra.Command, l ledger.Ledger) (state.Settings, error) {
	if err := f.inherit(cmd, l, withRoutes); err != nil {
		return state.Settings{}, err
	}
	s, source, err := f.settings(cmd)
	if err == nil && source == nil && f.served == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "ucedge: without --routes there is nothing to tell of Levels 2 and 3; give the files that the origin will have")
	}
	return s, err
}

// admitting is the rule by which a command takes reports into a ledger.
func (f *ruleFlags) admitting(cmd *cobra.Command, l ledger.Ledger) (state.Settings, error) {
	if err := f.inherit(cmd, l, withoutRoutes); err != nil {
		return state.Settings{}, err
	}
	s, _, err := f.settings(cmd)
	return s, err
}

// checkSame refuses flags that would judge a decision as the origin does not. Other
// files with routes are told only: those of the origin may have moved.
func (f *ruleFlags) checkSame(cmd *cobra.Command) error {
	mine, err := f.rule(cmd)
	if err != nil {
		return err
	}
	const other = "--%s is not what the origin has that serves from the ledger"
	for _, flag := range []struct {
		name string
		same bool
	}{
		{"profile", mine.Profile == f.served.Profile},
		{"allow-special-use", mine.SpecialUse == f.served.SpecialUse},
		{"protect", slices.Equal(mine.Protected, f.served.Protected)},
	} {
		if given(cmd, flag.name) && !flag.same {
			return misusef(cmd, other+", by whose rule it is decided: leave it out", flag.name)
		}
	}
	if given(cmd, "routes") && !slices.Equal(mine.Routes, f.served.Routes) {
		fmt.Fprintf(cmd.ErrOrStderr(), "ucedge: "+other+"\n", "routes")
	}
	return nil
}

// profileOf returns the profile that the flags name, or the origin's.
func (f *ruleFlags) profileOf(cmd *cobra.Command) (*policy.Profile, error) {
	if f.served != nil && !given(cmd, "profile") {
		p, err := policy.ParseProfile(f.served.Profile)
		if err != nil {
			return nil, fmt.Errorf("the profile of the origin that serves from the ledger, which is of another version: %w", err)
		}
		return p, nil
	}
	p, err := profileNamed(f.profile)
	if err != nil {
		return nil, misusef(cmd, "%v", err)
	}
	return p, nil
}

// profileNamed returns the profile of that name or file.
func profileNamed(name string) (*policy.Profile, error) {
	var p *policy.Profile
	var err error
	if slices.Contains(policy.Names(), name) {
		p, err = policy.Named(name)
	} else {
		var text []byte
		if text, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("profile %q is none of %s, and no file: %w", name, strings.Join(policy.Names(), ", "), err)
		}
		p, err = policy.ParseProfile(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", name, err)
	}
	return p, nil
}

// allow returns the profile with documentation ranges, if they are wanted.
func allow(p *policy.Profile, documentation bool) (*policy.Profile, error) {
	if !documentation {
		return p, nil
	}
	return p.WithDocumentation()
}

// rule is what the flags say, as the ledger keeps it.
func (f *ruleFlags) rule(cmd *cobra.Command) (ledger.Rule, error) {
	p, err := f.profileOf(cmd)
	if err != nil {
		return ledger.Rule{}, err
	}
	r := ledger.Rule{Profile: p.Snapshot().Text, SpecialUse: f.specialUse || p.Documentation}
	protected, err := f.protectedPrefixes(cmd)
	if err != nil {
		return r, err
	}
	for _, p := range protected {
		r.Protected = append(r.Protected, ledger.Protected{Prefix: p.Prefix.String(), Why: p.Why})
	}
	for _, name := range f.routes {
		file, err := filepath.Abs(name)
		if err != nil {
			return r, err
		}
		r.Routes = append(r.Routes, file)
	}
	return r, nil
}

// protectedPrefixes reads --protect.
func (f *ruleFlags) protectedPrefixes(cmd *cobra.Command) ([]policy.Protected, error) {
	var all []policy.Protected
	for _, text := range f.protected {
		prefix, why, _ := strings.Cut(text, "=")
		parsed, err := parsePrefixes([]string{prefix})
		if err != nil {
			return nil, misusef(cmd, "--protect: %v", err)
		}
		if why == "" {
			why = "protected by the site"
		}
		all = append(all, policy.Protected{Prefix: parsed[0], Why: why})
	}
	return all, nil
}

// settings reads profile, routes and protected prefixes. The source of the
// routes is nil if none are named.
func (f *ruleFlags) settings(cmd *cobra.Command) (state.Settings, *routes.Source, error) {
	var s state.Settings
	p, err := f.profileOf(cmd)
	if err == nil {
		s.Profile, err = allow(p, f.specialUse)
	}
	if err != nil {
		return s, nil, err
	}
	if s.Protected, err = f.protectedPrefixes(cmd); err != nil {
		return s, nil, err
	}
	if len(f.routes) == 0 {
		return s, nil, nil
	}
	source, stats, err := routes.Open(f.routes...)
	if err != nil {
		if !given(cmd, "routes") {
			err = fmt.Errorf("%w: the origin that serves from the ledger had it; name another with --routes", err)
		}
		return s, nil, fmt.Errorf("routes: %w", err)
	}
	tellRoutes(cmd.ErrOrStderr(), f.routes, stats)
	s.Routes = source.Table
	return s, source, nil
}

// tellRoutes says which lines of routing files were refused.
func tellRoutes(w io.Writer, files []string, stats []routes.Stats) {
	for i, s := range stats {
		if s.Bad == 0 || i >= len(files) {
			continue
		}
		fmt.Fprintf(w, "ucedge: routes %q: %d of %d lines refused; the first: %s\n", files[i], s.Bad, s.Lines, s.Problems[0])
	}
}
