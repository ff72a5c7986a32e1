package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"ucedge/core"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
	"ucedge/wasm/abi"
)

// marked returns a generation for the guest in testdata: its answers are the
// mark and the serial.
func marked(mark byte, serial snapshot.Serial) *Generation {
	return &Generation{
		Manifest: manifest.Manifest{
			List: "bl.example", Serial: serial,
			Objects: []manifest.Object{{Role: manifest.Base, Hash: manifest.Hash{mark}}},
		},
		Image:  []byte{mark, 1, 2, 3},
		Filter: []byte(fmt.Sprintf("%c%08x", mark, serial)),
	}
}

func ask(t testing.TB, e Engine, query string) string {
	t.Helper()
	answer, err := e.Answer(context.Background(), nil, []byte(query), 0, core.Open)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestWasmEngineAnswersFromWhatItWasGivenLast(t *testing.T) {
	ctx := context.Background()
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 3})
	if e.Current() != nil {
		t.Fatalf("before the first Load: current is %v, want nil", e.Current())
	}
	if got, want := ask(t, e, ""), "-00000000"; got != want {
		t.Errorf("before the first Load: got %q, want %q", got, want)
	}
	if err := e.Renew(ctx, marked('a', 1)); err == nil {
		t.Error("Renew of nothing succeeded")
	}
	if err := e.Load(ctx, marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	if err := e.Renew(ctx, marked('a', 2)); err != nil {
		t.Fatal(err)
	}
	for range 6 { // more than there are instances: each of them knows
		if got, want := ask(t, e, ""), "a00000002"; got != want {
			t.Errorf("after Renew: got %q, want %q", got, want)
		}
	}
	if err := e.Renew(ctx, marked('b', 3)); err == nil {
		t.Error("Renew with another image succeeded")
	}
	refused := marked('a', 3)
	refused.Manifest.List = "refused"
	if err := e.Renew(ctx, refused); !refusal(err, abi.ExportSetManifest) {
		t.Errorf("Renew with a manifest that the guest refuses: error %v", err)
	}
	if got := e.Current().Manifest.Serial; got != 2 {
		t.Errorf("after refused Renews: current serial is %d, want 2", got)
	}
	for range 6 {
		if got, want := ask(t, e, ""), "a00000002"; got != want {
			t.Errorf("after refused Renews: got %q, want %q", got, want)
		}
	}
}

func refusal(err error, call string) bool {
	var r *RefusalError
	return errors.As(err, &r) && r.Call == call
}

func TestWasmEngineKeepsWhatItHasWhenALoadFails(t *testing.T) {
	ctx := context.Background()
	e := wasmEngine(t, testGuest, WasmOptions{})
	if err := e.Load(ctx, marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	bad, huge, list, loop := marked('b', 2), marked('b', 2), marked('b', 2), marked('b', 2)
	bad.Image = []byte("bad image")
	huge.Image = make([]byte, 65<<20)
	list.Manifest.List = "refused"
	loop.Image = []byte("loop")
	if err := e.Load(ctx, loop); !outOfTurns(err) {
		t.Errorf("an image at which the guest never returns: got error %v", err)
	}
	for _, row := range []struct {
		name string
		g    *Generation
		call string
	}{
		{"bad image", bad, abi.ExportLoad},
		{"no room", huge, abi.ExportImageBuffer},
		{"bad manifest", list, abi.ExportSetManifest},
	} {
		if err := e.Load(ctx, row.g); !refusal(err, row.call) {
			t.Errorf("%s: got error %v, want a refusal of %s", row.name, err, row.call)
		}
		if got, want := ask(t, e, ""), "a00000001"; got != want {
			t.Errorf("after %s: got %q, want %q", row.name, got, want)
		}
	}
}

func TestWasmEngineRefusesOtherModules(t *testing.T) {
	module, err := otherGuest()
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewWasmEngine(context.Background(), module, WasmOptions{CacheDir: cacheFolder})
	var version *VersionError
	if !errors.As(err, &version) || version.Guest != 99 || version.Host != abi.Version {
		t.Errorf("module of version 99: got error %v, want a VersionError", err)
	}
	for name, module := range map[string][]byte{
		"empty":      nil,
		"cut":        module[:len(module)/2],
		"no exports": []byte("\x00asm\x01\x00\x00\x00"),
	} {
		if e, err := NewWasmEngine(context.Background(), module, WasmOptions{}); err == nil {
			t.Errorf("module %s: got an engine", name)
			e.Close(context.Background())
		}
	}
}

func TestWasmEngineReplacesGuestsThatTrap(t *testing.T) {
	ctx := context.Background()
	var told atomic.Int64
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 2, OnTrap: func(error) { told.Add(1) }})
	if err := e.Load(ctx, marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	if err := e.Renew(ctx, marked('a', 7)); err != nil {
		t.Fatal(err)
	}
	traps := uint64(0)
	trapped := func(name string, err error, stderr string) {
		t.Helper()
		traps++
		var trap *TrapError
		if !errors.As(err, &trap) || !strings.Contains(trap.Stderr, stderr) {
			t.Errorf("%s: got error %v, want a TrapError that says %q", name, err, stderr)
		}
		if got := e.Traps(); got != traps || int64(got) != told.Load() {
			t.Errorf("%s: %d traps counted, %d told, want %d", name, got, told.Load(), traps)
		}
		for range 4 {
			if got, want := ask(t, e, ""), "a00000007"; got != want {
				t.Errorf("after %s: got %q, want %q", name, got, want)
			}
		}
		if busy, all := e.Instances(); busy != 0 || all != 2 {
			t.Errorf("after %s: %d of %d instances busy, want 0 of 2", name, busy, all)
		}
	}
	for query, stderr := range map[string]string{"panic": "as asked", "exit": "", "outside": "", "loop": ""} {
		dst := []byte("before")
		got, err := e.Answer(ctx, dst, []byte(query), 0, core.Open)
		trapped("answer "+query, err, stderr)
		if trap := (*TrapError)(nil); errors.As(err, &trap) && (trap.Asked != query || trap.Serial != 7) {
			t.Errorf("answer %s: it tells of %q at serial %d", query, trap.Asked, trap.Serial)
		}
		if outOfTurns(err) != (query == "loop") {
			t.Errorf("answer %s: took too many turns: %v", query, outOfTurns(err))
		}
		if string(got) != "before" {
			t.Errorf("answer %s: got %q, want only what was there before", query, got)
		}
	}
	for target, stderr := range map[string]string{"panic": "as asked", "exit": "", "outside": "", "malformed": "", "early": "", "loop": ""} {
		var resp core.Response
		body := bytes.Repeat([]byte{'x'}, 1000)
		err := e.Serve(ctx, &core.Request{Method: []byte("POST"), Target: []byte(target), Body: body}, &resp)
		trapped("serve "+target, err, stderr)
		asked := "POST " + target + " " + string(body)
		if trap := (*TrapError)(nil); errors.As(err, &trap) && trap.Asked != asked[:askedMax] {
			t.Errorf("serve %s: it tells of %q", target, trap.Asked)
		}
	}
}

