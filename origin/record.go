package origin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/netip"

	"ucedge/origin/ledger"
	"ucedge/origin/publish"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

const (
	// rowsAtOnce is how many decisions are appended in one transaction.
	rowsAtOnce = 10_000
	// rowsMax bounds the rows of one snapshot: the first one of a ledger with
	// millions of impacts would take minutes to write down. The row of the
	// publication tells how many are left out; a replay finds them.
	rowsMax = 100_000
)

// record writes down what is in the store and not yet in the ledger: a row for
// each listing that began or ended between the last snapshot that the ledger
// knows of and the current one, and the row of the publication at their end.
// It is called after each publication and before it, so that it completes
// itself after a crash.
func (o *Origin) record(ctx context.Context) error {
	current, err := publish.Current(ctx, o.Store, o.Keys, o.Publish.Trusted)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	known, err := o.lastRecorded(ctx)
	if err != nil || known == current.Serial {
		return err
	}
	before, note, err := o.snapshotOf(ctx, known, current)
	if err != nil {
		return err
	}
	after, err := publish.Open(ctx, o.Store, current)
	if err != nil {
		return err
	}
	w := &rows{o: o, ctx: ctx, at: o.now(), serial: current.Serial}
	if w.skip, err = o.recordedRows(ctx, current.Serial); err != nil {
		return err
	}
	if note == "" {
		w.compare(before, after)
	}
	return w.finish(count(after), note)
}

// lastRecorded returns the serial of the last publication in the ledger, or 0.
func (o *Origin) lastRecorded(ctx context.Context) (snapshot.Serial, error) {
	rows, err := o.Ledger.Audit(ctx, ledger.Page{Kinds: []ledger.DecisionKind{ledger.Published}, Limit: 1})
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].Serial, nil
}

// snapshotOf returns the snapshot of a serial, nil for none, or says why the
// changes since then cannot be told.
func (o *Origin) snapshotOf(ctx context.Context, serial snapshot.Serial, current manifest.Manifest) (s *snapshot.Snapshot, why string, err error) {
	if serial == 0 {
		return nil, "", nil
	}
	m, err := publish.Past(ctx, o.Store, serial, o.Keys, o.Publish.Trusted)
	if err == nil && m.SameObjects(current) {
		return nil, "no listing began or ended", nil
	}
	if err == nil {
		s, err = publish.Open(ctx, o.Store, m)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Sprintf("snapshot %d is no longer in the store, so changes since then are not told one by one", serial), nil
	}
	return s, "", err
}

// recordedRows returns how many rows of a serial the ledger has from an
// attempt that a crash cut short.
func (o *Origin) recordedRows(ctx context.Context, serial snapshot.Serial) (n int, err error) {
	page := ledger.Page{Kinds: []ledger.DecisionKind{ledger.Listed, ledger.Delisted}, Limit: ledger.MaxPage}
	for {
		rows, err := o.Ledger.Audit(ctx, page)
		if err != nil {
			return 0, err
		}
		for _, row := range rows {
			if row.Serial != serial {
				return n, nil
			}
			n++
		}
		if len(rows) < ledger.MaxPage {
			return n, nil
		}
		page.Before = rows[len(rows)-1].ID
	}
}

// count returns the number of listings of a snapshot.
func count(s *snapshot.Snapshot) (n int64) {
	for _, c := range s.Collateral() {
		n += int64(c.Entries)
	}
	return n
}

// rows are the decisions of one snapshot on their way into the ledger.
type rows struct {
	o      *Origin
	ctx    context.Context
	at     int64
	serial snapshot.Serial
	skip   int // rows that are in the ledger already
	seen   int
	batch  []ledger.Decision
	err    error
}

