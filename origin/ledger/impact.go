package ledger

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// impact4 is a report about an IPv4 address, so packed that its order is that
// of two numbers: 5 million take 80 MB.
type impact4 struct {
	key  uint64 // address, then seen
	rest uint32 // rank of the reporter's name, then kind
}

// impact6 is a report about an IPv6 address.
type impact6 struct {
	high, low uint64
	key       uint64 // seen, then rank and kind
}

// maxReporters is how many reporters rest can tell apart.
const maxReporters = 1 << 24

func compare4(a, b impact4) int {
	if a.key != b.key {
		return cmp.Compare(a.key, b.key)
	}
	return cmp.Compare(a.rest, b.rest)
}

func compare6(a, b impact6) int {
	return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low), cmp.Compare(a.key, b.key))
}

// impacts are the reports of one window.
type impacts struct {
	names []string // of reporters, by rank
	four  []impact4
	six   []impact6
}

// Impacts is promised by Ledger.
func (s *SQLite) Impacts(ctx context.Context, within netip.Prefix, since, until int64) (iter.Seq[report.Report], error) {
	found, err := s.impacts(ctx, within.Masked(), since, until)
	if err != nil {
		return nil, fmt.Errorf("read impacts of %d to %d: %w", since, until, err)
	}
	found.sort()
	return found.all, nil
}

func (s *SQLite) impacts(ctx context.Context, within netip.Prefix, since, until int64) (*impacts, error) {
	found, all := &impacts{}, !within.IsValid()
	if all {
		rows, err := s.countRows(ctx, since, until)
		if err != nil {
			return nil, err
		}
		found.four = make([]impact4, 0, rows)
	}
	var err error
	found.names, err = s.eachImpact(ctx, since, until, func(r row, rank uint32, waits bool) {
		if !waits && (all || within.Contains(r.address())) {
			found.add(r, rank)
		}
	})
	return found, err
}

// Waiting is promised by Ledger.
func (s *SQLite) Waiting(ctx context.Context, since, until int64) (map[string]int, error) {
	counts := map[uint32]int{}
	names, err := s.eachImpact(ctx, since, until, func(r row, rank uint32, waits bool) {
		if waits {
			counts[rank]++
		}
	})
	if err != nil {
		return nil, fmt.Errorf("count waiting reports: %w", err)
	}
	waiting := map[string]int{}
	for rank, n := range counts {
		waiting[names[rank]] = n
	}
	return waiting, nil
}

// eachImpact calls visit for each report of a window, with the rank of its
// reporter and whether it waits. It returns the names by rank.
func (s *SQLite) eachImpact(ctx context.Context, since, until int64, visit func(r row, rank uint32, waits bool)) ([]string, error) {
	reporters, err := s.reporters(ctx)
	if err != nil {
		return nil, err
	}
	released, err := s.released(ctx, reporters, until)
	if err != nil {
		return nil, err
	}
	const query = "SELECT id, rows, x'' FROM segments WHERE last > ? AND first <= ?"
	err = eachSegment(ctx, s.db, query, []any{since, until}, func(_ int64, rows, _ []byte) error {
		return eachRow(rows, nil, func(r row, _ []byte) error {
			seen := r.seen()
			if seen <= since || seen > until {
				return nil
			}
			rank, ok := reporters.rank(r.reporter())
			if !ok {
				return fmt.Errorf("reporter %d: %w", r.reporter(), errDamaged)
			}
			visit(r, rank, r.waits() && seen > released[rank])
			return nil
		})
	})
	return reporters.names, err
}

// released returns for each rank the time up to which reports no longer wait.
func (s *SQLite) released(ctx context.Context, r *reporters, until int64) ([]int64, error) {
	events, err := s.Events(ctx, until, Released)
	if err != nil {
		return nil, err
	}
	times := make([]int64, len(r.names))
	for i := range times {
		times[i] = -1
	}
	for _, event := range events {
		if rank, ok := slices.BinarySearch(r.names, event.Reporter); ok {
			times[rank] = max(times[rank], event.At)
		}
	}
	return times, nil
}

// countRows bounds how many rows of the window there are.
func (s *SQLite) countRows(ctx context.Context, since, until int64) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT coalesce(sum(count), 0) FROM segments WHERE last > ? AND first <= ?", since, until).Scan(&n)
	return n, err
}

// add packs one row. Rows are of the writer's making: IPv4 is mapped.
func (f *impacts) add(r row, rank uint32) {
	seen := binary.BigEndian.Uint32(r[rowSeen:])
	rest := rank<<8 | uint32(r.kind())
	high, low := binary.BigEndian.Uint64(r[rowAddress:]), binary.BigEndian.Uint64(r[rowAddress+8:])
	if high == 0 && low>>32 == 0xffff {
		f.four = append(f.four, impact4{low<<32 | uint64(seen), rest})
		return
	}
	f.six = append(f.six, impact6{high, low, uint64(seen)<<32 | uint64(rest)})
}