// outOfTurns reports whether err is a guest that took too many turns.
func outOfTurns(err error) bool {
	trap := (*TrapError)(nil)
	return errors.As(err, &trap) && strings.HasPrefix(trap.Err.Error(), "no end after ")
}

// TestTurns holds that what the core does at most is far from what it may do:
// it counts, so the figures are the same on every machine.
func TestTurns(t *testing.T) {
	e := wasmEngine(t, realGuest, WasmOptions{Instances: 1})
	facts := snapshot.Facts{Count: 9, Threshold: 5, ASN: 64496, ASName: "Example Networks, Inc.", First: 1, Last: 1 << 20, End: 1 << 20, Kinds: snapshot.Spamtrap}
	var listings []snapshot.Listing
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)})
		listings = append(listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(a, 32), Facts: facts})
	}
	g := world(t, 2, listings...)
	if err := e.Load(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	s := <-e.current.Load().free
	defer func() { e.current.Load().free <- s }()
	taken := func(handed int) (turns, most uint64) {
		most = turnsFixed + turnsPerByte*uint64(handed)
		return most - s.guest.fuel.Get(), most
	}
	query := packed(t, "1.2.0.11.dnsbl-1.bl.example.", dns.TypeTXT)
	if _, err := s.guest.appendAnswer(nil, query, g.Manifest.Built, core.Open); err != nil {
		t.Fatal(err)
	}
	turns, most := taken(len(query))
	t.Logf("an answer takes %d turns of %d", turns, most)
	if turns > 1000 {
		t.Errorf("an answer takes %d turns, want less than 1000", turns)
	}
	body, separator := []byte(nil), byte('[')
	for _, l := range listings {
		body = append(append(body, separator, '"'), l.Prefix.Addr().String()...)
		body, separator = append(body, '"'), ','
	}
	req := &core.Request{
		Now: g.Manifest.Built, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: []byte("application/json"),
		Body: append(body, ']'),
	}
	resp := new(core.Response)
	if err := s.guest.exchange(req, resp); err != nil || resp.Status != 200 {
		t.Fatalf("status %d, error %v", resp.Status, err)
	}
	turns, most = taken(abi.RequestSize(&s.guest.asked))
	t.Logf("1000 listed addresses take %d turns of %d", turns, most)
	if turns > most/10 {
		t.Errorf("1000 listed addresses of one level take %d turns, want less than a tenth of %d", turns, most)
	}
}

