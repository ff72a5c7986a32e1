package publish

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// Current returns the manifest in the store, as signed with one of the keys or
// of the older ones, which may be nil. An error that is fs.ErrNotExist says
// that there is none.
func Current(ctx context.Context, store Store, keys []note.Signer, older note.Verifiers) (manifest.Manifest, error) {
	return readManifest(ctx, store, manifest.StoreName, keys, older)
}

// Past returns a manifest that was current and that retention has kept, or an
// error that is fs.ErrNotExist.
func Past(ctx context.Context, store Store, serial snapshot.Serial, keys []note.Signer, older note.Verifiers) (manifest.Manifest, error) {
	return readManifest(ctx, store, historyName(serial), keys, older)
}

func readManifest(ctx context.Context, store Store, name string, keys []note.Signer, older note.Verifiers) (manifest.Manifest, error) {
	signed, err := store.Get(ctx, name, manifest.MaxSigned)
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.Open(signed, verifiers{keys, older})
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Open returns the snapshot that a manifest of the store names, without its
// filter.
func Open(ctx context.Context, store Store, m manifest.Manifest) (*snapshot.Snapshot, error) {
	o, ok := m.Object(manifest.Base, manifest.Zstd)
	if !ok {
		return nil, fmt.Errorf("manifest %d names no image", m.Serial)
	}
	wire, err := store.Get(ctx, o.StoreName(), o.WireSize)
	if err != nil {
		return nil, err
	}
	plain, err := o.Open(wire)
	if err != nil {
		return nil, err
	}
	return snapshot.Open(plain)
}
