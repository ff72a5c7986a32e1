package routes

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
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

func TestRealTable(t *testing.T) {
	dir := dataDir(t)
	start := time.Now()
	table, stats, err := Load(filepath.Join(dir, "routes/asn-v4.tsv.zst"), filepath.Join(dir, "routes/asn-v6.tsv.zst"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d routes, %d systems in %v; %+v", table.Len(), len(table.Systems()), time.Since(start), stats)
	t.Log(table.Covering(UnitOf(netip.MustParseAddr("1.1.1.1"))))
	s, _ := table.System(13335)
	t.Log(s)
	if got := table.v4.Len(); got != 564580-1 {
		t.Errorf("got %d IPv4 routes", got)
	}
}
