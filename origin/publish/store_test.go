package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ucedge/snapshot/manifest"
)

func TestStores(t *testing.T) {
	stores := map[string]func(*testing.T) Store{
		"memory": func(t *testing.T) Store { return newMemory(t) },
		"folder": func(t *testing.T) Store { return newFolder(t) },
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { testStore(t, open) })
	}
}

func newFolder(t testing.TB) *Folder {
	f, err := NewFolder(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// testStore is what every Store must pass.
func testStore(t *testing.T, open func(*testing.T) Store) {
	ctx := context.Background()
	const limit = 1 << 20
	one, two := []byte("history one"), []byte("history two, longer")

	t.Run("what is not there", func(t *testing.T) {
		s := open(t)
		for _, name := range []string{manifest.StoreName, "history/0000000001"} {
			if got, err := s.Get(ctx, name, limit); !errors.Is(err, fs.ErrNotExist) || got != nil {
				t.Errorf("get %q: %q, %v", name, got, err)
			}
		}
		if err := s.Delete(ctx, "history/0000000001"); err != nil {
			t.Errorf("delete: %v", err)
		}
		for _, prefix := range []string{historyPrefix, manifest.StorePrefix, tmpPrefix} {
			if got, err := s.List(ctx, prefix); err != nil || len(got) != 0 {
				t.Errorf("list %q: %v, %v", prefix, got, err)
			}
		}
	})
	t.Run("put, get, list, delete", func(t *testing.T) {
		s := open(t)
		name := "history/0000000001"
		for _, data := range [][]byte{one, two, two, one} { // longer, same, shorter
			if err := s.Put(ctx, name, data); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(ctx, name, limit); err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %q, %v, want %q", got, err, data)
			}
		}
		list, err := s.List(ctx, historyPrefix)
		if err != nil || len(list) != 1 || list[0].Name != name || list[0].Size != int64(len(one)) {
			t.Errorf("list %v, %v", list, err)
		} else if age := list[0].Age; age < -time.Minute || age > time.Minute {
			t.Errorf("just put, but age %v", age)
		}
		if list, err := s.List(ctx, manifest.StorePrefix); err != nil || len(list) != 0 {
			t.Errorf("another prefix lists %v, %v", list, err)
		}
		if err := s.Delete(ctx, name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ctx, name, limit); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after delete: %v", err)
		}
	})
	t.Run("limit", func(t *testing.T) {
		s := open(t)
		if err := s.Put(ctx, "history/0000000001", one); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ctx, "history/0000000001", int64(len(one))); err != nil {
			t.Errorf("as many bytes as the limit: %v", err)
		}
		if got, err := s.Get(ctx, "history/0000000001", int64(len(one))-1); err == nil || got != nil {
			t.Errorf("more bytes than the limit: %q, %v", got, err)
		}
	})
	t.Run("names", func(t *testing.T) {
		s := open(t)
		for _, name := range []string{"", "x", "objects", "objects/", "objects/../manifest", "objects/..", "/objects/x", "history/a/b", `tmp/a\b`, manifest.StoreName} {
			if err := s.Put(ctx, name, one); err == nil {
				t.Errorf("put %q", name)
			}
		}
	})
	t.Run("swap", func(t *testing.T) {
		s := open(t)
		steps := []struct {
			previous, next, want []byte
			err                  error
		}{
			{one, two, nil, ErrConflict},
			{nil, one, one, nil},
			{nil, two, one, ErrConflict},
			{two, two, one, ErrConflict},
			{one[:3], two, one, ErrConflict},
			{[]byte{}, two, one, ErrConflict},
			{one, two, two, nil},
			{two, two, two, nil},
			{one, one, two, ErrConflict},
		}
		for i, step := range steps {
			if err := s.Swap(ctx, step.previous, step.next); !errors.Is(err, step.err) {
				t.Errorf("step %d: error %v, want %v", i, err, step.err)
			}
			if got, err := s.Get(ctx, manifest.StoreName, limit); !bytes.Equal(got, step.want) {
				t.Errorf("step %d: manifest %q (%v), want %q", i, got, err, step.want)
			}
		}
	})
	t.Run("one of many swaps wins", func(t *testing.T) {
		s := open(t)
		if err := s.Swap(ctx, nil, one); err != nil {
			t.Fatal(err)
		}
		var wins atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				switch err := s.Swap(ctx, one, fmt.Appendf(nil, "manifest of %d", i)); {
				case err == nil:
					wins.Add(1)
				case !errors.Is(err, ErrConflict):
					t.Errorf("swap: %v", err)
				}
			})
		}
		all.Wait()
		if wins.Load() != 1 {
			t.Errorf("%d of 8 publishers replaced one manifest", wins.Load())
		}
	})
}

// TestFolderShowsNoParts reads a name while it is written again and again.
func TestFolderShowsNoParts(t *testing.T) {
	f := newFolder(t)
	ctx, stop := context.WithCancel(context.Background())
	a, b := bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 50_000)
	if err := f.Put(ctx, "history/1", a); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for ctx.Err() == nil {
			if got, err := f.Get(ctx, "history/1", 1<<20); err != nil || !bytes.Equal(got, a) && !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %v", len(got), err)
				return
			}
		}
	})
	for i := range 40 {
		if err := f.Put(context.Background(), "history/1", [][]byte{b, a}[i%2]); err != nil {
			t.Error(err)
		}
	}
	stop()
	reader.Wait()
}

// TestFolderLeavesNothing: a write that fails at the rename, or never starts,
// changes nothing and leaves no temporary file.
func TestFolderLeavesNothing(t *testing.T) {
	f := newFolder(t)
	ended, stop := context.WithCancel(context.Background())
	stop()
	if err := f.Put(ended, "history/1", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if err := os.MkdirAll(f.path("history/2/in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(context.Background(), "history/2", []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	tmp, err := f.List(context.Background(), tmpPrefix)
	if err != nil || len(tmp) != 0 {
		t.Errorf("left %v, %v", tmp, err)
	}
	if _, err := f.List(context.Background(), "history"); err == nil {
		t.Error("listed a prefix without its slash")
	}
	if _, err := NewFolder(f.path(filepath.Join("history/2/in the way", strings.Repeat("x", 300)))); err == nil {
		t.Error("opened a folder that cannot be made")
	}
}

func TestHistoryNamesSortAsSerials(t *testing.T) {
	names := []string{historyName(9), historyName(10), historyName(1795363200), historyName(1<<32 - 1)}
	if !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
}
