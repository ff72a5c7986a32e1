package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"

	"ucedge/edge"
	"ucedge/internal/trial"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/snapshot/manifest/manifesttest"
)

// An origin makes signed snapshots of one list.
type origin struct {
	t      testing.TB
	list   string
	signer note.Signer
	public string
}

func newOrigin(t testing.TB, list string) *origin {
	t.Helper()
	k := manifesttest.NewKey(t, list)
	return &origin{t, list, k.Signer, k.Public}
}

func (o *origin) keys() note.Verifiers {
	k, err := manifest.ParseVerifiers(o.public)
	if err != nil {
		o.t.Fatal(err)
	}
	return k
}

// inputOf is a list of one address and, if there are any, prefixes at Level 2.
func inputOf(address string, prefixes ...string) build.Input {
	zone := func(level snapshot.Level, suffix string) snapshot.Zone {
		return snapshot.Zone{Suffix: suffix, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 300, MName: "ns.bl.example", RName: "hostmaster.bl.example",
			SOATTL: 300, Refresh: 300, Retry: 300, Expire: 3600, Minimum: 300, Text: "{ip}", URL: "https://bl.example/"}
	}
	in := build.Input{
		Zones:    []snapshot.Zone{zone(snapshot.Address, "dnsbl-1.bl.example"), zone(snapshot.Allocation, "dnsbl-2.bl.example")},
		Profile:  snapshot.Profile{Name: "classic"},
		Listings: []snapshot.Listing{{Level: snapshot.Address, Prefix: netip.MustParsePrefix(address + "/32")}},
	}
	for _, p := range prefixes {
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Allocation, Prefix: netip.MustParsePrefix(p)})
	}
	return in
}

// A release is a manifest with the wire bytes of its objects.
type release struct {
	manifest manifest.Manifest
	wires    map[string][]byte // by store name
}

// release makes a snapshot with that serial, built now.
func (o *origin) release(serial snapshot.Serial, in build.Input) release {
	o.t.Helper()
	image, err := build.Image(in)
	if err != nil {
		o.t.Fatal(err)
	}
	filter, err := build.Filter(image)
	if err != nil {
		o.t.Fatal(err)
	}
	now := time.Now().Unix()
	r := release{manifest.Manifest{List: o.list, Serial: serial, Built: now, Next: now + 300, Expires: now + 86400,
		ABIMin: 1, ABIMax: 1, Profile: "classic"}, map[string][]byte{}}
	r.add(o.t, manifest.Base, image)
	r.add(o.t, manifest.Filter, filter)
	return r
}

// add names an object, whatever its bytes are.
func (r *release) add(t testing.TB, role manifest.Role, plain []byte) {
	t.Helper()
	object, wire, err := manifest.MakeObject(role, plain, manifest.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	r.manifest.Objects = append(r.manifest.Objects, object)
	r.wires[object.StoreName()] = wire
}

func (o *origin) sign(m manifest.Manifest) []byte {
	o.t.Helper()
	signed, err := manifest.Sign(m, o.signer)
	if err != nil {
		o.t.Fatal(err)
	}
	return signed
}

// A memory is a Source that can fail before it gives anything, or after it has
// given some of it. It counts what it is asked.
type memory struct {
	mu        sync.Mutex
	signed    []byte
	wires     map[string][]byte
	down      error                 // every call fails
	breakAt   int                   // an object's reader fails after so many bytes; 0 never
	asked     []string              // names, in order
	onObject  func(manifest.Object) // called before an object is given; may be nil
	onReading func()                // called once with the manifest
}

var errDown = errors.New("source is down")

func (s *memory) publish(o *origin, r release) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed = o.sign(r.manifest)
	if s.wires == nil {
		s.wires = map[string][]byte{}
	}
	maps.Copy(s.wires, r.wires)
}

func (s *memory) Manifest(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, manifest.StoreName)
	if s.onReading != nil {
		s.onReading()
	}
	if s.down != nil {
		return nil, s.down
	}
	return bytes.Clone(s.signed), nil
}

func (s *memory) Object(_ context.Context, o manifest.Object) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, string(o.Role))
	if s.onObject != nil {
		s.onObject(o)
	}
	wire, ok := s.wires[o.StoreName()]
	if !ok || s.down != nil {
		return nil, errors.Join(s.down, fs.ErrNotExist)
	}
	if s.breakAt > 0 {
		return io.NopCloser(io.MultiReader(bytes.NewReader(wire[:s.breakAt]), iotest.ErrReader(errDown))), nil
	}
	return io.NopCloser(bytes.NewReader(wire)), nil
}

// fetched returns what has been asked since the last call.
func (s *memory) fetched() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked = nil }()
	return strings.Join(s.asked, " ")
}