// compare adds a row for each listing that only one of two snapshots has.
// Level 3 is told by AS where there is one: its prefixes are the AS's own.
func (w *rows) compare(before, after *snapshot.Snapshot) {
	for _, level := range []snapshot.Level{snapshot.Address, snapshot.Allocation} {
		for l, after := range differences(listed(before, level), listed(after, level)) {
			if !w.add(l, after) {
				return
			}
		}
	}
	was, is := systems(before), systems(after)
	for _, side := range []struct {
		in, other map[subject]snapshot.Listing
		s         *snapshot.Snapshot
		after     bool
	}{{was, is, before, false}, {is, was, after, true}} {
		told := map[subject]bool{}
		for l := range listed(side.s, snapshot.System) {
			k := subjectOf(l)
			if _, both := side.other[k]; both || told[k] {
				continue
			}
			told[k] = true
			if !w.add(l, side.after) {
				return
			}
		}
	}
}

// A subject is what Level 3 lists: an AS, or a prefix of unknown origin.
type subject struct {
	asn    snapshot.ASN
	prefix netip.Prefix
}

func subjectOf(l snapshot.Listing) subject {
	if l.ASN != 0 {
		return subject{asn: l.ASN}
	}
	return subject{prefix: l.Prefix}
}

func systems(s *snapshot.Snapshot) map[subject]snapshot.Listing {
	all := map[subject]snapshot.Listing{}
	for l := range listed(s, snapshot.System) {
		all[subjectOf(l)] = l
	}
	return all
}

// add adds the row of one listing, and reports whether to go on.
func (w *rows) add(l snapshot.Listing, after bool) bool {
	w.seen++
	if w.seen <= w.skip || w.seen > rowsMax {
		return true
	}
	d := ledger.Decision{At: w.at, Kind: ledger.Delisted, Level: l.Level, Prefix: l.Prefix, Serial: w.serial, Count: int64(l.Count)}
	if l.Level == snapshot.System && l.ASN != 0 {
		d.Prefix, d.ASN = netip.Prefix{}, l.ASN
	}
	if after {
		d.Kind, d.Until = ledger.Listed, l.End.Seconds()
	}
	w.batch = append(w.batch, d)
	if len(w.batch) == rowsAtOnce {
		w.err = w.o.Ledger.AppendDecisions(w.ctx, w.batch)
		w.batch = w.batch[:0]
	}
	return w.err == nil
}

// finish appends what is left, with the row of the publication at its end.
func (w *rows) finish(listings int64, note string) error {
	if w.err != nil {
		return w.err
	}
	if more := w.seen - rowsMax; more > 0 {
		note = fmt.Sprintf("%d more listings began or ended, too many to be told one by one", more)
	}
	published := ledger.Decision{At: w.at, Kind: ledger.Published, Serial: w.serial, Count: listings, Reason: note}
	return w.o.Ledger.AppendDecisions(w.ctx, append(w.batch, published))
}

// listed yields the listings of a level, exclusions left out, in the order of
// the image; none of a nil snapshot.
func listed(s *snapshot.Snapshot, level snapshot.Level) iter.Seq[snapshot.Listing] {
	return func(yield func(snapshot.Listing) bool) {
		if s == nil {
			return
		}
		for l := range s.Listings(level) {
			if !l.Excluded && !yield(l) {
				return
			}
		}
	}
}

// differences yields the listings that only one of two ascending sequences
// has, and whether it is the second.
func differences(before, after iter.Seq[snapshot.Listing]) iter.Seq2[snapshot.Listing, bool] {
	return func(yield func(snapshot.Listing, bool) bool) {
		next, stop := iter.Pull(before)
		defer stop()
		old, more := next()
		for l := range after {
			for more && compare(old.Prefix, l.Prefix) < 0 {
				if !yield(old, false) {
					return
				}
				old, more = next()
			}
			if more && compare(old.Prefix, l.Prefix) == 0 {
				old, more = next()
				continue
			}
			if !yield(l, true) {
				return
			}
		}
		for ; more; old, more = next() {
			if !yield(old, false) {
				return
			}
		}
	}
}

// compare orders prefixes as images do: IPv4 before IPv6, by address, by length.
func compare(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