func TestWasmEngineHandsRequestsOverWhole(t *testing.T) {
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 1})
	var resp core.Response
	for _, size := range []int{0, 1, 1000, abi.RequestBytes, 2 * abi.RequestBytes, 1, abi.RequestBytes + 1, 0} {
		body := bytes.Repeat([]byte{'x'}, size)
		req := &core.Request{
			Method: []byte("POST"), Target: []byte("/v1/check?a=b"), Accept: []byte("text/html, */*"),
			ContentType: []byte("application/json"), IfNoneMatch: []byte(`"1"`), Body: body,
		}
		if err := e.Serve(context.Background(), req, &resp); err != nil {
			t.Fatalf("body of %d bytes: %v", size, err)
		}
		want := `-00000000|0|POST|/v1/check?a=b|text/html, */*|application/json|"1"|` + string(body)
		if string(resp.Body) != want {
			t.Errorf("body of %d bytes: it did not arrive as it was sent", size)
		}
		if got := fmt.Sprintf("%d %s", resp.Status, resp.Fields); got != "200 [{content-type text/plain}]" {
			t.Errorf("body of %d bytes: got %s", size, got)
		}
	}
	huge := &core.Request{Body: make([]byte, 2<<20)}
	if err := e.Serve(context.Background(), huge, &resp); !refusal(err, abi.ExportRequestBuffer) {
		t.Errorf("body of 2 MiB: got error %v, want a refusal", err)
	}
	if got, want := ask(t, e, ""), "-00000000"; got != want {
		t.Errorf("after a refusal: got %q, want %q", got, want)
	}
}

// TestWasmEngineRemakesDamagedCode: an edge whose compiled code was damaged
// starts all the same, and has whole code after it.
func TestWasmEngineRemakesDamagedCode(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: compiles the guest several times")
	}
	module, err := testGuest()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	start := func() {
		t.Helper()
		e, err := NewWasmEngine(context.Background(), module, WasmOptions{CacheDir: folder, Instances: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	start()
	sums, err := filepath.Glob(folder + "/*/*.sum")
	if err != nil || len(sums) != 1 {
		t.Fatalf("sums %q, %v, want one", sums, err)
	}
	code := strings.TrimSuffix(sums[0], ".sum")
	whole, err := os.ReadFile(code)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(code, 1000); err != nil {
		t.Fatal(err)
	}
	start()
	if again, err := os.ReadFile(code); err != nil || len(again) != len(whole) {
		t.Errorf("made again, the code has %d bytes, %v, want %d", len(again), err, len(whole))
	}
}

func TestWasmEngineIsClosedOnce(t *testing.T) {
	ctx := context.Background()
	module, err := testGuest()
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewWasmEngine(ctx, module, WasmOptions{CacheDir: cacheFolder})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	_, err = e.Answer(ctx, nil, nil, 0, core.Open)
	for call, err := range map[string]error{
		"Answer": err,
		"Serve":  e.Serve(ctx, new(core.Request), new(core.Response)),
		"Load":   e.Load(ctx, marked('a', 1)),
		"Renew":  e.Renew(ctx, marked('a', 1)),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: got error %v, want ErrClosed", call, err)
		}
	}
	if e.Current() != nil {
		t.Error("after Close there is a current generation")
	}
}

// TestWasmEngineSwapsUnderLoad changes the generation while many ask, and some
// guests trap. Every answer must be of one generation, and none older than the
// Load or Renew that had returned before the question.
func TestWasmEngineSwapsUnderLoad(t *testing.T) {
	ctx := context.Background()
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 2})
	if err := e.Load(ctx, marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	var done, loaded atomic.Int64
	loaded.Store(1)
	var askers sync.WaitGroup
	for n := range 8 {
		askers.Go(func() {
			for i := 0; done.Load() == 0; i++ {
				if n == 0 && i%50 == 0 {
					e.Answer(ctx, nil, []byte("panic"), 0, core.Open)
				}
				from := loaded.Load()
				got := ask(t, e, "")
				to := loaded.Load() + 1
				var mark byte
				var serial int64
				if _, err := fmt.Sscanf(got, "%c%08x", &mark, &serial); err != nil || serial < from || serial > to {
					t.Errorf("got %q, want a serial from %d to %d", got, from, to)
				}
				if want := markOf(serial); mark != want {
					t.Errorf("got %q, mark of one generation and serial of another", got)
				}
			}
		})
	}
	for serial := int64(2); serial <= 40; serial++ {
		g := marked(markOf(serial), snapshot.Serial(serial))
		change := e.Load
		if serial%2 == 1 { // same mark as the one before
			change = e.Renew
		}
		if err := change(ctx, g); err != nil {
			t.Errorf("serial %d: %v", serial, err)
		}
		loaded.Store(serial)
	}
	done.Store(1)
	askers.Wait()
}

// markOf returns the mark of a serial: two in succession have the same one.
func markOf(serial int64) byte { return 'a' + byte(serial/2) }

// TestCallsAllocateNothing holds the promise of the host's side of a call.
func TestCallsAllocateNothing(t *testing.T) {
	ctx := context.Background()
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 1})
	if err := e.Load(ctx, marked('a', 1)); err != nil {
		t.Fatal(err)
	}
	answer, query := make([]byte, 0, 512), []byte("anything")
	req, resp := &core.Request{Target: []byte("filter")}, new(core.Response)
	for name, call := range map[string]func() error{
		"Answer": func() (err error) { answer, err = e.Answer(ctx, answer[:0], query, 0, core.Open); return err },
		"Serve":  func() error { return e.Serve(ctx, req, resp) },
	} {
		allocs := testing.AllocsPerRun(100, func() {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want 0", name, allocs)
		}
	}
}
