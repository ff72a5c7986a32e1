package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"ucedge/edge"
	"ucedge/wasm"
)

// edgeFlags are the settings of an edge on this machine.
type edgeFlags struct {
	engine    string
	instances int
	host      string
	cache     string

	https, http, dns, admin string
	certFile, keyFile       string
	metrics                 bool

	apiKeys    string
	rate       float64
	trusted    []string
	dnsAllowed []string

	look     time.Duration
	drain    time.Duration
	logEvery uint64
	logForm  string
}

func (f *edgeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	addChoice(cmd, &f.engine, "engine", "wasm", "what answers: wasm (the guest, as on a CDN) or native (the same core without it)", "wasm", "native")
	flags.IntVar(&f.instances, "instances", 0, "guests that answer at once; 0 is one a processor")
	flags.StringVar(&f.host, "host", "", "NAME[:PORT] of DNS over HTTPS here, told by discovery (RFC 9462) unless there are --keys; without PORT that of --https, or 443 behind a proxy")
	flags.StringVar(&f.cache, "cache", "", "folder for compiled guest code; empty is compiled in STATE")
	flags.StringVar(&f.https, "https", "", "address to serve HTTP/1.1 and HTTP/2 over TLS on, for example :443")
	flags.StringVar(&f.http, "http", "", "address to serve cleartext HTTP/1.1 and HTTP/2 on, behind a proxy or for tests")
	flags.StringVar(&f.dns, "dns", "", "address to serve DNS over UDP and TCP on, for a mail server on this machine")
	flags.StringVar(&f.admin, "admin", "", "address to serve /metrics, /healthz and /readyz on")
	flags.StringVar(&f.certFile, "tls-cert", "", "PEM certificate chain; read again when it changes; empty makes a self-signed one")
	flags.StringVar(&f.keyFile, "tls-key", "", "PEM key of --tls-cert")
	flags.BoolVar(&f.metrics, "public-metrics", false, "serve /metrics to everybody, not only on --admin")
	flags.StringVar(&f.apiKeys, "keys", "", "file with access keys, a line each: NAME SHA256HEX [RATE]; empty is open to all")
	flags.Float64Var(&f.rate, "rate", 0, "requests a second for each key, IPv4 address or IPv6 /64; 0 is no limit")
	flags.StringSliceVar(&f.trusted, "trusted-proxy", nil, "prefixes of proxies whose X-Forwarded-For is believed, and which may open more than 256 connections")
	flags.StringSliceVar(&f.dnsAllowed, "dns-allow", nil, "prefixes of clients that DNS answers; empty is everybody")
	flags.DurationVar(&f.look, "look", 30*time.Second, "longest time between two looks for a newer snapshot")
	flags.DurationVar(&f.drain, "drain", 0, "how long /readyz says no before the listeners close")
	flags.Uint64Var(&f.logEvery, "log-every", 0, "log one request in so many, without client addresses; 0 logs none")
	addChoice(cmd, &f.logForm, "log-format", "text", "text or json", "text", "json")
}

