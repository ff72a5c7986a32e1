package ledger

import (
	"context"
	"fmt"
)

// Compact is promised by Ledger. It goes through the segments in portions, so
// that appends wait for one portion only. Segments with rows to take out, and
// neighbours that are small, are written anew.
func (s *SQLite) Compact(ctx context.Context, before int64) (removed int64, err error) {
	var last int64
	if err := s.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM segments").Scan(&last); err != nil {
		return 0, fmt.Errorf("compact ledger: %w", err)
	}
	for from := int64(0); from < last; {
		p := portion{before: before, from: from, last: last}
		err := s.writer.do(ctx, segmentRows, p.apply)
		if err != nil {
			return removed, fmt.Errorf("compact ledger after segment %d: %w", from, err)
		}
		from, removed = p.to, removed+p.removed
	}
	return removed, nil
}

// smallSegment is the number of rows below which a segment is merged with the
// one before it: single reports of a spamtrap make segments of one row.
const smallSegment = segmentRows / 4

// A portion is one step of Compact.
type portion struct {
	before  int64 // reports seen up to then go
	from    int64 // segments up to this number have been gone through
	last    int64 // and are to be up to this one
	to      int64 // segments up to this number are done after the step
	removed int64 // rows taken out
}

// apply takes segments until they fill one of full size.
func (p *portion) apply(ctx context.Context, tx *tx) error {
	ids, err := p.choose(ctx, tx)
	if err != nil || len(ids) == 0 {
		return err
	}
	tx.forgets = tx.forgets || p.to == p.last
	if err := tx.flush(ctx); err != nil { // appends of the same group keep their own segment
		return err
	}
	for _, id := range ids {
		if err := p.rewrite(ctx, tx, id); err != nil {
			return err
		}
	}
	return tx.flush(ctx)
}

// choose returns the segments of this step and sets where the next begins.
func (p *portion) choose(ctx context.Context, tx *tx) ([]int64, error) {
	p.to, p.removed = p.last, 0
	found, err := tx.conn.QueryContext(ctx, "SELECT id, count FROM segments WHERE id > ? AND id <= ? AND (first <= ? OR count < ?) ORDER BY id",
		p.from, p.last, p.before, smallSegment)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var ids []int64
	for rows := 0; rows < segmentRows && found.Next(); {
		var id int64
		var count int
		if err := found.Scan(&id, &count); err != nil {
			return nil, err
		}
		ids, rows = append(ids, id), rows+count
		if rows >= segmentRows {
			p.to = id
		}
	}
	return ids, found.Err()
}

// rewrite moves the rows of one segment that stay into the pending one.
func (p *portion) rewrite(ctx context.Context, tx *tx, id int64) error {
	var rows, evidence []byte
	const query = "SELECT s.rows, coalesce(e.ids, x'') FROM segments s LEFT JOIN evidence e ON e.segment = s.id WHERE s.id = ?"
	if err := tx.conn.QueryRowContext(ctx, query, id).Scan(&rows, &evidence); err != nil {
		return err
	}
	err := eachRow(rows, evidence, func(r row, evidence []byte) error {
		if r.seen() <= p.before {
			p.removed++
			return nil
		}
		tx.pending.rows = append(tx.pending.rows, r...)
		tx.pending.note(r.seen(), evidence)
		if tx.pending.count() == segmentRows {
			return tx.flush(ctx)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("segment %d: %w", id, err)
	}
	return tx.drop(ctx, id)
}

// drop takes a segment out.
func (t *tx) drop(ctx context.Context, id int64) error {
	for _, statement := range [...]string{"DELETE FROM segments WHERE id = ?", "DELETE FROM evidence WHERE segment = ?"} {
		if _, err := t.conn.ExecContext(ctx, statement, id); err != nil {
			return err
		}
	}
	return nil
}
