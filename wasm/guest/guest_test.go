package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"ucedge/core"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/wasm/abi"
)

const noon = 1_795_348_800 // 2026-11-22T12:00:00Z

// module returns the guest as a release builds it, built once for all tests.
var module = sync.OnceValue(func() []byte {
	readSources()
	folder, err := os.MkdirTemp("", "guest")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	built, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return built
})

// readSources reads the guest's own files, which are no part of this test's
// binary, so that go test runs again when one of them changes. It has to happen
// within a test for that.
func readSources() {
	for _, path := range []string{"guest.go", "memory.go", "memory_wasm.s"} {
		if _, err := os.ReadFile(path); err != nil {
			panic(err)
		}
	}
}

// TestSize holds that the guest stays under 1 MB gzipped. The sizes are in the
// log.
func TestSize(t *testing.T) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(module()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("guest: %d bytes, %d gzipped", len(module()), packed.Len())
	if packed.Len() >= 1_000_000 {
		t.Errorf("the guest has %d bytes gzipped, want fewer than 1000000", packed.Len())
	}
}

// A guest is an instance of the module, called as a host calls it.
type guest struct {
	t   testing.TB
	ctx context.Context
	api.Module
}

// newGuest starts a runtime of its own, so that tests share nothing.
func newGuest(t testing.TB) *guest {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(4096).WithCompilationCache(cache))
	t.Cleanup(func() { r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	instance, err := r.InstantiateWithConfig(ctx, module(), wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	return &guest{t, ctx, instance}
}

var cache = wazero.NewCompilationCache()

// call calls an export with one result.
func (g *guest) call(name string, args ...uint64) uint64 {
	g.t.Helper()
	f := g.ExportedFunction(name)
	if f == nil {
		g.t.Fatalf("no export %q", name)
	}
	results, err := f.Call(g.ctx, args...)
	if err != nil || len(results) != 1 {
		g.t.Fatalf("%s: %v %v", name, results, err)
	}
	return results[0]
}

// read returns a copy of the bytes that a result of address and length names.
func (g *guest) read(span uint64) []byte {
	g.t.Helper()
	b, ok := g.Memory().Read(uint32(span>>32), uint32(span))
	if !ok {
		g.t.Fatalf("the result %x is outside of the memory", span)
	}
	return bytes.Clone(b)
}

// put writes b where one of the two buffer exports says.
func (g *guest) put(export string, b []byte) (at uint64) {
	g.t.Helper()
	at = g.call(export, uint64(len(b)))
	if at == 0 || !g.Memory().Write(uint32(at), b) {
		g.t.Fatalf("%s(%d): %d: %s", export, len(b), at, g.read(g.call(abi.ExportLastError)))
	}
	return at
}

func (g *guest) load(image, filter []byte) (problem string) {
	g.t.Helper()
	var filterAt uint64
	imageAt := g.put(abi.ExportImageBuffer, image)
	if filter != nil {
		filterAt = g.put(abi.ExportImageBuffer, filter)
	}
	if g.call(abi.ExportLoad, imageAt, uint64(len(image)), filterAt, uint64(len(filter))) == 0 {
		return ""
	}
	return string(g.read(g.call(abi.ExportLastError)))
}

// drop calls the export without results.
func (g *guest) drop() {
	g.t.Helper()
	if _, err := g.ExportedFunction(abi.ExportDrop).Call(g.ctx); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) setManifest(m core.Manifest) {
	g.t.Helper()
	frame := abi.AppendManifest(nil, &abi.Manifest{
		Serial: uint32(m.Serial), Built: m.Built, Next: m.Next, Expires: m.Expires, List: m.List, Host: m.Host,
	})
	g.put(abi.ExportRequestBuffer, frame)
	if g.call(abi.ExportSetManifest, uint64(len(frame))) != 0 {
		g.t.Fatalf("%s", g.read(g.call(abi.ExportLastError)))
	}
}

func (g *guest) serve(req *core.Request) abi.Response {
	g.t.Helper()
	frame := abi.AppendRequest(nil, &abi.Request{
		Now: req.Now, Gate: uint8(req.Gate), Method: req.Method, Target: req.Target, Accept: req.Accept,
		ContentType: req.ContentType, IfNoneMatch: req.IfNoneMatch, Body: req.Body,
	})
	g.put(abi.ExportRequestBuffer, frame)
	var resp abi.Response
	if err := abi.ParseResponse(g.read(g.call(abi.ExportServe, uint64(len(frame)))), &resp); err != nil {
		g.t.Fatalf("%s: %v: %s", req.Target, err, g.read(g.call(abi.ExportLastError)))
	}
	return resp
}

// newImage builds a small list and its filter.
func newImage(t testing.TB) (image, filter []byte) {
	t.Helper()
	zone := func(name string, level snapshot.Level) snapshot.Zone {
		return snapshot.Zone{
			Suffix: name, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 2100,
			MName: "ns1.bl.example", RName: "hostmaster.bl.example", SOATTL: 3600,
			Refresh: 300, Retry: 60, Expire: 604800, Minimum: 900,
			Text: "{ip} is listed, see {url}?ipr={ip}", URL: "https://bl.example/",
		}
	}
	in := build.Input{
		Zones:   []snapshot.Zone{zone("dnsbl-1.bl.example", snapshot.Address), zone("dnsbl.bl.example", snapshot.Combined)},
		Profile: snapshot.Profile{Name: "imported"},
	}
	for i := range 200 {
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)})
	}
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	if filter, err = build.Filter(image); err != nil {
		t.Fatal(err)
	}
	return image, filter
}

