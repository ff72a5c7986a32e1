package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/state"
)

func newOriginExplain() *cobra.Command {
	var (
		file, at string
		rule     ruleFlags
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "explain ADDRESS",
		Short: "Tell why an address is listed, who can end it, and what number must fall",
		Long: `Derives the listings of an address from the ledger: its impacts, each candidate of
Levels 2 and 3 with count and threshold, which level lists it and why, and when
that ends. The same derivation stands behind GET /v1/explain: by the rule of the
origin that serves from the ledger, as far as flags do not give another. Exit code
1 says that the address is listed.`,
		Example: `  ucedge origin explain 198.51.100.7 --ledger ledger.db
  ucedge origin explain 198.51.100.7 --at 36h --profile impacts --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subject, err := hostOf(cmd, args[0])
			if err != nil {
				return err
			}
			moment, err := parseMoment(at, time.Now())
			if err != nil {
				return misusef(cmd, "--at: %v", err)
			}
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			settings, err := rule.looking(cmd, l)
			if err != nil {
				return err
			}
			in, err := state.Read(cmd.Context(), l, moment.Unix(), settings)
			if err != nil {
				return err
			}
			return printDerivation(cmd.OutOrStdout(), policy.Explain(in, nil, subject.Addr()), asJSON)
		},
	}
	ledgerFlag(cmd, &file)
	rule.addServed(cmd)
	cmd.Flags().StringVar(&at, "at", "", "moment to explain: a time, or a duration before now; empty is now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printDerivation(w io.Writer, d policy.Derivation, asJSON bool) error {
	var err error
	if asJSON {
		err = json.NewEncoder(w).Encode(d)
	} else {
		_, err = io.WriteString(w, d.Text())
	}
	if err == nil && d.LevelListed != 0 {
		return quietFailure{}
	}
	return err
}

func newOriginReplay() *cobra.Command {
	var (
		file, at string
		profiles []string
		rule     ruleFlags
		changes  bool
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Show what one or several profiles list, or would have listed",
		Long: `Decides the ledger as it stood at a moment under each --profile, and shows for
every level how many listings there are, how many addresses they cover and how
wide the widest is. --changes adds what Levels 2 and 3 list under the last
profile and not under the first (+), or the other way about (-). Routes are those
that the serving origin has now: with --routes bring those of the day.`,
		Example: `  ucedge origin replay --at 2026-11-22T16:00:00Z --profile impacts --routes pfx2as.tsv
  ucedge origin replay --profile classic --profile careful --changes --ledger ledger.db`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			moment, err := parseMoment(at, time.Now())
			if err != nil {
				return misusef(cmd, "--at: %v", err)
			}
			if len(profiles) == 0 {
				profiles = policy.Names()
			}
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			settings, err := rule.looking(cmd, l)
			if err != nil {
				return err
			}
			results, err := decideAll(cmd, l, moment, profiles, settings, rule.specialUse)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeReplay(cmd.OutOrStdout(), moment, results, changes)
			}
			return printReplay(cmd.OutOrStdout(), moment, results, changes)
		},
	}
	ledgerFlag(cmd, &file)
	rule.profile = policy.Names()[0]
	rule.addWorld(cmd)
	asServed(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&profiles, "profile", nil, "profile to decide by, by name or TOML file (repeatable); without any, all that come with the program")
	flags.StringVar(&at, "at", "", "moment to decide: a time, or a duration before now; empty is now")
	flags.BoolVar(&changes, "changes", false, "show what only the first or the last profile lists")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// decideAll decides one state under several profiles.
func decideAll(cmd *cobra.Command, l ledger.Ledger, moment time.Time, profiles []string, settings state.Settings, documentation bool) ([]*policy.Result, error) {
	var rules []*policy.Profile
	for _, name := range profiles {
		p, err := profileNamed(name)
		if err == nil {
			p, err = allow(p, documentation)
		}
		if err != nil {
			return nil, misusef(cmd, "%v", err)
		}
		rules = append(rules, p)
	}
	settings.Profile = rules[0]
	in, err := state.Read(cmd.Context(), l, moment.Unix(), settings)
	if err != nil {
		return nil, err
	}
	var results []*policy.Result
	for _, p := range rules {
		in.Profile = p
		results = append(results, policy.Decide(in))
	}
	return results, nil
}

// changesOf returns what only the first or the last result lists.
func changesOf(results []*policy.Result, wanted bool) []policy.Change {
	if !wanted {
		return nil
	}
	return policy.Compare(results[0], results[len(results)-1])
}

func printReplay(w io.Writer, moment time.Time, results []*policy.Result, changes bool) error {
	fmt.Fprintf(w, "at %s, %d abusers\n", moment.UTC().Format(time.RFC3339), results[0].Abusers())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "PROFILE\tLEVEL\tLISTINGS\tEXEMPT\tADDRESSES\tIPV6 /64S\tWIDEST\tWIDEST IPV6\t")
	for _, r := range results {
		for _, c := range r.Coverages() {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", r.Profile.Name, c.Level, c.Listings, c.Excluded,
				c.Addresses, c.Slash64s, lengthText(c.Widest4), lengthText(c.Widest6))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range changesOf(results, changes) {
		if _, err := fmt.Fprintf(w, "%s level %d %s count %d of %d\n", mark(c.After), c.Listing.Level, c.Listing.Prefix, c.Listing.Count, c.Listing.Threshold); err != nil {
			return err
		}
	}
	return nil
}

func mark(after bool) string {
	if after {
		return "+"
	}
	return "-"
}

func lengthText(bits int) string {
	if bits == 0 {
		return "-"
	}
	return fmt.Sprintf("/%d", bits)
}

// A replayedChange is a change as it is printed.
type replayedChange struct {
	Change    string       `json:"change"` // + or -
	Level     uint8        `json:"level"`
	Prefix    netip.Prefix `json:"prefix"`
	Count     uint32       `json:"count"`
	Threshold uint32       `json:"threshold"`
	ASN       uint32       `json:"asn,omitempty"`
}

func encodeReplay(w io.Writer, moment time.Time, results []*policy.Result, changes bool) error {
	type decided struct {
		Profile string             `json:"profile"`
		Levels  [3]policy.Coverage `json:"levels"`
	}
	out := struct {
		At      time.Time        `json:"at"`
		Abusers int              `json:"abusers"`
		Results []decided        `json:"profiles"`
		Changes []replayedChange `json:"changes,omitempty"`
	}{At: moment.UTC(), Abusers: results[0].Abusers()}
	for _, r := range results {
		out.Results = append(out.Results, decided{r.Profile.Name, r.Coverages()})
	}
	for _, c := range changesOf(results, changes) {
		l := c.Listing
		out.Changes = append(out.Changes, replayedChange{mark(c.After), uint8(l.Level), l.Prefix, l.Count, l.Threshold, uint32(l.ASN)})
	}
	return json.NewEncoder(w).Encode(out)
}
