package policy

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

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

// spread makes n impacts inside announced space, a tenth of them in IPv6,
// clustered in some networks as real ones are.
func spread(table *routes.Table, n int, now int64) []Impact {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := make([]Impact, n)
	for i := range all {
		v6 := rnd.IntN(10) == 0
		f := table.Family(v6)
		route := int(float64(f.Len()) * rnd.Float64() * rnd.Float64())
		size := f.Last(route) - f.Start(route) + 1
		all[i] = Impact{
			Unit:     routes.Unit{Key: f.Start(route) + rnd.Uint64N(max(1, min(size, 4096))), V6: v6},
			Seen:     now - rnd.Int64N(Window),
			Reporter: uint32(rnd.IntN(20)),
			Kind:     1 << rnd.IntN(6),
		}
	}
	return all
}

// BenchmarkDecide asks what one build costs at five million impacts and a real
// table.
func BenchmarkDecide(b *testing.B) {
	table := realRoutes(b)
	now := int64(1_800_000_000)
	impacts := spread(table, 5_000_000, now)
	for _, name := range Names() {
		b.Run(name, func(b *testing.B) {
			p, err := Named(name)
			if err != nil {
				b.Fatal(err)
			}
			in := Input{Now: now, Profile: p, Impacts: impacts, Routes: table}
			var r *Result
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				r = Decide(in)
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapSys)/(1<<20), "heap-MiB")
			b.ReportMetric(float64(r.Abusers()), "abusers")
			levels := map[snapshot.Level]int{}
			for l := range r.All() {
				levels[l.Level]++
			}
			b.ReportMetric(float64(levels[snapshot.Allocation]), "level2")
			b.ReportMetric(float64(levels[snapshot.System]), "level3")
		})
	}
}

// cpuTime returns the processor time that the process has used: on a machine
// with other work it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
