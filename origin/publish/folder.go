package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ucedge/snapshot/manifest"
)

// A Folder is a Store in a directory, to be served by any web server or read
// over a network file system. Two publishers on one machine may use it at once.
type Folder struct{ dir string }

// NewFolder returns the store in dir, which it makes if need be.
func NewFolder(dir string) (*Folder, error) {
	for _, sub := range []string{manifest.StorePrefix, historyPrefix, tmpPrefix} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &Folder{dir}, nil
}

func (f *Folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Get implements Store.
func (f *Folder) Get(_ context.Context, name string, limit int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	r, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, name, limit)
}

// readAll reads at most limit bytes; more are an error.
func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%q has more than %d bytes", name, limit)
	}
	return data, nil
}

// Put implements Store.
func (f *Folder) Put(ctx context.Context, name string, data []byte) error {
	if name == manifest.StoreName {
		return fmt.Errorf("put %q: only Swap writes the manifest", name)
	}
	return f.write(ctx, name, data)
}

// write puts data in a temporary file, syncs it, renames it, and syncs the
// directory, so that a reader, a crash or a full disk never shows a part.
func (f *Folder) write(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(checkName(name), ctx.Err()); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(f.path(tmpPrefix), "*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(f.path(name)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Swap implements Store. A lock file keeps other publishers on this machine
// out between the comparison and the rename.
func (f *Folder) Swap(ctx context.Context, previous, next []byte) error {
	unlock, err := lock(filepath.Join(f.dir, "lock"))
	if err != nil {
		return fmt.Errorf("lock store: %w", err)
	}
	defer unlock()
	now, err := f.Get(ctx, manifest.StoreName, manifest.MaxSigned)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if (previous == nil) != (err != nil) || !bytes.Equal(now, previous) {
		return ErrConflict
	}
	return f.write(ctx, manifest.StoreName, next)
}

// List implements Store.
func (f *Folder) List(_ context.Context, prefix string) ([]Entry, error) {
	if err := checkName(prefix + "x"); err != nil || !strings.HasSuffix(prefix, "/") {
		return nil, fmt.Errorf("store prefix %q", prefix)
	}
	files, err := os.ReadDir(f.path(prefix))
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, file := range files {
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since it was read
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Name: prefix + file.Name(), Size: info.Size(), Age: time.Since(info.ModTime())})
	}
	return out, nil
}

// Delete implements Store.
func (f *Folder) Delete(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
