package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ucedge/origin/trap"
)

// ucedge runs a command, and returns its exit code and what it prints.
func ucedge(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &talk)
	return code, out.String(), talk.String()
}

// TestTrapOpen: what a trap keeps is read with the key that sealkey printed,
// and with no other.
func TestTrapOpen(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	code, keys, _ := ucedge(t, "trap", "sealkey")
	lines := strings.Split(keys, "\n")
	if code != exitOK || len(lines) != 3 {
		t.Fatalf("sealkey: %d %q", code, keys)
	}
	_, otherKeys, _ := ucedge(t, "trap", "sealkey")
	public, err := trap.ParseSealKey(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	const header = "From: <spam@host.example>\r\nSubject: watches\r\n"
	sealed, err := public.Seal([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	both, secret, other := write("both", keys), write("secret", lines[0]), write("other", otherKeys)
	kept, cut := write("kept", string(sealed)), write("cut", string(sealed[:len(sealed)-1]))
	for _, row := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"--seal-key", both, kept}, exitOK, header, ""},
		{[]string{"--seal-key", secret, kept}, exitOK, header, ""},
		{[]string{"--seal-key", other, kept}, exitFailure, "", "kept"},
		{[]string{"--seal-key", both, cut}, exitFailure, "", "cut"},
		{[]string{"--seal-key", kept, both}, exitFailure, "", "does not begin with"},
		{[]string{"--seal-key", both, filepath.Join(folder, "none")}, exitFailure, "", "none"},
		{[]string{kept}, exitMisuse, "", "--seal-key is needed"},
		{[]string{"--seal-key", both}, exitMisuse, "", ""},
	} {
		code, stdout, stderr := ucedge(t, append([]string{"trap", "open"}, row.args...)...)
		if code != row.code || stdout != row.stdout || !strings.Contains(stderr, row.stderr) || strings.Contains(stderr, lines[0]) {
			t.Errorf("trap open %q: exit code %d, stdout %q, stderr %q; want %d, %q, %q", row.args, code, stdout, stderr, row.code, row.stdout, row.stderr)
		}
	}
}
