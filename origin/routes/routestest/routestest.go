// Package routestest lends the real routes to tests of other packages.
package routestest

import (
	"math/rand/v2"
	"testing"

	"ucedge/internal/trial"
	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// Table loads the real tables, IPv4 and IPv6, or skips the test.
func Table(tb testing.TB) *routes.Table {
	tb.Helper()
	table, _, err := routes.Load(trial.File(tb, "routes/asn-v4.tsv.zst"), trial.File(tb, "routes/asn-v6.tsv.zst"))
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// An Impact is one report somewhere in the real routes.
type Impact struct {
	Unit     routes.Unit
	Ago      int64 // seconds
	Reporter uint32
	Kind     snapshot.Kinds
}

// Impacts makes n impacts of the last window seconds inside announced space, a
// tenth of them in IPv6, clustered in some networks as real ones are. The same
// arguments give the same impacts.
func Impacts(table *routes.Table, n int, window int64) []Impact {
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]Impact, n)
	for i := range all {
		v6 := random.IntN(10) == 0
		f := table.Family(v6)
		route := int(float64(f.Len()) * random.Float64() * random.Float64())
		size := f.Last(route) - f.Start(route) + 1
		all[i] = Impact{
			Unit:     routes.Unit{Key: f.Start(route) + random.Uint64N(max(1, min(size, 4096))), V6: v6},
			Ago:      random.Int64N(window),
			Reporter: uint32(random.IntN(20)),
			Kind:     1 << random.IntN(6),
		}
	}
	return all
}
