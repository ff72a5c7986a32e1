package edge

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"ucedge/core"
	"ucedge/edge/watchdog"
)

// TestWatchdog runs a process with a guest that never returns from a call: it
// must end by itself. One that only works hard must not.
func TestWatchdog(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it does nothing here")
	}
	if query := os.Getenv("UCEDGE_WATCH_QUERY"); query != "" {
		watched(t, query)
		return
	}
	for _, row := range []struct {
		query string
		dies  bool
	}{{"loop", true}, {"work", false}} {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWatchdog$", "-test.v")
		cmd.Env = append(os.Environ(), "UCEDGE_WATCH_QUERY="+row.query)
		out, err := cmd.CombinedOutput()
		hung := ctx.Err() != nil
		stop()
		switch aborted := bytes.Contains(out, []byte("SIGABRT: abort")); {
		case hung:
			t.Errorf("%s: the process hangs:\n%s", row.query, out)
		case (err != nil) != row.dies || aborted != row.dies:
			t.Errorf("%s: ended with %v, aborted: %v, want %v\n%s", row.query, err, aborted, row.dies, out)
		}
	}
}

// watched asks a guest that one thing for three seconds, under a watchdog of
// one second.
func watched(t *testing.T, query string) {
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 2})
	if err := watchdog.Start(t.Context(), 100*time.Millisecond, time.Second); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if _, err := e.Answer(t.Context(), nil, []byte(query), 0, core.Open); err != nil {
			t.Fatal(err)
		}
	}
}
