package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ucedge/snapshot"
)

// TestLoadTooLarge holds that a file which is larger than an image may be is not
// read first.
func TestLoadTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, snapshot.MaxImage+1); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := loadSnapshot(path, nil)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; err == nil || !strings.Contains(err.Error(), "at most 1073741824 are allowed") || took > 1<<20 {
		t.Errorf("%v, and %d bytes of memory", err, took)
	}
}
