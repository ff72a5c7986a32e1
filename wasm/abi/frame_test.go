package abi

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var requests = []Request{
	{},
	{Now: 1_795_348_800, Method: []byte("GET"), Target: []byte("/healthz")},
	{Now: -1, Gate: 3, Method: []byte("POST"), Target: []byte("/dns-query"), Accept: []byte("*/*"), ContentType: []byte("application/dns-message"), IfNoneMatch: []byte(`"0"`), Body: []byte("body")},
}

var responses = []Response{
	{Status: 204},
	{Status: 200, Ref: 1, Fields: []Field{{[]byte("etag"), []byte(`"0"`)}, {[]byte("vary"), nil}}},
	{Status: 404, Fields: []Field{{[]byte("cache-control"), []byte("no-store")}}, Body: []byte("nothing")},
}

var manifests = []Manifest{
	{},
	{Serial: 1<<32 - 1, Built: 1, Next: 2, Expires: 1 << 40, List: "bl.example", Host: "doh.bl.example"},
	{Serial: 7, List: "bl.example"},
}

// TestLayout holds the layout to the byte: what a host in another language
// reads is what package abi's tables say.
func TestLayout(t *testing.T) {
	for _, row := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"request", AppendRequest(nil, &Request{Now: 1, Gate: 2, Method: []byte("M"), Target: []byte("TT"), Accept: []byte("A"), ContentType: []byte("C"), IfNoneMatch: []byte("I"), Body: []byte("BBB")}),
			"0100000000000000 02 000000 01000000 02000000 01000000 01000000 01000000 03000000 4d 5454 41 43 49 424242"},
		{"response", AppendResponse(nil, &Response{Status: 406, Ref: 1, Fields: []Field{{[]byte("n"), []byte("vv")}, {[]byte("o"), nil}}, Body: []byte("B")}),
			"9601 01 02 0c000000 01000000 0100 0200 6e 7676 0100 0000 6f 42"},
		{"manifest", AppendManifest(nil, &Manifest{Serial: 9, Built: 1, Next: 2, Expires: 3, List: "LL", Host: "H"}),
			"09000000 01000000 0100000000000000 0200000000000000 0300000000000000 4c4c 48"},
	} {
		if want := strings.ReplaceAll(row.want, " ", ""); hex.EncodeToString(row.frame) != want {
			t.Errorf("%s:\ngot  %x\nwant %s", row.name, row.frame, want)
		}
	}
}

// TestCuts holds that no cut of a frame, and no frame with a byte more, is
// taken for one.
func TestCuts(t *testing.T) {
	for _, r := range requests {
		refuseCuts(t, AppendRequest(nil, &r), func(b []byte) error { return ParseRequest(b, new(Request)) })
	}
	for _, r := range responses {
		refuseCuts(t, AppendResponse(nil, &r), func(b []byte) error { return ParseResponse(b, new(Response)) })
	}
	for _, m := range manifests {
		frame := AppendManifest(nil, &m)
		for n := range ManifestHeader + len(m.Host) {
			if _, err := ParseManifest(frame[:n]); err == nil {
				t.Errorf("a manifest frame cut to %d bytes is taken", n)
			}
		}
	}
}

func refuseCuts(t *testing.T, frame []byte, parse func([]byte) error) {
	t.Helper()
	for n := range frame {
		if parse(frame[:n]) == nil {
			t.Errorf("%x cut to %d bytes is taken", frame, n)
		}
	}
	if parse(append(frame, 0)) == nil {
		t.Errorf("%x with a byte more is taken", frame)
	}
}

// TestTooLong holds that a response that the layout cannot carry is never cut
// in silence.
func TestTooLong(t *testing.T) {
	for _, r := range []Response{
		{Fields: []Field{{Name: make([]byte, 1<<16)}}},
		{Fields: []Field{{Value: make([]byte, 1<<16)}}},
		{Fields: make([]Field, 256)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d fields are taken", len(r.Fields))
				}
			}()
			AppendResponse(nil, &r)
		}()
	}
}

// FuzzRequest and the other two hold that a frame that is taken is the frame of
// what it gives, and that one that is refused gives nothing.
func FuzzRequest(f *testing.F) {
	for _, r := range requests {
		f.Add(AppendRequest(nil, &r))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := Request{Now: 1, Body: []byte("left over")}
		if err := ParseRequest(frame, &r); err != nil {
			if !reflect.DeepEqual(r, Request{}) {
				t.Errorf("refused, and still %+v comes back", r)
			}
			return
		}
		if again := AppendRequest(nil, &r); !bytes.Equal(again, frame) || RequestSize(&r) != len(frame) {
			t.Errorf("got %x of %d, want %x", again, RequestSize(&r), frame)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, r := range responses {
		f.Add(AppendResponse(nil, &r))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := Response{Status: 1, Body: []byte("left over"), Fields: make([]Field, 3)}
		if err := ParseResponse(frame, &r); err != nil {
			if r.Status != 0 || len(r.Fields) != 0 || r.Body != nil {
				t.Errorf("refused, and still %+v comes back", r)
			}
			return
		}
		if again := AppendResponse(nil, &r); !bytes.Equal(again, frame) {
			t.Errorf("got %x, want %x", again, frame)
		}
	})
}

func FuzzManifest(f *testing.F) {
	for _, m := range manifests {
		f.Add(AppendManifest(nil, &m))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := ParseManifest(frame)
		if err != nil {
			if m != (Manifest{}) {
				t.Errorf("refused, and still %+v comes back", m)
			}
			return
		}
		if again := AppendManifest(nil, &m); !bytes.Equal(again, frame) {
			t.Errorf("got %x, want %x", again, frame)
		}
	})
}

// TestFramesAllocate holds that frames of used memory cost no allocation.
func TestFramesAllocate(t *testing.T) {
	request, response := requests[2], responses[2]
	var buf []byte
	var r Request
	var s Response
	round := func() {
		buf = AppendRequest(buf[:0], &request)
		if err := ParseRequest(buf, &r); err != nil {
			panic(fmt.Sprint(err))
		}
		buf = AppendResponse(buf[:0], &response)
		if err := ParseResponse(buf, &s); err != nil {
			panic(fmt.Sprint(err))
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
