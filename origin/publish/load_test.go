package publish

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ucedge/internal/trial"
	"ucedge/origin/policy"
	"ucedge/origin/routes"
	"ucedge/origin/routes/routestest"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest/manifesttest"
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
	trial.File(b, "routes")
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
	table := routestest.Table(t)
	in := policy.Input{Now: start, Impacts: spread(table, n), Routes: table}
	var err error
	if in.Profile, err = policy.Named("classic"); err != nil {
		t.Fatal(err)
	}
	store, k := newFolder(t), manifesttest.NewKey(t, "bl.example")
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
	cpu, wall := trial.CPUTime(t), time.Now()
	do()
	return usage{time.Since(wall).Seconds(), (trial.CPUTime(t) - cpu).Seconds()}
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

// spread makes n impacts up to the start.
func spread(table *routes.Table, n int) []policy.Impact {
	all := make([]policy.Impact, 0, n)
	for _, i := range routestest.Impacts(table, n, policy.Window) {
		all = append(all, policy.Impact{Unit: i.Unit, Seen: start - i.Ago, Reporter: i.Reporter, Kind: i.Kind})
	}
	return all
}