// An engine is the native one, whose Load can be made to fail.
type engine struct {
	*edge.NativeEngine
	fail error
}

func newEngine() *engine { return &engine{NativeEngine: edge.NewNativeEngine("")} }

func (e *engine) Load(ctx context.Context, g *edge.Generation) error {
	return errors.Join(e.fail, e.loadUnlessFailing(ctx, g))
}

func (e *engine) loadUnlessFailing(ctx context.Context, g *edge.Generation) error {
	if e.fail != nil {
		return nil
	}
	return e.NativeEngine.Load(ctx, g)
}

// lists says whether what the engine answers from lists an address.
func (e *engine) lists(t testing.TB, address string) bool {
	t.Helper()
	g := e.Current()
	if g == nil {
		return false
	}
	s, err := snapshot.Open(g.Image)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lookup(snapshot.Address, netip.MustParseAddr(address), 0).Listed
}

// A world is an origin, a source and an edge that follows it.
type world struct {
	*edge.Syncer
	t       testing.TB
	origin  *origin
	source  *memory
	engine  *engine
	reasons []string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, origin: newOrigin(t, "bl.example"), source: &memory{}, engine: newEngine()}
	w.Syncer = w.edge(w.engine, "")
	return w
}

// edge returns another edge of the same source.
func (w *world) edge(e edge.Engine, state string) *edge.Syncer {
	return &edge.Syncer{Source: w.source, Engine: e, Keys: w.origin.keys(), List: "bl.example", State: state,
		Failed: func(reason string) { w.reasons = append(w.reasons, reason) }}
}

