package main

import (
	"bytes"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// TestPublishToBucket publishes to an S3 API twice and finds manifest and
// objects there.
func TestPublishToBucket(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("lists"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	dir := t.TempDir()
	ucedge := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &out); code != want {
			t.Fatalf("ucedge %q: exit code %d, want %d: %s", args, code, want, &out)
		}
		return out.String()
	}
	ucedge(exitOK, "keygen", "bl.example", "--dir", dir)
	bucket := "s3+http://" + strings.TrimPrefix(server.URL, "http://") + "/lists/here"
	key := filepath.Join(dir, "bl.example.key")
	for range 2 {
		ucedge(exitOK, "snapshot", "build", "--l1", "testdata/zones/dnsbl-1.bl.example", "--allow-special-use", "--key", key, "--out", bucket)
	}
	objects, err := backend.ListBucket("lists", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects.Contents {
		names = append(names, o.Key)
	}
	all := strings.Join(names, "\n")
	if !strings.Contains(all, "here/manifest") || strings.Count(all, "here/objects/") != 2 {
		t.Errorf("the bucket holds %q, want a manifest and two objects", names)
	}
	ucedge(exitFailure, "snapshot", "build", "--l1", "testdata/zones/dnsbl-1.bl.example", "--key", key, "--out", "s3://")
}
