package ledger_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ucedge/origin/ledger"
	"ucedge/origin/ledger/ledgertest"
)

func openIn(tb testing.TB, folder, name string) *ledger.SQLite {
	tb.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(folder, name))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func TestSQLite(t *testing.T) {
	folders := map[*testing.T]string{}
	ledgertest.Run(t, func(t *testing.T, name string) ledger.Ledger {
		if folders[t] == "" {
			folders[t] = t.TempDir()
		}
		return openIn(t, folders[t], name)
	})
}

// TestOpenRefuses: files that are no ledger of this version are left alone.
func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	notSQLite := filepath.Join(folder, "text")
	if err := os.WriteFile(notSQLite, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"not a database": notSQLite,
		"no folder":      filepath.Join(folder, "none", "ledger"),
		"a folder":       folder,
	} {
		l, err := ledger.Open(context.Background(), file)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %q does not name the file", name, err)
		}
	}
}

// TestOddNames: the file name is no part of a URL that could be misread.
func TestOddNames(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"a b", "a?mode=memory", "a#b", "a%20b", "ä"} {
		openIn(t, folder, name)
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
