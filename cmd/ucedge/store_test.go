package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	if !strings.Contains(all, "here/manifest") || strings.Count(all, "here/objects/") != 4 {
		t.Errorf("the bucket holds %q, want a manifest and two objects in two codings", names)
	}
	ucedge(exitFailure, "snapshot", "build", "--l1", "testdata/zones/dnsbl-1.bl.example", "--key", key, "--out", "s3://")
}

// TestEdgeFollowsBucket publishes to a bucket that only a signed request may
// read, follows it with an edge, and delists.
func TestEdgeFollowsBucket(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("lists"); err != nil {
		t.Fatal(err)
	}
	var notModified atomic.Int32
	api := gofakes3.New(backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=id/") || r.Header.Get("X-Amz-Content-Sha256") == "" {
			http.Error(w, "unsigned", http.StatusForbidden)
			return
		}
		seen := &statusWriter{ResponseWriter: w}
		api.ServeHTTP(seen, r)
		if seen.status == http.StatusNotModified {
			notModified.Add(1)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	dir := t.TempDir()
	place := "s3+http://" + strings.TrimPrefix(server.URL, "http://") + "/lists/here"
	key, zone := filepath.Join(dir, "bl.example.key"), filepath.Join(dir, "dnsbl-1.bl.example")
	must(t, "keygen", "bl.example", "--dir", dir)
	publish := func(addresses string) {
		t.Helper()
		if err := os.WriteFile(zone, []byte(":127.0.0.2:listed\n"+addresses), 0o600); err != nil {
			t.Fatal(err)
		}
		must(t, "snapshot", "build", "--l1", zone, "--allow-special-use", "--key", key, "--out", place, "--override", "churn")
	}
	publish("192.0.2.1\n192.0.2.2\n")

	ctx, stop := context.WithCancel(t.Context())
	talk, ended := &safeBuffer{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"edge", "--from", place, "--pub", filepath.Join(dir, "bl.example.pub"), "--engine", "native",
			"--http", "127.0.0.1:0", "--state", filepath.Join(dir, "state"), "--look", "100ms"}, strings.NewReader(""), talk, talk)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("the edge ended with exit code %d: %s", code, talk)
		}
	})
	says := func(listed string) {
		t.Helper()
		last := ""
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			at := regexp.MustCompile(`http=(127\.0\.0\.1:\d+)`).FindStringSubmatch(talk.String())
			if at == nil {
				continue
			}
			var out bytes.Buffer
			run(t.Context(), []string{"check", "192.0.2.1", "192.0.2.2", "--edge", "http://" + at[1]}, nil, &out, &out)
			if last = out.String(); regexp.MustCompile(listed).MatchString(last) {
				return
			}
		}
		t.Fatalf("the edge does not say %q, but\n%s\n%s", listed, last, talk)
	}
	says(`(?s)192.0.2.1 +1 +yes.*192.0.2.2 +1 +yes`)
	publish("192.0.2.2\n")
	says(`(?s)192.0.2.1 +- +no.*192.0.2.2 +1 +yes`)
	for end := time.Now().Add(10 * time.Second); notModified.Load() == 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if notModified.Load() == 0 {
		t.Error("the edge fetches the manifest again though it has it")
	}
}

// must runs the command, which must succeed.
func must(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &out); code != exitOK {
		t.Fatalf("ucedge %q: exit code %d: %s", args, code, &out)
	}
}

// A statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func TestParseBucket(t *testing.T) {
	for _, row := range []struct{ location, url string }{
		{"s3://s3.example/lists", "https://s3.example/lists/"},
		{"s3://s3.example:9000/lists/a/b/", "https://s3.example:9000/lists/a/b"},
		{"s3+http://127.0.0.1:9000/lists/a", "http://127.0.0.1:9000/lists/a"},
	} {
		b, ok, err := parseBucket(row.location)
		if err != nil || !ok || b.url() != row.url {
			t.Errorf("%q: got %q, %v, %v, want %q", row.location, b.url(), ok, err, row.url)
		}
	}
	for _, location := range []string{"publish", "https://s3.example/lists", "s3:/lists"} {
		if _, ok, err := parseBucket(location); ok || err != nil {
			t.Errorf("%q: got %v, %v, want that it is no bucket", location, ok, err)
		}
	}
	for _, location := range []string{"s3://", "s3://s3.example", "s3://s3.example/", "s3:///lists", "s3://%zz/lists"} {
		if _, ok, err := parseBucket(location); !ok || err == nil {
			t.Errorf("%q: got %v, %v, want an error", location, ok, err)
		}
	}
}
