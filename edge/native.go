package edge

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"ucedge/core"
	"ucedge/snapshot"
)

// A NativeEngine runs the core as a part of this program, without a guest. It
// is what the guest is compared with, in answers and in speed.
type NativeEngine struct {
	host    string     // name and port under which clients reach this edge
	loading sync.Mutex // one Load or Renew at a time
	current atomic.Pointer[native]
}

// native is a core and what it was made from. It is immutable.
type native struct {
	generation *Generation // nil before the first Load
	snapshot   *snapshot.Snapshot
	core       *core.Core
}

// NewNativeEngine returns an engine that answers "not ready" until its first
// Load. The host is the name and port under which clients reach this edge
// (core.Manifest); it may be empty.
func NewNativeEngine(host string) *NativeEngine {
	e := &NativeEngine{host: host}
	e.current.Store(&native{core: core.New(nil, core.Manifest{})})
	return e
}

// Load implements Engine.
func (e *NativeEngine) Load(_ context.Context, g *Generation) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	if e.current.Load() == nil {
		return ErrClosed
	}
	s, err := snapshot.OpenVerified(g.Image, g.Filter)
	if err != nil {
		return fmt.Errorf("load serial %d: %w", g.Manifest.Serial, err)
	}
	e.current.Store(&native{g, s, core.New(s, coreManifest(g, e.host))})
	return nil
}

// Renew implements Engine.
func (e *NativeEngine) Renew(_ context.Context, g *Generation) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	old := e.current.Load()
	if old == nil {
		return ErrClosed
	}
	g, err := renewed(old.generation, g)
	if err != nil {
		return err
	}
	e.current.Store(&native{g, old.snapshot, core.New(old.snapshot, coreManifest(g, e.host))})
	return nil
}

// Serve implements Engine.
func (e *NativeEngine) Serve(_ context.Context, req *core.Request, resp *core.Response) error {
	n := e.current.Load()
	if n == nil {
		return ErrClosed
	}
	n.core.Serve(req, resp)
	return nil
}

// Answer implements Engine.
func (e *NativeEngine) Answer(_ context.Context, dst, query []byte, now int64, gate core.Gate) ([]byte, error) {
	n := e.current.Load()
	if n == nil {
		return dst, ErrClosed
	}
	return n.core.AppendAnswer(dst, query, now, gate), nil
}

// Current implements Engine.
func (e *NativeEngine) Current() *Generation {
	n := e.current.Load()
	if n == nil {
		return nil
	}
	return n.generation
}

// Close implements Engine. Later calls fail with ErrClosed.
func (e *NativeEngine) Close(context.Context) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	e.current.Store(nil)
	return nil
}
