package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// serve returns a bucket on a server that answers with answer.
func serve(t *testing.T, answer http.HandlerFunc) *Bucket {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return &Bucket{URL: server.URL + "/lists", Region: "auto", ID: "id", Secret: "secret"}
}

// TestList goes through pages, and asks for the prefix as it is.
func TestList(t *testing.T) {
	const pages = 3
	b := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		page, _ := strconv.Atoi(q.Get("continuation-token"))
		if r.URL.Path != "/lists" || q.Get("list-type") != "2" || q.Get("prefix") != "a b/" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprintf(w, `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
			<IsTruncated>%t</IsTruncated><NextContinuationToken>%d</NextContinuationToken>
			<Contents><Key>a b/%d&amp;</Key><Size>5000000000</Size><LastModified>2026-07-01T00:00:0%d.000Z</LastModified></Contents>
			</ListBucketResult>`, page < pages-1, page+1, page, page)
	})
	n := 0
	for o, err := range b.List(t.Context(), "a b/") {
		want := Object{fmt.Sprintf("a b/%d&", n), 5_000_000_000, time.Date(2026, 7, 1, 0, 0, n, 0, time.UTC)}
		if err != nil || o != want {
			t.Errorf("%+v, %v, want %+v", o, err, want)
		}
		n++
	}
	if n != pages {
		t.Errorf("%d objects, want %d", n, pages)
	}
}

// TestListRefuses: a list that may not be whole is an error.
func TestListRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":      "",
		"cut":        "<ListBucketResult><Contents>",
		"no token":   "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
		"not a list": "<html><body>",
		"bad size":   "<ListBucketResult><Contents><Key>a</Key><Size>x</Size></Contents></ListBucketResult>",
	} {
		b := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
		var last error
		for _, last = range b.List(t.Context(), "a/") {
		}
		if last == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRetry: what may pass is tried again with the same body, what may not is
// told at once.
func TestRetry(t *testing.T) {
	for _, row := range []struct{ status, failures, attempts int }{
		{200, 0, 1},
		{503, 2, 3},
		{500, 1, 2},
		{429, 1, 2},
		{503, 100, attemptsMax},
		{403, 100, 1},
		{412, 100, 1},
		{307, 100, 1},
	} {
		attempts := 0
		b := serve(t, func(w http.ResponseWriter, r *http.Request) {
			attempts++
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "body" || r.Header.Get("If-Match") != `"one"` || r.Header.Get("Authorization") == "" {
				t.Errorf("attempt %d: %q, %v, %v", attempts, body, err, r.Header)
			}
			if attempts <= row.failures {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(row.status)
				fmt.Fprintf(w, "<Error><Code>Code%d</Code><Message>why</Message></Error>", row.status)
			}
		})
		err := b.Put(t.Context(), "a", []byte("body"), http.Header{"If-Match": {`"one"`}})
		if attempts != row.attempts {
			t.Errorf("%+v: %d attempts", row, attempts)
		}
		var answer *Error
		switch {
		case row.failures < row.attempts:
			if err != nil {
				t.Errorf("%+v: %v", row, err)
			}
		case !errors.As(err, &answer) || answer.Status != row.status || answer.Code != fmt.Sprint("Code", row.status):
			t.Errorf("%+v: %v", row, err)
		case !strings.Contains(err.Error(), "why"):
			t.Errorf("%+v: error %q does not say why", row, err)
		}
	}
}

// TestNoAnswer: a server that is gone is an error, soon if the caller leaves.
func TestNoAnswer(t *testing.T) {
	b := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	var answer *Error
	if _, _, err := b.Get(t.Context(), "a"); err == nil || errors.As(err, &answer) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Delete(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// TestKeys: any key arrives as it was.
func TestKeys(t *testing.T) {
	for _, key := range []string{"a", "objects/ab/cd", "a b+c%20&d=e?f#g", "ä/√", "a//b", "~-_."} {
		b := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/lists/"+key || r.URL.RawQuery != "" {
				t.Errorf("key %q arrived as %q", key, r.URL)
			}
			w.Header().Set("ETag", `"tag"`)
			io.WriteString(w, "object")
		})
		r, etag, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || string(data) != "object" || etag != `"tag"` {
			t.Errorf("%q, %v, tag %s", data, err, etag)
		}
		r.Close()
	}
}
