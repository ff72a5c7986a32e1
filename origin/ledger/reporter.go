package ledger

import (
	"context"
	"fmt"
	"slices"
)

// Reporters is promised by Ledger.
func (s *SQLite) Reporters(ctx context.Context) ([]string, error) {
	names, err := s.reporterNames(ctx)
	if err != nil {
		return nil, fmt.Errorf("list reporters: %w", err)
	}
	return names, nil
}

func (s *SQLite) reporterNames(ctx context.Context) ([]string, error) {
	found, err := s.db.QueryContext(ctx, "SELECT name FROM reporters UNION SELECT name FROM keys WHERE role = ? ORDER BY name", string(Reporter))
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var names []string
	for found.Next() {
		var name string
		if err := found.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, found.Err()
}

// CheckReporter returns an ErrNoReporter that quotes the name if the ledger
// knows no reporter by it.
func CheckReporter(ctx context.Context, l Ledger, name string) error {
	names, err := l.Reporters(ctx)
	if err == nil && !slices.Contains(names, name) {
		err = fmt.Errorf("%w: %q", ErrNoReporter, name)
	}
	return err
}