// sort puts the impacts in order, the halves of IPv4 at once.
func (f *impacts) sort() {
	var both sync.WaitGroup
	half := partition(f.four)
	both.Go(func() { slices.SortFunc(f.four[:half], compare4) })
	both.Go(func() { slices.SortFunc(f.four[half:], compare4) })
	both.Wait()
	slices.SortFunc(f.six, compare6)
}

// partition moves the impacts below some middle one to the front and returns
// how many they are.
func partition(s []impact4) int {
	if len(s) < 1<<12 {
		return 0
	}
	sample := make([]uint64, 0, 255)
	for i := range cap(sample) {
		sample = append(sample, s[i*(len(s)/256)].key)
	}
	slices.Sort(sample)
	middle, n := sample[len(sample)/2], 0
	for i := range s {
		if s[i].key < middle {
			s[i], s[n] = s[n], s[i]
			n++
		}
	}
	return n
}

// all yields the impacts in order.
func (f *impacts) all(yield func(report.Report) bool) {
	for _, i := range f.four {
		var address [4]byte
		binary.BigEndian.PutUint32(address[:], uint32(i.key>>32))
		if !yield(f.report(netip.AddrFrom4(address), uint32(i.key), i.rest)) {
			return
		}
	}
	for _, i := range f.six {
		var address [16]byte
		binary.BigEndian.PutUint64(address[:], i.high)
		binary.BigEndian.PutUint64(address[8:], i.low)
		if !yield(f.report(netip.AddrFrom16(address), uint32(i.key>>32), uint32(i.key))) {
			return
		}
	}
}

func (f *impacts) report(a netip.Addr, seen, rest uint32) report.Report {
	return report.Report{Address: a, Seen: int64(seen), Reporter: f.names[rest>>8], Kind: snapshot.Kinds(rest)}
}

// reporters are the names of all reporters, in the order of the alphabet: a
// name's place there, its rank, does not depend on when it was first heard of.
type reporters struct {
	names []string
	ranks []uint32 // by number; a number that is free has no rank
}

const noRank = maxReporters

func (r *reporters) rank(id uint32) (uint32, bool) {
	if int64(id) >= int64(len(r.ranks)) || r.ranks[id] == noRank {
		return 0, false
	}
	return r.ranks[id], true
}

func (s *SQLite) reporters(ctx context.Context) (*reporters, error) {
	found, err := s.db.QueryContext(ctx, "SELECT id, name FROM reporters ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer found.Close()
	r := &reporters{}
	for found.Next() {
		var id int
		var name string
		if err := found.Scan(&id, &name); err != nil {
			return nil, err
		}
		if id < 0 || id >= maxReporters || len(r.names) == noRank {
			return nil, fmt.Errorf("reporter number %d: %w", id, errDamaged)
		}
		for len(r.ranks) <= id {
			r.ranks = append(r.ranks, noRank)
		}
		r.ranks[id] = uint32(len(r.names))
		r.names = append(r.names, name)
	}
	return r, found.Err()
}

// Reports is promised by Ledger.
func (s *SQLite) Reports(ctx context.Context, p netip.Prefix, since, until int64) ([]report.Report, error) {
	found, err := s.reports(ctx, p.Masked(), since, until)
	if err != nil {
		return nil, fmt.Errorf("read reports about %s: %w", p, err)
	}
	slices.SortFunc(found, func(a, b report.Report) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Seen, b.Seen), strings.Compare(a.Reporter, b.Reporter),
			cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Evidence, b.Evidence))
	})
	return found, nil
}

func (s *SQLite) reports(ctx context.Context, p netip.Prefix, since, until int64) ([]report.Report, error) {
	reporters, err := s.reporters(ctx)
	if err != nil {
		return nil, err
	}
	const query = `SELECT s.id, s.rows, coalesce(e.ids, x'') FROM segments s LEFT JOIN evidence e ON e.segment = s.id
		WHERE s.last > ? AND s.first <= ?`
	var found []report.Report
	err = eachSegment(ctx, s.db, query, []any{since, until}, func(_ int64, rows, evidence []byte) error {
		return eachRow(rows, evidence, func(r row, id []byte) error {
			if seen := r.seen(); seen <= since || seen > until || !p.Contains(r.address()) {
				return nil
			}
			rank, ok := reporters.rank(r.reporter())
			if !ok {
				return fmt.Errorf("reporter %d: %w", r.reporter(), errDamaged)
			}
			found = append(found, report.Report{
				Address: r.address(), Seen: r.seen(), Reporter: reporters.names[rank], Kind: r.kind(), Evidence: string(id),
			})
			return nil
		})
	})
	return found, err
}
