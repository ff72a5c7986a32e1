package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"ucedge/core"
	"ucedge/edge/fuel"
	"ucedge/internal/compiled"
)

// guestPagesMax bounds the memory of one instance: 512 MiB in pages of 64 KiB,
// some hundred times what five million listings take.
const guestPagesMax = 8192

// WasmOptions are the settings of a WasmEngine. The zero WasmOptions is usable.
type WasmOptions struct {
	CacheDir  string      // folder of compiled code, remade if it is damaged; empty compiles at every start (about 1 s)
	Instances int         // how many calls run at once; 0 is GOMAXPROCS
	Host      string      // name and port under which clients reach this edge (core.Manifest); may be empty
	OnTrap    func(error) // told of each guest that trapped; may be nil; must not block
}

// A WasmEngine runs the core as a WebAssembly guest on wazero: a fixed number
// of instances, each with its own copy of the image. A guest sees no file, no
// network and no clock; it can only answer, and traps if it takes too long for
// that.
type WasmEngine struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	options  WasmOptions

	loading sync.Mutex // one Load, Renew or Close at a time
	current atomic.Pointer[crew]
	crews   sync.WaitGroup // crews that are not yet gone
	traps   atomic.Uint64
}

// NewWasmEngine compiles module and starts its instances, which answer "not
// ready" until the first Load. A module with another interface version is
// refused with a *VersionError.
func NewWasmEngine(ctx context.Context, module []byte, options WasmOptions) (*WasmEngine, error) {
	if options.Instances <= 0 {
		options.Instances = runtime.GOMAXPROCS(0)
	}
	e := &WasmEngine{options: options}
	if err := e.start(ctx, module); err != nil {
		return nil, errors.Join(fmt.Errorf("start guest: %w", err), e.closeRuntime(ctx))
	}
	return e, nil
}

// start compiles the module and makes the first crew.
func (e *WasmEngine) start(ctx context.Context, module []byte) error {
	module, err := fuel.Add(module)
	if err != nil {
		return err
	}
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(guestPagesMax)
	seal := func() error { return nil } // what cannot be sealed is compiled at the next start
	if e.options.CacheDir != "" {
		code, err := openCode(e.options.CacheDir)
		if err != nil {
			return err
		}
		e.cache, seal = code.Cache(), code.Seal
		config = config.WithCompilationCache(e.cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.runtime); err != nil {
		return err
	}
	workers := experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	if e.compiled, err = e.runtime.CompileModule(workers, module); err != nil {
		return err
	}
	seal()
	c, err := e.newCrew(ctx, nil)
	if err != nil {
		return err
	}
	e.current.Store(c)
	return nil
}

// openCode opens the folder of compiled code, and makes it with those around it.
func openCode(folder string) (*compiled.Folder, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	return compiled.Open(folder)
}

// instantiate starts one guest and gives it generation, unless that is nil.
// The module configuration grants nothing: no arguments, no environment, no
// folder, a clock that does not tell the time, and randomness for the seeds of
// the guest's maps.
func (e *WasmEngine) instantiate(ctx context.Context, generation *Generation) (*guest, error) {
	stderr := new(tail)
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").
		WithRandSource(rand.Reader).WithStderr(stderr)
	module, err := e.runtime.InstantiateModule(withMemory(ctx), e.compiled, config)
	if err != nil {
		return nil, err
	}
	g := &guest{module: module, stderr: stderr}
	if err = g.exports(); err == nil && generation != nil {
		err = g.open(generation, e.manifestFrame(generation))
	}
	if err != nil {
		return nil, errors.Join(err, module.Close(ctx))
	}
	return g, nil
}

// manifestFrame returns what a guest gets of the manifest of g.
func (e *WasmEngine) manifestFrame(g *Generation) []byte {
	return manifestFrame(coreManifest(g, e.options.Host))
}

// Load implements Engine. A generation that the guest refuses is a
// *RefusalError.
func (e *WasmEngine) Load(ctx context.Context, g *Generation) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	old := e.current.Load()
	if old == nil {
		return ErrClosed
	}
	c, err := e.newCrew(ctx, g)
	if err != nil {
		return fmt.Errorf("load serial %d: %w", g.Manifest.Serial, err)
	}
	e.current.Store(c)
	old.leave()
	return nil
}

// Renew implements Engine.
func (e *WasmEngine) Renew(ctx context.Context, g *Generation) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	c := e.current.Load()
	if c == nil {
		return ErrClosed
	}
	g, err := renewed(c.generation.Load(), g)
	if err != nil {
		return err
	}
	if err := c.renew(ctx, g); err != nil {
		return fmt.Errorf("renew serial %d: %w", g.Manifest.Serial, err)
	}
	return nil
}

// Serve implements Engine. After an error the response holds nothing of use; a
// guest that trapped is a *TrapError.
func (e *WasmEngine) Serve(ctx context.Context, req *core.Request, resp *core.Response) error {
	return e.withGuest(ctx, func(g *guest) error {
		err := g.exchange(req, resp)
		if err != nil {
			noteAsked(err, req.Method, req.Target, req.Body)
		}
		return err
	})
}

// Answer implements Engine.
func (e *WasmEngine) Answer(ctx context.Context, dst, query []byte, now int64, gate core.Gate) ([]byte, error) {
	out := dst
	err := e.withGuest(ctx, func(g *guest) (err error) {
		if out, err = g.appendAnswer(dst, query, now, gate); err != nil {
			noteAsked(err, query)
		}
		return err
	})
	return out, err
}

