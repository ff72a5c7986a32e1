package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ucedge/edge"
	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

const (
	demoList   = "bl.example"
	demoEvery  = 5 * time.Second // with reporters, in whose time a week takes a minute
	filesEvery = time.Minute
	demoTTL    = 5 // seconds, so that a change is seen at once
)

func newRun() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a whole demo on this machine: reporters, origin, edge",
		Long: `Makes a key and starts an origin and an edge on 127.0.0.1, all in one process.
Simulated reporters make addresses of documentation ranges (or of --routes) appear,
escalate and expire within minutes, so that all three levels are seen live. With
--l1, --l2 and --l3 there are no reporters: zone files of rbldnsd are published
again every --every. A port that is taken and was not asked for is replaced by a
free one.`,
		Example: `  ucedge run
  ucedge run --l1 dnsbl-1.bl.example --l2 dnsbl-2.bl.example --l3 dnsbl-3.bl.example`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.cmd = cmd
			if d.every == 0 {
				d.every = demoEvery
				if d.from.given() {
					d.every = filesEvery
				}
			}
			return d.run()
		},
	}
	d.from.add(cmd)
	d.serve.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&d.dir, "dir", "data/run", "folder for keys, ledger, snapshots and state")
	flags.DurationVar(&d.every, "every", 0, "time between two snapshots; 0 is 5s with reporters and 1m with zone files")
	flags.StringVar(&d.origin, "origin", "127.0.0.1:8081", "address to serve the origin's API on")
	flags.StringArrayVar(&d.routes, "routes", nil, "file with routes whose addresses the reporters report (repeatable)")
	flags.StringVar(&d.profile, "profile", policy.Names()[0], "rule: "+strings.Join(policy.Names(), ", ")+", or a TOML file")
	offer(cmd, "profile", policy.Names()...)
	flags.Uint64Var(&d.seed, "seed", 1, "the same seed gives the same reports")
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
	dir     string
	every   time.Duration
	origin  string
	routes  []string
	profile string
	seed    uint64
	from    importFlags
	serve   edgeFlags
	cmd     *cobra.Command

	api string // where the origin listens, once it does
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *demo) run() error {
	talk := d.cmd.ErrOrStderr()
	log := newLogger(talk, d.serve.logForm, slog.LevelWarn)
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	unlock, alone, err := lockFile(d.path("lock"))
	if err != nil {
		return err
	}
	if !alone {
		return fmt.Errorf("another demo runs in %q: stop it, or give another --dir", d.dir)
	}
	defer unlock()
	if err := d.findPorts(); err != nil {
		return err
	}
	if err := d.prepare(); err != nil {
		return err
	}
	keys, err := manifest.ReadVerifiers(d.path(demoList + ".pub"))
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(d.cmd.Context())
	d.cmd.SetContext(ctx)
	if d.from.given() {
		if err := d.publish(ctx, talk); err != nil {
			return err
		}
		parts.Go(func() error { return d.republish(ctx, log) })
	} else if err := d.startOrigin(ctx, parts, log); err != nil {
		return err
	}
	if ctx.Err() == nil {
		parts.Go(func() error {
			return d.serve.run(d.cmd, log, d.path("publish"), demoList, d.path("state"), keys, d.greet)
		})
	}
	if err := parts.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Fprintln(talk, "stopped")
	return nil
}

// prepare makes the key pair.
func (d *demo) prepare() error {
	secretPath, publicPath := d.path(demoList+".key"), d.path(demoList+".pub")
	if _, err := os.Stat(secretPath); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret, public, err := manifest.GenerateKey(demoList)
	if err != nil {
		return err
	}
	return manifest.WriteKeys(secretPath, secret, publicPath, public)
}

