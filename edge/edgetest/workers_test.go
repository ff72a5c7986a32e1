package edgetest_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"ucedge/edge/edgetest"
	"ucedge/snapshot/manifest"
)

// workerDir is where the worker's modules and what npm installs for them are.
const workerDir = "../worker"

// bundleDir is where `make worker-bundle` puts the bundled worker.
const bundleDir = "../../dist/worker"

// A runtime starts the worker on a free port, following the snapshots at url.
type runtime struct {
	needs   []string // files without which it cannot start
	except  []string // cases that its HTTP library answers itself
	command func(port, url, public, keys string) *exec.Cmd
}

// runtimes are those that the worker is made for. What installs them is
// `make worker-bundle`.
var runtimes = map[string]runtime{
	"workerd": {
		needs: []string{filepath.Join(workerDir, "node_modules/@cloudflare/workerd-linux-64/bin/workerd"), filepath.Join(bundleDir, "index.js")},
		command: func(port, url, public, keys string) *exec.Cmd {
			args := []string{"workerd.mjs", "--port", port, "--snapshots", url, "--list", edgetest.List, "--pub", public, "--refresh", "1"}
			if keys != "" {
				args = append(args, "--keys", keys)
			}
			return exec.Command("node", args...)
		},
	},
	"deno": {
		needs:  []string{filepath.Join(workerDir, "node_modules/@deno/linux-x64-glibc/deno")},
		except: []string{"http/dns of 90000 letters"}, // hyper takes no target above 65 534 bytes and says 400
		command: func(port, url, public, keys string) *exec.Cmd {
			cmd := exec.Command("node_modules/@deno/linux-x64-glibc/deno", "run", "--no-remote", "--no-npm",
				"--allow-net=127.0.0.1", "--allow-read", "--allow-env", "deno.ts")
			key, _ := os.ReadFile(public)
			cmd.Env = append(os.Environ(), "PORT="+port, "LIST="+edgetest.List, "VERIFIERS="+string(key),
				"SNAPSHOT_URL="+url, "REFRESH_SECONDS=1", "NO_COLOR=1")
			if keys != "" {
				lines, _ := os.ReadFile(keys)
				cmd.Env = append(cmd.Env, "KEYS="+string(lines))
			}
			return cmd
		},
	},
}

// startMax is how long a runtime may take until it listens.
const startMax = 30 * time.Second

// start runs the worker until the test ends and returns its URL. The folder is
// served over HTTP, as a bucket would be.
func (r runtime) start(t *testing.T, dir, public string, keys string) string {
	t.Helper()
	for _, file := range r.needs {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is not there: `make worker-bundle` installs it", file)
		}
	}
	store := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(store.Close)
	publicFile := filepath.Join(t.TempDir(), "list.pub")
	if err := os.WriteFile(publicFile, []byte(public+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := r.command(port, store.URL+"/", publicFile, keys)
	cmd.Dir = workerDir
	cmd.WaitDelay = time.Second // whatever still holds its output
	said := &speech{listening: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // ends by a signal
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("the worker said: %s", said)
		}
	})
	select {
	case <-said.listening:
	case <-ended:
		t.Fatalf("the worker ended: %s", said)
	case <-time.After(startMax):
		t.Fatalf("the worker did not listen within %v: %s", startMax, said)
	}
	return "http://127.0.0.1:" + port
}

// A speech is what a process has said, and whether it has said that it listens.
type speech struct {
	mu        sync.Mutex
	said      []byte
	listening chan struct{} // closed once it has
	heard     bool
}

// Write implements io.Writer.
func (s *speech) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, b...)
	if !s.heard && bytes.Contains(s.said, []byte("listening on ")) {
		s.heard = true
		close(s.listening)
	}
	return len(b), nil
}

// String returns everything that has been said.
func (s *speech) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.said)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// ready waits until the worker answers with the status.
func ready(t *testing.T, url string, status int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
	}
	t.Fatalf("%s/readyz did not become %d", url, status)
}

func TestWorkers(t *testing.T) {
	for name, r := range runtimes {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for a snapshot to expire
			for _, state := range []edgetest.State{edgetest.Ready, edgetest.Empty, edgetest.Stale, edgetest.Keyed} {
				t.Run(string(state), func(t *testing.T) {
					dir := t.TempDir()
					public, err := edgetest.Publish(dir, state, time.Now().Unix())
					if err != nil {
						t.Fatal(err)
					}
					keys, status := "", http.StatusOK
					switch state {
					case edgetest.Keyed:
						keys = filepath.Join(t.TempDir(), "keys")
						line := fmt.Sprintf("suite %x\n", sha256.Sum256([]byte(edgetest.Key)))
						if err := os.WriteFile(keys, []byte(line), 0o600); err != nil {
							t.Fatal(err)
						}
					case edgetest.Empty:
						status = http.StatusServiceUnavailable
						if err := os.RemoveAll(filepath.Join(dir, manifest.StoreName)); err != nil {
							t.Fatal(err)
						}
					}
					url := r.start(t, dir, public, keys)
					ready(t, url, status)
					edgetest.RunState(t, client(t, http1), url, state, r.except...)
				})
			}
			t.Run("expired", func(t *testing.T) { testWorkerExpires(t, r) })
			t.Run("alike", func(t *testing.T) { testWorkerAlike(t, r) })
		})
	}
}

// testWorkerExpires lets a snapshot expire under a worker that has loaded it.
func testWorkerExpires(t *testing.T, r runtime) {
	dir, now := t.TempDir(), time.Now()
	store, err := edgetest.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := edgetest.Times(edgetest.Ready, now.Unix())
	m.Expires = now.Unix() + 8
	m.Next = m.Expires
	if err := store.Publish(edgetest.World(now.Unix()), m); err != nil {
		t.Fatal(err)
	}
	url := r.start(t, dir, store.Public, "")
	ready(t, url, http.StatusOK)
	time.Sleep(time.Until(time.Unix(m.Expires+1, 0)))
	edgetest.RunState(t, client(t, http1), url, edgetest.Expired, r.except...)
}

// testWorkerAlike compares the worker's transcript with the native engine's,
// byte for byte, both over one snapshot.
func testWorkerAlike(t *testing.T, r runtime) {
	dir, now := t.TempDir(), time.Now().Unix()
	public, err := edgetest.Publish(dir, edgetest.Ready, now)
	if err != nil {
		t.Fatal(err)
	}
	url := r.start(t, dir, public, "")
	ready(t, url, http.StatusOK)
	native := startEdge(t, engines["native"](t), edgetest.Ready, now)
	var transcripts [2][][]byte
	for i, at := range []string{"http://" + native.HTTP, url} {
		transcript, err := edgetest.Record(client(t, http1), at, edgetest.Ready, r.except...)
		if err != nil {
			t.Fatal(err)
		}
		transcripts[i] = bytes.Split(transcript, []byte("\n"))
	}
	if len(transcripts[0]) != len(transcripts[1]) {
		t.Fatalf("got %d lines from the native engine, %d from the worker", len(transcripts[0]), len(transcripts[1]))
	}
	for i, line := range transcripts[0] {
		if !bytes.Equal(line, transcripts[1][i]) {
			t.Errorf("line %d:\nnative %s\nworker %s", i+1, line, transcripts[1][i])
		}
	}
}
