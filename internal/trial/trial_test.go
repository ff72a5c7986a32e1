package trial

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("UCEDGE_DATA", dir)
	want := filepath.Join(dir, "here")
	if err := os.WriteFile(want, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := File(t, "here"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	skipped := true
	t.Run("absent", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		File(t, "folder/not-here")
	})
	if !skipped {
		t.Error("a file that is not there skips no test")
	}
}
