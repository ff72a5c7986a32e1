package ledger_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"ucedge/origin/ledger"
)

// BenchmarkAudit asks how long a page takes in a ledger of many listings, as an
// origin writes them: 100,000 after each build, each in the order of addresses.
// UCEDGE_BENCH_DECISIONS sets how many there are.
func BenchmarkAudit(b *testing.B) {
	total := 100_000
	if set := os.Getenv("UCEDGE_BENCH_DECISIONS"); set != "" {
		n, err := strconv.Atoi(set)
		if err != nil {
			b.Fatal(err)
		}
		total = n
	}
	const from, step = 1_795_000_000, 300
	l := openIn(b, b.TempDir(), "ledger")
	batch := make([]ledger.Decision, 0, 10_000)
	start := time.Now()
	for i := 0; i < total; i++ {
		n := i % 100_000
		d := ledger.Decision{At: from + int64(i/100_000*step), Kind: ledger.Listed, Level: 1, Until: from + 700_000, Serial: 1, Count: 3}
		d.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(n>>16), byte(n >> 8), byte(n)}), 32)
		if i/100_000%2 == 1 {
			d.Kind, d.Until = ledger.Delisted, 0
		}
		if batch = append(batch, d); len(batch) == cap(batch) || i == total-1 {
			if err := l.AppendDecisions(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	b.Logf("%.0f decisions/s written", float64(total)/time.Since(start).Seconds())
	last := int64(from + (total-1)/100_000*step)
	for _, row := range []struct {
		name string
		page ledger.Page
	}{
		{"public", ledger.Page{Kinds: ledger.PublicKinds()}},
		{"private", ledger.Page{}},
		{"none of the kind", ledger.Page{Kinds: []ledger.DecisionKind{ledger.Removed}}},
		{"old", ledger.Page{Kinds: ledger.PublicKinds(), Before: 5000}},
		{"since the end", ledger.Page{Kinds: ledger.PublicKinds(), Since: last + 1}},
		{"since the last build", ledger.Page{Kinds: ledger.PublicKinds(), Since: last}},
		{"since the beginning", ledger.Page{Kinds: ledger.PublicKinds(), Since: from}},
		{"within an address", ledger.Page{Kinds: ledger.PublicKinds(), Within: netip.MustParsePrefix("198.18.7.7/32")}},
		{"within another", ledger.Page{Kinds: ledger.PublicKinds(), Within: netip.MustParsePrefix("203.0.113.7/32")}},
		{"within a net", ledger.Page{Kinds: ledger.PublicKinds(), Within: netip.MustParsePrefix("198.18.7.0/24")}},
		{"within half", ledger.Page{Kinds: ledger.PublicKinds(), Within: netip.MustParsePrefix("198.18.0.0/16")}},
		{"within half, no such kind", ledger.Page{Kinds: []ledger.DecisionKind{ledger.Removed}, Within: netip.MustParsePrefix("198.18.0.0/16")}},
	} {
		for _, limit := range []int{1, ledger.MaxPage} {
			row.page.Limit = limit
			b.Run(fmt.Sprintf("%s/limit=%d", row.name, limit), func(b *testing.B) {
				for b.Loop() {
					if _, err := l.Audit(context.Background(), row.page); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
