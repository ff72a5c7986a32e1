package ledger

import (
	"context"
	"database/sql"
	"errors"

	"ucedge/origin/report"
)

// A tx is one transaction of the writer. What it learns becomes known to the
// writer only in keep, after the commit.
type tx struct {
	*writer
	pending segment
	staged  map[report.Key]struct{}
	names   map[string]uint32
	newest  int64 // last segment written here, or 0
	forgets bool  // keys of reports that are gone fill the memory
}

// apply runs the tasks of a group and writes what they have left in pending.
func (t *tx) apply(ctx context.Context, group []task, results []error) error {
	if err := t.learn(ctx); err != nil {
		return err
	}
	for i, task := range group {
		err := task.apply(ctx, t)
		var refused refusal
		if errors.As(err, &refused) {
			results[i] = refused.error
		} else if err != nil {
			return err
		}
	}
	return t.flush(ctx)
}

// keep makes what was committed known.
func (t *tx) keep(ctx context.Context) {
	if t.forgets {
		t.forget(ctx) // what fails here learn does before the next commit
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.staged {
		t.known.add(key)
	}
	for name, id := range t.names {
		t.reporters[name] = id
	}
	if t.newest != 0 {
		t.writer.newest = t.newest
	}
}

// add takes one report with its mark into the pending segment unless its key
// is known.
func (t *tx) add(ctx context.Context, r *report.Report, key report.Key, mark byte) (added bool, err error) {
	if t.known.has(key) {
		return false, nil
	}
	if _, twice := t.staged[key]; twice {
		return false, nil
	}
	reporter, err := t.reporter(ctx, r.Reporter)
	if err != nil {
		return false, err
	}
	t.staged[key] = struct{}{}
	t.pending.rows = appendRow(t.pending.rows, r, key, reporter, mark)
	t.pending.note(r.Seen, []byte(r.Evidence))
	if t.pending.count() == segmentRows {
		err = t.flush(ctx)
	}
	return true, err
}

// reporter returns the number of a reporter, a new one if the name is new.
func (t *tx) reporter(ctx context.Context, name string) (uint32, error) {
	if id, ok := t.reporters[name]; ok {
		return id, nil
	}
	if id, ok := t.names[name]; ok {
		return id, nil
	}
	var id int64
	err := t.statement.reporter.QueryRowContext(ctx, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = insert(ctx, t.statement.addReporter, name)
	}
	if err != nil {
		return 0, err
	}
	t.names[name] = uint32(id)
	return uint32(id), nil
}

// flush writes the pending rows as a segment.
func (t *tx) flush(ctx context.Context) error {
	p := &t.pending
	if p.count() == 0 {
		return nil
	}
	id, err := insert(ctx, t.statement.segment, p.first, p.last, p.count(), p.rows)
	if err == nil && p.any {
		_, err = insert(ctx, t.statement.evidence, id, p.evidence)
	}
	t.newest = id
	p.reset()
	return err
}

// insert runs a statement and returns the number of the new row.
func insert(ctx context.Context, statement *sql.Stmt, args ...any) (int64, error) {
	result, err := statement.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}
