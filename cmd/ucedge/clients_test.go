package main

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ucedge/wasm"
)

// clients are the programs that people ask with, and what each must show for a
// listed and for an unlisted name. {h1} and {h2} stand for the addresses of the
// edge, {port} for the port of {h2}, {ca} for its certificate.
var clients = []struct {
	name     string
	args     []string // the last one is the name
	listed   string
	unlisted string
}{
	{name: "curl", args: []string{"curl", "-s", "http://{h1}/resolve?type=A&name={name}"}, listed: `"data":"127.0.0.2"`, unlisted: `"Status":3`},
	{name: "curl over HTTP/2", args: []string{"curl", "-skv", "--http2", "https://{h2}/resolve?type=A&name={name}"}, listed: `"data":"127.0.0.2"`, unlisted: `"Status":3`},
	{name: "curl over HTTP/2 with prior knowledge", args: []string{"curl", "-sv", "--http2-prior-knowledge", "http://{h1}/resolve?type=A&name={name}"}, listed: `"data":"127.0.0.2"`, unlisted: `"Status":3`},
	{name: "nghttp", args: []string{"nghttp", "-v", "https://{h2}/resolve?type=A&name={name}"}, listed: `"data":"127.0.0.2"`, unlisted: `"Status":3`},
	{name: "nghttp without TLS", args: []string{"nghttp", "-v", "http://{h1}/resolve?type=A&name={name}"}, listed: `"data":"127.0.0.2"`, unlisted: `"Status":3`},
	{name: "kdig POST", args: []string{"kdig", "@127.0.0.1", "-p", "{port}", "+https", "A", "{name}"}, listed: "127.0.0.2", unlisted: "NXDOMAIN"},
	{name: "kdig GET, certificate verified", args: []string{"kdig", "@127.0.0.1", "-p", "{port}", "+https-get", "+tls-ca={ca}", "+tls-hostname=localhost", "+padding", "A", "{name}"}, listed: "127.0.0.2", unlisted: "NXDOMAIN"},
	{name: "dig over TLS", args: []string{"dig", "@127.0.0.1", "-p", "{port}", "+https", "A", "{name}"}, listed: "127.0.0.2", unlisted: "NXDOMAIN"},
	{name: "dig over cleartext HTTP/2", args: []string{"dig", "@127.0.0.1", "-p", "{port1}", "+http-plain", "A", "{name}"}, listed: "127.0.0.2", unlisted: "NXDOMAIN"},
	{name: "dig over UDP", args: []string{"dig", "@127.0.0.1", "-p", "{dns}", "A", "{name}"}, listed: "127.0.0.2", unlisted: "NXDOMAIN"},
	// curl resolves the name over the edge and then finds nothing on port 9.
	{name: "curl --doh-url", args: []string{"curl", "-sv", "--max-time", "3", "--doh-url", "https://{h2}/dns-query", "--doh-insecure", "http://{name}:9/"}, listed: "127.0.0.2", unlisted: "Bad RCODE"},
}

// TestClients runs the demo and asks it with the clients that are installed.
func TestClients(t *testing.T) {
	if _, err := wasm.Guest(); err != nil {
		t.Skip(err)
	}
	place := startDemo(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.args[0]); err != nil {
				t.Skipf("%s is not installed", c.args[0])
			}
			for name, want := range map[string]string{"2.0.0.127.dnsbl-1.bl.example": c.listed, "1.0.0.127.dnsbl-1.bl.example": c.unlisted} {
				args := make([]string, len(c.args))
				for i, arg := range c.args {
					args[i] = strings.ReplaceAll(place.Replace(arg), "{name}", name)
				}
				out, _ := exec.Command(args[0], args[1:]...).CombinedOutput() // the exit code is the client's opinion
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("%s\ngot  %s\nwant %q in it", strings.Join(args, " "), out, want)
				}
			}
		})
	}
}

// startDemo runs `ucedge run` until the test ends and returns its addresses.
func startDemo(t *testing.T) *strings.Replacer {
	t.Helper()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	talk := &safeBuffer{}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "--dir", dir, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, strings.NewReader(""), talk, talk)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("ucedge run ended with exit code %d: %s", code, talk)
		}
	})
	greeting := regexp.MustCompile(`http://(127\.0\.0\.1:(\d+)).* https://(127\.0\.0\.1:(\d+)) and DNS 127\.0\.0\.1:(\d+)`)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if m := greeting.FindStringSubmatch(talk.String()); m != nil {
			waitReady(t, "http://"+m[1])
			return strings.NewReplacer("{h1}", m[1], "{port1}", m[2], "{h2}", m[3], "{port}", m[4], "{dns}", m[5], "{ca}", dir+"/state/tls/localhost.crt")
		}
	}
	t.Fatalf("no greeting within a minute: %s", talk)
	return nil
}

// waitReady waits until the edge has a snapshot.
func waitReady(t *testing.T, url string) {
	t.Helper()
	var out bytes.Buffer
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out.Reset()
		if run(t.Context(), []string{"query", "2.0.0.127.dnsbl-1.bl.example", "--edge", url}, nil, &out, &out) == exitOK && strings.Contains(out.String(), "127.0.0.2") {
			return
		}
	}
	t.Fatalf("the edge has no snapshot: %s", &out)
}

// A safeBuffer may be read while it is written to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
