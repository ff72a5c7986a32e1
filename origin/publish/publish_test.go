package publish

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/snapshot/manifest/manifesttest"
)

const start = 1795363200 // 2026-11-22T16:00:00Z

// listOf returns a list of n addresses of 198.51.100.0/24 and beyond, from the
// i-th on.
func listOf(i, n int) build.Input {
	in := build.Input{
		Zones: []snapshot.Zone{{Suffix: "dnsbl-1.bl.example", Level: snapshot.Address, Code: [4]byte{127, 0, 0, 2}, TTL: 2100,
			MName: "ns.bl.example", RName: "hostmaster.bl.example", SOATTL: 2100, Refresh: 600, Retry: 300, Expire: 604800, Minimum: 2100,
			Text: "{ip} is listed", URL: "https://bl.example/"}},
		Profile: snapshot.Profile{Name: "classic"},
	}
	for ; n > 0; i, n = i+1, n-1 {
		a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 198<<24+51<<16+100<<8+uint32(i))))
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(a, 32)})
	}
	return in
}

func with(in build.Input, level snapshot.Level, prefix string) build.Input {
	in.Listings = append(slices.Clone(in.Listings), snapshot.Listing{Level: level, Prefix: netip.MustParsePrefix(prefix)})
	return in
}

func options(now int64) Options { return Options{List: "bl.example", Now: now} }

