package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ucedge/snapshot/manifest"
)

// retain deletes what nobody needs any more: manifests of the history that are
// not kept, objects that neither the current manifest nor a kept one names,
// and temporary files. Objects and temporary files are spared until they have
// OrphanAge, because another publisher may be about to name them.
func (r *run) retain(ctx context.Context, res Result) (deleted int, err error) {
	kept, drop, err := r.history(ctx, res.Manifest)
	if err != nil {
		return 0, err
	}
	named := map[string]bool{}
	for _, m := range kept {
		for _, o := range m.Objects {
			named[o.StoreName()] = true
		}
	}
	for _, prefix := range []string{manifest.StorePrefix, tmpPrefix} {
		entries, err := r.store.List(ctx, prefix)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if !named[e.Name] && e.Age >= r.OrphanAge {
				drop = append(drop, e.Name)
			}
		}
	}
	return r.deleteAll(ctx, drop, res.Signed)
}

// deleteAll deletes the names as long as signed is the current manifest: under
// another one it is not ours to say what is needed.
func (r *run) deleteAll(ctx context.Context, names []string, signed []byte) (deleted int, err error) {
	now, err := r.store.Get(ctx, manifest.StoreName, manifest.MaxSigned)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(now, signed) {
		return 0, nil
	}
	var errs []error
	for _, name := range names {
		if err := r.store.Delete(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("delete %q: %w", name, err))
			continue
		}
		deleted++
	}
	return deleted, errors.Join(errs...)
}

// history returns the manifests that are kept, and the names of those that are
// not. Kept are the current one; the one before, always; and then the newest
// of each generation, which is a set of plain objects, until there are Keep
// generations. A name that holds no manifest is not kept.
func (r *run) history(ctx context.Context, current manifest.Manifest) (kept []manifest.Manifest, drop []string, err error) {
	entries, err := r.store.List(ctx, historyPrefix)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(b.Name, a.Name) }) // newest first
	kept, generations := []manifest.Manifest{current}, 1
	for i, e := range entries {
		signed, err := r.store.Get(ctx, e.Name, manifest.MaxSigned)
		if err != nil {
			return nil, nil, err
		}
		m, err := manifest.Parse(manifest.Text(signed))
		if err != nil {
			drop = append(drop, e.Name)
			continue
		}
		known := slices.ContainsFunc(kept, m.SameObjects)
		if i > 0 && (known || generations >= r.Keep) {
			drop = append(drop, e.Name)
			continue
		}
		if !known {
			generations++
		}
		kept = append(kept, m)
	}
	return kept, drop, nil
}