var fresh = core.Manifest{List: "bl.example", Serial: 7, Built: noon - 100, Next: noon + 200, Expires: noon + 86400, Host: "doh.bl.example"}

// query is 1.2.0.192.dnsbl-1.bl.example TXT.
const query = "\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" +
	"\x011\x012\x010\x03192\x07dnsbl-1\x02bl\x07example\x00\x00\x10\x00\x01"

// gated is the snapshot that a guest has loaded from these objects.
func gated(t *testing.T, image, filter []byte) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(filter)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.WithFilter(f); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGuest holds that the guest answers what the core answers natively, before
// and after it is loaded.
func TestGuest(t *testing.T) {
	image, filter := newImage(t)
	s := gated(t, image, filter)
	g := newGuest(t)
	if v := g.call(abi.ExportVersion); v != abi.Version {
		t.Fatalf("interface version %d, want %d", v, abi.Version)
	}
	g.compare(core.New(nil, core.Manifest{}))
	g.setManifest(fresh)
	g.compare(core.New(nil, fresh))
	if problem := g.load(image, filter); problem != "" {
		t.Fatal(problem)
	}
	g.compare(core.New(s, fresh))
	later := fresh
	later.Serial, later.Built, later.Next = 8, noon, noon+300
	g.setManifest(later)
	g.compare(core.New(s, later))
}

// compare asks guest and core the same.
func (g *guest) compare(c *core.Core) {
	g.t.Helper()
	for _, gate := range []core.Gate{core.Open, core.NoKey, core.BadKey, core.OverRate, core.Keyed} {
		for _, msg := range []string{query, "", query[:20], strings.ToUpper(query)} {
			g.put(abi.ExportRequestBuffer, []byte(msg + " ")[:max(1, len(msg))])
			got := g.read(g.call(abi.ExportAnswer, uint64(len(msg)), noon, uint64(gate)))
			if want := c.AppendAnswer(nil, []byte(msg), noon, gate); !bytes.Equal(got, want) {
				g.t.Errorf("answer to %q:\ngot  %x\nwant %x", msg, got, want)
			}
		}
		for _, req := range requests(gate) {
			var want core.Response
			c.Serve(&req, &want)
			got := g.serve(&req)
			if got.Status != want.Status || got.Ref != uint8(want.Ref) || !bytes.Equal(got.Body, want.Body) ||
				!slices.EqualFunc(got.Fields, want.Fields, func(a abi.Field, b core.Field) bool {
					return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
				}) {
				g.t.Errorf("%s %s:\ngot  %d %s %s\nwant %d %s %s", req.Method, req.Target, got.Status, got.Fields, got.Body, want.Status, want.Fields, want.Body)
			}
		}
	}
}

