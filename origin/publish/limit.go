package publish

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"ucedge/snapshot"
)

// A Limit names what keeps a faulty policy or a poisoned feed from reaching
// the edges.
type Limit string

// The limits. Every edge holds the first two on its own account, and keeps the
// snapshot before rather than one that exceeds them: nobody can lift them here.
const (
	Share     Limit = "share"     // a level covers more of IPv4 or IPv6 than snapshot.Limits allows
	Protected Limit = "protected" // an address of snapshot.Limits.Protected is listed
	Churn     Limit = "churn"     // more entries have changed than Options.ChurnMax
)

// Liftable returns nil if an operator who has looked may lift the limit for a
// run, or an error that says why not.
func (l Limit) Liftable() error {
	switch l {
	case Churn:
		return nil
	case Share, Protected:
		return fmt.Errorf("limit %q cannot be lifted: every edge holds it too, and would refuse the snapshot", l)
	}
	return fmt.Errorf("there is no limit %q", l)
}

// An Excess is a limit that a snapshot does not keep.
type Excess struct {
	Limit  Limit
	Detail string
}

func (e *Excess) Error() string { return fmt.Sprintf("limit %q exceeded: %s", e.Limit, e.Detail) }

// churnEntriesMin is the number of entries below which churn is no limit: a
// short list may well change by half in five minutes.
const churnEntriesMin = 1000

// limit refuses a snapshot that exceeds a limit which is not lifted.
func (r *run) limit(s *snapshot.Snapshot, churn float64) error {
	var errs []error
	for _, e := range r.excesses(s, churn) {
		if slices.Contains(r.Override, e.Limit) {
			r.Log.Warn("limit lifted", "list", r.List, "limit", e.Limit, "detail", e.Detail)
			continue
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func (r *run) excesses(s *snapshot.Snapshot, churn float64) (out []*Excess) {
	if err := s.Sane(snapshot.Limits{Share: r.Limits.Share, Share6: r.Limits.Share6}); err != nil {
		out = append(out, &Excess{Share, err.Error()})
	}
	if err := s.Sane(snapshot.Limits{Protected: r.Limits.Protected}); err != nil {
		out = append(out, &Excess{Protected, err.Error()})
	}
	if churn > r.ChurnMax {
		out = append(out, &Excess{Churn, fmt.Sprintf(
			"%.1f %% of the entries differ from the snapshot before, at most %.1f %% are allowed", 100*churn, 100*r.ChurnMax)})
	}
	return out
}

// churn compares s with the snapshot before. Without one, or with one that is
// damaged, there is none.
func (r *run) churn(before []byte, s *snapshot.Snapshot) float64 {
	if before == nil {
		return 0
	}
	old, err := snapshot.Open(before)
	if err != nil {
		r.Log.Warn("snapshot before does not open, its churn is not known", "list", r.List, "err", err)
		return 0
	}
	return churn(old, s)
}

// churn returns the share of the entries of either snapshot that are not in
// both: 0 for the same entries, 1 for none in common. It looks at levels,
// prefixes and exclusions, not at facts. Of short lists it is 0.
func churn(a, b *snapshot.Snapshot) float64 {
	var either, both int
	for _, level := range []snapshot.Level{snapshot.Address, snapshot.Allocation, snapshot.System} {
		e, n := overlap(a.Entries(level), b.Entries(level))
		either, both = either+e, both+n
	}
	if either < churnEntriesMin {
		return 0
	}
	return float64(either-both) / float64(either)
}

// An entry is what churn compares.
type entry struct {
	prefix   netip.Prefix
	excluded bool
}

// overlap counts the entries of two ascending sequences: those in either, and
// those in both.
func overlap(a, b iter.Seq2[netip.Prefix, bool]) (either, both int) {
	next, stop := iter.Pull(batches(b))
	defer stop()
	rest, more := next()
	advance := func() {
		either++
		if rest = rest[1:]; len(rest) == 0 {
			rest, more = next()
		}
	}
	for prefix, excluded := range a {
		x, order := entry{prefix, excluded}, -1
		for more {
			if order = compare(x, rest[0]); order <= 0 {
				break
			}
			advance()
		}
		if more && order == 0 {
			both++
			advance()
		} else {
			either++
		}
	}
	for more {
		advance()
	}
	return either, both
}

// batchSize is the number of entries from which it no longer matters that a
// pull takes as long as ten comparisons.
const batchSize = 512

// batches yields all in pieces, each valid until the next.
func batches(all iter.Seq2[netip.Prefix, bool]) iter.Seq[[]entry] {
	return func(yield func([]entry) bool) {
		batch := make([]entry, 0, batchSize)
		for prefix, excluded := range all {
			if batch = append(batch, entry{prefix, excluded}); len(batch) < batchSize {
				continue
			}
			if !yield(batch) {
				return
			}
			batch = batch[:0]
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// compare orders as images do: IPv4 before IPv6, by address, by length; an
// exclusion is another entry than a listing of the same prefix.
func compare(a, b entry) int {
	if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
		return c
	}
	if c := a.prefix.Bits() - b.prefix.Bits(); c != 0 || a.excluded == b.excluded {
		return c
	}
	if a.excluded {
		return -1
	}
	return 1
}
