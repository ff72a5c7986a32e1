package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/edge"
	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
	"ucedge/snapshot/manifest/manifesttest"
)

// crashKillMax is how long after it could have listened an origin dies at the
// latest: time for several publications and commits, and for the start before.
const crashKillMax = 600 * time.Millisecond

// TestCrash kills an origin that takes reports and publishes as fast as it
// can, again and again, at random instants. After each death every report that
// it acknowledged is in the ledger, the manifest is whole, no serial stands for
// two manifests, and an edge that follows all the while has refused none.
// UCEDGE_CRASH_ROUNDS sets the rounds.
func TestCrash(t *testing.T) {
	rounds := 15
	if set := os.Getenv("UCEDGE_CRASH_ROUNDS"); set != "" {
		n, err := strconv.Atoi(set)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	} else if testing.Short() {
		rounds = 5
	}
	c := newCrash(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	stopEdge := c.follow()
	most := c.startTime() + crashKillMax
	for round := range rounds {
		c.round(round, time.Duration(random.Int64N(int64(most))))
		c.check(round)
		if t.Failed() {
			break
		}
	}
	stopEdge()
	c.heal()
	t.Logf("%d rounds: %d reports acknowledged, %d serials, %d manifests accepted by the edge, %d deaths before the API was open",
		rounds, len(c.acknowledged), len(c.serials), c.accepted, c.early)
	if len(c.acknowledged) == 0 || len(c.serials) < rounds/3 || c.accepted == 0 {
		t.Error("too little has happened for the test to mean anything")
	}
}

// A crash is an origin that is killed, and what must survive.
type crash struct {
	*testing.T
	dir    string
	secret string
	keys   note.Verifiers

	acknowledged map[string]bool // evidence ids
	serials      map[snapshot.Serial]manifest.Hash
	accepted     int
	early        int
}

func newCrash(t *testing.T) *crash {
	dir := t.TempDir()
	pair := manifesttest.NewKey(t, "bl.example")
	c := &crash{T: t, dir: dir, acknowledged: map[string]bool{}, serials: map[snapshot.Serial]manifest.Hash{}}
	if err := manifest.WriteKeys(c.path("key"), pair.Secret, c.path("pub"), pair.Public); err != nil {
		t.Fatal(err)
	}
	c.keys = note.VerifierList(pair.Verifier)
	if err := os.WriteFile(c.path("routes.tsv"), []byte("198.51.100.0/24\t64500\tEXAMPLE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := c.open()
	key, secret := api.NewKey(ledger.Reporter, "trap-one", 1)
	if err := errors.Join(l.CreateKey(t.Context(), key, "test"), l.Close()); err != nil {
		t.Fatal(err)
	}
	c.secret = secret
	return c
}

func (c *crash) path(name string) string { return filepath.Join(c.dir, name) }

func (c *crash) open() *ledger.SQLite {
	c.Helper()
	l, err := ledger.Open(c.Context(), c.path("ledger.db"))
	if err != nil {
		c.Fatal(err)
	}
	return l
}

// start starts the origin, with more arguments than it needs. Its address comes once it listens, or "" when it ends.
func (c *crash) start(every time.Duration, more ...string) (*exec.Cmd, <-chan string) {
	c.Helper()
	args := []string{
		"origin", "serve", "--ledger", c.path("ledger.db"), "--routes", c.path("routes.tsv"), "--allow-special-use",
		"--key", c.path("key"), "--out", c.path("publish"), "--listen", "127.0.0.1:0", "--every", every.String(), "--log-format", "json",
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childArgs+"="+strings.Join(append(args, more...), "\n"))
	out, err := cmd.StderrPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	address := make(chan string, 1)
	go func() {
		defer close(address)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct {
				Level, Msg, API string
				Err             any
			}
			if json.Unmarshal(lines.Bytes(), &line) != nil {
				continue
			}
			if line.Msg == "listening" {
				address <- line.API
			}
			if line.Level == "ERROR" {
				c.Errorf("origin: %s", lines.Text())
			}
		}
	}()
	return cmd, address
}

// startTime returns how long an origin takes here until it listens.
func (c *crash) startTime() time.Duration {
	c.Helper()
	began := time.Now()
	cmd, listening := c.start(time.Hour)
	address, ok := <-listening
	took := time.Since(began)
	if !ok {
		c.Fatal("the origin did not start")
	}
	c.Logf("listened at %s after %v", address, took)
	if err := cmd.Process.Kill(); err != nil {
		c.Fatal(err)
	}
	for range listening {
	}
	cmd.Wait() // says that it was killed
	return took
}

// round lets an origin live for so long, and reports to it.
func (c *crash) round(round int, life time.Duration) {
	died := time.After(life)
	cmd, listening := c.start(20 * time.Millisecond)
	stop := make(chan struct{})
	var senders sync.WaitGroup
	var mu sync.Mutex
	select {
	case <-died:
		c.early++
		died = nil
	case address := <-listening:
		for sender := range 3 {
			senders.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					ids, ok := c.report(address, fmt.Sprintf("%d-%d-%d", round, sender, i), 1+i%20)
					if !ok {
						return // it has died
					}
					mu.Lock()
					for _, id := range ids {
						c.acknowledged[id] = true
					}
					mu.Unlock()
				}
			})
		}
	}
	if died != nil {
		<-died
	}
	if err := cmd.Process.Kill(); err != nil {
		c.Errorf("round %d: the origin ended by itself: %v", round, err)
	}
	close(stop)
	senders.Wait()
	for range listening { // to the end of what it had to say
	}
	cmd.Wait() // says that it was killed
}

