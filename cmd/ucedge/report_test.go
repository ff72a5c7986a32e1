package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReportLeftHalfway: of a body that an origin takes a part of, the sender is
// told both the part and why the rest was left.
func TestReportLeftHalfway(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"accepted":3,"duplicates":0,"waiting":3,"refused_total":0,"refused":[],"error":"too many wait"}`)
	}))
	defer origin.Close()
	file := filepath.Join(t.TempDir(), "reports.ndjson")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"origin", "report", file, "--url", origin.URL, "--api-key", "k"}, nil, &out, &errs)
	if code != exitFailure || !strings.Contains(out.String(), "3 accepted") || !strings.Contains(errs.String(), "too many wait") {
		t.Errorf("exit code %d, output %q, errors %q", code, &out, &errs)
	}
}
