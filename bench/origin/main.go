// Command origin measures an origin: how many reports a second it takes over
// HTTP, what a build of millions of impacts costs, and how long it takes from
// an accepted report to an answer of an edge beside it.
//
//	go run ./bench/origin                  everything, about four minutes
//	go run ./bench/origin -only ingest     one section: ingest, build, delay
//
// The build needs real routes ($UCEDGE_DATA/routes, or ../shared/data beside
// the repository); without them it says so. Everything listens on loopback.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/internal/data"
	"ucedge/origin"
	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/origin/report"
	"ucedge/origin/routes"
	"ucedge/origin/state"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

const list = "bl.example"

// A bench is one run.
type bench struct {
	ctx     context.Context
	dir     string
	impacts int
	ingest  time.Duration
	delay   time.Duration
	ledger  string // filled by an earlier process, for the build
	routes  *routes.Table
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench/origin:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("origin", flag.ContinueOnError)
	only := flags.String("only", "", "one section: ingest, build or delay")
	flags.IntVar(&b.impacts, "impacts", 5_000_000, "impacts of the build")
	flags.DurationVar(&b.ingest, "ingest", 15*time.Second, "how long reports are sent")
	flags.DurationVar(&b.delay, "delay", time.Minute, "how long reports are sent whose answers are waited for")
	flags.StringVar(&b.ledger, "built", "", "ledger to build from in this process, as the build section asks of itself")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx = ctx
	if b.ledger != "" {
		b.dir = filepath.Dir(b.ledger)
		return b.buildHere()
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "ucedge-bench-origin-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	sections := []struct {
		name    string
		measure func() error
	}{{"ingest", b.measureIngest}, {"build", b.measureBuild}, {"delay", b.measureDelay}}
	for _, s := range sections {
		if *only != "" && *only != s.name {
			continue
		}
		fmt.Printf("%s\n", s.name)
		if err := s.measure(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func loadRoutes() (*routes.Table, error) {
	dir, err := data.Folder()
	if err != nil {
		return nil, err
	}
	t, _, err := routes.Load(filepath.Join(dir, "routes", "asn-v4.tsv.zst"), filepath.Join(dir, "routes", "asn-v6.tsv.zst"))
	return t, err
}

// An author makes reports from a seed.
type author struct {
	random *rand.Rand
	now    int64
	table  *routes.Table // nil: anywhere in 11.0.0.0/8, which no test sends to
	sent   int
}

// next returns a report about an address that is drawn from the routes with a
// preference for some of them, as abuse has it; one in ten is IPv6.
func (a *author) next() report.Report {
	a.sent++
	r := report.Report{
		Seen: a.now - a.random.Int64N(policy.Window-3600), Kind: 1 << a.random.IntN(5),
		Reporter: "feed-" + strconv.Itoa(a.sent%20), Evidence: strconv.FormatUint(a.random.Uint64(), 36),
	}
	if a.table == nil {
		n := a.random.Uint32()
		r.Address = netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
		return r
	}
	f := a.table.Family(a.sent%10 == 0)
	route := int(float64(f.Len()) * a.random.Float64() * a.random.Float64())
	size := f.Last(route) - f.Start(route) + 1
	u := routes.Unit{Key: f.Start(route) + a.random.Uint64N(max(1, min(size, 4096))), V6: a.sent%10 == 0}
	r.Address = u.Prefix().Addr()
	return r
}

// keysIn makes the key pair of the list, or reads it.
func keysIn(dir string) ([]note.Signer, note.Verifiers, error) {
	secretPath, publicPath := filepath.Join(dir, "key"), filepath.Join(dir, "pub")
	if _, err := os.Stat(secretPath); err != nil {
		secret, public, err := manifest.GenerateKey(list)
		if err != nil {
			return nil, nil, err
		}
		if err := manifest.WriteKeys(secretPath, secret, publicPath, public); err != nil {
			return nil, nil, err
		}
	}
	signers, err := manifest.ReadSigners(secretPath)
	if err != nil {
		return nil, nil, err
	}
	verifiers, err := manifest.ReadVerifiers(publicPath)
	return signers, verifiers, err
}

func zones() []snapshot.Zone {
	var all []snapshot.Zone
	for level := snapshot.Combined; level <= snapshot.System; level++ {
		all = append(all, snapshot.Zone{
			Suffix: fmt.Sprintf("dnsbl-%d.%s", level, list), Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 300,
			MName: "ns." + list, RName: "hostmaster." + list, SOATTL: 3600, Refresh: 3600, Retry: 600, Expire: 604800, Minimum: 120,
			Text: "Net {net} is listed because of {count} abusers of {as_name}/AS{asn}. See {url}?ipr={ip}", URL: "https://bl.example/",
		})
	}
	return all
}

// newOrigin makes an origin on a ledger in the folder. Budgets are as the
// profile has them, but without limits: the bench is one reporter.
func (b *bench) newOrigin(l ledger.Ledger, every time.Duration, published func(publish.Result)) (*origin.Origin, state.Settings, error) {
	keys, _, err := keysIn(b.dir)
	if err != nil {
		return nil, state.Settings{}, err
	}
	store, err := publish.NewFolder(filepath.Join(b.dir, "publish"))
	if err != nil {
		return nil, state.Settings{}, err
	}
	p, err := policy.Named("classic")
	if err != nil {
		return nil, state.Settings{}, err
	}
	open := *p
	open.Budget = policy.Budget{}
	rule := state.Settings{Profile: &open, Routes: func() *routes.Table { return b.routes }}
	o, err := origin.New(origin.Settings{
		Ledger: l, State: rule, Zones: zones(), Store: store, Keys: keys, Every: every, Published: published,
		// The made-up list is denser than any real one.
		Publish: publish.Options{List: list, Limits: &snapshot.Limits{}, Override: []publish.Limit{publish.Churn}},
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	return o, rule, err
}

// serveAPI serves the API of an origin, and returns its URL and the secret of
// a reporter.
func (b *bench) serveAPI(l ledger.Ledger, o *origin.Origin, name string) (url, secret string, stop func(), err error) {
	h, err := api.New(api.Settings{
		Ledger: l, Policy: o.Live(), Clock: time.Now, Admit: o.Admission(), Urgent: o.Urgent,
		Limits: api.Limits{KeyPerSecond: 1e6, KeyBurst: 1e6},
	})
	if err != nil {
		return "", "", nil, err
	}
	key, secret := api.NewKey(ledger.Reporter, name, time.Now().Unix())
	if err := l.CreateKey(b.ctx, key, "bench"); err != nil {
		return "", "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	return "http://" + listener.Addr().String(), secret, func() { server.Close() }, nil
}

// send posts n reports as NDJSON and returns an error unless all were taken, and
// none of them was known.
func send(ctx context.Context, url, secret string, body []byte, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/reports", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var outcome struct{ Accepted, Waiting int }
	if err := json.NewDecoder(resp.Body).Decode(&outcome); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || outcome.Accepted != n || outcome.Waiting != 0 {
		return fmt.Errorf("status %s, %d of %d accepted, %d wait", resp.Status, outcome.Accepted, n, outcome.Waiting)
	}
	return nil
}

// batchReports is how many reports a sender posts at once.
const batchReports = 10_000

// measureIngest sends batches over HTTP into an empty SQLite ledger.
func (b *bench) measureIngest() error {
	l, err := ledger.Open(b.ctx, filepath.Join(b.dir, "ingest.db"))
	if err != nil {
		return err
	}
	defer l.Close()
	o, _, err := b.newOrigin(l, time.Hour, nil)
	if err != nil {
		return err
	}
	url, secret, stop, err := b.serveAPI(l, o, "feed")
	if err != nil {
		return err
	}
	defer stop()
	// Bodies differ in the evidence ids alone, so that making them costs little:
	// the marker in each line is replaced by the number of the batch.
	a := &author{random: rand.New(rand.NewPCG(1, 1)), now: time.Now().Unix()}
	const marker = "0000000000"
	var template []byte
	for i := range batchReports {
		r := a.next()
		r.Reporter, r.Evidence = "feed", fmt.Sprintf("%s-%d", marker, i)
		template = append(r.AppendNDJSON(template), '\n')
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.ingest)
	defer cancel()
	before, start := usage(), time.Now()
	var batches, sent atomic.Int64
	var senders sync.WaitGroup
	var failed atomic.Value
	for range 4 {
		senders.Go(func() {
			for ctx.Err() == nil {
				body := bytes.ReplaceAll(template, []byte(marker), fmt.Appendf(nil, "%010d", batches.Add(1)))
				if err := send(b.ctx, url, secret, body, batchReports); err != nil {
					failed.Store(err)
					return
				}
				sent.Add(batchReports)
			}
		})
	}
	senders.Wait()
	took, cpu := time.Since(start), usage().minus(before)
	if err, ok := failed.Load().(error); ok {
		return err
	}
	n := float64(sent.Load())
	written := float64(fileSize(filepath.Join(b.dir, "ingest.db")))
	perSync, err := syncTime(b.dir)
	if err != nil {
		return err
	}
	fmt.Printf("  %.0f reports/s: %.0f in %.1f s, 4 senders, batches of %d, %.0f bytes a report in the ledger\n", n/took.Seconds(), n, took.Seconds(), batchReports, written/n)
	fmt.Printf("  CPU: %.2f cores (%.1f µs a report, sender and server in one process)\n", cpu.cpu.Seconds()/took.Seconds(), cpu.cpu.Seconds()*1e6/n)
	fmt.Printf("  disk: %.0f MB/s written; a write of 1 MB with fsync takes %.1f ms here, so at one a batch %.0f %% of the time is waiting for the disk\n",
		cpu.written/1e6/took.Seconds(), perSync.Seconds()*1e3, 100*perSync.Seconds()*n/batchReports/took.Seconds())
	return nil
}

// A used is what a process has used.
type used struct {
	cpu     time.Duration
	written float64 // bytes to disks
}

func usage() used {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return used{}
	}
	u := used{cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano())}
	text, _ := os.ReadFile("/proc/self/io") // absent elsewhere than on Linux: 0
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			u.written, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return u
}

func (u used) minus(v used) used { return used{u.cpu - v.cpu, u.written - v.written} }

func fileSize(file string) (n int64) {
	for _, end := range []string{"", "-wal"} {
		if info, err := os.Stat(file + end); err == nil {
			n += info.Size()
		}
	}
	return n
}

// syncTime measures a write of 1 MB with fsync.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block, start, n := make([]byte, 1<<20), time.Now(), 0
	for ; time.Since(start) < time.Second; n++ {
		if _, err := f.WriteAt(block, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return time.Since(start) / time.Duration(n), nil
}

// percentile of sorted durations.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Round(10 * time.Millisecond)
}

func sorted(d []time.Duration) []time.Duration { slices.Sort(d); return d }