// report sends n reports, and returns their ids if all were acknowledged.
func (c *crash) report(address, id string, n int) (ids []string, ok bool) {
	var body []byte
	for i := range n {
		r := report.Report{
			Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(len(id) + i*7)}), Seen: time.Now().Unix(),
			Kind: snapshot.Spamtrap, Evidence: fmt.Sprintf("%s-%d", id, i), Reporter: "trap-one",
		}
		ids = append(ids, r.Evidence)
		body = append(r.AppendNDJSON(body), '\n')
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/reports", bytes.NewReader(body))
	if err != nil {
		c.Error(err)
		return nil, false
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+c.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		time.Sleep(20 * time.Millisecond)
		return nil, true
	}
	var outcome struct{ Accepted int }
	if err := json.NewDecoder(resp.Body).Decode(&outcome); err != nil {
		return nil, false
	}
	if resp.StatusCode != http.StatusOK || outcome.Accepted != n {
		c.Errorf("report %s: status %s, %d of %d accepted", id, resp.Status, outcome.Accepted, n)
	}
	return ids, true
}

// follow runs an edge that looks without pause, until it is told to stop.
func (c *crash) follow() (stop func()) {
	source, err := edge.NewSource(c.path("publish"))
	if err != nil {
		c.Fatal(err)
	}
	syncer := &edge.Syncer{Source: source, Engine: edge.NewNativeEngine(""), Keys: c.keys, List: "bl.example"}
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var last snapshot.Serial
		for ctx.Err() == nil {
			err := syncer.Sync(ctx)
			var refused *manifest.Refusal
			switch serial := syncer.Status().Serial; {
			case errors.As(err, &refused):
				c.Errorf("the edge refused a manifest after serial %d: %v", last, err)
			case err != nil && last != 0 && ctx.Err() == nil: // before the first there is nothing to fetch
				c.Errorf("the edge failed after serial %d: %v", last, err)
			case serial != last:
				last = serial
				c.accepted++
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// check looks at what a death has left.
func (c *crash) check(round int) {
	c.Helper()
	l := c.open()
	defer l.Close()
	now := time.Now().Unix()
	stored, err := l.Reports(c.Context(), netip.MustParsePrefix("198.51.100.0/24"), now-3600, now+3600)
	if err != nil {
		c.Fatal(err)
	}
	there := map[string]bool{}
	for _, r := range stored {
		if there[r.Evidence] {
			c.Errorf("round %d: report %s is stored twice", round, r.Evidence)
		}
		there[r.Evidence] = true
	}
	for id := range c.acknowledged {
		if !there[id] {
			c.Errorf("round %d: report %s was acknowledged and is gone", round, id)
		}
	}
	c.checkManifest(round, manifest.StoreName)
	history, err := filepath.Glob(c.path("publish/history/*"))
	if err != nil {
		c.Fatal(err)
	}
	for _, name := range history {
		c.checkManifest(round, "history/"+filepath.Base(name))
	}
}

// checkManifest reads a manifest of the store, if there is one, and holds it
// against what else had its serial.
func (c *crash) checkManifest(round int, name string) {
	c.Helper()
	signed, err := os.ReadFile(c.path("publish/" + name))
	if errors.Is(err, fs.ErrNotExist) && name == manifest.StoreName && len(c.serials) == 0 {
		return // it died before its first
	}
	if err != nil {
		c.Errorf("round %d: %v", round, err)
		return
	}
	m, err := manifest.Open(signed, c.keys)
	if err != nil {
		c.Errorf("round %d: %s is torn: %v", round, name, err)
		return
	}
	if old, used := c.serials[m.Serial]; used && old != m.TextHash() {
		c.Errorf("round %d: serial %d was used twice", round, m.Serial)
	}
	c.serials[m.Serial] = m.TextHash()
}

// heal lets one more origin publish in peace, and looks whether the ledger has
// the row of each publication and each change once.
func (c *crash) heal() {
	c.Helper()
	cmd, listening := c.start(20 * time.Millisecond)
	if <-listening == "" {
		c.Fatal("the origin did not start")
	}
	l := c.open()
	defer l.Close()
	current := func() snapshot.Serial {
		signed, err := os.ReadFile(c.path("publish/" + manifest.StoreName))
		if err != nil {
			return 0
		}
		m, err := manifest.Open(signed, c.keys)
		if err != nil {
			c.Fatal(err)
		}
		return m.Serial
	}
	first := current()
	for end := time.Now().Add(awaitMax); current() <= first+1 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		c.Error(err)
	}
	for range listening {
	}
	if err := cmd.Wait(); err != nil {
		c.Errorf("the origin did not end well: %v", err)
	}
	c.checkRows(l)
}

// checkRows replays the rows of listings: none begins or ends twice, and what
// is in force at the end is what the last snapshot lists.
func (c *crash) checkRows(l ledger.Ledger) {
	c.Helper()
	rows, err := l.Events(c.Context(), time.Now().Unix()+1, ledger.Listed, ledger.Delisted, ledger.Published)
	if err != nil {
		c.Fatal(err)
	}
	inForce := map[string]bool{}
	for _, d := range rows {
		if d.Kind == ledger.Published {
			continue
		}
		subject := fmt.Sprint(d.Level, d.Prefix, d.ASN)
		if inForce[subject] == (d.Kind == ledger.Listed) {
			c.Errorf("serial %d: second row of one %s: %s", d.Serial, d.Kind, subject)
		}
		inForce[subject] = d.Kind == ledger.Listed
	}
	image, err := loadSnapshot(c.path("publish"), c.keys)
	if err != nil {
		c.Fatal(err)
	}
	listed := 0
	for level := snapshot.Address; level <= snapshot.Allocation; level++ {
		for listing := range image.snapshot.Listings(level) {
			if listed++; !inForce[fmt.Sprint(level, listing.Prefix, snapshot.ASN(0))] {
				c.Errorf("level %d lists %s without a row", level, listing.Prefix)
			}
		}
	}
	if listed == 0 {
		c.Error("nothing is listed")
	}
}