func requests(gate core.Gate) []core.Request {
	get := func(target string) core.Request {
		return core.Request{Now: noon, Gate: gate, Method: []byte("GET"), Target: []byte(target)}
	}
	post := func(target, media string, body []byte) core.Request {
		return core.Request{Now: noon, Gate: gate, Method: []byte("POST"), Target: []byte(target), ContentType: []byte(media), Body: body}
	}
	return []core.Request{
		get("/resolve?name=1.2.0.192.dnsbl.bl.example&type=TXT"),
		get("/v1/check?ip=192.0.2.1,192.0.2.0/24"),
		get("/v1/status"),
		get("/v1/filter"),
		get("/"),
		get("/readyz"),
		post("/dns-query", "application/dns-message", []byte(query)),
		post("/dns-query", "application/dns-message", make([]byte, 200_000)),
		post("/v1/check", "text/plain", []byte(addresses(1000))),
	}
}

// addresses gives a list of n addresses.
func addresses(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}).String() + "\n")
	}
	return b.String()
}

// TestMisuse holds that a host that breaks the interface is told so, and that
// the guest goes on.
func TestMisuse(t *testing.T) {
	image, filter := newImage(t)
	g := newGuest(t)
	refused := func(what string, result uint64) {
		t.Helper()
		if result == 0 || len(g.read(g.call(abi.ExportLastError))) == 0 {
			t.Errorf("%s: result %d, want a failure with a text", what, result)
		}
	}
	empty := func(what string, result uint64) {
		t.Helper()
		if result != 0 || len(g.read(g.call(abi.ExportLastError))) == 0 {
			t.Errorf("%s: result %d, want nothing and a text", what, result)
		}
	}
	refused("an address that nobody gave", g.call(abi.ExportLoad, 4096, 512, 0, 0))
	refused("an empty image", g.call(abi.ExportLoad, 0, 0, 0, 0))
	at := g.put(abi.ExportImageBuffer, image)
	refused("another length", g.call(abi.ExportLoad, at, uint64(len(image)-1), 0, 0))
	refused("a filter that nobody gave", g.call(abi.ExportLoad, at, uint64(len(image)), 64, 64))
	if cut := image[:len(image)-8]; g.load(cut, nil) == "" {
		t.Error("an image that is cut was loaded")
	}
	if g.load(image, image) == "" {
		t.Error("an image was taken as a filter")
	}
	if problem := g.load(image, filter); problem != "" {
		t.Fatal(problem)
	}
	if g.load(image, filter) == "" {
		t.Error("a second image was loaded")
	}
	g.drop()
	if g.call(abi.ExportLoad, at, uint64(len(image)), 0, 0) == 0 {
		t.Error("a buffer from before the drop was loaded")
	}
	g.compare(core.New(nil, core.Manifest{}))
	if problem := g.load(image, filter); problem != "" {
		t.Fatal(problem)
	}
	refused("a manifest frame that is cut", g.call(abi.ExportSetManifest, 31))
	refused("a manifest frame past the buffer", g.call(abi.ExportSetManifest, 1<<31))
	empty("no image at all", g.call(abi.ExportImageBuffer, 0))
	empty("an image that is too large", g.call(abi.ExportImageBuffer, 1<<32-1))
	empty("a request that is too large", g.call(abi.ExportRequestBuffer, 1<<30))
	g.put(abi.ExportRequestBuffer, make([]byte, 64))
	empty("a frame that is none", g.call(abi.ExportServe, 20))
	empty("a frame past the buffer", g.call(abi.ExportServe, 1<<31))
	empty("a message past the buffer", g.call(abi.ExportAnswer, 1<<31, noon, 0))
	g.setManifest(fresh)
	s := gated(t, image, filter)
	g.compare(core.New(s, fresh))
}

