package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"ucedge/snapshot/manifest"
)

// errCrash is what a memory store returns where a process would be no more.
var errCrash = errors.New("crash")

// A memory is a Store that watches the rules: an object has the hash that its
// name says, and whatever a manifest names is there when it becomes current.
// It can fail at any step, before the effect or after it.
type memory struct {
	t      testing.TB
	mu     sync.Mutex
	files  map[string]file
	now    time.Time
	steps  int    // writing steps taken
	crash  int    // step at which it crashes, from 1; 0 never
	after  bool   // the crash comes after the effect
	dead   bool   // crashed: every call fails until revive
	broken string // name whose Get fails
}

type file struct {
	data []byte
	put  time.Time
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, files: map[string]file{}, now: time.Unix(0, 0)}
}

func (m *memory) revive() { m.dead, m.crash, m.steps = false, 0, 0 }

// step counts a writing step and runs it, unless a crash comes before it.
func (m *memory) step(effect func()) error {
	m.steps++
	hit := m.steps == m.crash
	if m.dead || hit && !m.after {
		m.dead = true
		return errCrash
	}
	effect()
	if hit {
		m.dead = true
		return errCrash
	}
	return nil
}

func (m *memory) Get(_ context.Context, name string, limit int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[name]
	switch {
	case m.dead:
		return nil, errCrash
	case name == m.broken:
		return nil, errors.New("unreadable")
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(f.data)) > limit:
		return nil, fmt.Errorf("%q has more than %d bytes", name, limit)
	}
	return bytes.Clone(f.data), nil
}

func (m *memory) Put(_ context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkName(name); err != nil || name == manifest.StoreName {
		return errors.New("bad name")
	}
	if sum, ok := strings.CutPrefix(name, manifest.StorePrefix); ok && sum != manifest.Hash(sha256.Sum256(data)).String() {
		m.t.Errorf("%q is put with other bytes", name)
	}
	return m.step(func() { m.files[name] = file{bytes.Clone(data), m.now} })
}

func (m *memory) Swap(_ context.Context, previous, next []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, ok := m.files[manifest.StoreName]
	if ok != (previous != nil) || !bytes.Equal(now.data, previous) {
		return ErrConflict
	}
	if named, err := manifest.Parse(manifest.Text(next)); err == nil {
		for _, o := range named.Objects {
			if int64(len(m.files[o.StoreName()].data)) != o.WireSize {
				m.t.Errorf("manifest %d is put before its object %s", named.Serial, o.Role)
			}
		}
	}
	return m.step(func() { m.files[manifest.StoreName] = file{bytes.Clone(next), m.now} })
}

func (m *memory) List(_ context.Context, prefix string) (out []Entry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errCrash
	}
	for name, f := range m.files {
		if strings.HasPrefix(name, prefix) {
			out = append(out, Entry{name, int64(len(f.data)), m.now.Sub(f.put)})
		}
	}
	return out, nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step(func() { delete(m.files, name) })
}

// pass lets time go by, so that orphans get old.
func (m *memory) pass(d time.Duration) { m.now = m.now.Add(d) }

func (m *memory) count(prefix string) (n int) {
	for name := range m.files {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}
