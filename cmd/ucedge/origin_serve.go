package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ucedge/edge"
	"ucedge/internal/inbound"
	"ucedge/origin"
	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/origin/routes"
	"ucedge/origin/state"
	"ucedge/snapshot"
)

// Times of an origin's HTTP servers, and of what it looks at.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // header and body, but of reports: see package api
	writeTimeout  = time.Minute      // from the header to the last byte of the answer, but to reports
	idleTimeout   = 2 * time.Minute
	routesLook    = 10 * time.Second // time between two looks at the routing files
	stopTimeout   = 10 * time.Second // for requests under way when the origin stops
)

// Connections to an origin at once. A peer is an IPv4 address or an IPv6 /64; a
// trusted proxy and this machine are all their clients, and have no bound of
// their own.
const (
	connections     = 1024
	peerConnections = 64
)

// zoneFlags are the settings of the zones that an origin publishes.
type zoneFlags struct {
	suffix string
	url    string
	texts  [snapshot.System]string
	ttl    uint32
	ns     []string
}

func (f *zoneFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.suffix, "suffix", "bl.example", "the zones are dnsbl-1, dnsbl-2 and dnsbl-3.SUFFIX, and dnsbl.SUFFIX for all at once")
	flags.StringVar(&f.url, "url", "", "what {url} stands for in texts; empty is https://SUFFIX/")
	flags.Uint32Var(&f.ttl, "ttl", 0, "TTL of answers in seconds; 0 is 2100")
	flags.StringSliceVar(&f.ns, "ns", nil, "name servers of the zones")
	for i := range f.texts {
		flags.StringVar(&f.texts[i], textFlags[i], originTexts[i], "text of Level "+string(rune('1'+i))+"; knows {ip} {net} {count} {as_name} {asn} {url}")
	}
}

var textFlags = [snapshot.System]string{"text1", "text2", "text3"}

// originTexts are POLICY's own, by level from 1.
var originTexts = [snapshot.System]string{
	"IP {ip} is UCEPROTECT-Level 1 listed. See {url}?ipr={ip}",
	"Net {net} is UCEPROTECT-Level2 listed because of {count} abusers. Your ISP {as_name}/AS{asn} has to fix this. See: {url}?ipr={ip}",
	"Your ISP {as_name}/AS{asn} is UCEPROTECT-Level3 listed for hosting a total of {count} abusers. See: {url}?ipr={ip}",
}

func (f *zoneFlags) zones() []snapshot.Zone {
	var zones []snapshot.Zone
	for level := snapshot.Address; level <= snapshot.System; level++ {
		zone := defaultZone(level, "dnsbl-"+string(rune('0'+level))+"."+f.suffix, f.suffix)
		zone.Text = f.texts[level-1]
		zones = append(zones, zone)
	}
	zones = append(zones, defaultZone(snapshot.Combined, "dnsbl."+f.suffix, f.suffix))
	for i := range zones {
		zones[i].NS = f.ns
		if f.url != "" {
			zones[i].URL = f.url
		}
		if f.ttl != 0 {
			zones[i].TTL = f.ttl
		}
	}
	return zones
}

// originFlags are the settings of an origin on this machine.
type originFlags struct {
	ledger string
	rule   ruleFlags
	zone   zoneFlags
	to     publishFlags

	listen, admin     string
	certFile, keyFile string
	selfRemoval       bool
	trusted           []string
	retain            time.Duration
	logForm           string

	published func(publish.Result) // no flag: called after each publication, may be nil
}

func newOriginServe() *cobra.Command {
	var f originFlags
	cmd := &cobra.Command{
		Use:   "serve --ledger FILE --routes FILE --key FILE --out FOLDER",
		Short: "Take reports over HTTP and publish what they list",
		Long: `Takes reports from those who have a key, answers why an address is listed, and
publishes a signed snapshot every --every, and within seconds when an operator
has decided something. Routing files are read again when they change; a bad one
leaves the routes as they are. A limit that stops a snapshot (share, protected,
churn) is logged and written to the ledger, and the snapshot before it stays.
--override lifts churn; the other two every edge holds itself.

An address (IPv6: a /64) has up to 64 connections at once; behind a proxy on
another machine name it with --trusted-proxy. Requests must arrive within 30
seconds; a body of reports may take longer if it brings 4096 bytes a second.`,
		Example: `  ucedge keygen bl.example
  ucedge origin serve --ledger ledger.db --routes pfx2as.tsv --key bl.example.key --out publish --listen 127.0.0.1:8081 --admin 127.0.0.1:9091`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := newLogger(cmd.ErrOrStderr(), f.logForm, slog.LevelInfo)
			return f.run(cmd, log, func(o *running) {
				log.Info("listening", "api", o.api, "admin", o.admin)
			})
		},
	}
	ledgerFlag(cmd, &f.ledger)
	f.rule.add(cmd)
	f.zone.add(cmd)
	f.to.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "address to serve the API on")
	flags.StringVar(&f.admin, "admin", "", "address to serve /metrics and /healthz on")
	flags.StringVar(&f.certFile, "tls-cert", "", "PEM certificate chain for --listen; read again when it changes; empty serves cleartext")
	flags.StringVar(&f.keyFile, "tls-key", "", "PEM key of --tls-cert")
	flags.BoolVar(&f.selfRemoval, "self-removal", false, "let anyone ask for express removal of the address that asks")
	flags.StringSliceVar(&f.trusted, "trusted-proxy", nil, "prefixes of proxies whose X-Forwarded-For is believed")
	flags.DurationVar(&f.retain, "retain", origin.DefaultRetain, "how long reports are kept; at least seven days")
	addChoice(cmd, &f.logForm, "log-format", "text", "text or json", "text", "json")
	return cmd
}

