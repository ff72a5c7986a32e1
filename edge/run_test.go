package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ucedge/snapshot"
)

// start runs an edge until the test ends or stop is called, and returns where
// it listens. Empty addresses of c become free ports of the loopback address.
func start(t *testing.T, c Config) (at Bound, stop func()) {
	t.Helper()
	const free = "127.0.0.1:0"
	c.HTTP, c.DNS, c.Admin = free, free, free
	if c.TLS != nil {
		c.HTTPS = free
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	bound := make(chan Bound, 1)
	c.Listening = func(b Bound) { bound <- b }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	select {
	case at = <-bound:
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(stop)
	return at, stop
}

// fetch sends one request and returns the response with its body read.
func fetch(t *testing.T, client *http.Client, method, url, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// newClient returns a client of its own that speaks only what set allows.
func newClient(t *testing.T, roots *x509.CertPool, set func(*http.Protocols)) *http.Client {
	p := new(http.Protocols)
	set(p)
	transport := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func overH1(p *http.Protocols)  { p.SetHTTP1(true) }
func overH2(p *http.Protocols)  { p.SetHTTP2(true) }
func overH2C(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }

func TestRunServesEveryProtocol(t *testing.T) {
	e := wasmEngine(t, testGuest, WasmOptions{})
	if err := e.Load(t.Context(), marked('a', 0x12)); err != nil {
		t.Fatal(err)
	}
	at, roots := startTLS(t, Config{Engine: e})
	for _, row := range []struct {
		name, base, proto string
		set               func(*http.Protocols)
	}{
		{"HTTP/1.1", "http://" + at.HTTP, "HTTP/1.1", overH1},
		{"HTTP/2 with prior knowledge", "http://" + at.HTTP, "HTTP/2.0", overH2C},
		{"HTTP/1.1 over TLS", "https://" + at.HTTPS, "HTTP/1.1", overH1},
		{"HTTP/2 over TLS", "https://" + at.HTTPS, "HTTP/2.0", overH2},
	} {
		t.Run(row.name, func(t *testing.T) {
			client := newClient(t, roots, row.set)
			resp, body := fetch(t, client, "POST", row.base+"/v1/check?ip=x", "192.0.2.1", "Accept", "a/b", "Accept", "c/d", "Content-Type", "text/plain")
			if want := "a00000012|0|POST|/v1/check?ip=x|a/b, c/d|text/plain||192.0.2.1"; body != want || resp.StatusCode != 200 {
				t.Errorf("POST: got %d %q, want 200 %q", resp.StatusCode, body, want)
			}
			if resp.Proto != row.proto || resp.ContentLength != int64(len(body)) {
				t.Errorf("POST: got %s and length %d, want %s and %d", resp.Proto, resp.ContentLength, row.proto, len(body))
			}
			resp, body = fetch(t, client, "HEAD", row.base+"/x", "")
			if want := int64(len("a00000012|0|HEAD|/x||||")); body != "" || resp.ContentLength != want {
				t.Errorf("HEAD: got body %q and length %d, want none and %d", body, resp.ContentLength, want)
			}
			resp, body = fetch(t, client, "GET", row.base+"/filter", "")
			if body != "a00000012" || resp.ContentLength != 9 {
				t.Errorf("filter: got %q", body)
			}
			resp, _ = fetch(t, client, "GET", row.base+"/panic", "")
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("guest that traps: got %d %v, want 503 with Retry-After and no-store", resp.StatusCode, resp.Header)
			}
			if _, body = fetch(t, client, "GET", row.base+"/x", ""); !strings.HasPrefix(body, "a00000012|") {
				t.Errorf("after a guest that trapped: got %q", body)
			}
		})
	}
}

// TestBodiesReachTheCore sends bodies around the limit: the core gets at most
// one byte more than it allows, so that it can say so.
func TestBodiesReachTheCore(t *testing.T) {
	at, _ := start(t, Config{Engine: wasmEngine(t, testGuest, WasmOptions{})})
	t.Run("HTTP/1.1", func(t *testing.T) { sendBodies(t, newClient(t, nil, overH1), at.HTTP) })
	t.Run("HTTP/2", func(t *testing.T) { sendBodies(t, newClient(t, nil, overH2C), at.HTTP) })
}

func sendBodies(t *testing.T, client *http.Client, address string) {
	for _, row := range []struct{ sent, got int }{
		{0, 0}, {1, 1}, {1000, 1000}, {messageMax, messageMax}, {messageMax + 1, messageMax + 1}, {messageMax + 2, messageMax + 1}, {1 << 18, messageMax + 1},
	} {
		for _, chunked := range []bool{false, true} {
			req, err := http.NewRequest("POST", "http://"+address+"/x", io.LimitReader(endless{}, int64(row.sent)))
			if err != nil {
				t.Fatal(err)
			}
			if !chunked {
				req.ContentLength = int64(row.sent)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := len(body) - len("-00000000|0|POST|/x||||"); got != row.got {
				t.Errorf("%d bytes sent (chunked: %v): the core got %d, want %d", row.sent, chunked, got, row.got)
			}
		}
	}
}

// endless is a reader of the letter x.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestTargetsReachTheCoreAsTheyCame(t *testing.T) {
	at, _ := start(t, Config{Engine: wasmEngine(t, testGuest, WasmOptions{})})
	for line, want := range map[string]string{
		"GET /a%2Fb?c=%zz&d HTTP/1.1":                      "/a%2Fb?c=%zz&d",
		"GET //two//slashes/../x HTTP/1.1":                 "//two//slashes/../x",
		"GET http://edge.example/absolute?form HTTP/1.1":   "/absolute?form",
		"GET /k/some-key/dns-query?dns=AAAA HTTP/1.1":      "/dns-query?dns=AAAA",
		"GET http://edge.example/k/key/v1/status HTTP/1.1": "/v1/status",
		"GET /k/some-key HTTP/1.1":                         "/",
		"GET /k/some-key?ip=192.0.2.1 HTTP/1.1":            "/?ip=192.0.2.1",
	} {
		conn, err := net.Dial("tcp", at.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s\r\nHost: edge.example\r\nConnection: close\r\n\r\n", line)
		reply, _ := io.ReadAll(conn)
		conn.Close()
		if want := "|0|GET|" + want + "||||"; !bytes.HasSuffix(reply, []byte(want)) {
			t.Errorf("%s: got\n%s\nwant the end %q", line, reply, want)
		}
	}
}

// TestAnswersAreOfOneGeneration swaps generations while clients fetch the
// filter, whose ETag comes from the engine and whose bytes come from the host.
func TestAnswersAreOfOneGeneration(t *testing.T) {
	e := wasmEngine(t, testGuest, WasmOptions{})
	if err := e.Load(t.Context(), marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	at, _ := start(t, Config{Engine: e})
	var done atomic.Bool
	var fetched atomic.Int64
	var clients sync.WaitGroup
	for n := range 6 {
		client := newClient(t, nil, []func(*http.Protocols){overH1, overH2C}[n%2])
		clients.Go(func() {
			for !done.Load() {
				resp, body := fetch(t, client, "GET", "http://"+at.HTTP+"/filter", "")
				if etag := resp.Header.Get("Etag"); resp.StatusCode != 200 || body != etag {
					t.Errorf("got %d with filter %q and etag %q, want the same", resp.StatusCode, body, etag)
				}
				fetched.Add(1)
			}
		})
	}
	for serial := int64(2); serial <= 22; serial++ {
		before := fetched.Load()
		if err := e.Load(t.Context(), marked(markOf(serial), snapshot.Serial(serial))); err != nil {
			t.Error(err)
		}
		for fetched.Load() < before+10 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	done.Store(true)
	clients.Wait()
}

func TestRunStopsGracefully(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { stopGracefully(t, overH1) })
	t.Run("HTTP/2", func(t *testing.T) { stopGracefully(t, overH2C) })
}

func stopGracefully(t *testing.T, set func(*http.Protocols)) {
	at, stop := start(t, Config{Engine: wasmEngine(t, testGuest, WasmOptions{}), Drain: 50 * time.Millisecond})
	client := newClient(t, nil, set)
	body, send := io.Pipe()
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		resp, err := client.Post("http://"+at.HTTP+"/x", "text/plain", body)
		if err != nil {
			results <- result{err: err}
			return
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		results <- result{string(text), err}
	}()
	io.WriteString(send, "begun ") // returns when the transport has taken it
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", at.HTTP)
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(time.Millisecond)
	}
	select {
	case <-stopped:
		t.Error("Run ended while a request was under way")
	default:
	}
	io.WriteString(send, "and finished")
	send.Close()
	if r := <-results; r.err != nil || !strings.HasSuffix(r.text, "|begun and finished") {
		t.Errorf("request under way: got %q, error %v", r.text, r.err)
	}
	<-stopped
	if _, err := net.Dial("tcp", at.DNS); err == nil {
		t.Error("the DNS server still listens")
	}
}

func TestRunSaysWhatItCannotDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 1})
	broken := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(broken, []byte("name only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"address in use":         {Engine: e, HTTP: taken.Addr().String(), DNS: "127.0.0.1:0"},
		"HTTPS without TLS":      {Engine: e, HTTPS: "127.0.0.1:0"},
		"key file that is none":  {Engine: e, KeyFile: filepath.Join(t.TempDir(), "none")},
		"key file with an error": {Engine: e, KeyFile: broken},
	} {
		c.Log = slog.New(slog.DiscardHandler)
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	failure := fmt.Errorf("no source")
	err = Run(t.Context(), Config{Engine: e, HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Follow: func(context.Context) error { return failure }})
	if err != failure {
		t.Errorf("Follow that fails: got error %v, want %v", err, failure)
	}
}

// A pipeListener gives connections that are in memory, so that time can be a
// bubble's.
type pipeListener struct {
	conns chan net.Conn
	peer  net.Addr // of all of them; nil is what a pipe says
	once  sync.Once
}

// A pipeConn is the server's end of a connection, with an address at its other.
type pipeConn struct {
	net.Conn
	peer net.Addr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.peer }

func (l *pipeListener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's end of a connection to the listener.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	if l.peer != nil {
		server = pipeConn{server, l.peer}
	}
	l.conns <- server
	return client
}

// TestNobodyHoldsAllConnections: one client has so many connections and no more,
// a proxy as many as it likes.
func TestNobodyHoldsAllConnections(t *testing.T) {
	for name, row := range map[string]struct {
		trusted []netip.Prefix
		peer    string
		open    int // of twice as many as a client may have
	}{
		"a client":      {nil, "192.0.2.1:1", peerConnectionsMax},
		"a proxy":       {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "192.0.2.1:1", 2 * peerConnectionsMax},
		"this machine":  {nil, "127.0.0.1:1", 2 * peerConnectionsMax},
		"another proxy": {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "[2001:db8::1]:1", peerConnectionsMax},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ln := &pipeListener{conns: make(chan net.Conn), peer: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(row.peer))}
				c := &Config{Engine: NewNativeEngine(""), Trusted: row.trusted, Log: slog.New(slog.DiscardHandler)}
				c.Metrics = NewMetrics(c.Engine)
				ended := make(chan error)
				go func() { ended <- c.serve(ctx, new(Gatekeeper), &listeners{http: ln}) }()
				open := 0
				for range 2 * peerConnectionsMax {
					conn := ln.dial()
					defer conn.Close()
					if _, err := io.WriteString(conn, "GET"); err == nil {
						open++
					}
				}
				if open != row.open {
					t.Errorf("%d connections of %d were taken, want %d", open, 2*peerConnectionsMax, row.open)
				}
				w := httptest.NewRecorder()
				c.Metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				if line := fmt.Sprintf("\nucedge_connections_refused_total %d\n", 2*peerConnectionsMax-row.open); !strings.Contains(w.Body.String(), line) {
					t.Errorf("the metrics do not say %q", line)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSlowClientsAreLeftAlone holds how long the server waits for whom.
func TestSlowClientsAreLeftAlone(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := new(exchange)
		if x.read(r); x.trouble != 0 {
			x.fail(x.trouble, "the body did not arrive")
			x.write(w)
			return
		}
		w.Write(bytes.Repeat([]byte{'x'}, 1<<20))
	})
	for _, row := range []struct {
		name, sent string
		least      time.Duration
		most       time.Duration
		got        string
	}{
		{"nothing at all", "", headerTimeout, headerTimeout, ""},
		{"half a header", "GET / HTTP/1.1\r\nHost: edge", headerTimeout, headerTimeout, ""},
		{"half a body", "POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: 9\r\n\r\nhalf", readTimeout, readTimeout + time.Second, "HTTP/1.1 408 "},
		{"takes no answer", "GET / HTTP/1.1\r\nHost: edge\r\n\r\n", writeTimeout, writeTimeout + time.Second, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ln := &pipeListener{conns: make(chan net.Conn)}
				ended := make(chan error)
				go func() { ended <- serveHTTP(ctx, ln, handler, nil, slog.New(slog.DiscardHandler)) }()
				begun := time.Now()
				conn := ln.dial()
				io.WriteString(conn, row.sent)
				if row.name == "takes no answer" {
					time.Sleep(row.least + 500*time.Millisecond)
				}
				got, _ := io.ReadAll(conn)
				if took := time.Since(begun); took < row.least || took > row.most {
					t.Errorf("the connection was closed after %v, want %v to %v", took, row.least, row.most)
				}
				if !strings.HasPrefix(string(got), row.got) || row.got == "" && len(got) >= 1<<20 {
					t.Errorf("got %d bytes %.40q, want %q", len(got), got, row.got)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
