package edgetest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ucedge/edge/edgetest"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
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
	store   func(http.Handler) http.Handler // put before the store; may be nil
}

// watch puts what r has before the store.
func (r runtime) watch(store http.Handler) http.Handler {
	if r.store == nil {
		return store
	}
	return r.store(store)
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
	store := httptest.NewServer(r.watch(http.FileServer(http.Dir(dir))))
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

// TestBundleOffline bundles the worker where there is no network at all, as
// `make worker-dry-run` does: once npm has installed, nothing more is loaded.
func TestBundleOffline(t *testing.T) {
	wrangler, err := filepath.Abs(filepath.Join(workerDir, "node_modules/wrangler/bin/wrangler.js"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{wrangler, "../../wasm/dist/guest.wasm"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is not there: `make worker-bundle` makes it", file)
		}
	}
	offline := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command("unshare", append([]string{"--map-root-user", "--net", name}, args...)...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "WRANGLER_SEND_METRICS=false", "CLOUDFLARE_CF_FETCH_ENABLED=false", "CI=true")
		return cmd
	}
	if said, err := offline("true").CombinedOutput(); err != nil {
		t.Skipf("no namespace without a network: %v: %s", err, said)
	}
	out := t.TempDir()
	said, err := offline("node", wrangler, "deploy", "--dry-run", "--env=", "--outdir", out).CombinedOutput()
	if err != nil || !bytes.Contains(said, []byte("gzip:")) {
		t.Fatalf("%v: %s", err, said)
	}
	if _, err := os.Stat(filepath.Join(out, "index.js")); err != nil {
		t.Error(err)
	}
	lock, err := os.ReadFile(filepath.Join(workerDir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lock, []byte(`"resolved"`)) {
		t.Error("package-lock.json names places to download from")
	}
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
			t.Run("mixed", func(t *testing.T) { testWorkerMixed(t, r) })
			t.Run("cold", func(t *testing.T) { testWorkerCold(t, r) })
			t.Run("delists", func(t *testing.T) { testWorkerDelists(t, r) })
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

// testWorkerMixed asks many different things at once. The body of an answer is
// in the guest's memory until the runtime has copied it, so that one which
// copied late would give a client what another has asked for.
func testWorkerMixed(t *testing.T, r runtime) {
	const clients, each = 20, 12
	dir := t.TempDir()
	public, err := edgetest.Publish(dir, edgetest.Ready, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	url := r.start(t, dir, public, "")
	ready(t, url, http.StatusOK)
	c := client(t, http1)
	problems := make(chan string, clients)
	for id := range clients {
		go func() {
			for i := range each {
				// From short to longer than the runtime writes at once.
				addresses := strings.Repeat(fmt.Sprintf("192.0.2.%d ", id), 1+25*i)
				resp, err := c.Post(url+"/v1/check", "text/plain", strings.NewReader(strings.ReplaceAll(addresses, " ", "\n")))
				if err != nil {
					problems <- err.Error()
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || !json.Valid(body) {
					problems <- fmt.Sprintf("%v, %s: %.200s", err, resp.Status, body)
					return
				}
				asked := fmt.Sprintf(`"query":"192.0.2.%d"`, id)
				if got := strings.Count(string(body), `"query":`); got != 1+25*i || strings.Count(string(body), asked) != got {
					problems <- fmt.Sprintf("%d answers, %d of them to %s", got, strings.Count(string(body), asked), asked)
					return
				}
			}
			problems <- ""
		}()
	}
	for range clients {
		if problem := <-problems; problem != "" {
			t.Error(problem)
		}
	}
}

// testWorkerCold asks a worker that has no snapshot yet many times at once,
// while its store is slow. The client that came first leaves meanwhile.
func testWorkerCold(t *testing.T, r runtime) {
	const clients = 50
	dir := t.TempDir()
	public, err := edgetest.Publish(dir, edgetest.Ready, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	reached, open := make(chan struct{}), make(chan struct{})
	r.store = func(store http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			mu.Lock()
			asked[req.URL.Path]++
			first := len(asked) == 1 && asked[req.URL.Path] == 1
			mu.Unlock()
			if first {
				close(reached)
			}
			select {
			case <-open:
				store.ServeHTTP(w, req)
			case <-req.Context().Done():
			}
		})
	}
	url := r.start(t, dir, public, "")

	leaving, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(leaving, "GET /v1/status HTTP/1.1\r\nHost: edge.example\r\n\r\n")
	select {
	case <-reached:
	case <-time.After(10 * time.Second):
		t.Fatal("the worker does not ask its store")
	}
	statuses := make(chan string, clients)
	c := client(t, http1)
	for range clients {
		go func() {
			resp, err := c.Get(url + "/v1/check?ip=127.0.0.2")
			if err != nil {
				statuses <- err.Error()
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			statuses <- resp.Status
		}()
	}
	time.Sleep(200 * time.Millisecond)
	leaving.Close()
	time.Sleep(200 * time.Millisecond)
	close(open)
	for range clients {
		if status := <-statuses; status != "200 OK" {
			t.Errorf("got %s, want 200 OK", status)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for path, n := range asked {
		if strings.Contains(path, manifest.StorePrefix) && n != 1 {
			t.Errorf("%s was asked for %d times, want once", path, n)
		}
	}
	if len(asked) != 3 {
		t.Errorf("asked for %v, want a manifest, a base and a filter", asked)
	}
}

// testWorkerDelists publishes a serial that lists nothing, and then an older one
// again.
func testWorkerDelists(t *testing.T, r runtime) {
	dir, now := t.TempDir(), time.Now().Unix()
	store, err := edgetest.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	world := edgetest.World(now)
	if err := store.Publish(world, edgetest.Times(edgetest.Ready, now)); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, manifest.StoreName))
	if err != nil {
		t.Fatal(err)
	}
	url := r.start(t, dir, store.Public, "")
	ready(t, url, http.StatusOK)
	address := listedAddress(t, world)
	if !listed(t, url, address) {
		t.Fatalf("%s is not listed", address)
	}

	next := edgetest.Times(edgetest.Ready, now)
	next.Serial++
	world.Listings = nil
	if err := store.Publish(world, next); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for listed(t, url, address) {
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("%s is still listed %v after it was delisted; a refresh is due every second", address, time.Since(begun))
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("delisted after %v", time.Since(begun).Round(10*time.Millisecond))

	if err := os.WriteFile(filepath.Join(dir, manifest.StoreName), old, 0o644); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if listed(t, url, address) {
			t.Fatalf("%s is listed again: the serial went back", address)
		}
	}
}

// listedAddress returns an IPv4 address that a world lists by itself, for good.
func listedAddress(t *testing.T, in build.Input) netip.Addr {
	t.Helper()
	for _, l := range in.Listings {
		if l.Level == snapshot.Address && l.Prefix.IsSingleIP() && l.Prefix.Addr().Is4() && !l.Excluded && l.End == 0 {
			return l.Prefix.Addr()
		}
	}
	t.Fatal("the world lists no address")
	return netip.Addr{}
}

// listed asks the worker whether the address is on Level 1.
func listed(t *testing.T, url string, a netip.Addr) bool {
	t.Helper()
	b := a.As4()
	resp, err := http.Get(fmt.Sprintf("%s/resolve?type=A&name=%d.%d.%d.%d.dnsbl-1.%s", url, b[3], b[2], b[1], b[0], edgetest.List))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Status int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	const noError, nxDomain = 0, 3
	if answer.Status != noError && answer.Status != nxDomain {
		t.Fatalf("status %d", answer.Status)
	}
	return answer.Status == noError
}
