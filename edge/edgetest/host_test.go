package edgetest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ucedge/core"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// A host is the thinnest host there can be over the core: it holds the core
// against the cases with nothing between them.
type host struct {
	core   *core.Core
	filter []byte
	gate   func(*http.Request) core.Gate
	now    func() int64
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		panic(err) // the suite sends no such body
	}
	target := r.RequestURI
	if rest, ok := strings.CutPrefix(target, "/k/"); ok {
		_, path, _ := strings.Cut(rest, "/")
		target = "/" + path
	}
	req := core.Request{
		Now: h.now(), Gate: h.gate(r), Method: []byte(r.Method), Target: []byte(target),
		Accept: []byte(strings.Join(r.Header.Values("accept"), ", ")), ContentType: []byte(r.Header.Get("content-type")),
		IfNoneMatch: []byte(strings.Join(r.Header.Values("if-none-match"), ", ")), Body: body,
	}
	var resp core.Response
	h.core.Serve(&req, &resp)
	for _, f := range resp.Fields {
		w.Header().Add(string(f.Name), string(f.Value))
	}
	switch resp.Ref {
	case core.Filter:
		resp.Body = h.filter
	case core.Page:
		resp.Body = []byte("<!doctype html>")
	}
	w.WriteHeader(resp.Status)
	w.Write(resp.Body) // which net/http leaves out of the answer to a HEAD
}

// keyGate knows one key, in the path or in a field.
func keyGate(r *http.Request) core.Gate {
	key, ok := strings.CutPrefix(r.URL.Path, "/k/")
	if !ok {
		scheme, rest, _ := strings.Cut(r.Header.Get("authorization"), " ")
		if !strings.EqualFold(scheme, "bearer") {
			return core.NoKey
		}
		key = rest
	}
	if key, _, _ = strings.Cut(key, "/"); key != Key {
		return core.BadKey
	}
	return core.Keyed
}

// newHost returns a host in that state, with a snapshot of World made at now.
func newHost(t *testing.T, state State, now int64) *host {
	t.Helper()
	m := Times(state, now)
	h := &host{now: func() int64 { return time.Now().Unix() }, gate: func(*http.Request) core.Gate { return core.Open }}
	switch state {
	case Empty:
		h.core = core.New(nil, core.Manifest{})
		return h
	case Keyed:
		h.gate = keyGate
	case Limited:
		h.gate = func(*http.Request) core.Gate { return core.OverRate }
	}
	image, err := build.Image(World(now))
	if err != nil {
		t.Fatal(err)
	}
	if h.filter, err = build.Filter(image); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	filter, err := snapshot.OpenFilter(h.filter)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.WithFilter(filter); err != nil {
		t.Fatal(err)
	}
	h.core = core.New(s, core.Manifest{List: m.List, Serial: m.Serial, Built: m.Built, Next: m.Next, Expires: m.Expires})
	return h
}

func TestCore(t *testing.T) {
	for _, state := range []State{Ready, Empty, Stale, Expired, Keyed, Limited} {
		t.Run(string(state), func(t *testing.T) {
			server := httptest.NewServer(newHost(t, state, time.Now().Unix()))
			defer server.Close()
			RunState(t, server.Client(), server.URL, state)
		})
	}
}

// TestRecordDoesNotDependOnTheMoment records two hosts whose clocks are some
// minutes apart: what differs then is masked, and nothing else.
func TestRecordDoesNotDependOnTheMoment(t *testing.T) {
	now := time.Now().Unix()
	record := func(later int64) []byte {
		h := newHost(t, Ready, now)
		h.now = func() int64 { return now + later }
		server := httptest.NewServer(h)
		defer server.Close()
		transcript, err := Record(server.Client(), server.URL, Ready)
		if err != nil {
			t.Fatal(err)
		}
		return transcript
	}
	one, other := record(0), record(200)
	lines, others := bytes.Split(one, []byte("\n")), bytes.Split(other, []byte("\n"))
	if len(lines) != len(others) || len(lines) < casesLeast {
		t.Fatalf("got %d and %d lines", len(lines), len(others))
	}
	for i := range lines {
		if !bytes.Equal(lines[i], others[i]) {
			t.Errorf("line %d: got\n%s\nand 200 s later\n%s", i+1, lines[i], others[i])
		}
	}
}
