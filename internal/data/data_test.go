package data

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFolder(t *testing.T) {
	top := t.TempDir()
	inside := filepath.Join(top, "repository", "room", "package")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "repository", "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, variable, in, want string }{
		{"named", "/srv/data", inside, "/srv/data"},
		{"beside the repository", "", inside, filepath.Join(top, "shared", "data")},
		{"outside of any", "", top, ""},
	} {
		t.Setenv("UCEDGE_DATA", row.variable)
		t.Chdir(row.in)
		got, err := Folder()
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s: %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}
