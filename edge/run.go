package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"ucedge/internal/inbound"
)

// keyCheck is how often a key file is looked at: a revoked key works that much
// longer.
const keyCheck = 5 * time.Second

// A Config says what Run starts. Addresses are host:port; an empty one starts
// nothing, and port 0 is any free port.
type Config struct {
	Engine Engine                      // what answers; the caller closes it after Run
	Follow func(context.Context) error // keeps the engine current until its context ends; nil leaves it as it is

	HTTPS string      // HTTP/1.1 and HTTP/2
	TLS   *tls.Config // for HTTPS
	HTTP  string      // HTTP/1.1 and unencrypted HTTP/2, for tests and behind a proxy on the same machine
	DNS   string      // UDP and TCP
	Admin string      // /metrics, /healthz, /readyz; not for the public

	Metrics       *Metrics // nil makes them
	PublicMetrics bool     // show them on HTTPS and HTTP too

	KeyFile    string         // asks HTTP clients for a key; see ParseKeys; read again when it changes
	Rate       float64        // requests a second for each client; 0 is no limit
	Trusted    []netip.Prefix // proxies whose X-Forwarded-For is believed, and which may have any number of connections
	DNSAllowed []netip.Prefix // clients that DNS answers; empty is everybody

	Log       *slog.Logger          // nil is slog.Default
	LogEvery  uint64                // one HTTP request in LogEvery is logged; 0 logs none
	Drain     time.Duration         // how long /readyz says no before the listeners close
	Listening func(addresses Bound) // called once when every listener is open; may be nil
}

// Bound is where Run listens, with the ports that it got. What was not started
// is empty.
type Bound struct{ HTTPS, HTTP, DNS, Admin string }

// Run serves until ctx ends, lets the requests under way finish, and returns
// nil; or it returns the error of the first part that failed, after the others
// have stopped.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(c.Engine)
	}
	gate := &Gatekeeper{Trusted: c.Trusted, Limits: NewLimits(c.Rate)}
	if err := c.readKeys(gate); err != nil {
		return err
	}
	l, err := c.listen()
	if err != nil {
		return errors.Join(err, l.close())
	}
	if c.Listening != nil {
		c.Listening(l.bound())
	}
	return c.serve(ctx, gate, l)
}

// serve runs every part until ctx ends or one of them fails.
func (c *Config) serve(ctx context.Context, gate *Gatekeeper, l *listeners) error {
	handler := &Handler{Engine: c.Engine, Gate: gate, Metrics: c.Metrics, Public: c.PublicMetrics}
	if c.LogEvery > 0 {
		handler.Log, handler.Every = c.Log, c.LogEvery
	}
	parts, ctx := errgroup.WithContext(ctx)
	open, stop := context.WithCancel(context.WithoutCancel(ctx)) // ends c.Drain after ctx
	parts.Go(func() error {
		defer stop()
		<-ctx.Done()
		handler.Drain()
		time.Sleep(c.Drain)
		return nil
	})
	limits := c.connections()
	if l.https != nil {
		parts.Go(func() error { return serveHTTP(open, inbound.Listen(l.https, limits), handler, c.TLS, c.Log) })
	}
	if l.http != nil {
		parts.Go(func() error { return serveHTTP(open, inbound.Listen(l.http, limits), handler, nil, c.Log) })
	}
	if l.admin != nil {
		parts.Go(func() error { return serveHTTP(open, l.admin, adminHandler(handler, c.Metrics), nil, c.Log) })
	}
	if l.udp != nil {
		dns := &DNSServer{Engine: c.Engine, Gate: gate, Allowed: c.DNSAllowed, Metrics: c.Metrics, Log: c.Log}
		parts.Go(func() error { return dns.Serve(open, l.udp, l.tcp) })
	}
	if c.Follow != nil {
		parts.Go(func() error { return unlessEnded(ctx, c.Follow(ctx)) })
	}
	if c.KeyFile != "" {
		parts.Go(func() error { c.watchKeys(ctx, gate); return nil })
	}
	return parts.Wait()
}

// connections bounds the connections to a listener for clients. A proxy and this
// machine are all their clients, and have no bound of their own.
func (c *Config) connections() inbound.Limits {
	return inbound.Limits{
		All: connectionsMax, Peer: peerConnectionsMax, Refuse: c.Metrics.connectionRefused,
		Exempt: func(a netip.Addr) bool { return a.IsLoopback() || contains(c.Trusted, a) },
	}
}

