// Package trial is what tests and benchmarks of several rooms share: the files
// of real data, the time of the processor, and images that lie. Only tests
// import it.
//
// The data are not part of the repository. They are looked for in the folder
// that $UCEDGE_DATA names, or in ../shared/data beside the repository; a test
// that needs what is not there is skipped with the reason.
package trial

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ucedge/internal/data"
)

// File returns the path of a file of the real data, slash-separated, or skips
// the test.
func File(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := data.Folder()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("skipped: no real data, UCEDGE_DATA names their folder: %v", err)
	}
	return path
}

// Unxz returns what an xz file of the real data holds, or skips the test.
func Unxz(tb testing.TB, name string) []byte {
	tb.Helper()
	path := File(tb, name)
	out, err := exec.Command("xz", "-dc", path).Output()
	if errors.Is(err, exec.ErrNotFound) {
		tb.Skip("skipped: no xz to open the public zone files with")
	}
	if err != nil {
		tb.Fatalf("xz -dc %s: %v", path, err)
	}
	return out
}
