package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/zonefile"
	"ucedge/snapshot"
)

func newSnapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Build, sign, read and compare snapshots",
		Example: `  ucedge snapshot build --l1 dnsbl-1.bl.example --key bl.example.key --out publish
  ucedge snapshot inspect publish`,
	}
	cmd.AddCommand(
		newSnapshotBuild(),
		newSnapshotSign(),
		newSnapshotInspect(),
		newSnapshotCheck(),
		newSnapshotVerify(),
		newSnapshotExport(),
		newSnapshotDiff(),
	)
	return cmd
}

func newSnapshotCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check SNAPSHOT",
		Short: "Read every byte of a snapshot and say whether all of it is as it must be",
		Long: `Reads every byte of a snapshot: what an edge checks when it loads it, and the full
scan that it leaves out. Exit code 1 says what is wrong.`,
		Example: "  ucedge snapshot check publish",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := loadSnapshot(args[0], nil)
			if err != nil {
				return err
			}
			if err := l.snapshot.Check(); err != nil {
				return fmt.Errorf("check snapshot %q: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, every section as it must be\n", args[0], len(l.image))
			return nil
		},
	}
}

func newSnapshotVerify() *cobra.Command {
	var pubs []string
	cmd := &cobra.Command{
		Use:   "verify FOLDER --pub FILE",
		Short: "Say whether a trusted key signed a snapshot and all of it is there",
		Long: `Does what an edge does before it uses a snapshot: checks the signature, that the
snapshot has not expired, and the hash of every object. Exit code 1 says which
of these fails.`,
		Example: "  ucedge snapshot verify publish --pub bl.example.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(pubs) == 0 {
				return misusef(cmd, "no key to trust: give --pub")
			}
			keys, err := verifiersFrom(pubs)
			if err != nil {
				return err
			}
			l, err := loadSnapshot(args[0], keys)
			if err != nil {
				return err
			}
			if now := time.Now().Unix(); now >= l.manifest.Expires {
				return fmt.Errorf("snapshot %q expired at %s", args[0], time.Unix(l.manifest.Expires, 0).UTC().Format(time.RFC3339))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s serial %d: signed by %v, objects complete\n", l.manifest.List, l.manifest.Serial, l.keys)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&pubs, "pub", nil, "file with a public key to trust (repeatable)")
	return cmd
}

func newSnapshotExport() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "export SNAPSHOT",
		Short: "Write a snapshot as zone files that rbldnsd loads",
		Long: `Writes one file for each zone of the snapshot, named after the zone, and prints
the arguments that rbldnsd takes for them.`,
		Example: "  ucedge snapshot export publish --dir zones && rbldnsd -n -b 127.0.0.1/5353 $(…)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := loadSnapshot(args[0], nil)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for _, zone := range l.snapshot.Zones() {
				if zone.Level == snapshot.Combined {
					continue
				}
				kind, err := exportZone(dir, zone, l)
				if err != nil {
					return fmt.Errorf("export zone %s: %w", zone.Suffix, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s:%s:%s\n", zone.Suffix, kind, filepath.Join(dir, zone.Suffix))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder for the files")
	return cmd
}

func exportZone(dir string, zone snapshot.Zone, l *loaded) (kind zonefile.Kind, err error) {
	var listings []snapshot.Listing
	for listing := range l.snapshot.Listings(zone.Level) {
		listings = append(listings, listing)
	}
	f, err := os.Create(filepath.Join(dir, zone.Suffix))
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	return zonefile.Export(f, zone, l.manifest.Serial, listings)
}

func newSnapshotDiff() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what one snapshot lists and another does not",
		Long: `Prints a line for each listing that only one of two snapshots has (+ in NEW, - in
OLD) or that changed (~), then a count for each level. Exit code 1 says that
they differ.`,
		Example: "  ucedge snapshot diff yesterday publish",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := loadSnapshot(args[0], nil)
			if err != nil {
				return err
			}
			after, err := loadSnapshot(args[1], nil)
			if err != nil {
				return err
			}
			lines := cmd.OutOrStdout()
			if quiet {
				lines = io.Discard
			}
			differ := false
			for level := snapshot.Address; level <= snapshot.System; level++ {
				c := diffLevel(lines, level, before.snapshot, after.snapshot)
				fmt.Fprintf(cmd.OutOrStdout(), "level %d: %d added, %d removed, %d changed\n", level, c.added, c.removed, c.changed)
				differ = differ || c != counts{}
			}
			if differ {
				return quietFailure{}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the counts only")
	return cmd
}

type counts struct{ added, removed, changed int }

// diffLevel prints the differences of one level. Listings come in one order
// from both sides, but a map is simpler and a diff is not hot.
func diffLevel(w io.Writer, level snapshot.Level, before, after *snapshot.Snapshot) (c counts) {
	type key struct {
		prefix   string
		excluded bool
	}
	old := map[key]snapshot.Listing{}
	for l := range before.Listings(level) {
		old[key{l.Prefix.String(), l.Excluded}] = l
	}
	line := func(mark string, l snapshot.Listing) {
		what := ""
		if l.Excluded {
			what = " (exclusion)"
		}
		fmt.Fprintf(w, "%s %d %s%s\n", mark, level, l.Prefix, what)
	}
	for l := range after.Listings(level) {
		k := key{l.Prefix.String(), l.Excluded}
		was, ok := old[k]
		delete(old, k)
		switch {
		case !ok:
			c.added++
			line("+", l)
		case was != l:
			c.changed++
			line("~", l)
		}
	}
	for l := range before.Listings(level) {
		if _, gone := old[key{l.Prefix.String(), l.Excluded}]; gone {
			c.removed++
			line("-", l)
		}
	}
	return c
}
