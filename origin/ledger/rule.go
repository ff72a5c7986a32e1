package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// A Rule is what an origin decides by beside the ledger: whoever judges the
// ledger elsewhere, such as a command, can then judge as the origin does.
type Rule struct {
	Profile    string      `json:"profile"`               // text of the profile
	SpecialUse bool        `json:"special_use,omitempty"` // documentation ranges may be listed
	Protected  []Protected `json:"protected,omitempty"`
	Routes     []string    `json:"routes,omitempty"` // absolute names of files
}

// Protected is a prefix that is never listed.
type Protected struct {
	Prefix string `json:"prefix"`
	Why    string `json:"why"`
}

// rulesTable keeps rules, of which the last one holds. Open makes it in a
// ledger of an earlier release, which lacks it.
const rulesTable = `
CREATE TABLE IF NOT EXISTS rules (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, rule TEXT NOT NULL);
`

const lastRule = "SELECT rule FROM rules ORDER BY id DESC LIMIT 1"

// SetRule is promised by Ledger.
func (s *SQLite) SetRule(ctx context.Context, at int64, r Rule) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = s.writer.do(ctx, 1, func(ctx context.Context, tx *tx) error {
			var last string
			err := tx.conn.QueryRowContext(ctx, lastRule).Scan(&last)
			if err == nil && last == string(text) {
				return nil
			}
			if err == nil || errors.Is(err, sql.ErrNoRows) {
				_, err = tx.conn.ExecContext(ctx, "INSERT INTO rules (at, rule) VALUES (?, ?)", at, string(text))
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("set rule: %w", err)
	}
	return nil
}

// Rule is promised by Ledger.
func (s *SQLite) Rule(ctx context.Context) (Rule, error) {
	var text string
	err := s.db.QueryRowContext(ctx, lastRule).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return Rule{}, ErrNoRule
	}
	var r Rule
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		return Rule{}, fmt.Errorf("read rule: %w", err)
	}
	return r, nil
}