// withGuest runs call with an idle guest of the current crew, and sees to it
// that a guest that trapped is never used again.
func (e *WasmEngine) withGuest(ctx context.Context, call func(*guest) error) error {
	c := e.enter()
	if c == nil {
		return ErrClosed
	}
	defer c.leave()
	s, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer func() { c.free <- s }()
	if err = call(s.guest); err != nil {
		c.check(s, err)
	}
	return err
}

// check empties the slot of a guest that trapped with err.
func (c *crew) check(s *slot, err error) {
	trap := (*TrapError)(nil)
	if !errors.As(err, &trap) {
		return
	}
	if g := c.generation.Load(); g != nil {
		trap.Serial = g.Manifest.Serial
	}
	c.engine.traps.Add(1)
	s.discard()
	if c.engine.options.OnTrap != nil {
		c.engine.options.OnTrap(err)
	}
}

// enter returns the current crew, held until leave, or nil after Close.
func (e *WasmEngine) enter() *crew {
	for {
		c := e.current.Load()
		if c == nil || c.enter() {
			return c
		}
	}
}

// Current implements Engine.
func (e *WasmEngine) Current() *Generation {
	c := e.current.Load()
	if c == nil {
		return nil
	}
	return c.generation.Load()
}

// Instances returns how many instances are in a call, and how many there are.
func (e *WasmEngine) Instances() (busy, all int) {
	c := e.current.Load()
	if c == nil {
		return 0, 0
	}
	return cap(c.free) - len(c.free), cap(c.free)
}

// Traps returns how many guests have trapped.
func (e *WasmEngine) Traps() uint64 { return e.traps.Load() }

// Close implements Engine. It waits for the calls under way; later ones fail
// with ErrClosed.
func (e *WasmEngine) Close(ctx context.Context) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	c := e.current.Swap(nil)
	if c == nil {
		return nil
	}
	c.leave()
	e.crews.Wait()
	return e.closeRuntime(ctx)
}

// closeRuntime gives back what start made.
func (e *WasmEngine) closeRuntime(ctx context.Context) error {
	var errs []error
	if e.runtime != nil {
		errs = append(errs, e.runtime.Close(ctx))
	}
	if e.cache != nil {
		errs = append(errs, e.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

// A crew is the fixed set of guests that answer from one generation's objects.
// It is closed when the engine has another one and the last call has returned.
type crew struct {
	engine     *WasmEngine
	generation atomic.Pointer[Generation] // nil before the first Load
	free       chan *slot                 // the idle ones; never a sync.Pool, which would drop and so leak them
	users      atomic.Int64               // calls under way, and one for being the engine's crew
}

// A slot is the place of one guest, empty after it has trapped.
type slot struct{ guest *guest }

// newCrew makes a crew whose guests have all loaded generation.
func (e *WasmEngine) newCrew(ctx context.Context, generation *Generation) (*crew, error) {
	c := &crew{engine: e, free: make(chan *slot, e.options.Instances)}
	c.generation.Store(generation)
	c.users.Store(1)
	e.crews.Add(1)
	for range e.options.Instances {
		g, err := e.instantiate(ctx, generation)
		if err != nil {
			c.leave()
			return nil, err
		}
		c.free <- &slot{g}
	}
	return c, nil
}

// enter holds the crew for one call. It fails when the crew is already gone.
func (c *crew) enter() bool {
	for {
		n := c.users.Load()
		if n == 0 {
			return false
		}
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends what enter began; whoever leaves last closes the guests.
func (c *crew) leave() {
	if c.users.Add(-1) > 0 {
		return
	}
	defer c.engine.crews.Done()
	close(c.free)
	for s := range c.free {
		if s.guest != nil {
			s.discard()
		}
	}
}

// take waits for an idle guest, and starts a new one in an empty slot.
func (c *crew) take(ctx context.Context) (*slot, error) {
	var s *slot
	select {
	case s = <-c.free:
	default:
		select {
		case s = <-c.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.guest != nil {
		return s, nil
	}
	g, err := c.engine.instantiate(context.WithoutCancel(ctx), c.generation.Load())
	if err != nil {
		c.free <- s
		return nil, fmt.Errorf("replace guest: %w", err)
	}
	s.guest = g
	return s, nil
}

// renew gives g's manifest to every guest. It holds all of them meanwhile, some
// microseconds, so that no two calls see two manifests. If the first guest
// refuses, nothing has changed; one that fails later is replaced.
func (c *crew) renew(ctx context.Context, g *Generation) error {
	frame := c.engine.manifestFrame(g)
	held, err := c.takeAll(ctx)
	if err == nil {
		err = c.renewAll(held, frame)
	}
	if err == nil {
		c.generation.Store(g)
	}
	for _, s := range held {
		c.free <- s
	}
	return err
}

// takeAll takes every slot, or as many as it could before an error.
func (c *crew) takeAll(ctx context.Context) ([]*slot, error) {
	var held []*slot
	for range cap(c.free) {
		select {
		case s := <-c.free:
			held = append(held, s)
		case <-ctx.Done():
			return held, ctx.Err()
		}
	}
	return held, nil
}

// renewAll gives frame to every guest in held. Empty slots are left for take,
// which fills them from the crew's generation.
func (c *crew) renewAll(held []*slot, frame []byte) error {
	renewed := false
	for _, s := range held {
		if s.guest == nil {
			continue
		}
		err := s.guest.renew(frame)
		switch {
		case err == nil:
			renewed = true
		case !renewed:
			c.check(s, err)
			return err
		default:
			s.discard()
		}
	}
	return nil
}

// discard closes the guest and empties the slot.
func (s *slot) discard() {
	s.guest.module.Close(context.Background()) // gives memory back; it has no failure to report
	s.guest = nil
}
