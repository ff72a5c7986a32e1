package ledger

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

func openTest(t *testing.T) *SQLite {
	t.Helper()
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestDurable: the settings on which the promise of stable storage rests hold
// on the connection that commits.
func TestDurable(t *testing.T) {
	s := openTest(t)
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		var got string
		if err := s.writer.conn.QueryRowContext(context.Background(), "PRAGMA "+pragma).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

// TestFailedGroup: when a commit fails, no task of its group is acknowledged,
// nothing of it is stored, and its keys are not taken for known.
func TestFailedGroup(t *testing.T) {
	s, ctx := openTest(t), context.Background()
	r := report.Report{Address: netip.MustParseAddr("192.0.2.1"), Seen: 1000, Reporter: "a", Kind: snapshot.Scan}
	broken := errors.New("disk is gone")
	add := func(ctx context.Context, tx *tx) error {
		_, err := tx.add(ctx, &r, r.Key(), 0)
		return err
	}
	fail := func(ctx context.Context, tx *tx) error {
		if err := tx.flush(ctx); err != nil {
			return err
		}
		return broken
	}
	done := make(chan error, 2)
	err := s.writer.do(ctx, 1, func(ctx context.Context, tx *tx) error {
		return tx.apply(ctx, []task{{apply: add, done: done}, {apply: fail, done: done}}, make([]error, 2))
	})
	if !errors.Is(err, broken) {
		t.Fatalf("error is %v, want %v", err, broken)
	}
	found, err := s.Reports(ctx, netip.MustParsePrefix("0.0.0.0/0"), 0, MaxTime)
	if err != nil || len(found) != 0 {
		t.Fatalf("stored: %v, %v", found, err)
	}
	receipt, err := s.AppendReports(ctx, []report.Report{r})
	if err != nil || receipt.Accepted != 1 {
		t.Errorf("afterwards: %+v, %v", receipt, err)
	}
}

// TestKnown compares the set with a map, on keys that collide and the zero key.
func TestKnown(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var set known
	set.add(report.Key{})
	model := map[report.Key]bool{{}: true}
	for range 20_000 {
		var key report.Key
		key[0], key[1], key[12] = byte(random.Uint32()), byte(random.IntN(4)), byte(random.IntN(8))
		if set.has(key) != model[key] {
			t.Fatalf("has %x is %v, want %v", key, set.has(key), model[key])
		}
		if random.IntN(3) == 0 {
			set.add(key)
			model[key] = true
		}
	}
	if len(model) < 4000 {
		t.Fatalf("only %d keys", len(model))
	}
}

// FuzzEachRow: bytes that are no segment are an error, never a panic, and rows
// that are read are as many as there are.
func FuzzEachRow(f *testing.F) {
	r := report.Report{Address: netip.MustParseAddr("192.0.2.1"), Seen: 1000, Reporter: "a", Kind: snapshot.Scan}
	var s segment
	for _, id := range []string{"", "a1"} {
		s.rows = appendRow(s.rows, &r, r.Key(), 1, 0)
		s.note(r.Seen, []byte(id))
	}
	f.Add(s.rows, s.evidence)
	f.Add(s.rows, []byte(nil))
	f.Add(s.rows[1:], s.evidence)
	f.Add(s.rows, s.evidence[:2])
	f.Add([]byte(nil), []byte{255, 255})
	f.Fuzz(func(t *testing.T, rows, evidence []byte) {
		n := 0
		err := eachRow(rows, evidence, func(r row, id []byte) error {
			n++
			if !r.address().IsValid() || r.address().Is4In6() {
				t.Fatalf("address %s", r.address())
			}
			return nil
		})
		if err == nil && n*rowLength != len(rows) {
			t.Fatalf("%d rows of %d bytes", n, len(rows))
		}
		if err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
	})
}
