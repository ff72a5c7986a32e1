package ledger_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// appended starts a process that appends to the ledger until it is killed, and
// returns the first line that it says.
func appended(t *testing.T, file string) string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childLedger+"="+file)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child.Process.Kill()
	child.Wait() // killed, or ended after an error that the line tells
	return line
}

// TestCompiledCode: the code of SQLite is kept beside the ledger; what was
// damaged is refused once and then made again; where no folder can be made
// there is none.
func TestCompiledCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger")
	stored := func(when string) {
		t.Helper()
		if line := appended(t, file); !strings.HasPrefix(line, "stored ") {
			t.Fatalf("%s: %q", when, line)
		}
	}
	code := func() string {
		t.Helper()
		found, err := filepath.Glob(file + "-compiled/*/*")
		if err != nil || len(found) != 1 {
			t.Fatalf("compiled code %q, %v, want one file", found, err)
		}
		return found[0]
	}
	stored("first start")
	if err := os.Truncate(code(), 1000); err != nil {
		t.Fatal(err)
	}
	if line := appended(t, file); !strings.HasPrefix(line, "error ") || !strings.Contains(line, `ledger-compiled", now removed`) {
		t.Errorf("start with damaged code: %q", line)
	}
	stored("start after damage")
	folder := filepath.Dir(filepath.Dir(code()))
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stored("start without a folder")
}
