package main

import (
	"strings"
	"testing"
)

// printed is what h2load 1.52 prints at its end.
const printed = `finished in 2.00s, 12345.50 req/s, 1.58MB/s
requests: 24691 total, 24691 started, 24690 done, 24689 succeeded, 1 failed, 2 errored, 3 timeout
status codes: 24680 2xx, 4 3xx, 5 4xx, 6 5xx
traffic: 3.16MB (3315472) total, 339.61KB (347760) headers (space savings 92.57%), 1.57MB (1649292) data
`

func TestParseLoad(t *testing.T) {
	l, err := parseLoad([]byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	if l.perSecond != 12345.5 || l.done != 24690 || l.succeeded != 24689 || l.failed != 1+2+3+4+5+6 {
		t.Errorf("got %+v", l)
	}
	for _, cut := range []string{"finished", "requests", "status"} {
		if _, err := parseLoad([]byte(strings.Replace(printed, cut, "", 1))); err == nil {
			t.Errorf("without %q: got no error", cut)
		}
	}
}

func TestSeededIsTheSameEachTime(t *testing.T) {
	a, b := seeded(1000), seeded(1000)
	if len(a.Listings) < 1000 || len(a.Listings) != len(b.Listings) {
		t.Fatalf("got %d and %d listings", len(a.Listings), len(b.Listings))
	}
	for i := range a.Listings {
		if a.Listings[i] != b.Listings[i] {
			t.Fatalf("listing %d differs: %v, %v", i, a.Listings[i], b.Listings[i])
		}
	}
}

func TestTableHasEveryFigure(t *testing.T) {
	r := newResults()
	r.section = "sizes"
	r.aimed("guest", 1234567, "bytes", "below 1000000")
	r.skip("loads, since %s is absent", "h2load")
	table := string(r.table())
	for _, want := range []string{"## sizes", "| guest | 1234567 | bytes | below 1000000 |", "- sizes: loads, since h2load is absent"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
