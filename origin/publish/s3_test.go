package publish

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"golang.org/x/mod/sumdb/note"

	"ucedge/origin/publish/s3"
	"ucedge/snapshot/manifest"
	"ucedge/snapshot/manifest/manifesttest"
)

const testBucket = "lists"

// newS3 returns a store on a server in this process. The handler in front of
// it may look at requests; nil is none.
func newS3(t *testing.T, prefix string, front func(http.Handler) http.Handler) *S3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(testBucket); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend).Server()
	if front != nil {
		handler = front(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return NewS3(&s3.Bucket{URL: server.URL + "/" + testBucket, Region: "us-east-1", ID: "id", Secret: "secret"}, prefix)
}

func TestS3(t *testing.T) {
	testStore(t, func(t *testing.T) Store { return newS3(t, "", nil) })
}

func TestS3UnderPrefix(t *testing.T) {
	testStore(t, func(t *testing.T) Store { return newS3(t, "/mail/bl.example/", nil) })
}

// TestS3Publishes runs two lists in one bucket, each under its prefix.
func TestS3Publishes(t *testing.T) {
	one := newS3(t, "one", nil)
	two := NewS3(one.bucket, "two")
	k := manifesttest.NewKey(t, "bl.example")
	keys := note.VerifierList(k.Verifier)
	for i := range 4 {
		now := int64(start + 300*i)
		o := options(now)
		o.Keep, o.OrphanAge = 2, 1
		mustPublish(t, one, listOf(0, 100+i), k, o)
		mustPublish(t, two, listOf(0, 200+i), k, o)
		if _, n := edgeReads(t, one, keys, now); n != 100+i {
			t.Errorf("list one has %d entries, want %d", n, 100+i)
		}
		if _, n := edgeReads(t, two, keys, now); n != 200+i {
			t.Errorf("list two has %d entries, want %d", n, 200+i)
		}
	}
	for _, s := range []*S3{one, two} {
		objects, err := s.List(context.Background(), manifest.StorePrefix)
		if err != nil || len(objects) != 8 {
			t.Errorf("%d objects (%v), want those of 2 generations", len(objects), err)
		}
	}
}

// TestS3ComparesAtTheServer lets another publisher write between the look and
// the write of a Swap: the server must refuse it, and must have been asked to.
func TestS3ComparesAtTheServer(t *testing.T) {
	ctx := context.Background()
	one, two, three := []byte("manifest one"), []byte("manifest two"), []byte("manifest three")
	for name, previous := range map[string][]byte{"none before": nil, "one before": one} {
		t.Run(name, func(t *testing.T) {
			var interfere func() // runs before the next PUT of a manifest
			s := newS3(t, "", func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if f := interfere; f != nil && r.Method == http.MethodPut {
						interfere = nil
						f()
					}
					next.ServeHTTP(w, r)
				})
			})
			if previous != nil {
				if err := s.Swap(ctx, nil, previous); err != nil {
					t.Fatal(err)
				}
			}
			interfere = func() {
				if err := s.Swap(ctx, previous, two); err != nil {
					t.Errorf("the faster one: %v", err)
				}
			}
			if err := s.Swap(ctx, previous, three); !errors.Is(err, ErrConflict) {
				t.Errorf("the slower one: %v, want a conflict", err)
			}
			if got, err := s.Get(ctx, manifest.StoreName, 100); err != nil || !bytes.Equal(got, two) {
				t.Errorf("manifest %q, %v", got, err)
			}
		})
	}
}

// TestS3GetIsOneRequest: bytes and ETag of two requests might not belong
// together, and a Swap would then replace what it has not seen.
func TestS3GetIsOneRequest(t *testing.T) {
	requests := 0
	s := newS3(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests++; next.ServeHTTP(w, r) })
	})
	big := bytes.Repeat([]byte("ucedge"), 1<<20)
	if err := s.Put(context.Background(), "history/1", big); err != nil || requests != 1 {
		t.Errorf("put: %d requests, %v", requests, err)
	}
	requests = 0
	if got, err := s.Get(context.Background(), "history/1", 8<<20); err != nil || !bytes.Equal(got, big) || requests != 1 {
		t.Errorf("get: %d requests, %v", requests, err)
	}
}

// TestS3Headers: what caches in front of a bucket are told.
func TestS3Headers(t *testing.T) {
	told := map[string]string{}
	s := newS3(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"+testBucket+"/"), "/")
				told[kind] = r.Header.Get("Cache-Control")
			}
			next.ServeHTTP(w, r)
		})
	})
	mustPublish(t, s, listOf(0, 9), manifesttest.NewKey(t, "bl.example"), options(start))
	if !strings.Contains(told["objects"], "immutable") || told["manifest"] != "no-cache" {
		t.Errorf("told %q", told)
	}
}

// TestS3Down: no failure of the server passes for an empty store, which would
// start a second chain of manifests.
func TestS3Down(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusInternalServerError, http.StatusNotFound} {
		s := newS3(t, "", func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		})
		if _, err := Publish(context.Background(), s, listOf(0, 9), []note.Signer{manifesttest.NewKey(t, "bl.example").Signer}, options(start)); err == nil {
			t.Errorf("status %d: published", status)
		}
	}
}
