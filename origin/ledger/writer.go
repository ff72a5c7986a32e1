package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"ucedge/origin/report"
)

// Bounds on what one commit takes together.
const (
	groupTasks = 1024    // appends that wait for the next commit at most
	groupRows  = 1 << 17 // rows after which a commit takes no further append
)

// errClosed is what a call gets after Close.
var errClosed = errors.New("ledger is closed")

// A task is one change that waits to be committed.
type task struct {
	rows int // about how many rows it writes
	// apply makes the change. An error from refuse concerns this task alone,
	// which then must have changed nothing; any other undoes the whole group.
	apply func(ctx context.Context, tx *tx) error
	done  chan error
}

// A refusal wraps an error that concerns one task alone.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// A writer commits changes one group at a time: all that arrived while the
// disk was busy with the group before share one sync.
type writer struct {
	conn  *sql.Conn
	tasks chan task
	stop  sync.Once
	quit  chan struct{} // closed by close
	ended chan struct{} // closed when run has returned

	mu    sync.RWMutex // held by run when it changes known, and by others that read it
	known known        // keys of all segments up to newest

	// The following belong to run alone.
	newest    int64             // last segment whose keys are known
	reporters map[string]uint32 // numbers of committed names
	statement statements
}

func startWriter(ctx context.Context, conn *sql.Conn) (*writer, error) {
	w := &writer{
		conn:      conn,
		tasks:     make(chan task, groupTasks),
		quit:      make(chan struct{}),
		ended:     make(chan struct{}),
		reporters: map[string]uint32{},
	}
	if err := w.statement.prepare(ctx, conn); err != nil {
		return nil, err
	}
	if err := w.learn(ctx); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

// do has a change committed. If ctx ends first, it may be committed yet.
func (w *writer) do(ctx context.Context, rows int, apply func(context.Context, *tx) error) error {
	t := task{rows: rows, apply: apply, done: make(chan error, 1)}
	select {
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	case w.tasks <- t:
	}
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		select { // run may have answered before it ended
		case err := <-t.done:
			return err
		default:
			return errClosed
		}
	}
}

// close lets run finish what waits and returns when it has.
func (w *writer) close() error {
	w.stop.Do(func() { close(w.quit) })
	<-w.ended
	return errors.Join(w.statement.close(), w.conn.Close())
}

func (w *writer) run() {
	defer close(w.ended)
	var group []task
	for {
		select {
		case t := <-w.tasks:
			group = w.gather(append(group[:0], t))
			w.commit(group)
		case <-w.quit:
			for group = w.gather(group[:0]); len(group) > 0; group = w.gather(group[:0]) {
				w.commit(group)
			}
			return
		}
	}
}

// gather adds the tasks that wait already.
func (w *writer) gather(group []task) []task {
	rows := 0
	for _, t := range group {
		rows += t.rows
	}
	for rows < groupRows && len(group) < groupTasks {
		select {
		case t := <-w.tasks:
			group, rows = append(group, t), rows+t.rows
		default:
			return group
		}
	}
	return group
}

// commit applies a group in one transaction and tells each task its result
// only after the log is synced.
func (w *writer) commit(group []task) {
	ctx := context.Background() // a caller that left does not undo the others
	results := make([]error, len(group))
	if err := w.transact(ctx, group, results); err != nil {
		for i := range results {
			results[i] = err
		}
	}
	for i, t := range group {
		t.done <- results[i]
	}
}

func (w *writer) transact(ctx context.Context, group []task, results []error) error {
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	tx := &tx{writer: w, staged: map[report.Key]struct{}{}, names: map[string]uint32{}}
	err := tx.apply(ctx, group, results)
	if err == nil {
		_, err = w.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, rollback := w.conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	tx.keep(ctx)
	return nil
}

// learn takes in the keys of segments that are not yet known: all of them
// after Open, and later those that another process has committed.
func (w *writer) learn(ctx context.Context) error {
	var newest int64
	if err := w.statement.newest.QueryRowContext(ctx).Scan(&newest); err != nil {
		return err
	}
	if newest == w.newest {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.learnUntil(ctx, newest)
}

// learnUntil does so up to the segment of that number. The caller holds mu.
func (w *writer) learnUntil(ctx context.Context, newest int64) error {
	err := eachSegment(ctx, w.conn, "SELECT id, rows, x'' FROM segments WHERE id > ?", []any{w.newest}, func(_ int64, rows, _ []byte) error {
		return eachRow(rows, nil, func(r row, _ []byte) error {
			w.known.add(r.key())
			return nil
		})
	})
	if err == nil {
		w.newest = newest
	}
	return err
}

// forget takes all keys in anew, of which many are gone.
func (w *writer) forget(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.newest = known{}, 0
	var newest int64
	if err := w.statement.newest.QueryRowContext(ctx).Scan(&newest); err != nil {
		return err
	}
	return w.learnUntil(ctx, newest)
}

// fresh tells of each key whether it is unknown and the first of its kind.
func (w *writer) fresh(keys []report.Key) []bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var met known
	fresh := make([]bool, len(keys))
	for i, key := range keys {
		fresh[i] = !w.known.has(key) && !met.has(key)
		met.add(key)
	}
	return fresh
}

// statements are what the writer runs again and again.
type statements struct {
	newest, segment, evidence, reporter, addReporter, decision *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, conn *sql.Conn) error {
	for _, p := range []struct {
		statement **sql.Stmt
		text      string
	}{
		{&s.newest, "SELECT coalesce(max(id), 0) FROM segments"},
		{&s.segment, "INSERT INTO segments (first, last, count, rows) VALUES (?, ?, ?, ?)"},
		{&s.evidence, "INSERT INTO evidence (segment, ids) VALUES (?, ?)"},
		{&s.reporter, "SELECT id FROM reporters WHERE name = ?"},
		{&s.addReporter, "INSERT INTO reporters (name) VALUES (?)"},
		{&s.decision, "INSERT INTO decisions (" + decisionColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
	} {
		var err error
		if *p.statement, err = conn.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) close() error {
	return errors.Join(s.newest.Close(), s.segment.Close(), s.evidence.Close(), s.reporter.Close(), s.addReporter.Close(), s.decision.Close())
}

// A querier is a database or one connection of it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// eachSegment calls visit with the number, rows and evidence of each segment
// that a query of these three columns gives. The bytes are valid during the call.
func eachSegment(ctx context.Context, q querier, query string, args []any, visit func(id int64, rows, evidence []byte) error) error {
	found, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var id int64
		var rows, evidence sql.RawBytes
		if err := found.Scan(&id, &rows, &evidence); err != nil {
			return err
		}
		if err := visit(id, rows, evidence); err != nil {
			return fmt.Errorf("segment %d: %w", id, err)
		}
	}
	return found.Err()
}
