package publish

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// ErrConflict says that the manifest in a store is not the one that was to be
// replaced: another publisher was faster.
var ErrConflict = errors.New("another publisher has replaced the manifest")

// A Store holds one list. Names are slash-separated: manifest.StoreName for
// the signed manifest, objects/<hash> for what it names, history/<serial> for
// signed manifests that it has replaced, tmp/… for what a crash left behind.
// All methods may be called at once from many goroutines. A store is not
// trusted: edges verify what they read, and so does Publish.
type Store interface {
	// Get returns the bytes under name, or an error that is fs.ErrNotExist if
	// there are none. More than limit bytes are an error.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Put stores data under name. When it returns nil the data is there whole,
	// survives a power loss, and has age zero. On error there is what was there
	// before, or all of data; never a part of it. Not for the manifest.
	Put(ctx context.Context, name string, data []byte) error
	// Swap makes next the manifest if the manifest is previous (nil: if there
	// is none), at once for all readers, and otherwise returns ErrConflict and
	// changes nothing. It promises what Put does; after any other error the
	// manifest may be either.
	Swap(ctx context.Context, previous, next []byte) error
	// List returns what has a name that begins with prefix, which ends in a
	// slash, in no order.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Delete removes name. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// An Entry is one name in a store.
type Entry struct {
	Name string
	Size int64
	Age  time.Duration // since it was put, by the store's clock
}

// Prefixes of a store besides manifest.StorePrefix.
const (
	historyPrefix = "history/"
	tmpPrefix     = "tmp/"
)

// historyName returns where a replaced manifest is kept. Ten digits hold every
// serial, so that names sort as serials do.
func historyName(s snapshot.Serial) string { return fmt.Sprintf("%s%010d", historyPrefix, s) }

// checkName refuses names that no part of this package makes, before one of
// them becomes a path.
func checkName(name string) error {
	dir, file := path.Split(name)
	known := dir == manifest.StorePrefix || dir == historyPrefix || dir == tmpPrefix || name == manifest.StoreName
	if !known || file == "" || file == "." || file == ".." || strings.ContainsAny(file, `\:`) {
		return fmt.Errorf("store name %q", name)
	}
	return nil
}