func (w *world) sync() {
	w.t.Helper()
	if err := w.Sync(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func TestSyncFollows(t *testing.T) {
	w := newWorld(t)
	first := w.origin.release(100, inputOf("198.51.100.1"))
	w.source.publish(w.origin, first)
	w.sync()
	if got := w.source.fetched(); got != "manifest base filter" || !w.engine.lists(t, "198.51.100.1") {
		t.Errorf("first: asked for %q", got)
	}
	w.sync()
	if got := w.source.fetched(); got != "manifest" {
		t.Errorf("no news: asked for %q", got)
	}
	again := first
	again.manifest.Serial++
	again.manifest.Expires += 300
	before := w.engine.Current()
	w.source.publish(w.origin, again)
	w.sync()
	g := w.engine.Current()
	if got := w.source.fetched(); got != "manifest" || g.Manifest.Serial != 101 || &g.Image[0] != &before.Image[0] {
		t.Errorf("signed again: asked for %q, serial %d", got, g.Manifest.Serial)
	}
	if m, err := manifest.Open(g.Signed, w.origin.keys()); err != nil || m.Serial != 101 {
		t.Errorf("the signed text is of serial %d, %v", m.Serial, err)
	}
	w.source.publish(w.origin, w.origin.release(102, inputOf("198.51.100.2")))
	w.sync()
	if got := w.source.fetched(); got != "manifest base filter" || w.engine.lists(t, "198.51.100.1") || !w.engine.lists(t, "198.51.100.2") {
		t.Errorf("news: asked for %q", got)
	}
	s := w.Status()
	if s.Serial != 102 || s.Failures != 0 || s.LastError != "" || s.LastReason != "" || s.LastSuccess.IsZero() || s.LastSuccess != s.LastAttempt {
		t.Errorf("status %+v", s)
	}
}

func TestOnlyChangedObjectsAreFetched(t *testing.T) {
	w := newWorld(t)
	r := w.origin.release(100, inputOf("198.51.100.1"))
	r.manifest.Objects = r.manifest.Objects[:1]
	w.source.publish(w.origin, r)
	w.sync()
	w.source.fetched()
	both := w.origin.release(101, inputOf("198.51.100.1"))
	w.source.publish(w.origin, both)
	w.sync()
	if got := w.source.fetched(); got != "manifest filter" || len(w.engine.Current().Filter) == 0 {
		t.Errorf("asked for %q", got)
	}
	r.manifest.Serial = 102
	w.source.publish(w.origin, r)
	w.sync()
	if got := w.source.fetched(); got != "manifest" || len(w.engine.Current().Filter) != 0 {
		t.Errorf("without the filter: asked for %q, %d bytes of filter", got, len(w.engine.Current().Filter))
	}
}

// change is one thing that is wrong with what the source offers.
type change struct {
	name   string
	reason manifest.Reason
	signed func(w *world, r *release) []byte // nil signs r as the origin does
	wires  func(w *world, r *release)        // changes what is stored after signing; may be nil
}

// TestRefusals is the list of DESIGN 3 and what can be wrong behind a good
// signature besides. Each is tried on an edge that has nothing and on one that
// has a snapshot, which must stay.
func TestRefusals(t *testing.T) {
	set := func(f func(*manifest.Manifest)) func(*world, *release) []byte {
		return func(w *world, r *release) []byte { f(&r.manifest); return w.origin.sign(r.manifest) }
	}
	replace := func(role manifest.Role, plain func(*world, *release) []byte) func(*world, *release) []byte {
		return func(w *world, r *release) []byte {
			bytes := plain(w, r)
			kept := slices.DeleteFunc(slices.Clone(r.manifest.Objects), func(o manifest.Object) bool { return o.Role == role })
			r.manifest.Objects = nil
			if role == manifest.Base {
				r.add(w.t, role, bytes)
				r.manifest.Objects = append(r.manifest.Objects, kept...)
			} else {
				r.manifest.Objects = kept
				r.add(w.t, role, bytes)
			}
			return w.origin.sign(r.manifest)
		}
	}
	wire := func(role manifest.Role, f func([]byte) []byte) func(*world, *release) {
		return func(w *world, r *release) {
			o, _ := r.manifest.Object(role, manifest.Zstd)
			r.wires[o.StoreName()] = f(bytes.Clone(r.wires[o.StoreName()]))
		}
	}
	list := func(prefixes ...string) func(*world, *release) []byte {
		return func(w *world, r *release) []byte {
			*r = w.origin.release(r.manifest.Serial, inputOf("198.51.100.9", prefixes...))
			return w.origin.sign(r.manifest)
		}
	}
	rows := []change{
		{name: "no note", reason: manifest.Malformed, signed: func(*world, *release) []byte { return []byte("<html>") }},
		{name: "empty", reason: manifest.Malformed, signed: func(*world, *release) []byte { return nil }},
		{name: "cut", reason: manifest.Malformed, signed: func(w *world, r *release) []byte { b := w.origin.sign(r.manifest); return b[:len(b)-5] }},
		{name: "a byte changed", reason: manifest.Signature, signed: func(w *world, r *release) []byte {
			return bytes.Replace(w.origin.sign(r.manifest), []byte("abi 1 1"), []byte("abi 1 9"), 1)
		}},
		{name: "unknown key", reason: manifest.Untrusted, signed: func(w *world, r *release) []byte {
			return newOrigin(w.t, "bl.example").sign(r.manifest)
		}},
		{name: "other list", reason: manifest.Untrusted, signed: func(w *world, r *release) []byte {
			r.manifest.List = "other.example"
			return newOrigin(w.t, "other.example").sign(r.manifest)
		}},
		{name: "abi too new", reason: manifest.WrongABI, signed: set(func(m *manifest.Manifest) { m.ABIMin, m.ABIMax = 2, 3 })},
		{name: "built in the future", reason: manifest.Future, signed: set(func(m *manifest.Manifest) { m.Built += 3600; m.Next += 3600 })},
		{name: "expired", reason: manifest.Expired, signed: set(func(m *manifest.Manifest) { m.Built -= 9000; m.Next -= 9000; m.Expires = time.Now().Unix() })},
		{name: "wire too short", reason: manifest.WrongSize, wires: wire(manifest.Base, func(b []byte) []byte { return b[:len(b)-1] })},
		{name: "wire too long", reason: manifest.WrongSize, wires: wire(manifest.Base, func(b []byte) []byte { return append(b, 0) })},
		{name: "wire changed", reason: manifest.WrongHash, wires: wire(manifest.Filter, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })},
		{name: "plain size wrong", reason: manifest.WrongSize, signed: set(func(m *manifest.Manifest) { m.Objects[0].Size++ })},
		{name: "plain hash wrong", reason: manifest.WrongHash, signed: set(func(m *manifest.Manifest) { m.Objects[1].Hash[0]++ })},
		{name: "zstd bomb, declared", reason: manifest.WrongSize, signed: func(w *world, r *release) []byte {
			small := r.manifest.Objects[0].Size
			r.manifest.Objects = nil
			r.add(w.t, manifest.Base, make([]byte, 32<<20))
			r.manifest.Objects[0].Size = small
			return w.origin.sign(r.manifest)
		}},
		{name: "zstd bomb, not declared", reason: manifest.WrongSize, signed: func(w *world, r *release) []byte {
			r.bomb(w.t, 32<<20)
			return w.origin.sign(r.manifest)
		}},
		{name: "not zstd", reason: manifest.BadCoding, signed: func(w *world, r *release) []byte {
			r.raw(w.t, []byte("not zstd at all"))
			return w.origin.sign(r.manifest)
		}},
		{name: "no image", reason: edge.BadImage, signed: replace(manifest.Base, func(*world, *release) []byte { return []byte("no image") })},
		{name: "damaged image", reason: edge.BadImage, signed: replace(manifest.Base, func(w *world, r *release) []byte {
			image := r.open(w.t, manifest.Base)
			image[len(image)/2] ^= 1
			return image
		})},
		{name: "no filter", reason: edge.BadFilter, signed: replace(manifest.Filter, func(*world, *release) []byte { return []byte("no filter") })},
		{name: "filter of another image", reason: edge.BadFilter, signed: replace(manifest.Filter, func(w *world, r *release) []byte {
			other := w.origin.release(1, inputOf("198.51.100.77", "203.0.113.0/24"))
			return other.open(w.t, manifest.Filter)
		})},
		{name: "protected address", reason: edge.OverLimit, signed: list("192.168.0.0/16")},
		{name: "too much of the address space", reason: edge.OverLimit, signed: list("32.0.0.0/3")},
		{name: "more than it claims", reason: edge.OverLimit, signed: func(w *world, r *release) []byte {
			*r = w.origin.release(r.manifest.Serial, inputOf("198.51.100.9", "32.0.0.0/3"))
			image := trial.Halved(w.t, r.open(w.t, manifest.Base))
			filter, err := build.Filter(image)
			if err != nil {
				w.t.Fatal(err)
			}
			r.manifest.Objects = nil
			r.add(w.t, manifest.Base, image)
			r.add(w.t, manifest.Filter, filter)
			return w.origin.sign(r.manifest)
		}},
		{name: "object missing", reason: edge.NotFetched, wires: func(_ *world, r *release) { clear(r.wires) }},
		// Rollback and fork need something before them: TestRefusalsOfSerials.
	}
	for _, row := range rows {
		for _, has := range []string{"nothing", "a snapshot"} {
			t.Run(row.name+" on an edge with "+has, func(t *testing.T) {
				w := newWorld(t)
				w.State = t.TempDir()
				if has == "a snapshot" {
					w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
					w.sync()
				}
				before := w.engine.Current()
				r := w.origin.release(200, inputOf("198.51.100.2"))
				w.offer(row, &r)
				checkRefused(t, w, row.reason, before)
				// The edge goes on as soon as there is something good.
				w.source.publish(w.origin, w.origin.release(201, inputOf("198.51.100.3")))
				w.sync()
				if !w.engine.lists(t, "198.51.100.3") {
					t.Error("stuck after a refusal")
				}
			})
		}
	}
}

func (w *world) offer(c change, r *release) {
	if c.signed == nil {
		c.signed = func(w *world, r *release) []byte { return w.origin.sign(r.manifest) }
	}
	signed := c.signed(w, r)
	if c.wires != nil {
		c.wires(w, r)
	}
	w.source.signed = signed
	if w.source.wires == nil {
		w.source.wires = map[string][]byte{}
	}
	maps.Copy(w.source.wires, r.wires)
}

// open returns the plain bytes of an object.
func (r *release) open(t testing.TB, role manifest.Role) []byte {
	o, _ := r.manifest.Object(role, manifest.Zstd)
	plain, err := o.Open(r.wires[o.StoreName()])
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// bomb makes the base a frame of n zeros that does not declare its size.
func (r *release) bomb(t testing.TB, n int) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for range n >> 20 {
		w.Write(make([]byte, 1<<20))
		w.Flush()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.raw(t, b.Bytes())
}

// raw gives the base other wire bytes, hash and size of which are named right.
func (r *release) raw(t testing.TB, wire []byte) {
	// The wire fields of any object with these bytes as its plain ones.
	o, _, err := manifest.MakeObject(manifest.Base, wire, manifest.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	base := &r.manifest.Objects[0]
	base.WireHash, base.WireSize = o.Hash, o.Size
	r.wires[base.StoreName()] = wire
}

func checkRefused(t *testing.T, w *world, reason manifest.Reason, before *edge.Generation) {
	t.Helper()
	w.reasons = nil
	err := w.Sync(context.Background())
	if err == nil || edge.SyncReason(err) != string(reason) {
		t.Errorf("error %v, want reason %q", err, reason)
	}
	if w.engine.Current() != before {
		t.Error("the engine answers from something else")
	}
	s := w.Status()
	if s.Failures != 1 || s.LastReason != string(reason) || s.LastError != err.Error() {
		t.Errorf("status %+v", s)
	}
	if !slices.Equal(w.reasons, []string{string(reason)}) {
		t.Errorf("counted %q", w.reasons)
	}
}

func TestRefusalsOfSerials(t *testing.T) {
	for _, row := range []struct {
		serial snapshot.Serial
		want   manifest.Reason
	}{{99, manifest.Rollback}, {1, manifest.Rollback}, {100, manifest.Fork}} {
		w := newWorld(t)
		w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
		w.sync()
		before := w.engine.Current()
		w.source.publish(w.origin, w.origin.release(row.serial, inputOf("198.51.100.2")))
		checkRefused(t, w, row.want, before)
	}
}

func TestWrongList(t *testing.T) {
	w := newWorld(t)
	other := newOrigin(t, "other.example")
	keys, err := manifest.ParseVerifiers(w.origin.public + "\n" + other.public)
	if err != nil {
		t.Fatal(err)
	}
	w.Keys = keys // trusted for their own lists
	w.source.publish(other, other.release(200, inputOf("198.51.100.2")))
	checkRefused(t, w, manifest.WrongList, nil)
}

func TestSourceAndEngineFail(t *testing.T) {
	w := newWorld(t)
	w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
	w.sync()
	before := w.engine.Current()
	w.source.publish(w.origin, w.origin.release(101, inputOf("198.51.100.2")))

	w.source.down = errDown
	if err := w.Sync(context.Background()); !errors.Is(err, errDown) || edge.SyncReason(err) != "fetch" {
		t.Errorf("source down: %v", err)
	}
	w.source.down = nil
	w.source.breakAt = 10
	if err := w.Sync(context.Background()); !errors.Is(err, errDown) || edge.SyncReason(err) != "fetch" {
		t.Errorf("line breaks: %v", err)
	}
	w.source.breakAt = 0
	w.engine.fail = errors.New("no memory")
	if err := w.Sync(context.Background()); !errors.Is(err, w.engine.fail) || edge.SyncReason(err) != "load" {
		t.Errorf("engine fails: %v", err)
	}
	if s := w.Status(); s.Failures != 3 || s.Serial != 100 || w.engine.Current() != before {
		t.Errorf("status %+v", s)
	}
	// A serial that could not be loaded does not count as accepted.
	w.engine.fail = nil
	w.source.publish(w.origin, w.origin.release(101, inputOf("198.51.100.3")))
	w.sync()
	if s := w.Status(); s.Failures != 0 || s.Serial != 101 {
		t.Errorf("status %+v", s)
	}
}

func TestStopIsNoFailure(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(context.Background())
	w.source.onReading = stop
	w.source.down = errDown
	if err := w.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if s := w.Status(); s.Failures != 0 || len(w.reasons) != 0 {
		t.Errorf("status %+v, counted %q", s, w.reasons)
	}
}

func TestRestore(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.State = t.TempDir()
	w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
	w.sync()
	w.source.publish(w.origin, w.origin.release(101, inputOf("198.51.100.2")))
	w.sync()
	if files, err := os.ReadDir(filepath.Join(w.State, "objects")); err != nil || len(files) != 2 {
		t.Errorf("%d objects are kept (%v), want 2", len(files), err)
	}

	restarted := newEngine()
	s := w.edge(restarted, w.State)
	w.source.down = errDown
	if err := s.Restore(ctx); err != nil || !restarted.lists(t, "198.51.100.2") {
		t.Errorf("restore: %v", err)
	}
	if got := s.Status(); got.Serial != 101 || !got.LastSuccess.IsZero() {
		t.Errorf("status %+v", got)
	}
	// An old manifest, replayed after the restart.
	w.source.down = nil
	w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
	if err := s.Sync(ctx); edge.SyncReason(err) != string(manifest.Rollback) {
		t.Errorf("replayed: %v", err)
	}
	// What is kept need not be fetched.
	w.source.fetched()
	again := w.origin.release(102, inputOf("198.51.100.2"))
	w.source.publish(w.origin, again)
	cold := newEngine()
	if err := w.edge(cold, w.State).Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.source.fetched(); got != "manifest" {
		t.Errorf("asked for %q", got)
	}
}

// TestForgedAccepted: only what a trusted key has signed for this list holds
// lower serials off, or whoever can write to the state folder locks the edge
// out. What is ignored is named in the log.
func TestForgedAccepted(t *testing.T) {
	const highest = 1<<32 - 1
	for name, forge := range map[string]func(w *world) []byte{
		"a number":    func(*world) []byte { return fmt.Appendf(nil, "%d %s\n", uint32(highest), manifest.Hash{}) },
		"empty":       func(*world) []byte { return nil },
		"another key": func(w *world) []byte { o := newOrigin(t, "bl.example"); return o.sign(w.highest(o, highest)) },
		"another list, whose key is trusted": func(w *world) []byte {
			o := newOrigin(t, "other.example")
			keys, err := manifest.ParseVerifiers(w.origin.public + "\n" + o.public)
			if err != nil {
				t.Fatal(err)
			}
			w.Keys = keys
			return o.sign(w.highest(o, highest))
		},
		"a changed serial": func(w *world) []byte {
			return bytes.Replace(w.origin.sign(w.highest(w.origin, 100)), []byte("serial 100"), []byte("serial 900"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.State, w.Log = t.TempDir(), slog.New(slog.NewTextHandler(&log, nil))
			file := filepath.Join(w.State, "accepted")
			if err := os.WriteFile(file, forge(w), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := w.Restore(context.Background()); err != nil || !strings.Contains(log.String(), "file="+file) {
				t.Errorf("restore: %v, log %q", err, log.String())
			}
			w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
			w.sync()
		})
	}
}

// highest returns a manifest of o that is in order but for its serial.
func (w *world) highest(o *origin, serial snapshot.Serial) manifest.Manifest {
	return o.release(serial, inputOf("198.51.100.1")).manifest
}

// TestRollbackIsExplained: who is refused because of the state folder is told
// which file of it says so, also when the manifest there has expired.
func TestRollbackIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.State = t.TempDir()
		w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
		w.sync()
		w.source.publish(w.origin, w.origin.release(99, inputOf("198.51.100.1")))
		if err := w.Sync(context.Background()); err == nil || strings.Contains(err.Error(), w.State) {
			t.Errorf("while it runs: %v", err)
		}
		time.Sleep(25 * time.Hour)
		w.source.publish(w.origin, w.origin.release(99, inputOf("198.51.100.1")))
		s := w.edge(newEngine(), w.State)
		s.Restore(context.Background()) // expired
		err := s.Sync(context.Background())
		if want := fmt.Sprintf("kept in %q", filepath.Join(w.State, "accepted")); edge.SyncReason(err) != string(manifest.Rollback) || !strings.Contains(err.Error(), want) {
			t.Errorf("after a restart: %v, want %s", err, want)
		}
	})
}

func TestNothingToRestore(t *testing.T) {
	w := newWorld(t)
	for _, state := range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "not yet")} {
		if err := w.edge(w.engine, state).Restore(context.Background()); err != nil || w.engine.Current() != nil {
			t.Errorf("state %q: %v", state, err)
		}
	}
}

