package publish

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ucedge/origin/policy"
	"ucedge/origin/routes"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// loadImpacts is the number of impacts that a process of this test is asked to
// publish, in the environment.
const loadImpacts = "UCEDGE_TEST_PUBLISH_IMPACTS"

// A load is what one process has used, from the evidence to the manifest.
type load struct {
	Level1, Nets int
	Decide       usage // evidence to listings
	First        usage // listings to manifest, into an empty store
	Next         usage // the same five minutes later, with one listing in fifty another
	RSS          int64 // most memory that the process has had, bytes
	Heap         int64 // most heap after a collection, bytes
	Image, Wire  int64 // bytes of the image, and of all objects as they are stored
	Hash         string
}

// A usage is time, in seconds.
type usage struct{ Wall, CPU float64 }

// BenchmarkPublish asks what a build costs, in a process of its own so that
// the memory is that of the build: wall and processor time of both builds
// after the decision, and the most memory.
func BenchmarkPublish(b *testing.B) {
	dataDir(b)
	for _, n := range []int{500_000, 5_000_000} {
		b.Run(fmt.Sprintf("%dk", n/1000), func(b *testing.B) {
			for b.Loop() {
				l := runLoad(b, n)
				b.ReportMetric(l.Decide.Wall, "decide-s")
				b.ReportMetric(l.Decide.CPU, "decide-cpu-s")
				b.ReportMetric(l.First.Wall, "first-s")
				b.ReportMetric(l.First.CPU, "first-cpu-s")
				b.ReportMetric(l.Next.Wall, "next-s")
				b.ReportMetric(l.Next.CPU, "next-cpu-s")
				b.ReportMetric(float64(l.RSS)/(1<<20), "rss-MiB")
				b.ReportMetric(float64(l.Heap)/(1<<20), "heap-MiB")
				b.ReportMetric(float64(l.Level1), "level1")
				b.ReportMetric(float64(l.Nets), "nets")
				b.ReportMetric(float64(l.Image), "image-B")
				b.ReportMetric(float64(l.Wire), "wire-B")
			}
		})
	}
}

// runLoad starts a process that does TestLoad.
func runLoad(b *testing.B, n int) (l load) {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestLoad$", "-test.v")
	out := filepath.Join(b.TempDir(), "load")
	c.Env = append(os.Environ(), loadImpacts+"="+strconv.Itoa(n), "UCEDGE_TEST_PUBLISH_OUT="+out)
	if text, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		b.Fatal(err)
	}
	return l
}

// TestLoad decides and publishes twice, on the real routes. It is the process
// that BenchmarkPublish measures; run it with -cpuprofile to see where the time
// goes.
func TestLoad(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv(loadImpacts))
	if n == 0 {
		t.Skipf("a measurement: set %s to a number of impacts", loadImpacts)
	}
	table := realRoutes(t)
	in := policy.Input{Now: start, Impacts: spread(table, n), Routes: table}
	var err error
	if in.Profile, err = policy.Named("classic"); err != nil {
		t.Fatal(err)
	}
	store, k := newFolder(t), newKey(t, "bl.example")
	o := options(start)
	o.Limits = &snapshot.Limits{} // the evidence is made up, and covers more than a real list
	o.Override = []Limit{Churn}

	var l load
	stop := watchHeap(&l.Heap)
	var decided *policy.Result
	l.Decide = measure(t, func() { decided = policy.Decide(in) })
	var res Result
	l.First = measure(t, func() { res = mustPublish(t, store, inputOf(decided), k, o) })
	l.Level1, l.Nets = decided.Abusers(), decided.Len()-decided.Abusers()
	for _, x := range res.Manifest.Objects {
		l.Hash += fmt.Sprintf("%.8s ", fmt.Sprint(x.Hash))
		l.Wire += x.WireSize
	}
	l.Image = res.Manifest.Objects[0].Size
	o.Now, in.Now = start+300, start+300
	in.Impacts = in.Impacts[n/50:]
	decided = policy.Decide(in)
	l.Next = measure(t, func() { mustPublish(t, store, inputOf(decided), k, o) })
	stop()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	l.RSS = u.Maxrss << 10
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	if out := os.Getenv("UCEDGE_TEST_PUBLISH_OUT"); out != "" {
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func inputOf(r *policy.Result) build.Input {
	in := listOf(0, 0)
	in.Ordered, in.Profile = r.All(), r.Profile.Snapshot()
	return in
}

// measure returns what do has used.
func measure(t *testing.T, do func()) usage {
	t.Helper()
	cpu, wall := cpuTime(t), time.Now()
	do()
	return usage{time.Since(wall).Seconds(), (cpuTime(t) - cpu).Seconds()}
}

// cpuTime returns the processor time that the process has used: on a machine
// with other work it says more than the clock.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchHeap keeps in most the greatest heap, looked at every ten milliseconds
// until stop is called.
func watchHeap(most *int64) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(sample)
			*most = max(*most, int64(sample[0].Value.Uint64()))
			select {
			case <-end:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() { close(end); <-ended }
}

// spread makes n impacts inside announced space, a tenth of them in IPv6,
// clustered in some networks as real ones are.
func spread(table *routes.Table, n int) []policy.Impact {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := make([]policy.Impact, n)
	for i := range all {
		v6 := rnd.IntN(10) == 0
		f := table.Family(v6)
		route := int(float64(f.Len()) * rnd.Float64() * rnd.Float64())
		size := f.Last(route) - f.Start(route) + 1
		all[i] = policy.Impact{
			Unit:     routes.Unit{Key: f.Start(route) + rnd.Uint64N(max(1, min(size, 4096))), V6: v6},
			Seen:     start - rnd.Int64N(policy.Window),
			Reporter: uint32(rnd.IntN(20)),
			Kind:     1 << rnd.IntN(6),
		}
	}
	return all
}

// realRoutes loads the real tables, or skips the test.
func realRoutes(tb testing.TB) *routes.Table {
	tb.Helper()
	dir := dataDir(tb)
	table, _, err := routes.Load(filepath.Join(dir, "routes/asn-v4.tsv.zst"), filepath.Join(dir, "routes/asn-v6.tsv.zst"))
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// dataDir returns the folder with the real tables, or skips the test.
func dataDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("UCEDGE_DATA")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			tb.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if filepath.Dir(root) == root {
				tb.Fatal("no go.mod above the test")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "routes")); err != nil {
		tb.Skipf("no real data: %v (set UCEDGE_DATA)", err)
	}
	return dir
}
