package ledger_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// appended starts a process that appends to the ledger until it is killed, and
// returns the first line that it says, and what it logs.
func appended(t *testing.T, file string) (line, logged string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childLedger+"="+file)
	var log strings.Builder
	child.Stderr = &log
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	child.Process.Kill()
	child.Wait() // killed, or ended after an error that the line tells
	return line, log.String()
}

// TestCompiledCode: the code of SQLite is kept beside the ledger; what was
// damaged is made again at once, with a warning; where no folder can be made
// there is none.
func TestCompiledCode(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: compiles SQLite several times, a minute under the race detector")
	}
	file := filepath.Join(t.TempDir(), "ledger")
	stored := func(when, warning string) {
		t.Helper()
		line, logged := appended(t, file)
		if !strings.HasPrefix(line, "stored ") {
			t.Fatalf("%s: %q", when, line)
		}
		if (logged != "") != (warning != "") || !strings.Contains(logged, warning) {
			t.Errorf("%s: logged %q, want %q", when, logged, warning)
		}
	}
	code := func() string {
		t.Helper()
		found, err := filepath.Glob(file + "-compiled/*/*.sum")
		if err != nil || len(found) != 1 {
			t.Fatalf("compiled code %q, %v, want one file", found, err)
		}
		return strings.TrimSuffix(found[0], ".sum")
	}
	stored("first start", "")
	whole, err := os.ReadFile(code())
	if err != nil {
		t.Fatal(err)
	}
	table := bytes.Clone(whole)
	table[3000] ^= 0x11 // where a function begins
	for what, damaged := range map[string][]byte{"cut code": whole[:1000], "no code": nil, "a changed table of functions": table} {
		if err := os.WriteFile(code(), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		stored("start with "+what, "compiled code is damaged")
		if again, err := os.ReadFile(code()); err != nil || len(again) != len(whole) {
			t.Errorf("made again after %s, the code has %d bytes, %v, want %d", what, len(again), err, len(whole))
		}
	}
	stored("start after damage", "")
	folder := filepath.Dir(filepath.Dir(code()))
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stored("start without a folder", "")
}