// unlessEnded returns err, or nil if it only says that ctx has ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// adminHandler serves what an operator asks, and nothing that a client does.
func adminHandler(h *Handler, m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, m)
	mux.Handle("GET "+healthPath, h)
	mux.Handle("GET "+readyPath, h)
	return mux
}

// readKeys gives gate the keys in the key file, if there is to be one.
func (c *Config) readKeys(gate *Gatekeeper) error {
	if c.KeyFile == "" {
		return nil
	}
	keys, err := ReadKeys(c.KeyFile)
	if err != nil {
		return err
	}
	gate.SetKeys(keys)
	return nil
}

// watchKeys gives gate the keys in the key file whenever it changes.
func (c *Config) watchKeys(ctx context.Context, gate *Gatekeeper) {
	w := &keyWatch{config: c, gate: gate}
	w.look()
	tick := time.NewTicker(keyCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

// A keyWatch knows what the key file held when it last looked.
type keyWatch struct {
	config *Config
	gate   *Gatekeeper
	last   []byte
}

// look reads the key file and, if it has changed, takes its keys. If they
// cannot be read, the keys before them stay.
func (w *keyWatch) look() {
	text, err := os.ReadFile(w.config.KeyFile)
	if err == nil && bytes.Equal(text, w.last) {
		return
	}
	var keys *Keys
	if err == nil {
		w.last = text
		keys, err = ParseKeys(bytes.NewReader(text))
	}
	if err != nil {
		w.config.Log.Error("keys not renewed", "file", w.config.KeyFile, "err", err)
		return
	}
	w.gate.SetKeys(keys)
	w.config.Log.Info("keys read", "file", w.config.KeyFile, "keys", keys.Len())
}

// listeners are the sockets of one Run.
type listeners struct {
	https, http, admin, tcp net.Listener
	udp                     *net.UDPConn
}

// listen opens every socket that c asks for. On error it returns those that it
// had opened.
func (c *Config) listen() (*listeners, error) {
	l := new(listeners)
	if c.HTTPS != "" && c.TLS == nil {
		return l, errors.New("listen: HTTPS needs a certificate")
	}
	for _, want := range []struct {
		name, address string
		ln            *net.Listener
	}{{"HTTPS", c.HTTPS, &l.https}, {"HTTP", c.HTTP, &l.http}, {"admin", c.Admin, &l.admin}} {
		if want.address == "" {
			continue
		}
		var err error
		if *want.ln, err = net.Listen("tcp", want.address); err != nil {
			return l, fmt.Errorf("%s: %w", want.name, err)
		}
	}
	if c.DNS == "" {
		return l, nil
	}
	if err := l.listenDNS(c.DNS); err != nil {
		return l, fmt.Errorf("DNS: %w", err)
	}
	return l, nil
}

// dnsAttempts is how often a port that is free for UDP is sought that is free
// for TCP too.
const dnsAttempts = 10

// listenDNS opens the two sockets of the DNS server, on one port.
func (l *listeners) listenDNS(address string) error {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	for range dnsAttempts {
		if l.udp, err = net.ListenUDP("udp", at); err != nil {
			return err
		}
		if l.tcp, err = net.Listen("tcp", l.udp.LocalAddr().String()); err == nil || at.Port != 0 {
			return err
		}
		l.udp.Close()
		l.udp = nil
	}
	return fmt.Errorf("listen: no port is free for both UDP and TCP on %q: %w", address, err)
}

func (l *listeners) close() error {
	var errs []error
	for _, ln := range []net.Listener{l.https, l.http, l.admin, l.tcp} {
		if ln != nil {
			errs = append(errs, ln.Close())
		}
	}
	if l.udp != nil {
		errs = append(errs, l.udp.Close())
	}
	return errors.Join(errs...)
}

func (l *listeners) bound() Bound {
	name := func(ln net.Listener) string {
		if ln == nil {
			return ""
		}
		return ln.Addr().String()
	}
	return Bound{HTTPS: name(l.https), HTTP: name(l.http), DNS: name(l.tcp), Admin: name(l.admin)}
}
