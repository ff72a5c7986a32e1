package edge

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestHTTP2IsLean holds that package h2 answers on both kinds of listener, which
// its first window tells from net/http's.
func TestHTTP2IsLean(t *testing.T) {
	at, roots := startTLS(t, Config{Engine: wasmEngine(t, testGuest, WasmOptions{})})
	plain, err := net.Dial("tcp", at.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	secret, err := tls.Dial("tcp", at.HTTPS, &tls.Config{RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	for name, conn := range map[string]net.Conn{"with prior knowledge": plain, "over TLS": secret} {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, http2.ClientPreface)
		framer := http2.NewFramer(conn, conn)
		framer.WriteSettings()
		f, err := framer.ReadFrame()
		settings, ok := f.(*http2.SettingsFrame)
		if err != nil || !ok {
			t.Fatalf("%s: got %v, error %v, want SETTINGS", name, f, err)
		}
		if window, _ := settings.Value(http2.SettingInitialWindowSize); window != bodyMax {
			t.Errorf("%s: got a window of %d bytes, want that of package h2, %d", name, window, bodyMax)
		}
	}
}

// TestHostAnswersOverHTTP2 asks what the host answers itself.
func TestHostAnswersOverHTTP2(t *testing.T) {
	var log safeLog
	at, roots := startTLS(t, Config{
		Engine: wasmEngine(t, testGuest, WasmOptions{}), PublicMetrics: true, LogEvery: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	client := newClient(t, roots, overH2)
	fetch(t, client, "GET", "https://"+at.HTTPS+"/v1/check?ip=192.0.2.1", "")
	resp, body := fetch(t, client, "GET", "https://"+at.HTTPS+"/metrics", "", "Accept-Encoding", "identity")
	if want := `ucedge_requests_total{path="/v1/check",status="200"} 1`; resp.StatusCode != 200 || !strings.Contains(body, want) {
		t.Errorf("/metrics: status %d, no %q in\n%s", resp.StatusCode, want, body)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("/metrics: got type %q", kind)
	}
	resp, body = fetch(t, client, "GET", "https://"+at.HTTPS+"/metrics", "", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(body, "\x1f\x8b") {
		t.Errorf("/metrics, gzip: got %v, %.10q", resp.Header, body)
	}
	if resp, body = fetch(t, client, "HEAD", "https://"+at.HTTPS+"/metrics", ""); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD /metrics: status %d, body %q", resp.StatusCode, body)
	}
	if want := "method=GET path=/v1/check status=200 bytes=42 "; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "proto=HTTP/2.0") || strings.Contains(log.String(), "192.0.2") {
		t.Errorf("the access log has no %q, or an address:\n%s", want, log.String())
	}
}

// TestGateOverHTTP2 asks with keys and from behind a proxy.
func TestGateOverHTTP2(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyFile, []byte("one "+hashOf("one")+"\ntwo "+hashOf("two")+" 0.01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at, _ := start(t, Config{Engine: wasmEngine(t, testGuest, WasmOptions{}), KeyFile: keyFile, Rate: 0.01, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	client := newClient(t, nil, overH2C)
	for _, row := range []struct{ target, auth, forwarded, want string }{
		{"/k/one/x?y", "", "192.0.2.1", "|4|GET|/x?y|"},
		{"/x", "bearer  one", "192.0.2.2", "|3|GET|/x|"}, // the key's one request of 100 seconds has been spent
		{"/x", "Bearer two", "192.0.2.1", "|4|GET|/x|"},
		{"/x", "Bearer two", "192.0.2.4", "|3|GET|/x|"},
		{"/x", "", "192.0.2.1", "|1|GET|/x|"},
		{"/k/three", "", "192.0.2.1", "|3|GET|/|"}, // the address's one
		{"/k/three", "", "192.0.2.4", "|2|GET|/|"},
		{"/x", "", "192.0.2.1, 192.0.2.3", "|1|GET|/x|"},
	} {
		_, body := fetch(t, client, "GET", "http://"+at.HTTP+row.target, "", "Authorization", row.auth, "X-Forwarded-For", row.forwarded)
		if !strings.Contains(body, row.want) {
			t.Errorf("%+v: got %q", row, body)
		}
	}
}

// startTLS is start with a certificate, and returns whom to trust.
func startTLS(t *testing.T, c Config) (at Bound, roots *x509.CertPool) {
	t.Helper()
	certFile, keyFile, err := SelfSigned(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if c.TLS, err = CertificateFiles(certFile, keyFile, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	if pem, err := os.ReadFile(certFile); err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("certificate %q cannot be trusted: %v", certFile, err)
	}
	at, _ = start(t, c)
	return at, roots
}

// A safeLog may be read while it is written to.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A crowd is an HTTP/2 connection whose client asks the same twenty times at
// once, and forgets the answers.
type crowd struct {
	net.Conn // nil: nothing else of it is called
	in       bytes.Buffer
	framer   *http2.Framer
	header   []byte
	body     []byte
	next     uint32 // stream
	left     int    // requests
}

func newCrowd(requests int, method, target string, body []byte) *crowd {
	c := &crowd{left: requests, body: body, next: 1}
	c.framer = http2.NewFramer(&c.in, nil)
	c.in.WriteString(http2.ClientPreface)
	c.framer.WriteSettings()
	c.framer.WriteWindowUpdate(0, 1<<30)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":path", target}, {"accept", "application/dns-message"}, {"content-type", "application/dns-message"}, {"user-agent", "crowd"}} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: f[0] != ":method"}) // and so in no table
	}
	c.header = block.Bytes()
	return c
}