func newEdge() *cobra.Command {
	var (
		f          edgeFlags
		from, list string
		pubs       []string
		state      string
	)
	cmd := &cobra.Command{
		Use:   "edge --from SOURCE --pub FILE",
		Short: "Serve answers over HTTPS and DNS from a source of signed snapshots",
		Long: `Follows a source of signed snapshots and answers from the newest that a trusted key
has signed: DNS over HTTPS (RFC 8484), dns-json, the check API and, if asked, DNS.
The source is a folder, a URL of one, or a bucket behind an S3 API, for which
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are taken from the environment; without
them it must be open to anybody. What the edge verified last stays in --state, so that a restart
answers at once, and answers go on when the source is gone or lies; an edge whose
--state cannot be written does not start.`,
		Example: `  ucedge edge --from https://origin.example/publish --pub bl.example.pub --https :443 --tls-cert chain.pem --tls-key key.pem
  ucedge edge --from s3://ACCOUNT.r2.cloudflarestorage.com/lists/bl.example --pub bl.example.pub --http 127.0.0.1:8080
  ucedge edge --from /srv/publish --pub bl.example.pub --http 127.0.0.1:8080 --dns 127.0.0.1:5353 --admin 127.0.0.1:9090`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || len(pubs) == 0 {
				return misusef(cmd, "--from and --pub are needed: what to follow, and whom to trust")
			}
			keys, err := verifiersFrom(pubs)
			if err != nil {
				return err
			}
			if list == "" {
				if list, err = listOf(pubs[0]); err != nil {
					return err
				}
			}
			log := newLogger(cmd.ErrOrStderr(), f.logForm, slog.LevelInfo)
			return f.run(cmd, log, from, list, state, keys, func(b edge.Bound) {
				log.Info("listening", "https", b.HTTPS, "http", b.HTTP, "dns", b.DNS, "admin", b.Admin)
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "folder, URL or bucket of the snapshots: publish, https://HOST/PATH, s3://HOST/BUCKET[/PREFIX]")
	flags.StringVar(&list, "list", "", "name of the list; empty is that of the first key")
	flags.StringArrayVar(&pubs, "pub", nil, "file with a public key to trust (repeatable)")
	flags.StringVar(&state, "state", "state", "folder for what must outlive a restart; empty keeps nothing, and every start is cold")
	return cmd
}

// listOf returns the name of the first key in a file, which is its list's.
func listOf(path string) (string, error) {
	text, err := readFile(path, 1<<16)
	if err != nil {
		return "", err
	}
	name, err := firstKeyName(string(text))
	if err != nil {
		return "", fmt.Errorf("public key %q: %w", path, err)
	}
	return name, nil
}

// run serves until the command's context ends.
func (f *edgeFlags) run(cmd *cobra.Command, log *slog.Logger, from, list, state string, keys note.Verifiers, listening func(edge.Bound)) error {
	if f.https == "" && f.http == "" && f.dns == "" {
		return misusef(cmd, "nothing to serve on: give --https, --http or --dns")
	}
	ctx := cmd.Context()
	source, err := openSource(from)
	if err != nil {
		return err
	}
	if err := makeState(state); err != nil {
		return err
	}
	config, err := f.config(log, state)
	if err != nil {
		return misusef(cmd, "%v", err)
	}
	host, err := f.endpoint()
	if err != nil {
		return misusef(cmd, "%v", err)
	}
	engine, err := f.newEngine(ctx, log, state, host)
	if err != nil {
		return err
	}
	defer engine.Close(context.WithoutCancel(ctx))
	metrics := edge.NewMetrics(engine)
	syncer := &edge.Syncer{
		Source: source, Engine: engine, Keys: keys, List: list,
		State: within(state, "snapshot"), Look: f.look,
		Log: log, Failed: metrics.SyncFailed,
	}
	config.Engine, config.Metrics, config.Follow, config.Listening = engine, metrics, syncer.Run, listening
	return edge.Run(ctx, config)
}

// within returns the name of a folder inside the state folder, or nothing where
// nothing is to be kept.
func within(state, name string) string {
	if state == "" {
		return ""
	}
	return filepath.Join(state, name)
}

// makeState makes the state folder and tries whether it can be written. Without
// it an edge works until it is started again while its source is away, so the
// time to say so is the first start, whichever engine answers.
func makeState(state string) error {
	if state == "" {
		return nil
	}
	for _, folder := range []string{state, within(state, "snapshot")} {
		err := os.MkdirAll(folder, 0o755)
		if err == nil {
			err = tryWrite(folder)
		}
		if err != nil {
			return fmt.Errorf("state folder %q: %w; let this user write there, name another one with --state, or keep nothing with --state ''", folder, err)
		}
	}
	return nil
}

// tryWrite makes a file in a folder and removes it.
func tryWrite(folder string) error {
	file, err := os.CreateTemp(folder, "tmp-*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// endpoint returns the name and port that discovery tells (core.Manifest), or
// nothing if there is no name to tell, or if keys are on: who finds a resolver
// by discovery has none, and dohpath is for everybody to read (RFC 9461 5).
func (f *edgeFlags) endpoint() (string, error) {
	name, port, found := strings.Cut(f.host, ":")
	switch {
	case f.host == "" || f.apiKeys != "":
		return "", nil
	case !found && f.https == "":
		port = "https" // of the proxy that clients reach
	case !found:
		port = portOf(f.https)
	}
	number, err := net.LookupPort("tcp", port)
	switch {
	case err != nil:
		return "", fmt.Errorf("--host %q: %w", f.host, err)
	case number == 0:
		return "", fmt.Errorf("--host %q: which port? NAME:PORT says it", f.host)
	}
	return net.JoinHostPort(name, strconv.Itoa(number)), nil
}

func (f *edgeFlags) newEngine(ctx context.Context, log *slog.Logger, state, host string) (edge.Engine, error) {
	switch f.engine {
	case "native":
		return edge.NewNativeEngine(host), nil
	case "wasm":
		guest, err := wasm.Guest()
		if err != nil {
			return nil, err
		}
		cache := f.cache
		if cache == "" {
			cache = within(state, "compiled")
		}
		return edge.NewWasmEngine(ctx, guest, edge.WasmOptions{
			CacheDir: cache, Instances: f.instances, Host: host,
			OnTrap: func(err error) { log.Error("guest trapped", "err", err) },
		})
	}
	return nil, fmt.Errorf("no engine %q: wasm or native", f.engine)
}

// config is what the flags say of the listeners, limits and logs.
func (f *edgeFlags) config(log *slog.Logger, state string) (edge.Config, error) {
	c := edge.Config{
		HTTPS: f.https, HTTP: f.http, DNS: f.dns, Admin: f.admin,
		PublicMetrics: f.metrics, KeyFile: f.apiKeys, Rate: f.rate,
		Log: log, LogEvery: f.logEvery, Drain: f.drain,
	}
	var err error
	if c.Trusted, err = parsePrefixes(f.trusted); err != nil {
		return c, fmt.Errorf("--trusted-proxy: %w", err)
	}
	if c.DNSAllowed, err = parsePrefixes(f.dnsAllowed); err != nil {
		return c, fmt.Errorf("--dns-allow: %w", err)
	}
	if f.https != "" {
		c.TLS, err = f.tls(log, state)
	}
	return c, err
}

// tls reads the certificate, or makes one for local use.
func (f *edgeFlags) tls(log *slog.Logger, state string) (*tls.Config, error) {
	certFile, keyFile := f.certFile, f.keyFile
	if certFile == "" && state == "" {
		return nil, errors.New("--https needs --tls-cert, or --state to keep a certificate that is made")
	}
	if certFile == "" {
		var err error
		if certFile, keyFile, err = edge.SelfSigned(filepath.Join(state, "tls")); err != nil {
			return nil, err
		}
		log.Warn("self-signed certificate, for local use only", "file", certFile)
	}
	return edge.CertificateFiles(certFile, keyFile, log)
}

// parsePrefixes reads prefixes, and addresses as prefixes of themselves.
func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// portOf returns the port of host:port.
func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return port
}
