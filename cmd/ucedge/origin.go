package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
)

func newOrigin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "origin",
		Short: "Take reports in, decide what is listed, and publish it",
		Long: `An origin keeps reports for a time and decisions for good in a ledger, decides by a
published profile what is listed, and publishes a signed snapshot every few
minutes. The commands below work on the ledger of this machine, also while an
origin serves from it: what they decide is published within seconds. They judge by
the rule of the origin that has served from the ledger last, which it keeps:
--profile, --protect and --allow-special-use of its own let a command look by
another one, not decide.`,
		Example: `  ucedge origin serve --ledger ledger.db --routes pfx2as.tsv --key bl.example.key --out publish
  ucedge origin key create --ledger ledger.db --role reporter --name trap-one
  ucedge origin explain 198.51.100.7 --ledger ledger.db`,
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