// edgeReads opens what a store holds as an edge does, and returns how many
// entries Level 1 has.
func edgeReads(t testing.TB, s Store, keys note.Verifiers, now int64) (manifest.Manifest, int) {
	t.Helper()
	ctx := context.Background()
	signed, err := s.Get(ctx, manifest.StoreName, manifest.MaxSigned)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Open(signed, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Accept(manifest.Rules{List: "bl.example", ABI: 1, Now: now}); err != nil {
		t.Fatal(err)
	}
	plains := map[manifest.Role][]byte{}
	for _, o := range m.Objects {
		wire, err := s.Get(ctx, o.StoreName(), o.WireSize)
		if err != nil {
			t.Fatalf("object %s of serial %d: %v", o.Role, m.Serial, err)
		}
		if plains[o.Role], err = o.Open(wire); err != nil {
			t.Fatal(err)
		}
	}
	image, err := snapshot.Open(plains[manifest.Base])
	if err != nil {
		t.Fatal(err)
	}
	if plains[manifest.Filter] != nil {
		f, err := snapshot.OpenFilter(plains[manifest.Filter])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := image.WithFilter(f); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for range image.Listings(snapshot.Address) {
		n++
	}
	return m, n
}

func mustPublish(t testing.TB, s Store, in build.Input, k manifesttest.Key, o Options) Result {
	t.Helper()
	res, err := Publish(context.Background(), s, in, []note.Signer{k.Signer}, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestPublish(t *testing.T) {
	for name, s := range map[string]Store{"memory": newMemory(t), "folder": newFolder(t)} {
		t.Run(name, func(t *testing.T) {
			k := manifesttest.NewKey(t, "bl.example")
			keys := note.VerifierList(k.Verifier)
			first := mustPublish(t, s, listOf(0, 100), k, options(start))
			m, n := edgeReads(t, s, keys, start)
			if !reflect.DeepEqual(m, first.Manifest) || n != 100 {
				t.Errorf("edge reads %+v with %d entries", m, n)
			}
			if m.Serial != start || m.Built != start || m.Next != start+300 || m.Expires != start+7*86400 ||
				m.Previous != (manifest.Hash{}) || m.Profile != "classic" || m.ABIMin != 1 || m.ABIMax != 1 {
				t.Errorf("first manifest %+v", m)
			}
			if !first.Changed || first.Put != 4 {
				t.Errorf("first result %+v", first)
			}
			same := mustPublish(t, s, listOf(0, 100), k, options(start)) // in the same second
			if same.Changed || same.Put != 0 || same.Manifest.Serial != start+1 || same.Manifest.Previous != first.Manifest.TextHash() {
				t.Errorf("the same list again: %+v", same)
			}
			if !slices.Equal(same.Manifest.Objects, first.Manifest.Objects) {
				t.Errorf("the same list has other objects: %+v", same.Manifest.Objects)
			}
			other := mustPublish(t, s, listOf(0, 101), k, options(start+300))
			if !other.Changed || other.Put != 4 || other.Manifest.Serial != start+300 || other.Manifest.Previous != same.Manifest.TextHash() {
				t.Errorf("another list: %+v", other)
			}
			if _, n := edgeReads(t, s, keys, start+300); n != 101 {
				t.Errorf("edge reads %d entries, want 101", n)
			}
		})
	}
}

func TestClockGoesBack(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	first := mustPublish(t, s, listOf(0, 10), k, options(start))
	second := mustPublish(t, s, listOf(0, 11), k, options(start-60))
	if second.Manifest.Serial != first.Manifest.Serial+1 || second.Manifest.Built != start-60 {
		t.Errorf("%+v", second.Manifest)
	}
}

func TestTwins(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	o := options(start)
	o.Gzip = true
	res := mustPublish(t, s, listOf(0, 100), k, o)
	if res.Put != 6 || len(res.Manifest.Objects) != 6 {
		t.Errorf("%+v", res)
	}
	edgeReads(t, s, note.VerifierList(k.Verifier), start)
	o.NoFilter, o.Now = true, start+1
	res = mustPublish(t, s, listOf(0, 100), k, o)
	if res.Put != 0 || len(res.Manifest.Objects) != 3 || !res.Changed {
		t.Errorf("without the filter: %+v", res)
	}
	edgeReads(t, s, note.VerifierList(k.Verifier), start)
}

// TestPlainJoins publishes where an origin without plain objects has published.
func TestPlainJoins(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	m := mustPublish(t, s, listOf(0, 100), k, options(start)).Manifest
	all := m.Objects
	m.Objects = nil
	for _, o := range all {
		if o.Coding == manifest.Plain {
			delete(s.files, o.StoreName())
		} else {
			m.Objects = append(m.Objects, o)
		}
	}
	signed, err := manifest.Sign(m, k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	s.files[manifest.StoreName] = file{signed, s.now}
	again := mustPublish(t, s, listOf(0, 100), k, options(start+300))
	if again.Put != 2 || again.Changed || !slices.Equal(again.Manifest.Objects, all) {
		t.Errorf("%d put, changed is %v, objects are %+v", again.Put, again.Changed, again.Manifest.Objects)
	}
	edgeReads(t, s, note.VerifierList(k.Verifier), start+300)
}

func TestResign(t *testing.T) {
	ctx := context.Background()
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	signers := []note.Signer{k.Signer}
	if _, err := Resign(ctx, s, signers, options(start)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing to sign again: %v", err)
	}
	o := options(start)
	o.ABIMin, o.ABIMax, o.Gzip = 1, 3, true
	first := mustPublish(t, s, listOf(0, 100), k, o)
	again, err := Resign(ctx, s, signers, options(start+300))
	if err != nil {
		t.Fatal(err)
	}
	want := first.Manifest
	want.Serial, want.Built, want.Next, want.Expires = start+300, start+300, start+600, start+300+7*86400
	want.Previous = first.Manifest.TextHash()
	if !reflect.DeepEqual(again.Manifest, want) || again.Changed || again.Put != 0 {
		t.Errorf("got %+v, want %+v", again.Manifest, want)
	}
	edgeReads(t, s, note.VerifierList(k.Verifier), start+300)
	delete(s.files, want.Objects[1].StoreName())
	if _, err := Resign(ctx, s, signers, options(start+600)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("signed again without an object: %v", err)
	}
}

func TestPublishRefuses(t *testing.T) {
	k, stranger, other := manifesttest.NewKey(t, "bl.example"), manifesttest.NewKey(t, "bl.example"), manifesttest.NewKey(t, "other.example")
	rows := []struct {
		name    string
		prepare func(*memory)
		in      build.Input
		signers []note.Signer
		set     func(*Options)
		want    string
	}{
		{name: "no key", signers: []note.Signer{}, want: "no key has the name"},
		{name: "key of another list", signers: []note.Signer{other.Signer}, want: "no key has the name"},
		{name: "no time", set: func(o *Options) { o.Now = 0 }, want: "time 0"},
		{name: "time beyond serials", set: func(o *Options) { o.Now = 1 << 32 }, want: "time 4294967296"},
		{name: "profile that has no name", in: build.Input{Zones: listOf(0, 0).Zones}, want: "profile name"},
		{name: "no zone", in: build.Input{Profile: listOf(0, 0).Profile}, want: "zones"},
		{name: "life shorter than interval", set: func(o *Options) { o.Life = time.Minute }, want: "before next"},
		{name: "manifest of a stranger", prepare: func(m *memory) { mustPublish(t, m, listOf(0, 9), stranger, options(start-9)) }, want: "untrusted"},
		{name: "damaged manifest", prepare: func(m *memory) { m.files[manifest.StoreName] = file{[]byte("x"), m.now} }, want: "malformed"},
		{name: "unreadable manifest", prepare: func(m *memory) { m.broken = manifest.StoreName }, want: "unreadable"},
		{name: "manifest of another list", signers: []note.Signer{k.Signer, other.Signer},
			prepare: func(m *memory) { mustPublish(t, m, listOf(0, 9), other, Options{List: "other.example", Now: start}) }, want: `of list "other.example"`},
		{name: "last serial", prepare: func(m *memory) { mustPublish(t, m, listOf(0, 9), k, options(math.MaxUint32)) }, want: "last serial"},
		{name: "too much of a level", in: with(listOf(0, 9), snapshot.Allocation, "64.0.0.0/2"), want: `limit "share"`},
		{name: "all IPv6", in: with(listOf(0, 9), snapshot.System, "2000::/3"), want: `limit "share"`},
		{name: "protected address", in: with(listOf(0, 9), snapshot.Address, "10.1.2.3/32"), want: `limit "protected"`},
		{name: "site's protected address", in: listOf(0, 9), want: `limit "protected"`,
			set: func(o *Options) {
				o.Limits = &snapshot.Limits{Protected: []netip.Prefix{netip.MustParsePrefix("198.51.100.8/32")}}
			}},
		{name: "too much change", prepare: func(m *memory) { mustPublish(t, m, listOf(0, 2000), k, options(start-300)) },
			in: listOf(1000, 2000), want: `limit "churn"`},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := newMemory(t)
			if r.prepare != nil {
				r.prepare(s)
			}
			before := bytes.Clone(s.files[manifest.StoreName].data)
			in, signers, o := r.in, r.signers, options(start)
			if in.Zones == nil && in.Profile.Name == "" {
				in = listOf(0, 10)
			}
			if signers == nil {
				signers = []note.Signer{k.Signer}
			}
			if r.set != nil {
				r.set(&o)
			}
			res, err := Publish(context.Background(), s, in, signers, o)
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("error %v, want one with %q", err, r.want)
			}
			if !reflect.DeepEqual(res, Result{}) {
				t.Errorf("refused, but gave %+v", res)
			}
			if !bytes.Equal(before, s.files[manifest.StoreName].data) {
				t.Error("the manifest has changed")
			}
		})
	}
}

// TestLifting lifts churn, and neither of the limits that edges hold too.
func TestLifting(t *testing.T) {
	k := manifesttest.NewKey(t, "bl.example")
	for limit, in := range map[Limit]build.Input{
		Share:     with(with(with(listOf(0, 9), snapshot.System, "64.0.0.0/3"), snapshot.System, "32.0.0.0/3"), snapshot.System, "28.0.0.0/6"),
		Protected: with(listOf(0, 9), snapshot.Allocation, "192.168.7.0/24"),
		Churn:     listOf(1000, 2000),
	} {
		t.Run(string(limit), func(t *testing.T) {
			s := newMemory(t)
			if limit == Churn {
				mustPublish(t, s, listOf(0, 2000), k, options(start-300))
			}
			_, err := Publish(context.Background(), s, in, []note.Signer{k.Signer}, options(start))
			var e *Excess
			if !errors.As(err, &e) || e.Limit != limit {
				t.Fatalf("error %v, want limit %q", err, limit)
			}
			o := options(start)
			o.Override = []Limit{Churn}
			if _, err := Publish(context.Background(), s, in, []note.Signer{k.Signer}, o); (err == nil) != (limit == Churn) {
				t.Errorf("with churn lifted: %v", err)
			}
		})
	}
	for limit, want := range map[Limit]string{Share: "every edge holds it too", Protected: "every edge holds it too", "shear": "no limit"} {
		o := options(start)
		o.Override = []Limit{Churn, limit}
		s := newMemory(t)
		if _, err := Publish(context.Background(), s, listOf(0, 9), []note.Signer{k.Signer}, o); err == nil || !strings.Contains(err.Error(), want) || len(s.files) != 0 {
			t.Errorf("%q lifted: %v, and %d files, want %q and nothing published", limit, err, len(s.files), want)
		}
	}
}

func TestChurn(t *testing.T) {
	open := func(in build.Input) *snapshot.Snapshot {
		image, err := build.Image(in)
		if err != nil {
			t.Fatal(err)
		}
		s, err := snapshot.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	excluded := listOf(0, 3000)
	excluded.Listings = slices.Clone(excluded.Listings)
	for i := range 300 {
		excluded.Listings[i*10].Excluded = true
	}
	six := listOf(0, 2000)
	for i := range 2000 {
		six = with(six, snapshot.Address, fmt.Sprintf("2001:db8:%x::/64", i))
	}
	rows := []struct {
		name string
		a, b build.Input
		want float64
	}{
		{"same", listOf(0, 3000), listOf(0, 3000), 0},
		{"half removed", listOf(0, 3000), listOf(0, 1500), 0.5},
		{"doubled", listOf(0, 1500), listOf(1500, 3000), 1},
		{"emptied", listOf(0, 3000), listOf(0, 0), 1},
		{"a third in common", listOf(0, 2000), listOf(1000, 2000), 2.0 / 3},
		{"one tenth excluded", listOf(0, 3000), excluded, 600.0 / 3300},
		{"half is IPv6", listOf(0, 2000), six, 0.5},
		{"short lists", listOf(0, 400), listOf(400, 400), 0},
	}
	for _, r := range rows {
		a, b := open(r.a), open(r.b)
		if got, back := churn(a, b), churn(b, a); math.Abs(got-r.want) > 1e-9 || got != back {
			t.Errorf("%s: %v, back %v, want %v", r.name, got, back, r.want)
		}
	}
}

// TestCrashes crashes at each step of a publication, before its effect and
// after it. Readers must find the list before or the new one, and the next run
// must publish and leave nothing over.
func TestCrashes(t *testing.T) {
	k := manifesttest.NewKey(t, "bl.example")
	keys := note.VerifierList(k.Verifier)
	ctx := context.Background()
	signers := []note.Signer{k.Signer}
	for _, after := range []bool{false, true} {
		for crash := 1; ; crash++ {
			s := newMemory(t)
			o := options(start)
			o.Keep, o.OrphanAge = 2, time.Hour
			for i := range 3 {
				mustPublish(t, s, listOf(0, 100+i), k, o)
				s.pass(2 * time.Hour)
				o.Now += 7200
			}
			s.steps, s.crash, s.after = 0, crash, after
			_, err := Publish(ctx, s, listOf(0, 200), signers, o)
			crashed := s.dead
			s.revive()
			m, n := edgeReads(t, s, keys, o.Now)
			if n != 102 && n != 200 {
				t.Fatalf("crash %d: edges read %d entries", crash, n)
			}
			if err == nil && n != 200 {
				t.Fatalf("crash %d: published, but edges read %d entries", crash, n)
			}
			s.pass(2 * time.Hour)
			o.Now += 7200
			res := mustPublish(t, s, listOf(0, 300), k, o)
			if res.Manifest.Previous != m.TextHash() {
				t.Errorf("crash %d: the chain is broken", crash)
			}
			if _, n := edgeReads(t, s, keys, o.Now); n != 300 {
				t.Errorf("crash %d: after the next run edges read %d entries", crash, n)
			}
			if objects, history := s.count(manifest.StorePrefix), s.count(historyPrefix); objects != 8 || history != 1 {
				t.Errorf("crash %d, after %v: %d objects and %d manifests are left, want 8 and 1", crash, after, objects, history)
			}
			if !crashed {
				if crash < 6 {
					t.Errorf("a publication takes %d steps only", crash-1)
				}
				break
			}
		}
	}
}

func TestAnswerLost(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	lossy := &lostAnswer{Store: s}
	res, err := Publish(context.Background(), lossy, listOf(0, 9), []note.Signer{k.Signer}, options(start))
	if err != nil || res.Manifest.Serial != start {
		t.Errorf("%+v, %v", res, err)
	}
}

// lostAnswer is a store whose Swap works, is tried again by the client, and
// then meets itself.
type lostAnswer struct{ Store }

func (l *lostAnswer) Swap(ctx context.Context, previous, next []byte) error {
	if err := l.Store.Swap(ctx, previous, next); err != nil {
		return err
	}
	return ErrConflict
}

func TestFasterPublisher(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	mustPublish(t, s, listOf(0, 9), k, options(start))
	race := &interloper{Store: s, run: func() { mustPublish(t, s, listOf(0, 12), k, options(start+10)) }}
	_, err := Publish(context.Background(), race, listOf(0, 11), []note.Signer{k.Signer}, options(start+10))
	if !errors.Is(err, ErrConflict) {
		t.Errorf("error %v", err)
	}
	if _, n := edgeReads(t, s, note.VerifierList(k.Verifier), start+10); n != 12 {
		t.Errorf("edges read %d entries, want those of the faster publisher", n)
	}
}

// interloper lets another publisher run just before the first Swap.
type interloper struct {
	Store
	run func()
}

func (i *interloper) Swap(ctx context.Context, previous, next []byte) error {
	i.run()
	return i.Store.Swap(ctx, previous, next)
}

func TestDamageIsHealed(t *testing.T) {
	k := manifesttest.NewKey(t, "bl.example")
	for name, damage := range map[string]func(*memory, string){
		"gone":    func(s *memory, name string) { delete(s.files, name) },
		"cut":     func(s *memory, name string) { s.files[name] = file{s.files[name].data[:10], s.now} },
		"changed": func(s *memory, name string) { s.files[name].data[20] ^= 1 },
	} {
		s := newMemory(t)
		first := mustPublish(t, s, listOf(0, 2000), k, options(start))
		for _, o := range first.Manifest.Objects {
			damage(s, o.StoreName())
		}
		if res := mustPublish(t, s, listOf(0, 2000), k, options(start+300)); res.Put != 4 || res.Changed {
			t.Errorf("%s: %+v", name, res)
		}
		edgeReads(t, s, note.VerifierList(k.Verifier), start+300)
	}
}

func TestKeyChange(t *testing.T) {
	ctx := context.Background()
	s, old, fresh := newMemory(t), manifesttest.NewKey(t, "bl.example"), manifesttest.NewKey(t, "bl.example")
	mustPublish(t, s, listOf(0, 9), old, options(start))
	if _, err := Publish(ctx, s, listOf(0, 9), []note.Signer{old.Signer, fresh.Signer}, options(start+1)); err != nil {
		t.Fatalf("with both keys: %v", err)
	}
	mustPublish(t, s, listOf(0, 9), fresh, options(start+2))
	edgeReads(t, s, note.VerifierList(fresh.Verifier), start+2)
	o := options(start + 3)
	if _, err := Publish(ctx, s, listOf(0, 9), []note.Signer{old.Signer}, o); err == nil {
		t.Error("an old key replaced a manifest that it cannot read")
	}
	o.Trusted = note.VerifierList(fresh.Verifier)
	mustPublish(t, s, listOf(0, 9), old, o)
}

func TestRetention(t *testing.T) {
	s, k := newMemory(t), manifesttest.NewKey(t, "bl.example")
	keys := note.VerifierList(k.Verifier)
	o := options(start)
	o.Keep = 3
	s.files["tmp/left"] = file{nil, s.now}
	s.files["history/0000000007"] = file{[]byte("no manifest"), s.now}
	for i := range 10 {
		mustPublish(t, s, listOf(0, 100+i), k, o)
		s.pass(2 * time.Hour)
		o.Now += 7200
		for range 3 { // re-signed without change: no generation of its own
			if _, err := Resign(context.Background(), s, []note.Signer{k.Signer}, o); err != nil {
				t.Fatal(err)
			}
			o.Now++
		}
		edgeReads(t, s, keys, o.Now)
	}
	if n := s.count(manifest.StorePrefix); n != 12 {
		t.Errorf("%d objects, want those of 3 generations", n)
	}
	if n := s.count(historyPrefix); n != 3 {
		t.Errorf("%d manifests in the history, want the one before and one of each older generation", n)
	}
	if n := s.count(tmpPrefix); n != 0 {
		t.Error("a temporary file is left")
	}
	// A young orphan stays: it may be another publisher's.
	s.files["objects/young"] = file{nil, s.now}
	s.files["tmp/young"] = file{nil, s.now}
	mustPublish(t, s, listOf(0, 100), k, o)
	if s.count("objects/young")+s.count("tmp/young") != 2 {
		t.Error("a young orphan is gone")
	}
}

// TestKilled kills a publisher at random moments, and looks at the folder.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	k := manifesttest.NewKey(t, "bl.example")
	s, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var last snapshot.Serial
	for i := range 12 {
		killAfter(t, time.Duration(i)*10*time.Millisecond, dir, k.Secret)
		m, n := edgeReads(t, s, note.VerifierList(k.Verifier), start)
		if m.Serial <= last || n < 100 {
			t.Errorf("kill %d: serial %d after %d, %d entries", i, m.Serial, last, n)
		}
		last = m.Serial
	}
	o := options(start)
	o.OrphanAge = time.Nanosecond
	time.Sleep(time.Millisecond)
	res, err := Publish(context.Background(), s, listOf(0, 50), []note.Signer{k.Signer}, o)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path(tmpPrefix)); len(left) != 0 {
		t.Errorf("%d temporary files are left", len(left))
	}
	t.Logf("serial went from %d to %d over 12 kills, the last run deleted %d names", start, last, res.Deleted)
}
