package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ucedge/edge"
	"ucedge/origin/publish"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// demoZones are the zone files of the demo: documentation ranges and AS numbers.
//
//go:embed demo
var demoZones embed.FS

const demoList = "bl.example"

func newRun() *cobra.Command {
	var (
		from  importFlags
		serve edgeFlags
		dir   string
		every time.Duration
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a whole demo on this machine: key, snapshot, edge",
		Long: `Makes a key, turns zone files into a signed snapshot, publishes it again every
--every, and serves it on 127.0.0.1, all in one process. Without zone files it
lists a demo of documentation ranges; with --l1, --l2 and --l3 it serves yours.`,
		Example: `  ucedge run
  ucedge run --l1 dnsbl-1.bl.example --l2 dnsbl-2.bl.example --l3 dnsbl-3.bl.example`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := demo{dir: dir, every: every, from: &from, serve: &serve, cmd: cmd}
			return d.run()
		},
	}
	from.add(cmd)
	serve.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "data/run", "folder for keys, snapshots and state")
	flags.DurationVar(&every, "every", time.Minute, "time between two snapshots")
	setDefault(cmd, "http", "127.0.0.1:8080")
	setDefault(cmd, "https", "127.0.0.1:8443")
	setDefault(cmd, "dns", "127.0.0.1:5300")
	setDefault(cmd, "admin", "127.0.0.1:9090")
	setDefault(cmd, "host", "localhost")
	setDefault(cmd, "look", "5s")
	return cmd
}

// setDefault gives a flag that another command shares a default of its own.
func setDefault(cmd *cobra.Command, name, value string) {
	flag := cmd.Flags().Lookup(name)
	flag.DefValue = value
	if err := flag.Value.Set(value); err != nil {
		panic(err) // a default that its own flag refuses
	}
}

// A demo is origin and edge in one process, with a folder between them as
// there is between two machines.
type demo struct {
	dir   string
	every time.Duration
	from  *importFlags
	serve *edgeFlags
	cmd   *cobra.Command
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *demo) run() error {
	talk := d.cmd.ErrOrStderr()
	log := newLogger(talk, d.serve.logForm, slog.LevelWarn)
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.publish(d.cmd.Context(), talk); err != nil {
		return err
	}
	keys, err := manifest.ReadVerifiers(d.path(demoList + ".pub"))
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(d.cmd.Context())
	d.cmd.SetContext(ctx)
	parts.Go(func() error { return d.republish(ctx, log) })
	parts.Go(func() error {
		return d.serve.run(d.cmd, log, d.path("publish"), demoList, d.path("state"), keys, d.greet)
	})
	if err := parts.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Fprintln(talk, "stopped")
	return nil
}

// prepare makes the folder, the key pair, and the demo's zone files if none
// were named.
func (d *demo) prepare() error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	secretPath, publicPath := d.path(demoList+".key"), d.path(demoList+".pub")
	if _, err := os.Stat(secretPath); errors.Is(err, fs.ErrNotExist) {
		secret, public, err := manifest.GenerateKey(demoList)
		if err != nil {
			return err
		}
		if err := manifest.WriteKeys(secretPath, secret, publicPath, public); err != nil {
			return err
		}
	}
	if d.from.given() {
		return nil
	}
	d.from.specialUse = true // documentation ranges are special-use space
	if err := os.MkdirAll(d.path("zones"), 0o755); err != nil {
		return err
	}
	for i := range d.from.files {
		name := fmt.Sprintf("dnsbl-%d.%s", i+1, demoList)
		text, err := demoZones.ReadFile("demo/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.path("zones", name), text, 0o644); err != nil {
			return err
		}
		d.from.files[i] = []string{d.path("zones", name)}
	}
	return nil
}

func (d *demo) publish(ctx context.Context, talk io.Writer) error {
	store, err := publish.NewFolder(d.path("publish"))
	if err != nil {
		return err
	}
	keys, err := manifest.ReadSigners(d.path(demoList + ".key"))
	if err != nil {
		return err
	}
	// The files may be edited while the demo runs, as much as anyone likes.
	_, err = publishFiles(ctx, d.from, store, keys, publish.Options{
		List: demoList, Now: time.Now().Unix(), Interval: d.every, Override: []publish.Limit{publish.Churn},
	}, talk)
	return err
}

// republish publishes the zone files again until ctx ends. A failure is logged
// and the snapshot before it stays.
func (d *demo) republish(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := d.publish(ctx, io.Discard); err != nil && ctx.Err() == nil {
			log.Error("not published", "err", err)
		}
	}
}

// greet prints what to type next.
func (d *demo) greet(b edge.Bound) {
	w := d.cmd.ErrOrStderr()
	zone, address := "dnsbl-1."+demoList, "198.51.100.66"
	if l, err := loadSnapshot(d.path("publish"), nil); err == nil {
		zone, address = sampleOf(l, zone, address)
	}
	fmt.Fprintf(w, `
ucedge answers on http://%[1]s (page, DoH, JSON), https://%[2]s and DNS %[3]s
Zone files and snapshots: %[4]s. Ctrl-C stops. Try:

  curl 'http://%[1]s/v1/check?ip=%[5]s'
  kdig @127.0.0.1 -p %[6]s +https 2.0.0.127.%[7]s A
  curl -H 'accept: application/dns-json' 'http://%[1]s/dns-query?name=2.0.0.127.%[7]s&type=TXT'
  bin/ucedge check %[5]s 127.0.0.1 --edge http://%[1]s
  bin/ucedge snapshot inspect %[8]s --pub %[9]s

`, b.HTTP, b.HTTPS, b.DNS, d.dir, address, portOf(b.HTTPS), zone, d.path("publish"), d.path(demoList+".pub"))
}

// sampleOf returns the first zone of the snapshot and an address that it lists.
func sampleOf(l *loaded, zone, address string) (string, string) {
	first := l.snapshot.Zones()[0]
	if first.Level == snapshot.Combined {
		return zone, address
	}
	for listing := range l.snapshot.Listings(first.Level) {
		if !listing.Excluded {
			return first.Suffix, listing.Prefix.Addr().String()
		}
	}
	return first.Suffix, address
}