func (c *crowd) Read(b []byte) (int, error) {
	if c.in.Len() == 0 && c.left <= 0 {
		return 0, io.EOF
	}
	for n := 0; c.in.Len() < 1000 && n < 20; n++ {
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: c.header, EndHeaders: true, EndStream: c.body == nil})
		if c.body != nil {
			c.framer.WriteData(c.next, true, c.body)
		}
		c.next += 2
		c.left--
	}
	return c.in.Read(b)
}

func (*crowd) Write(b []byte) (int, error)      { return len(b), nil }
func (*crowd) SetReadDeadline(time.Time) error  { return nil }
func (*crowd) SetWriteDeadline(time.Time) error { return nil }
func (*crowd) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// crowds are the two ways to ask a DNS question.
func crowds(t testing.TB) map[string]func(requests int) *crowd {
	query := packed(t, "1.2.0.192.dnsbl-1.bl.example.", dns.TypeA)
	return map[string]func(int) *crowd{
		"get": func(n int) *crowd {
			return newCrowd(n, "GET", "/dns-query?dns="+base64.RawURLEncoding.EncodeToString(query), nil)
		},
		"post": func(n int) *crowd { return newCrowd(n, "POST", "/dns-query", query) },
	}
}

// leanHandlers are a handler that does nothing but answer, and one that does
// all that an operator can ask of it.
func leanHandlers(t testing.TB) map[string]*Handler {
	e := engines["native"](t)
	if err := e.Load(t.Context(), world(t, 2)); err != nil {
		t.Fatal(err)
	}
	return map[string]*Handler{
		"bare": {Engine: e},
		"full": {Engine: e, Gate: &Gatekeeper{Limits: NewLimits(1e6)}, Metrics: NewMetrics(e), Log: slog.New(slog.DiscardHandler), Every: 1000},
	}
}

// BenchmarkLean is one exchange over HTTP/2 without TLS or a socket.
func BenchmarkLean(b *testing.B) {
	for name, h := range leanHandlers(b) {
		for way, newCrowd := range crowds(b) {
			b.Run(name+"/"+way, func(b *testing.B) {
				c := newCrowd(b.N)
				b.ReportAllocs()
				b.ResetTimer()
				leanServer(h).Serve(c, false)
			})
		}
	}
}

// TestLeanAllocatesNothing holds that for a request from its frames to the
// frames of its answer.
func TestLeanAllocatesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: under the race detector pools forget on purpose")
	}
	for name, h := range leanHandlers(t) {
		for way, newCrowd := range crowds(t) {
			count := func(requests int) float64 {
				return testing.AllocsPerRun(3, func() { leanServer(h).Serve(newCrowd(requests), false) })
			}
			few, many := count(1000), count(21000)
			if many > few+200 { // the collector may take what is pooled
				t.Errorf("%s, %s: %v allocations for 1000 requests, %v for 21000", name, way, few, many)
			}
		}
	}
}
