package compiled

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// module has one function, "answer", which returns 42.
var module = []byte("\x00asm\x01\x00\x00\x00" + "\x01\x05\x01\x60\x00\x01\x7f" + "\x03\x02\x01\x00" +
	"\x07\x0a\x01\x06answer\x00\x00" + "\x0a\x06\x01\x04\x00\x41\x2a\x0b")

// run opens the folder, compiles and calls the module, and seals. It returns
// whether the folder was empty.
func run(t *testing.T, name string) (empty bool) {
	t.Helper()
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	defer f.Cache().Close(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(f.Cache()))
	m, err := r.Instantiate(ctx, module)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.ExportedFunction("answer").Call(ctx); err != nil || len(got) != 1 || got[0] != 42 {
		t.Fatalf("the answer is %v, %v, want 42", got, err)
	}
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	return f.Empty()
}

// logged lets slog write into what it returns for one test.
func logged(t *testing.T) *bytes.Buffer {
	var text bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &text
}

// only returns the one file that a pattern in a folder finds.
func only(t *testing.T, folder, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(escape(folder), pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v, want one file", pattern, found, err)
	}
	return found[0]
}

// TestDamage: every single-byte change, and every cut, of code or sum is found
// before anything runs, told, and made good.
func TestDamage(t *testing.T) {
	log, name := logged(t), filepath.Join(t.TempDir(), "code [of] a *?")
	if !run(t, name) {
		t.Error("a new folder is not empty")
	}
	if run(t, name) {
		t.Error("code that was sealed is gone")
	}
	if log.Len() > 0 {
		t.Errorf("logged %q", log)
	}
	sum := only(t, name, "*/*.sum")
	code := strings.TrimSuffix(sum, sumSuffix)
	damage := func(file string, text []byte) {
		t.Helper()
		log.Reset()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if !run(t, name) {
			t.Fatalf("%s: code was kept", file)
		}
		if !strings.Contains(log.String(), "compiled code is damaged") {
			t.Fatalf("%s: logged %q", file, log)
		}
		only(t, name, "*/*.sum")
	}
	for _, file := range []string{code, sum} {
		whole, err := os.ReadFile(file)
		if err != nil || len(whole) < 10 {
			t.Fatalf("%d bytes, %v", len(whole), err)
		}
		for i := range whole {
			damage(file, whole[:i])
			changed := bytes.Clone(whole)
			changed[i] ^= 0x11
			damage(file, changed)
		}
	}
}

// TestUnsealed: what was never sealed, as what an earlier version has left, is
// made again without a word; what is not wazero's stays.
func TestUnsealed(t *testing.T) {
	log, name := logged(t), t.TempDir()
	other := filepath.Join(name, "notes")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, name)
	if err := os.Remove(only(t, name, "*/*.sum")); err != nil {
		t.Fatal(err)
	}
	if !run(t, name) {
		t.Error("code without a sum was kept")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged %q", log)
	}
}

func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "code")} {
		if f, err := Open(name); err == nil || f != nil {
			t.Errorf("%q opens", name)
		}
	}
}
