package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
)

// tellNewReporter says that nobody has reported under this name: it may be
// a new reporter, or a known one mistyped.
func tellNewReporter(ctx context.Context, l ledger.Ledger, name string, tell func(string)) error {
	err := ledger.CheckReporter(ctx, l, name)
	if errors.Is(err, ledger.ErrNoReporter) {
		tell(fmt.Sprintf("reporter %q is new to the ledger", name))
		return nil
	}
	return err
}

func newOriginReporters() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reporters",
		Short: "Show whom the ledger knows as reporters, and whose reports wait",
		Long: `Shows every name under which reports were stored or a reporter's key was made, and
how many of its reports of the last seven days wait for ucedge origin release.`,
		Example: "  ucedge origin reporters --ledger ledger.db",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			names, err := l.Reporters(cmd.Context())
			if err != nil {
				return err
			}
			now := time.Now().Unix()
			waiting, err := l.Waiting(cmd.Context(), now-policy.Window, now+report.DefaultAhead)
			if err != nil {
				return err
			}
			return printReporters(cmd.OutOrStdout(), names, waiting, asJSON)
		},
	}
	ledgerFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each reporter")
	return cmd
}

// A shownReporter is a reporter as it is printed.
type shownReporter struct {
	Name    string `json:"name"`
	Waiting int    `json:"waiting"`
}

func printReporters(w io.Writer, names []string, waiting map[string]int, asJSON bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(t, "REPORTER\tWAITING")
	}
	for _, name := range names {
		if asJSON {
			if err := json.NewEncoder(w).Encode(shownReporter{name, waiting[name]}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%d\n", name, waiting[name])
	}
	return t.Flush()
}

func newOriginPurge() *cobra.Command {
	return judging(ledger.Purged, &cobra.Command{
		Use:   "purge REPORTER --why TEXT",
		Short: "Withdraw what a reporter alone has listed",
		Long: `Withdraws a reporter: every listing that stands on its reports alone ends with the
next snapshot; addresses that others have reported too keep their counts. Its
key still works: ucedge origin key revoke ends that.`,
		Example: `  ucedge origin purge trap-one --why "trap address was a recycled mailbox" --ledger ledger.db`,
	})
}

func newOriginRelease() *cobra.Command {
	return judging(ledger.Released, &cobra.Command{
		Use:   "release REPORTER --why TEXT",
		Short: "Let the reports count that wait because their reporter is past its budget",
		Long: `Lets the reports of a reporter count that wait because they are past its budget of
new addresses an hour, or of its share of all impacts: ucedge origin reporters
shows whose wait.`,
		Example: `  ucedge origin release trap-one --why "looked at a sample: real" --ledger ledger.db`,
	})
}

// judging makes a command decide on the reporter that its argument names, whom
// the ledger must know.
func judging(kind ledger.DecisionKind, cmd *cobra.Command) *cobra.Command {
	var f decideFlags
	f.add(cmd)
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.decide(cmd, ledger.Decision{Kind: kind, Reporter: args[0]}, func(ctx context.Context, l ledger.Ledger) error {
			err := ledger.CheckReporter(ctx, l, args[0])
			if errors.Is(err, ledger.ErrNoReporter) {
				err = fmt.Errorf("%w: `ucedge origin reporters --ledger %s` shows who is known", err, f.ledger)
			}
			return err
		})
	}
	return cmd
}
