package edgetest_test

import (
	"cmp"
	"os"
	"testing"

	"ucedge/edge/edgetest"
)

// TestURL runs the suite against the host at $UCEDGE_URL, which follows a
// folder that command world made, in state $UCEDGE_STATE or Ready. With
// $UCEDGE_TRANSCRIPT it also writes what the host said to that file.
func TestURL(t *testing.T) {
	url := os.Getenv("UCEDGE_URL")
	if url == "" {
		t.Skip("UCEDGE_URL names no host")
	}
	state := edgetest.State(cmp.Or(os.Getenv("UCEDGE_STATE"), string(edgetest.Ready)))
	c := client(t, http1)
	edgetest.RunState(t, c, url, state)
	if name := os.Getenv("UCEDGE_TRANSCRIPT"); name != "" {
		transcript, err := edgetest.Record(c, url, state)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, transcript, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
