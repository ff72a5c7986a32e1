package edge

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"ucedge/snapshot/manifest"
)

// The state folder of a Syncer is laid out as a store is, so that Folder reads
// it, with two names more. It is not trusted: what it gives is verified like
// anything from the source. Who can write to it can make an edge forget the
// highest serial, and no more.
const (
	acceptedName = "accepted" // the signed manifest of the highest serial accepted
	stateTemp    = "tmp-*"    // files that are not yet, or never will be, whole
)

// keep brings the state folder up to g: the highest serial first, so that not
// even a full disk lets an older one in later, then objects, then the
// manifest. A failure is noted and counted, and tried again with
// the next attempt; the folder then still holds the snapshot before, whole.
func (s *Syncer) keep(g *Generation) {
	if s.State == "" {
		return
	}
	err := s.tryKeep(g)
	s.mu.Lock()
	s.status.StateError = ""
	if err != nil {
		s.status.StateError = err.Error()
	}
	s.mu.Unlock()
	if err != nil {
		s.log().Error("snapshot not kept", "folder", s.State, "serial", g.Manifest.Serial, "err", err)
		s.count(failed(NotKept, err))
	}
}

func (s *Syncer) tryKeep(g *Generation) error {
	text := g.Manifest.TextHash()
	if text == s.keptText {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.State, manifest.StorePrefix), 0o755); err != nil {
		return err
	}
	if err := writeState(s.State, acceptedName, s.accepted.signed); err != nil {
		return err
	}
	for _, o := range zstdObjects(g.Manifest) {
		if wire, ok := s.unkept[o.WireHash]; ok {
			if err := writeState(s.State, o.StoreName(), wire); err != nil {
				return err
			}
		} else if !s.hasKept(o) {
			return fmt.Errorf("object %q is gone", o.StoreName()) // fetched again with the next manifest
		}
	}
	if err := writeState(s.State, manifest.StoreName, g.Signed); err != nil {
		return err
	}
	s.keptText, s.unkept = text, nil
	return sweepState(s.State, g.Manifest)
}

func zstdObjects(m manifest.Manifest) (out []manifest.Object) {
	for _, role := range []manifest.Role{manifest.Base, manifest.Filter} {
		if o, ok := m.Object(role, manifest.Zstd); ok {
			out = append(out, o)
		}
	}
	return out
}

// willKeep remembers the wire bytes of o until they are in the state folder.
func (s *Syncer) willKeep(o manifest.Object, wire []byte) {
	if s.State == "" {
		return
	}
	if s.unkept == nil {
		s.unkept = map[manifest.Hash][]byte{}
	}
	s.unkept[o.WireHash] = wire
}

// forgetUnkept drops what neither m nor the generation before needs, so that a
// folder that cannot be written to costs no more memory than two snapshots.
func (s *Syncer) forgetUnkept(m manifest.Manifest, old *Generation) {
	named := map[manifest.Hash]bool{}
	needed := zstdObjects(m)
	if old != nil {
		needed = append(needed, zstdObjects(old.Manifest)...)
	}
	for _, o := range needed {
		named[o.WireHash] = true
	}
	maps.DeleteFunc(s.unkept, func(h manifest.Hash, _ []byte) bool { return !named[h] })
}

// hasKept says whether a later keep will find the wire bytes of o. Without a
// state folder nothing is kept, and nothing looked for.
func (s *Syncer) hasKept(o manifest.Object) bool {
	if s.State == "" || s.unkept[o.WireHash] != nil {
		return true
	}
	info, err := os.Stat(filepath.Join(s.State, o.StoreName()))
	return err == nil && info.Size() == o.WireSize
}

// kept returns the plain bytes of o if the state folder has them. A damaged
// file is fetched, and written, again.
func (s *Syncer) kept(o manifest.Object) []byte {
	if wire, ok := s.unkept[o.WireHash]; ok {
		plain, _ := o.Open(wire)
		return plain
	}
	if s.State == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(s.State, o.StoreName()))
	if err != nil {
		return nil
	}
	defer f.Close()
	wire, err := o.Receive(f)
	if err != nil {
		return nil
	}
	plain, err := o.Open(wire)
	if err != nil {
		s.log().Warn("kept object is damaged", "object", o.StoreName(), "err", err)
		return nil
	}
	return plain
}

// restoreAccepted takes the highest serial from the state folder, if a trusted
// key has signed it for this list: a number that anybody could have written
// there would lock the edge out. It may have expired.
func (s *Syncer) restoreAccepted() {
	path := filepath.Join(s.State, acceptedName)
	signed, err := readFile(path, manifest.MaxSigned)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m manifest.Manifest
	if err == nil {
		m, err = manifest.Open(signed, s.Keys)
	}
	if err == nil && m.List != s.List {
		err = fmt.Errorf("list %q is not %q", m.List, s.List)
	}
	if err != nil {
		s.log().Warn("highest serial not restored", "file", path, "err", err)
		return
	}
	s.accept(newAccepted(m, signed, path))
}

// writeState puts data into a temporary file, syncs it, renames it, and syncs
// the folder, so that neither a crash nor a full disk ever shows a part of it.
func writeState(dir, name string, data []byte) error {
	tmp, err := os.CreateTemp(dir, stateTemp)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweepState removes objects that m does not name, and temporary files.
func sweepState(dir string, m manifest.Manifest) error {
	named := map[string]bool{}
	for _, o := range zstdObjects(m) {
		named[filepath.Join(dir, o.StoreName())] = true
	}
	var errs []error
	for _, pattern := range []string{stateTemp, manifest.StorePrefix + "*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, file := range files {
			if !named[file] {
				errs = append(errs, os.Remove(file))
			}
		}
	}
	return errors.Join(errs...)
}