// TestDamagedState: whatever is wrong with the state folder, nothing of it is
// loaded, the source heals it, and the highest serial still holds wherever one
// of the two files that tell it is whole.
func TestDamagedState(t *testing.T) {
	ctx := context.Background()
	rows := []struct {
		name     string
		damage   func(dir string, objects []string) error
		restores bool
		rollback bool // still refused
	}{
		{"nothing", func(string, []string) error { return nil }, true, true},
		{"accepted is gone", func(dir string, _ []string) error { return os.Remove(filepath.Join(dir, "accepted")) }, true, true},
		{"accepted is junk", func(dir string, _ []string) error {
			return os.WriteFile(filepath.Join(dir, "accepted"), []byte("100 x\n"), 0o644)
		}, true, true},
		{"manifest is gone", func(dir string, _ []string) error { return os.Remove(filepath.Join(dir, "manifest")) }, false, true},
		{"manifest is cut", func(dir string, _ []string) error { return os.Truncate(filepath.Join(dir, "manifest"), 100) }, false, true},
		{"object is gone", func(_ string, o []string) error { return os.Remove(o[0]) }, false, true},
		{"object is cut", func(_ string, o []string) error { return os.Truncate(o[0], 10) }, false, true},
		{"object is changed", func(_ string, o []string) error { return changeByte(o[0]) }, false, true},
		{"other object is changed", func(_ string, o []string) error { return changeByte(o[1]) }, false, true},
		{"all is gone", func(dir string, _ []string) error { return os.RemoveAll(dir) }, false, false},
		{"temporary file is left", func(dir string, _ []string) error {
			return os.WriteFile(filepath.Join(dir, "tmp-1"), []byte("x"), 0o644)
		}, true, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.State = filepath.Join(t.TempDir(), "state")
			w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
			w.sync()
			objects, err := filepath.Glob(filepath.Join(w.State, "objects/*"))
			if err != nil || len(objects) != 2 {
				t.Fatal(objects, err)
			}
			if err := row.damage(w.State, objects); err != nil {
				t.Fatal(err)
			}
			e := newEngine()
			s := w.edge(e, w.State)
			s.Restore(ctx) // its error is told by what it restored
			if got := e.Current() != nil; got != row.restores {
				t.Errorf("restored: %v, want %v", got, row.restores)
			}
			w.source.publish(w.origin, w.origin.release(99, inputOf("198.51.100.9")))
			if err := s.Sync(ctx); (edge.SyncReason(err) == string(manifest.Rollback)) != row.rollback || err == nil == row.rollback {
				t.Errorf("older serial: %v, want a refusal: %v", err, row.rollback)
			}
			next := w.origin.release(101, inputOf("198.51.100.1")) // same objects
			w.source.publish(w.origin, next)
			if err := s.Sync(ctx); err != nil || !e.lists(t, "198.51.100.1") || s.Status().StateError != "" {
				t.Errorf("not healed: %v, %+v", err, s.Status())
			}
			healed := newEngine()
			if err := w.edge(healed, w.State).Restore(ctx); err != nil || !healed.lists(t, "198.51.100.1") {
				t.Errorf("the folder is not healed: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(w.State, "tmp-*")); len(left) != 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

func changeByte(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(path, b, 0o644)
}

// TestStateCannotBeWritten: an edge whose disk is full goes on answering, says
// so, and catches up when there is room. A name that is taken by a directory
// stands for the full disk at each of the files in turn.
func TestStateCannotBeWritten(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{"accepted", "base", "filter", "manifest", "the folder itself"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.State = filepath.Join(t.TempDir(), "state")
			w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
			w.sync()
			next := w.origin.release(101, inputOf("198.51.100.2"))
			blocked := filepath.Join(w.State, name)
			aside := w.State + ".aside"
			switch name {
			case "base", "filter":
				o, _ := next.manifest.Object(manifest.Role(name), manifest.Zstd)
				blocked = filepath.Join(w.State, o.StoreName())
			case "the folder itself":
				blocked = w.State
			}
			os.Rename(blocked, aside) // what is there, if anything
			if name == "the folder itself" {
				if err := os.WriteFile(blocked, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o755); err != nil {
				t.Fatal(err)
			}

			w.source.publish(w.origin, next)
			w.sync()
			w.sync() // and once more, without news
			if s := w.Status(); s.StateError == "" || s.Failures != 0 || !w.engine.lists(t, "198.51.100.2") {
				t.Errorf("status %+v", s)
			}
			if !slices.Equal(w.reasons, []string{"state", "state"}) {
				t.Errorf("counted %q", w.reasons)
			}
			if name == "base" || name == "filter" { // else what is kept stands aside
				e := newEngine()
				s := w.edge(e, w.State)
				if err := s.Restore(ctx); err != nil || !e.lists(t, "198.51.100.1") || s.Status().Serial != 101 {
					t.Errorf("what was kept before is not whole: %v, %+v", err, s.Status())
				}
				replay := &memory{}
				replay.publish(w.origin, w.origin.release(100, inputOf("198.51.100.3")))
				s.Source = replay
				if err := s.Sync(ctx); edge.SyncReason(err) != string(manifest.Rollback) {
					t.Errorf("older than what was accepted, newer than what could be kept: %v", err)
				}
			}

			if err := os.RemoveAll(blocked); err != nil {
				t.Fatal(err)
			}
			os.Rename(aside, blocked)
			w.source.fetched()
			w.sync()
			if s := w.Status(); s.StateError != "" || w.source.fetched() != "manifest" {
				t.Errorf("not caught up: %+v", s)
			}
			e := newEngine()
			if err := w.edge(e, w.State).Restore(ctx); err != nil || !e.lists(t, "198.51.100.2") {
				t.Errorf("after catching up: %v", err)
			}
		})
	}
}

// TestStateIsWrittenOnce: no news writes nothing, new times write no object.
func TestStateIsWrittenOnce(t *testing.T) {
	w := newWorld(t)
	w.State = t.TempDir()
	r := w.origin.release(100, inputOf("198.51.100.1"))
	w.source.publish(w.origin, r)
	w.sync()
	long := time.Now().Add(-time.Hour)
	names := []string{manifest.StoreName, r.manifest.Objects[0].StoreName(), r.manifest.Objects[1].StoreName()}
	for _, name := range names {
		if err := os.Chtimes(filepath.Join(w.State, name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	written := func() (out []string) {
		for _, name := range names {
			info, err := os.Stat(filepath.Join(w.State, name))
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(info.ModTime()) < 30*time.Minute {
				out = append(out, name)
			}
		}
		return out
	}
	w.sync()
	if got := written(); got != nil {
		t.Errorf("no news wrote %q", got)
	}
	r.manifest.Serial++
	w.source.publish(w.origin, r)
	w.sync()
	if got := written(); !slices.Equal(got, names[:1]) {
		t.Errorf("new times wrote %q", got)
	}
}

// TestStateIsHealedWhileRunning: an object that vanishes from the folder is
// fetched again with the next manifest, though the engine has its bytes.
func TestStateIsHealedWhileRunning(t *testing.T) {
	w := newWorld(t)
	w.State = t.TempDir()
	r := w.origin.release(100, inputOf("198.51.100.1"))
	w.source.publish(w.origin, r)
	w.sync()
	if err := os.Remove(filepath.Join(w.State, r.manifest.Objects[0].StoreName())); err != nil {
		t.Fatal(err)
	}
	r.manifest.Serial++
	w.source.publish(w.origin, r)
	w.sync()
	if s := w.Status(); s.StateError != "" {
		t.Errorf("status %+v", s)
	}
	e := newEngine()
	if err := w.edge(e, w.State).Restore(context.Background()); err != nil || e.Current().Manifest.Serial != 101 {
		t.Errorf("restore: %v", err)
	}
}

func TestRunKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var looks []time.Duration
		begin := time.Now()
		w.source.onReading = func() { looks = append(looks, time.Since(begin)) }
		r := w.origin.release(100, inputOf("198.51.100.1")) // due after five minutes
		w.source.publish(w.origin, r)
		take := func() []time.Duration { // the looks since the last take
			synctest.Wait()
			w.source.mu.Lock()
			defer w.source.mu.Unlock()
			defer func() { looks = nil }()
			return looks
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()

		time.Sleep(299 * time.Second)
		if got := take(); len(got) != 1 || got[0] != 0 {
			t.Errorf("looked at %v, want at once and not again before anything is due", got)
		}
		time.Sleep(32 * time.Second)
		if got := take(); len(got) < 1 || got[0] < 300*time.Second || got[0] > 330*time.Second {
			t.Errorf("looked at %v, want between 5m and 5m30s", got)
		}
		// Overdue: every 15 to 30 s.
		time.Sleep(10 * time.Minute)
		checkGaps(t, take(), 15*time.Second, 30*time.Second)
		// Down: longer and longer, never beyond ten minutes.
		w.source.mu.Lock()
		w.source.down = errDown
		w.source.mu.Unlock()
		time.Sleep(3 * time.Hour)
		down := take()
		if len(down) < 18 || len(down) > 45 {
			t.Fatalf("%d looks in three hours at a source that is down", len(down))
		}
		checkGaps(t, down[len(down)-5:], 5*time.Minute, 10*time.Minute)
		if got := w.Status().Failures; got != len(down) {
			t.Errorf("%d failures, %d looks", got, len(down))
		}
		// Back: one success, and the pauses are short again.
		w.source.mu.Lock()
		w.source.down = nil
		w.source.mu.Unlock()
		w.source.publish(w.origin, w.origin.release(101, inputOf("198.51.100.2")))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := w.Status(); s.Failures != 0 || s.Serial != 101 || !w.engine.lists(t, "198.51.100.2") {
			t.Errorf("status %+v", s)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run ended with %v", err)
		}
	})
}

func checkGaps(t *testing.T, looks []time.Duration, low, high time.Duration) {
	t.Helper()
	if len(looks) < 2 {
		t.Errorf("looks at %v", looks)
	}
	for i := 1; i < len(looks); i++ {
		if gap := looks[i] - looks[i-1]; gap < low || gap > high {
			t.Errorf("a pause of %v, want %v to %v", gap, low, high)
		}
	}
}

// TestRunLooksEarly: when the next manifest is due in a week, a purge is still
// found within the longest time between two looks.
func TestRunLooksEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Look = time.Minute
		r := w.origin.release(100, inputOf("198.51.100.1"))
		r.manifest.Next = r.manifest.Built + 80000
		w.source.publish(w.origin, r)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		w.source.publish(w.origin, w.origin.release(101, inputOf("198.51.100.2")))
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.engine.lists(t, "198.51.100.2") {
			t.Error("not found within a minute")
		}
		stop()
		<-ended
	})
}

func TestRunRestoresFirst(t *testing.T) {
	w := newWorld(t)
	w.State = t.TempDir()
	w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
	w.sync()
	e := newEngine()
	s := w.edge(e, w.State)
	ctx, stop := context.WithCancel(context.Background())
	w.source.onReading = func() {
		if !e.lists(t, "198.51.100.1") {
			t.Error("asked the source before it answered from what is kept")
		}
		stop()
	}
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestExpiredWhileDown: what expires is still there, for the core to say so.
func TestExpiredWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.State = t.TempDir()
		w.source.publish(w.origin, w.origin.release(100, inputOf("198.51.100.1")))
		w.sync()
		time.Sleep(25 * time.Hour)
		checkRefused(t, w, manifest.Expired, w.engine.Current())
		e := newEngine()
		if err := w.edge(e, w.State).Restore(context.Background()); edge.SyncReason(err) != string(manifest.Expired) || e.Current() != nil {
			t.Errorf("restored an expired snapshot: %v", err)
		}
	})
}
