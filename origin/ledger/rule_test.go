package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"ucedge/origin/ledger"
)

// TestRuleOfEarlierRelease: a ledger of a release that kept no rules opens, and
// keeps them from then on.
func TestRuleOfEarlierRelease(t *testing.T) {
	folder, ctx := t.TempDir(), context.Background()
	openIn(t, folder, "ledger").Close()
	db, err := sql.Open("sqlite3", filepath.Join(folder, "ledger"))
	if err == nil {
		_, err = db.Exec("DROP TABLE rules")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	l := openIn(t, folder, "ledger")
	if _, err := l.Rule(ctx); !errors.Is(err, ledger.ErrNoRule) {
		t.Errorf("rule before one is set: %v, want %v", err, ledger.ErrNoRule)
	}
	if err := l.SetRule(ctx, 1, ledger.Rule{Profile: "p"}); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Rule(ctx); err != nil || r.Profile != "p" {
		t.Errorf("rule is %+v, %v, want profile p", r, err)
	}
}
