package edgetest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ucedge/edge"
	"ucedge/edge/edgetest"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/wasm"
)

// engines are the two engines of the Go host.
var engines = map[string]func(t *testing.T) edge.Engine{
	"native": func(*testing.T) edge.Engine { return edge.NewNativeEngine("") },
	"wazero": func(t *testing.T) edge.Engine {
		module, err := wasm.Guest()
		if err != nil {
			t.Skip(err)
		}
		e, err := edge.NewWasmEngine(t.Context(), module, edge.WasmOptions{CacheDir: cacheDir, Instances: 2})
		if err != nil {
			t.Fatal(err)
		}
		return e
	},
}

// cacheDir lets the tests of this package compile the guest once.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "edgetest-")
	if err != nil {
		panic(err)
	}
	cacheDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// startEdge runs the Go host in that state until the test ends.
func startEdge(t *testing.T, e edge.Engine, state edgetest.State, now int64) edge.Bound {
	t.Helper()
	if state != edgetest.Empty {
		loadWorld(t, e, state, now)
	}
	cert, key, err := edge.SelfSigned(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	bound := make(chan edge.Bound, 1)
	config := edge.Config{
		Engine: e, HTTPS: "127.0.0.1:0", HTTP: "127.0.0.1:0", DNS: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Log: slog.New(slog.DiscardHandler),
		Listening: func(b edge.Bound) { bound <- b },
	}
	switch state {
	case edgetest.Keyed:
		config.KeyFile = filepath.Join(t.TempDir(), "keys")
		line := fmt.Sprintf("suite %x\n", sha256.Sum256([]byte(edgetest.Key)))
		if err := os.WriteFile(config.KeyFile, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	case edgetest.Limited:
		config.Rate = 0.001
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- edge.Run(ctx, config) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	select {
	case b := <-bound:
		return b
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v", err)
	}
	return edge.Bound{}
}

// loadWorld gives e the world as it stands at now.
func loadWorld(t *testing.T, e edge.Engine, state edgetest.State, now int64) {
	t.Helper()
	image, err := build.Image(edgetest.World(now))
	if err != nil {
		t.Fatal(err)
	}
	filter, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	m := edgetest.Times(state, now)
	m.Objects = []manifest.Object{
		{Role: manifest.Base, Hash: sha256.Sum256(image), Size: int64(len(image))},
		{Role: manifest.Filter, Hash: sha256.Sum256(filter), Size: int64(len(filter))},
	}
	if err := e.Load(t.Context(), &edge.Generation{Manifest: m, Image: image, Filter: filter}); err != nil {
		t.Fatal(err)
	}
}

// client returns a client of one version of HTTP that trusts any certificate:
// the suite makes its own.
func client(t *testing.T, set func(*http.Protocols)) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
	set(transport.Protocols)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func http1(p *http.Protocols)  { p.SetHTTP1(true) }
func http2(p *http.Protocols)  { p.SetHTTP2(true) }
func http2c(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }

func TestGoHost(t *testing.T) {
	for name, newEngine := range engines {
		t.Run(name, func(t *testing.T) {
			at := startEdge(t, newEngine(t), edgetest.Ready, time.Now().Unix())
			t.Run("h1", func(t *testing.T) { edgetest.Run(t, client(t, http1), "http://"+at.HTTP) })
			t.Run("h2 tls", func(t *testing.T) { edgetest.Run(t, client(t, http2), "https://"+at.HTTPS) })
			t.Run("h2 with prior knowledge", func(t *testing.T) { edgetest.Run(t, client(t, http2c), "http://"+at.HTTP) })
			t.Run("udp", func(t *testing.T) { edgetest.RunDNS(t, "udp", at.DNS) })
			t.Run("tcp", func(t *testing.T) { edgetest.RunDNS(t, "tcp", at.DNS) })
		})
	}
}

func TestGoHostStates(t *testing.T) {
	for name, newEngine := range engines {
		for _, state := range []edgetest.State{edgetest.Empty, edgetest.Stale, edgetest.Expired, edgetest.Keyed, edgetest.Limited} {
			t.Run(name+"/"+string(state), func(t *testing.T) {
				at := startEdge(t, newEngine(t), state, time.Now().Unix())
				if state == edgetest.Limited {
					spend(t, client(t, http1), "http://"+at.HTTP)
				}
				t.Run("h1", func(t *testing.T) { edgetest.RunState(t, client(t, http1), "http://"+at.HTTP, state) })
				t.Run("h2", func(t *testing.T) { edgetest.RunState(t, client(t, http2), "https://"+at.HTTPS, state) })
			})
		}
	}
}

// TestPublishedWorldIsFollowed holds that what Publish makes is what an edge
// takes: signatures, hashes, both objects.
func TestPublishedWorldIsFollowed(t *testing.T) {
	dir := t.TempDir()
	public, err := edgetest.Publish(dir, edgetest.Ready, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := manifest.ParseVerifiers(public)
	if err != nil {
		t.Fatal(err)
	}
	e := engines["native"](t)
	at := startEdge(t, e, edgetest.Empty, 0)
	syncer := &edge.Syncer{Source: edge.Folder(dir), Engine: e, Keys: keys, List: edgetest.List}
	if err := syncer.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	edgetest.Run(t, client(t, http1), "http://"+at.HTTP)
}

// spend asks until the quota is used up.
func spend(t *testing.T, c *http.Client, url string) {
	t.Helper()
	for range 1000 {
		resp, err := c.Get(url + "/v1/status")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			return
		}
	}
	t.Fatal("1000 requests did not use up the quota")
}

// TestAllAnswerAlike compares what both engines say over each version of HTTP,
// byte for byte.
func TestAllAnswerAlike(t *testing.T) {
	now := time.Now().Unix()
	var first string
	var want [][]byte
	for name, newEngine := range engines {
		at := startEdge(t, newEngine(t), edgetest.Ready, now)
		for _, way := range []struct {
			name, url string
			set       func(*http.Protocols)
		}{{"h1", "http://" + at.HTTP, http1}, {"h2 with prior knowledge", "http://" + at.HTTP, http2c}, {"h2", "https://" + at.HTTPS, http2}} {
			transcript, err := edgetest.Record(client(t, way.set), way.url, edgetest.Ready)
			if err != nil {
				t.Fatal(err)
			}
			lines, label := bytes.Split(transcript, []byte("\n")), name+" over "+way.name
			if want == nil {
				first, want = label, lines
			}
			compareLines(t, first, want, label, lines)
		}
	}
}

func compareLines(t *testing.T, first string, want [][]byte, other string, got [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d lines from %s, %d from %s", len(want), first, len(got), other)
	}
	for i := range want {
		if !bytes.Equal(want[i], got[i]) {
			t.Errorf("line %d:\n%s %s\n%s %s", i+1, first, want[i], other, got[i])
		}
	}
}