// A running origin and where it listens.
type running struct {
	*origin.Origin
	ledger     ledger.Ledger
	rule       state.Settings
	api, admin string
}

// run serves until the command's context ends. listening is called when the
// listeners are open.
func (f *originFlags) run(cmd *cobra.Command, log *slog.Logger, listening func(*running)) error {
	r, source, err := f.open(cmd, log)
	if err != nil {
		return err
	}
	defer func() { r.ledger.Close() }()
	trusted, err := parsePrefixes(f.trusted)
	if err != nil {
		return misusef(cmd, "--trusted-proxy: %v", err)
	}
	handler, err := f.handler(r, trusted, log)
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(cmd.Context())
	if err := f.listenAll(ctx, parts, r, handler, trusted, log); err != nil {
		return err
	}
	parts.Go(func() error { return f.decide(ctx, cmd, r) })
	if source != nil {
		parts.Go(func() error {
			source.Watch(ctx, routesLook, func(stats []routes.Stats, err error) { r.reloaded(log, stats, err) })
			return nil
		})
	}
	listening(r)
	return parts.Wait()
}

// reloaded says what became of routing files that have changed.
func (r *running) reloaded(log *slog.Logger, stats []routes.Stats, err error) {
	if err != nil {
		log.Error("routes not loaded, the old ones stay", "err", err)
		return
	}
	n, bad := 0, 0
	for _, s := range stats {
		n, bad = n+s.Routes, bad+s.Bad
	}
	log.Info("routes loaded", "routes", n, "refused", bad)
	r.Urgent()
}

// open makes the origin that the flags describe.
func (f *originFlags) open(cmd *cobra.Command, log *slog.Logger) (*running, *routes.Source, error) {
	store, keys, options, err := f.to.open(cmd)
	if err != nil {
		return nil, nil, err
	}
	rule, source, err := f.rule.settings(cmd)
	if err != nil {
		return nil, nil, err
	}
	if source == nil {
		log.Warn("no routes: without them only Level 1 has listings")
	}
	l, err := ledger.Open(cmd.Context(), f.ledger)
	if err != nil {
		return nil, nil, err
	}
	o, err := origin.New(origin.Settings{
		Ledger: l, State: rule, Zones: f.zone.zones(), Store: store, Keys: keys, Publish: options,
		Every: f.to.interval, Retain: f.retain, Published: f.published, Log: log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return &running{Origin: o, ledger: l, rule: rule}, source, nil
}

// decide decides and publishes until ctx ends. First the ledger is told by which
// rule: not before the listeners are open, which they are not for the second of
// two origins that were started by mistake.
func (f *originFlags) decide(ctx context.Context, cmd *cobra.Command, r *running) error {
	rule, err := f.rule.rule(cmd)
	if err == nil {
		err = r.ledger.SetRule(context.WithoutCancel(ctx), time.Now().Unix(), rule)
	}
	if err == nil {
		r.Run(ctx)
	}
	return err
}

// handler serves the API.
func (f *originFlags) handler(r *running, trusted []netip.Prefix, log *slog.Logger) (http.Handler, error) {
	gate := &edge.Gatekeeper{Trusted: trusted}
	h, err := api.New(api.Settings{
		Ledger: r.ledger, Policy: r.Live(), Clock: time.Now,
		Reserved: refuses(r.rule), Admit: r.Admission(), Urgent: r.Urgent,
		Client: gate.Client, SelfRemoval: f.selfRemoval, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return r.Metrics().Counting(h), nil
}

// refuses returns why an address is never listed, for the parsers of reports.
func refuses(s state.Settings) func(netip.Addr) (reason string, reserved bool) {
	never := policy.Never(s.Profile, s.Protected)
	return func(a netip.Addr) (string, bool) { return never(netip.PrefixFrom(a, a.BitLen())) }
}

// listenAll opens the listeners and serves on them until ctx ends.
func (f *originFlags) listenAll(ctx context.Context, parts *errgroup.Group, r *running, handler http.Handler, trusted []netip.Prefix, log *slog.Logger) error {
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	server := httpServer(handler, log)
	if f.certFile != "" {
		if server.TLSConfig, err = edge.CertificateFiles(f.certFile, f.keyFile, log); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	r.api = l.Addr().String()
	var admin net.Listener
	if f.admin != "" {
		if admin, err = net.Listen("tcp", f.admin); err != nil {
			return errors.Join(err, l.Close())
		}
		r.admin = admin.Addr().String()
		parts.Go(func() error { return serveUntil(ctx, httpServer(adminOf(r), log), admin) })
	}
	parts.Go(func() error { return serveUntil(ctx, server, inbound.Listen(l, inboundLimits(trusted))) })
	return nil
}

// inboundLimits bound the connections to the API.
func inboundLimits(trusted []netip.Prefix) inbound.Limits {
	return inbound.Limits{All: connections, Peer: peerConnections, Exempt: func(a netip.Addr) bool {
		return a.IsLoopback() || slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}}
}

// adminOf serves what an operator of the machine asks.
func adminOf(r *running) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Metrics())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	return mux
}

func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serveUntil serves until ctx ends, and lets the requests under way finish.
func serveUntil(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		s.Shutdown(late)
	})
	defer stop()
	serve := s.Serve
	if s.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}
