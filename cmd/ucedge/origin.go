package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/routes"
	"ucedge/origin/state"
)

func newOrigin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "origin",
		Short: "Take reports in, decide what is listed, and publish it",
		Long: `An origin keeps reports for a time and decisions for good in a ledger, decides by a
published profile what is listed, and publishes a signed snapshot every few
minutes. The commands below work on the ledger of this machine, also while an
origin serves from it: what they decide is published within seconds.`,
		Example: `  ucedge origin serve --ledger ledger.db --routes pfx2as.tsv --key bl.example.key --out publish
  ucedge origin key create --ledger ledger.db --role reporter --name trap-one
  ucedge origin explain 198.51.100.7 --ledger ledger.db --routes pfx2as.tsv`,
	}
	cmd.AddCommand(
		newOriginServe(),
		newOriginKey(),
		newOriginReporters(),
		newOriginReport(),
		newOriginExplain(),
		newOriginReplay(),
		newOriginExempt(),
		newOriginRemove(),
		newOriginList(),
		newOriginPurge(),
		newOriginRelease(),
		newOriginAudit(),
	)
	return cmd
}

// ledgerFlag adds the flag that names the ledger.
func ledgerFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "ledger", "ledger.db", "file of the ledger")
}

// openLedger opens a ledger that must be there already: a command that asks
// must not answer from an empty one because of a misspelt name.
func openLedger(ctx context.Context, file string) (*ledger.SQLite, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no ledger %q: `ucedge origin serve` and `ucedge origin key create` make it", file)
	}
	return ledger.Open(ctx, file)
}

// ruleFlags are what a decision depends on beside the ledger.
type ruleFlags struct {
	routes     []string
	profile    string
	specialUse bool
	protected  []string
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

// profileNamed returns the profile of that name or file.
func profileNamed(name string, documentation bool) (*policy.Profile, error) {
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
	if err == nil && documentation && !p.Documentation {
		p, err = p.WithDocumentation()
	}
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", name, err)
	}
	return p, nil
}

// settings reads profile, routes and protected prefixes. The source of the
// routes is nil if none are named.
func (f *ruleFlags) settings(cmd *cobra.Command) (state.Settings, *routes.Source, error) {
	var s state.Settings
	var err error
	if s.Profile, err = profileNamed(f.profile, f.specialUse); err != nil {
		return s, nil, misusef(cmd, "%v", err)
	}
	for _, text := range f.protected {
		prefix, why, _ := strings.Cut(text, "=")
		parsed, err := parsePrefixes([]string{prefix})
		if err != nil {
			return s, nil, misusef(cmd, "--protect: %v", err)
		}
		if why == "" {
			why = "protected by the site"
		}
		s.Protected = append(s.Protected, policy.Protected{Prefix: parsed[0], Why: why})
	}
	if len(f.routes) == 0 {
		return s, nil, nil
	}
	source, stats, err := routes.Open(f.routes...)
	if err != nil {
		return s, nil, err
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

// parseMoment reads a time, or a duration before now, as "36h".
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("time %q is neither as 2026-11-22T16:00:00Z nor a duration before now as 36h", text)
}
