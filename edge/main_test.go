package edge

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// guestFolder is where the guests of a test run are built, and cacheFolder
// where wazero keeps what it compiled of them.
var guestFolder, cacheFolder string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ucedge-guest-")
	if err != nil {
		panic(err)
	}
	guestFolder, cacheFolder = dir, filepath.Join(dir, "cache")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildGuest builds a guest from its package, as the Makefile does.
func buildGuest(pkg, flags string) ([]byte, error) {
	out, err := os.CreateTemp(guestFolder, "*.wasm")
	if err != nil {
		return nil, err
	}
	out.Close()
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w "+flags, "-o", out.Name(), pkg)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(out.Name())
}

var (
	testGuest  = sync.OnceValues(func() ([]byte, error) { return buildGuest("./testdata/guest", "") })
	otherGuest = sync.OnceValues(func() ([]byte, error) { return buildGuest("./testdata/guest", "-X main.version=99") })
	realGuest  = sync.OnceValues(func() ([]byte, error) { return buildGuest("ucedge/wasm/guest", "") })
)

// wasmEngine starts an engine on a guest, and closes it with the test.
func wasmEngine(t testing.TB, guest func() ([]byte, error), options WasmOptions) *WasmEngine {
	t.Helper()
	module, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	options.CacheDir = cacheFolder
	e, err := NewWasmEngine(context.Background(), module, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}
