package manifest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"ucedge/snapshot/manifest"
)

// noise is n bytes of which half compress.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b[:n/2])
	return b
}

func TestObjectsRoundTrip(t *testing.T) {
	for _, coding := range []manifest.Coding{manifest.Zstd, manifest.Gzip, manifest.Plain} {
		for _, n := range []int{1, 100, 70_000, 3 << 20} {
			o, wire, err := manifest.MakeObject(manifest.Base, noise(n), coding)
			if err != nil {
				t.Fatal(err)
			}
			received, err := o.Receive(iotest.OneByteReader(bytes.NewReader(wire)))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := o.Open(received)
			if err != nil || !bytes.Equal(plain, noise(n)) {
				t.Errorf("%s, %d bytes: %v", coding, n, err)
			}
		}
	}
	if _, _, err := manifest.MakeObject(manifest.Base, nil, manifest.Zstd); err == nil {
		t.Error("an empty object")
	}
	if _, _, err := manifest.MakeObject(manifest.Base, noise(1), "br"); err == nil {
		t.Error("an unknown coding")
	}
}

// named returns an object that names wire and plain as they are.
func named(coding manifest.Coding, plain, wire []byte) manifest.Object {
	return manifest.Object{Role: manifest.Base, Hash: sha256.Sum256(plain), Size: int64(len(plain)),
		Coding: coding, WireHash: sha256.Sum256(wire), WireSize: int64(len(wire))}
}

func zstdStream(t *testing.T, plain []byte) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	// A flush in the middle makes a frame that does not declare its size.
	w.Write(plain[:1])
	w.Flush()
	w.Write(plain[1:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t *testing.T, plain []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpenObjectRefuses(t *testing.T) {
	plain := noise(5000)
	good, wire, err := manifest.MakeObject(manifest.Base, plain, manifest.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	huge := make([]byte, 64<<20) // 64 MiB of zeros
	declared, bomb, err := manifest.MakeObject(manifest.Base, huge, manifest.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	stream := zstdStream(t, huge)
	var h zstd.Header
	if err := h.Decode(stream); err != nil || h.HasFCS {
		t.Fatalf("the stream declares its size: %v", err)
	}
	twice := append(bytes.Clone(wire), bomb...)
	set := func(o manifest.Object, f func(*manifest.Object)) manifest.Object { f(&o); return o }
	rows := []struct {
		name   string
		object manifest.Object
		wire   []byte
		want   manifest.Reason
	}{
		{"wire too short", good, wire[:len(wire)-1], manifest.WrongSize},
		{"wire too long", good, append(bytes.Clone(wire), 0), manifest.WrongSize},
		{"wire of another hash", set(good, func(o *manifest.Object) { o.WireHash[31]++ }), wire, manifest.WrongHash},
		{"plain of another hash", set(good, func(o *manifest.Object) { o.Hash[0]++ }), wire, manifest.WrongHash},
		{"plain said to be longer", set(good, func(o *manifest.Object) { o.Size++ }), wire, manifest.WrongSize},
		{"plain said to be shorter", set(good, func(o *manifest.Object) { o.Size-- }), wire, manifest.WrongSize},
		{"size beyond the limit", set(good, func(o *manifest.Object) { o.Size = manifest.MaxObject + 1 }), wire, manifest.WrongSize},
		{"size negative", set(good, func(o *manifest.Object) { o.Size = -1 }), wire, manifest.WrongSize},
		{"zstd bomb that declares its size", set(declared, func(o *manifest.Object) { o.Size = 5000 }), bomb, manifest.WrongSize},
		{"zstd bomb that declares none", named(manifest.Zstd, plain, stream), stream, manifest.WrongSize},
		{"zstd bomb in a second frame", named(manifest.Zstd, plain, twice), twice, manifest.WrongSize},
		{"zstd that is none", named(manifest.Zstd, plain, plain), plain, manifest.BadCoding},
		{"zstd cut short", named(manifest.Zstd, plain, wire[:3000]), wire[:3000], manifest.BadCoding},
		{"gzip bomb", named(manifest.Gzip, plain, gzipOf(t, huge)), gzipOf(t, huge), manifest.WrongSize},
		{"gzip that is none", named(manifest.Gzip, plain, plain), plain, manifest.BadCoding},
		{"gzip cut short", named(manifest.Gzip, plain, gzipOf(t, plain)[:2000]), gzipOf(t, plain)[:2000], manifest.BadCoding},
		{"plain of another wire size", named(manifest.Plain, plain, wire), wire, manifest.WrongSize},
		{"plain of another wire hash", named(manifest.Plain, noise(5001)[1:], plain), plain, manifest.WrongHash},
		{"plain cut short", named(manifest.Plain, plain, plain), plain[:4999], manifest.WrongSize},
		{"unknown coding", named("br", plain, plain), plain, manifest.BadCoding},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := r.object.Open(r.wire)
			var refusal *manifest.Refusal
			if !errors.As(err, &refusal) || refusal.Reason != r.want || got != nil {
				t.Errorf("%d bytes and error %v, want reason %q", len(got), err, r.want)
			}
		})
	}
}

// TestBombCostsNoMemory: what a bomb allocates is bounded by what is named,
// not by what it decodes to.
func TestBombCostsNoMemory(t *testing.T) {
	bomb := zstdStream(t, make([]byte, 64<<20))
	o := named(manifest.Zstd, noise(5000), bomb)
	const runs = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if _, err := o.Open(bomb); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	bytesPerOpen := (after.TotalAlloc - before.TotalAlloc) / runs
	if bytesPerOpen > 4<<20 {
		t.Errorf("%d bytes to refuse a bomb of 64 MiB", bytesPerOpen)
	}
	t.Logf("%d bytes to refuse a bomb of 64 MiB in %d bytes", bytesPerOpen, len(bomb))
}

func TestReceiveStopsInTime(t *testing.T) {
	o, wire, err := manifest.MakeObject(manifest.Base, noise(5000), manifest.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	endless := &counter{r: io.MultiReader(bytes.NewReader(wire), zeros{})}
	var refusal *manifest.Refusal
	if _, err := o.Receive(endless); !errors.As(err, &refusal) || refusal.Reason != manifest.WrongSize {
		t.Errorf("endless: %v", err)
	}
	if endless.n != o.WireSize+1 {
		t.Errorf("read %d bytes of an object of %d", endless.n, o.WireSize)
	}
	if _, err := o.Receive(bytes.NewReader(wire[:10])); !errors.As(err, &refusal) || refusal.Reason != manifest.WrongSize {
		t.Errorf("short: %v", err)
	}
	broken := errors.New("line is down")
	if _, err := o.Receive(io.MultiReader(bytes.NewReader(wire[:10]), iotest.ErrReader(io.ErrUnexpectedEOF))); err != io.ErrUnexpectedEOF {
		t.Errorf("a connection that is cut counts as %v", err)
	}
	for name, r := range map[string]io.Reader{
		"in the middle": io.MultiReader(bytes.NewReader(wire[:10]), iotest.ErrReader(broken)),
		"at the end":    io.MultiReader(bytes.NewReader(wire), iotest.ErrReader(broken)),
	} {
		if _, err := o.Receive(r); !errors.Is(err, broken) {
			t.Errorf("error %s: %v", name, err)
		}
	}
	o.WireSize = manifest.MaxObject + 1
	if _, err := o.Receive(strings.NewReader("")); !errors.As(err, &refusal) || refusal.Reason != manifest.WrongSize {
		t.Errorf("size beyond the limit: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