// TestMemory holds that the memory of a guest does not grow with the number of
// requests, also of those that leave garbage: nothing in a guest runs in the
// background, so it has to collect by itself.
func TestMemory(t *testing.T) {
	image, _ := newImage(t)
	g := newGuest(t)
	// As much as the image and the filter of two million addresses: it is with
	// these that the collector of the runtime begins a cycle and never ends it.
	g.call(abi.ExportImageBuffer, 7_600_000)
	g.call(abi.ExportImageBuffer, 2_400_000)
	if problem := g.load(image, nil); problem != "" {
		t.Fatal(problem)
	}
	g.setManifest(fresh)
	check := core.Request{Now: noon, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: []byte("text/plain"), Body: []byte(addresses(1000))}
	rounds := func(n int) uint32 {
		for range n {
			g.serve(&check)
		}
		return g.Memory().Size()
	}
	before := rounds(150) // more than one collection: each round leaves 80 KB
	if after := rounds(450); after > before+1<<20 {
		t.Errorf("600 requests took %d bytes of memory, the first 150 of them %d", after, before)
	}
	t.Logf("memory of a guest with %d bytes of image: %d bytes", len(image), g.Memory().Size())
}

// TestDrop holds that a guest which drops one snapshot after another for the
// next does not grow, also when their sizes differ and it answers in between.
func TestDrop(t *testing.T) {
	image, filter := newImage(t)
	g := newGuest(t)
	check := core.Request{Now: noon, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: []byte("text/plain"), Body: []byte(addresses(1000))}
	round := func(n uint64) uint32 {
		// As much as the image and the filter of two million addresses.
		g.call(abi.ExportImageBuffer, 2_300_000-20_000*(n%3))
		g.call(abi.ExportImageBuffer, 2_500_000+10_000*(n%2))
		if problem := g.load(image, filter); problem != "" {
			t.Fatal(problem)
		}
		g.setManifest(fresh)
		for range 10 {
			g.serve(&check)
		}
		g.drop()
		return g.Memory().Size()
	}
	for n := range uint64(5) {
		round(n)
	}
	before := g.Memory().Size()
	for n := range uint64(40) {
		round(n)
	}
	if after := g.Memory().Size(); after > before+1<<20 {
		t.Errorf("45 snapshots took %d bytes of memory, the first 5 of them %d", after, before)
	}
	t.Logf("memory after 45 snapshots: %d bytes", g.Memory().Size())
}

// BenchmarkGuest measures calls of a guest on wazero, frame and copy included.
func BenchmarkGuest(b *testing.B) {
	image, filter := newImage(b)
	g := newGuest(b)
	if problem := g.load(image, filter); problem != "" {
		b.Fatal(problem)
	}
	g.setManifest(fresh)
	buffer := uint32(g.call(abi.ExportRequestBuffer, 1))
	b.Run("version", func(b *testing.B) {
		f := g.ExportedFunction(abi.ExportVersion)
		stack := make([]uint64, 1)
		for b.Loop() {
			if err := f.CallWithStack(g.ctx, stack); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("answer/unlisted", func(b *testing.B) {
		answer := g.ExportedFunction(abi.ExportAnswer)
		stack := make([]uint64, 3)
		unlisted := strings.Replace(query, "\x011\x012", "\x011\x013", 1)
		for b.Loop() {
			g.Memory().WriteString(buffer, unlisted)
			stack[0], stack[1], stack[2] = uint64(len(unlisted)), noon, 0
			if err := answer.CallWithStack(g.ctx, stack); err != nil || stack[0] == 0 {
				b.Fatal(err)
			}
		}
	})
	b.Run("answer/TXT", func(b *testing.B) {
		answer := g.ExportedFunction(abi.ExportAnswer)
		stack := make([]uint64, 3)
		for b.Loop() {
			g.Memory().WriteString(buffer, query)
			stack[0], stack[1], stack[2] = uint64(len(query)), noon, 0
			if err := answer.CallWithStack(g.ctx, stack); err != nil || stack[0] == 0 {
				b.Fatal(err)
			}
		}
	})
	for name, req := range map[string]core.Request{"serve/post": requests(core.Open)[6], "serve/resolve": requests(core.Open)[0]} {
		frame := abi.AppendRequest(nil, &abi.Request{Now: req.Now, Method: req.Method, Target: req.Target, ContentType: req.ContentType, Body: req.Body})
		b.Run(name, func(b *testing.B) {
			serve := g.ExportedFunction(abi.ExportServe)
			stack := make([]uint64, 1)
			for b.Loop() {
				g.Memory().Write(buffer, frame)
				stack[0] = uint64(len(frame))
				if err := serve.CallWithStack(g.ctx, stack); err != nil || stack[0] == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}
