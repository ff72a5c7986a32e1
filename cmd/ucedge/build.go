package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"ucedge/origin/publish"
	"ucedge/snapshot/manifest"
)

// publishFlags are the flags of commands that sign into a store.
type publishFlags struct {
	out      string
	keys     []string
	trusted  []string
	interval time.Duration
	life     time.Duration
	gzip     bool
	keep     int
	override []string
}

func (f *publishFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "folder to publish to, or s3://HOST/BUCKET[/PREFIX]")
	flags.StringArrayVar(&f.keys, "key", nil, "file with a secret key to sign with (repeatable)")
	flags.StringArrayVar(&f.trusted, "trust", nil, "file with an old public key that may have signed what is there (repeatable)")
	flags.DurationVar(&f.interval, "every", publish.DefaultInterval, "when the next manifest is due")
	flags.DurationVar(&f.life, "life", publish.DefaultLife, "until when edges may use this one")
	flags.BoolVar(&f.gzip, "gzip", false, "add gzip twins of the objects, for runtimes without zstd")
	flags.IntVar(&f.keep, "keep", publish.DefaultKeep, "generations of objects to keep")
	flags.StringSliceVar(&f.override, "override", nil, "limit to lift for this run: churn; share and protected are held by every edge")
	offer(cmd, "override", string(publish.Churn))
}

// open reads the keys and opens the store that the flags name.
func (f *publishFlags) open(cmd *cobra.Command) (publish.Store, []note.Signer, publish.Options, error) {
	var none publish.Options
	if f.out == "" || len(f.keys) == 0 {
		return nil, nil, none, misusef(cmd, "--out and --key are needed: where to publish, and what to sign with")
	}
	for _, name := range f.override {
		if err := publish.Limit(name).Liftable(); err != nil {
			return nil, nil, none, misusef(cmd, "--override: %v", err)
		}
	}
	var signers []note.Signer
	for _, path := range f.keys {
		keys, err := manifest.ReadSigners(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: `ucedge keygen NAME` makes the key of a list", err)
		}
		if err != nil {
			return nil, nil, none, err
		}
		signers = append(signers, keys...)
	}
	trusted, err := verifiersFrom(f.trusted)
	if err != nil {
		return nil, nil, none, err
	}
	store, err := openStore(f.out)
	if err != nil {
		return nil, nil, none, err
	}
	return store, signers, f.options(signers[0].Name(), trusted), nil
}

func (f *publishFlags) options(list string, trusted note.Verifiers) publish.Options {
	o := publish.Options{
		List: list, Now: time.Now().Unix(),
		Interval: f.interval, Life: f.life, Gzip: f.gzip, Keep: f.keep, Trusted: trusted,
	}
	for _, name := range f.override {
		o.Override = append(o.Override, publish.Limit(name))
	}
	return o
}

func newSnapshotBuild() *cobra.Command {
	var (
		from   importFlags
		to     publishFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "build --l1 FILE --l2 FILE --l3 FILE --key FILE --out FOLDER",
		Short: "Turn zone files of rbldnsd into a signed snapshot",
		Long: `Reads the zone files of up to three levels, builds image and filter, checks them as
an edge would, signs the manifest and publishes: objects first, manifest last. A
list that every edge would refuse is not published: one that covers too much of the
address space (share), or any special-use space but documentation ranges (protected).
Bad lines are reported with file, line and reason, and the good ones kept;
--strict refuses them. A file named dnsbl-1.some.zone answers under that name,
any other under dnsbl-1.SUFFIX, unless it is given as ZONE=FILE.`,
		Example: `  ucedge keygen bl.example
  ucedge snapshot build --l1 dnsbl-1.bl.example --l2 dnsbl-2.bl.example --key bl.example.key --out publish
  ucedge snapshot build --l3 dnsbl-3.bl.example=prefixes.txt --key bl.example.key --out publish --json
  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… ucedge snapshot build --l1 dnsbl-1.bl.example --key bl.example.key \
      --out s3://ACCOUNT.r2.cloudflarestorage.com/BUCKET`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !from.given() {
				return misusef(cmd, "no zone file: give --l1, --l2 or --l3")
			}
			store, keys, options, err := to.open(cmd)
			if err != nil {
				return err
			}
			result, err := publishFiles(cmd.Context(), &from, store, keys, options, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printPublished(cmd.OutOrStdout(), to.out, result, asJSON)
		},
	}
	from.add(cmd)
	to.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// publishFiles imports zone files and publishes what they list.
func publishFiles(ctx context.Context, from *importFlags, store publish.Store, keys []note.Signer, o publish.Options, talk io.Writer) (publish.Result, error) {
	in, err := from.read(talk, time.Unix(o.Now, 0))
	if err != nil {
		return publish.Result{}, err
	}
	return publish.Publish(ctx, store, in, keys, o)
}

func newSnapshotSign() *cobra.Command {
	var (
		to     publishFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "sign --key FILE --out FOLDER",
		Short: "Sign the objects of a store again, under a new serial and later times",
		Long: `Signs what a store holds again, so that edges see that nothing was withheld, or with
other keys while they are rotated. The objects stay the same.`,
		Example: `  ucedge snapshot sign --key bl.example.key --out publish
  ucedge snapshot sign --key bl.example.key --key new/bl.example.key --out publish`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, keys, options, err := to.open(cmd)
			if err != nil {
				return err
			}
			result, err := publish.Resign(cmd.Context(), store, keys, options)
			if err != nil {
				return err
			}
			return printPublished(cmd.OutOrStdout(), to.out, result, asJSON)
		},
	}
	to.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printPublished(w io.Writer, out string, r publish.Result, asJSON bool) error {
	m := r.Manifest
	var wire int64
	for _, o := range m.Objects {
		if o.Coding == manifest.Zstd {
			wire += o.WireSize
		}
	}
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]any{
			"list": m.List, "serial": m.Serial, "changed": r.Changed, "churn": r.Churn,
			"built": time.Unix(m.Built, 0).UTC(), "expires": time.Unix(m.Expires, 0).UTC(),
			"wire_bytes": wire, "objects_written": r.Put, "objects_deleted": r.Deleted,
		})
	}
	_, err := fmt.Fprintf(w, "%s: %s serial %d, %d bytes on the wire, expires %s\n",
		out, m.List, m.Serial, wire, time.Unix(m.Expires, 0).UTC().Format(time.RFC3339))
	return err
}

// newLogger returns the structured log of the commands that keep running, and
// makes it that of packages which are given none.
func newLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	log := slog.New(slog.NewTextHandler(w, options))
	if format == "json" {
		log = slog.New(slog.NewJSONHandler(w, options))
	}
	slog.SetDefault(log)
	return log
}