// startOrigin starts an origin on a new ledger, and the reporters. It returns
// when the first snapshot is published, so that the edge finds it.
func (d *demo) startOrigin(ctx context.Context, parts *errgroup.Group, log *slog.Logger) error {
	for _, end := range []string{"", "-wal", "-shm"} { // what SQLite leaves of an earlier run
		if err := os.Remove(d.path("ledger.db" + end)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	first := make(chan struct{})
	var once sync.Once
	f := d.originFlags(func(publish.Result) { once.Do(func() { close(first) }) })
	s, err := d.simulation(f)
	if err != nil {
		return err
	}
	secrets, err := d.beginSimulation(ctx, s, f.ledger)
	if err != nil {
		return err
	}
	parts.Go(func() error {
		return f.run(d.cmd, log, func(r *running) {
			d.api = "http://" + r.api
			parts.Go(func() error { s.run(ctx, d.api, secrets, log); return nil })
		})
	})
	select {
	case <-first:
	case <-ctx.Done():
	}
	return nil
}

func (d *demo) beginSimulation(ctx context.Context, s *simulation, file string) ([]string, error) {
	l, err := ledger.Open(ctx, file)
	if err != nil {
		return nil, err
	}
	secrets, err := s.begin(ctx, l, time.Now())
	return secrets, errors.Join(err, l.Close())
}

// originFlags are the settings of the demo's origin.
func (d *demo) originFlags(published func(publish.Result)) *originFlags {
	f := &originFlags{
		ledger: d.path("ledger.db"), listen: d.origin, published: published,
		rule: ruleFlags{routes: d.routes, profile: d.profile, specialUse: len(d.routes) == 0},
		to: publishFlags{
			out: d.path("publish"), keys: []string{d.path(demoList + ".key")}, interval: d.every,
			override: []string{string(publish.Churn)}, // compressed time turns everything over
		},
	}
	f.zone = zoneFlags{suffix: d.from.suffix, texts: originTexts, url: "http://" + d.serve.http + "/", ttl: demoTTL}
	return f
}

// simulation sets the stage: documentation ranges, or what --routes has.
func (d *demo) simulation(f *originFlags) (*simulation, error) {
	random := rand.New(rand.NewPCG(d.seed, 0))
	if len(d.routes) == 0 {
		f.rule.routes = []string{d.path("routes.tsv")}
		return &simulation{stage: demoStage, random: random}, os.WriteFile(f.rule.routes[0], []byte(demoRoutes), 0o644)
	}
	rule, source, err := f.rule.settings(d.cmd)
	if err != nil {
		return nil, err
	}
	stage, err := stageIn(source.Table(), rule.Profile, random)
	return &simulation{stage: stage, random: random}, err
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
	_, err = publishFiles(ctx, &d.from, store, keys, publish.Options{
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
	zone, address := "dnsbl-1."+d.from.suffix, "198.51.100.66"
	if l, err := loadSnapshot(d.path("publish"), nil); err == nil {
		zone, address = sampleOf(l, zone, address)
	}
	fmt.Fprintf(w, `
ucedge answers on http://%[1]s (page, DoH, JSON), https://%[2]s and DNS %[3]s
Everything it keeps is in %[4]s. Ctrl-C stops. Try:

  curl 'http://%[1]s/v1/check?ip=%[5]s'
  kdig @127.0.0.1 -p %[6]s +https 2.0.0.127.%[7]s A
  curl -H 'accept: application/dns-json' 'http://%[1]s/dns-query?name=2.0.0.127.%[7]s&type=TXT'
  bin/ucedge check %[5]s 127.0.0.1 --edge http://%[1]s
  bin/ucedge snapshot inspect %[8]s --pub %[9]s
`, b.HTTP, b.HTTPS, b.DNS, d.dir, address, portOf(b.HTTPS), zone, d.path("publish"), d.path(demoList+".pub"))
	if d.api != "" {
		d.greetOrigin(w, address)
	}
	fmt.Fprintln(w)
}

// greetOrigin prints what to ask the origin.
func (d *demo) greetOrigin(w io.Writer, address string) {
	fmt.Fprintf(w, `
The origin is at %[1]s. Its reporters are simulated and a week passes in a minute:
Level 1 and 2 at once, Level 3 after some 40 seconds, gone a minute later, again and again.

  curl -H 'accept: text/plain' '%[1]s/v1/explain?ip=%[2]s'
  curl '%[1]s/v1/audit?limit=20'
  bin/ucedge origin replay --ledger %[3]s
  bin/ucedge origin exempt %[4]s --why "a neighbour" --ledger %[3]s
`, d.api, address, d.path("ledger.db"), netip.MustParseAddr(address).Next())
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
