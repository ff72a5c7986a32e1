package edge_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ucedge/edge"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

func TestNewSource(t *testing.T) {
	for location, ok := range map[string]bool{
		"https://edge.example/list": true, "http://127.0.0.1:8080": true, "/var/lib/ucedge": true, "folder": true,
		"": false, "ftp://edge.example/": false, "s3://bucket/list": false, "https://": false, "http://a b/": false,
	} {
		if s, err := edge.NewSource(location); (err == nil) != ok || (s != nil) != ok {
			t.Errorf("%q: %v", location, err)
		}
	}
}

// write puts a release into a folder.
func (r *release) write(t testing.TB, dir string, signed []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, manifest.StorePrefix), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{manifest.StoreName: signed}
	for name, wire := range r.wires {
		files[name] = wire
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSourcesFollow syncs from a folder, and from a web server over it, plain
// and with TLS.
func TestSourcesFollow(t *testing.T) {
	dir := t.TempDir()
	files := http.FileServer(http.Dir(dir))
	plain, secure := httptest.NewServer(files), httptest.NewTLSServer(files)
	defer plain.Close()
	defer secure.Close()
	overTLS, err := edge.NewHTTPSource(secure.URL, secure.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	overHTTP, err := edge.NewSource(plain.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for name, source := range map[string]edge.Source{"folder": edge.Folder(dir), "http": overHTTP, "https": overTLS} {
		e := newEngine()
		s := w.edge(e, "")
		s.Source = source
		for i, address := range []string{"198.51.100.1", "198.51.100.2"} {
			r := w.origin.release(snapshot.Serial(100+i), inputOf(address))
			r.write(t, dir, w.origin.sign(r.manifest))
			for range 2 {
				if err := s.Sync(context.Background()); err != nil || !e.lists(t, address) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestManifestIsAskedForConditionally(t *testing.T) {
	w := newWorld(t)
	r := w.origin.release(100, inputOf("198.51.100.1"))
	dir := t.TempDir()
	r.write(t, dir, w.origin.sign(r.manifest))
	var statuses []int
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/list/manifest" {
			rw.Header().Set("ETag", `"one"`)
		}
		rec := &statusRecorder{rw, http.StatusOK}
		http.StripPrefix("/list", http.FileServer(http.Dir(dir))).ServeHTTP(rec, req)
		if req.URL.Path == "/list/manifest" {
			statuses = append(statuses, rec.status)
		}
	}))
	defer server.Close()
	source, err := edge.NewHTTPSource(server.URL+"/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Source = source
	w.sync()
	w.sync()
	if len(statuses) != 2 || statuses[0] != http.StatusOK || statuses[1] != http.StatusNotModified {
		t.Errorf("statuses %v, want 200 and 304", statuses)
	}
	// A text that was refused is not taken from memory again.
	w.Keys = newOrigin(t, "bl.example").keys()
	if err := w.Sync(context.Background()); err == nil {
		t.Error("accepted under another key")
	}
	if err := w.Sync(context.Background()); err == nil {
		t.Error("accepted under another key")
	}
	if got := statuses[len(statuses)-1]; got != http.StatusOK {
		t.Errorf("after a refusal: status %d, want 200", got)
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// TestHTTPSourceFails: each row is a server that does something wrong.
func TestHTTPSourceFails(t *testing.T) {
	w := newWorld(t)
	good := w.origin.release(100, inputOf("198.51.100.1"))
	signed := w.origin.sign(good.manifest)
	serve := func(rw http.ResponseWriter, req *http.Request) {
		name := strings.TrimPrefix(req.URL.Path, "/")
		if name == manifest.StoreName {
			rw.Write(signed)
			return
		}
		rw.Write(good.wires[name])
	}
	onObject := func(f http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			if strings.HasPrefix(req.URL.Path, "/objects/") {
				f(rw, req)
				return
			}
			serve(rw, req)
		}
	}
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(serve))
	defer elsewhere.Close()
	same := httptest.NewServer(http.HandlerFunc(serve))
	defer same.Close()
	rows := []struct {
		name, reason string
		handler      http.HandlerFunc
	}{
		{"good", "", serve},
		{"redirect within its scheme", "", func(rw http.ResponseWriter, req *http.Request) {
			http.Redirect(rw, req, same.URL+req.URL.Path, http.StatusFound)
		}},
		{"redirect to another scheme", "fetch", func(rw http.ResponseWriter, req *http.Request) {
			http.Redirect(rw, req, elsewhere.URL+req.URL.Path, http.StatusFound)
		}},
		{"redirects for ever", "fetch", func(rw http.ResponseWriter, req *http.Request) {
			http.Redirect(rw, req, req.URL.Path, http.StatusFound)
		}},
		{"404", "fetch", http.NotFound},
		{"500 with a good body", "fetch", func(rw http.ResponseWriter, req *http.Request) {
			rw.WriteHeader(http.StatusInternalServerError)
			serve(rw, req)
		}},
		{"304 that nobody asked for", "fetch", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotModified) }},
		{"206", "fetch", func(rw http.ResponseWriter, req *http.Request) {
			rw.WriteHeader(http.StatusPartialContent)
			serve(rw, req)
		}},
		{"manifest too long", "size", func(rw http.ResponseWriter, _ *http.Request) { io.CopyN(rw, endlessZeros{}, manifest.MaxSigned+1) }},
		{"manifest without end", "size", func(rw http.ResponseWriter, _ *http.Request) { io.Copy(rw, endlessZeros{}) }},
		{"manifest cut off", "fetch", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			rw.Write(signed[:100])
		}},
		{"object of another length", "size", onObject(func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("short")) })},
		{"object without end", "size", onObject(func(rw http.ResponseWriter, req *http.Request) {
			rw.Write(good.wires[strings.TrimPrefix(req.URL.Path, "/")])
			rw.(http.Flusher).Flush()
			io.Copy(rw, endlessZeros{})
		})},
		{"object of other bytes", "hash", onObject(func(rw http.ResponseWriter, req *http.Request) {
			rw.Write(bytes.Repeat([]byte("x"), len(good.wires[strings.TrimPrefix(req.URL.Path, "/")])))
		})},
		{"object cut off", "fetch", onObject(func(rw http.ResponseWriter, req *http.Request) {
			wire := good.wires[strings.TrimPrefix(req.URL.Path, "/")]
			rw.Write(wire[:len(wire)/2])
			rw.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})},
		{"hangs", "fetch", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }},
		{"object hangs", "fetch", onObject(func(rw http.ResponseWriter, req *http.Request) {
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			<-req.Context().Done()
		})},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(row.handler)
			defer server.Close()
			source, err := edge.NewHTTPSource(server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			e := newEngine()
			s := w.edge(e, "")
			s.Source = source
			if strings.HasSuffix(row.name, "hangs") {
				s.Timeout = 100 * time.Millisecond
			}
			err = s.Sync(context.Background())
			if row.reason == "" && err != nil || row.reason != "" && (err == nil || edge.SyncReason(err) != row.reason) {
				t.Errorf("error %v, want reason %q", err, row.reason)
			}
			if got := e.Current() != nil; got != (row.reason == "") {
				t.Errorf("loaded: %v", got)
			}
		})
	}
}

type endlessZeros struct{}

func (endlessZeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestPasswordsStayOutOfErrors: a source may have credentials in its URL.
func TestPasswordsStayOutOfErrors(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, at := range []string{strings.TrimPrefix(server.URL, "http://"), "127.0.0.1:1"} {
		source, err := edge.NewHTTPSource("http://edge:hunter2@"+at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Manifest(context.Background()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := edge.NewHTTPSource("ftp://edge:hunter2@edge.example", nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestReasons(t *testing.T) {
	for err, want := range map[error]string{
		&manifest.Refusal{Reason: manifest.Fork}:                              "fork",
		&edge.SyncError{Reason: edge.NotFetched, Err: errors.New("no route")}: "fetch",
		errors.New("anything"):                                                "other",
	} {
		if got := edge.SyncReason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
