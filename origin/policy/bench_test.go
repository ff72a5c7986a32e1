package policy

import (
	"runtime"
	"testing"

	"ucedge/internal/trial"
	"ucedge/origin/routes"
	"ucedge/origin/routes/routestest"
	"ucedge/snapshot"
)

// spread makes n impacts up to now.
func spread(table *routes.Table, n int, now int64) []Impact {
	all := make([]Impact, 0, n)
	for _, i := range routestest.Impacts(table, n, Window) {
		all = append(all, Impact{Unit: i.Unit, Seen: now - i.Ago, Reporter: i.Reporter, Kind: i.Kind})
	}
	return all
}

// BenchmarkDecide asks what one build costs at five million impacts and a real
// table.
func BenchmarkDecide(b *testing.B) {
	table := routestest.Table(b)
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
			before := trial.CPUTime(b)
			for b.Loop() {
				r = Decide(in)
			}
			b.ReportMetric((trial.CPUTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
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
