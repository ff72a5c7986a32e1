package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// A loaded snapshot is one from a publish folder, or a bare image.
type loaded struct {
	manifest manifest.Manifest // zero for a bare image
	signed   []byte
	keys     []string // keys whose signatures were checked
	image    []byte
	filter   []byte
	snapshot *snapshot.Snapshot // with the filter, if there is one
}

// loadSnapshot reads the snapshot at path: a publish folder or the file of a
// plain image. With keys it accepts only a folder whose manifest one of them
// has signed.
func loadSnapshot(path string, keys note.Verifiers) (*loaded, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	l := new(loaded)
	if info.IsDir() {
		err = l.readFolder(path, keys)
	} else {
		l.image, err = readFile(path, snapshot.MaxImage)
		if keys != nil && err == nil {
			err = errors.New("a bare image has no signature")
		}
	}
	if err == nil {
		err = l.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot %q: %w", path, err)
	}
	return l, nil
}

func (l *loaded) open() (err error) {
	if l.snapshot, err = snapshot.Open(l.image); err != nil {
		return err
	}
	if len(l.filter) == 0 {
		return nil
	}
	filter, err := snapshot.OpenFilter(l.filter)
	if err != nil {
		return err
	}
	l.snapshot, err = l.snapshot.WithFilter(filter)
	return err
}

func (l *loaded) readFolder(dir string, keys note.Verifiers) (err error) {
	if l.signed, err = readFile(filepath.Join(dir, manifest.StoreName), manifest.MaxSigned); err != nil {
		return fmt.Errorf("no manifest here: %w", err)
	}
	if l.manifest, err = openManifest(l.signed, keys); err != nil {
		return err
	}
	if keys != nil {
		l.keys = signersOf(l.signed, keys)
	}
	if l.image, err = readObject(dir, l.manifest, manifest.Base); err != nil {
		return err
	}
	if _, ok := l.manifest.Object(manifest.Filter, manifest.Zstd); ok {
		l.filter, err = readObject(dir, l.manifest, manifest.Filter)
	}
	return err
}

// openManifest verifies the manifest if there are keys, and only reads it if not.
func openManifest(signed []byte, keys note.Verifiers) (manifest.Manifest, error) {
	if keys == nil {
		return manifest.Parse(manifest.Text(signed))
	}
	return manifest.Open(signed, keys)
}

// signersOf names the keys of the signatures that were checked and are right.
func signersOf(signed []byte, keys note.Verifiers) (names []string) {
	n, err := note.Open(signed, keys)
	if err != nil {
		return nil
	}
	for _, s := range n.Sigs {
		names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	return names
}

func readObject(dir string, m manifest.Manifest, role manifest.Role) ([]byte, error) {
	object, ok := m.Object(role, manifest.Zstd)
	if !ok {
		return nil, fmt.Errorf("manifest names no %s object", role)
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(object.StoreName())))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wire, err := object.Receive(f)
	if err != nil {
		return nil, err
	}
	return object.Open(wire)
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%d bytes, at most %d are allowed", info.Size(), limit)}
	}
	return os.ReadFile(path)
}

// verifiersFrom reads the trusted keys in the files, or nil if there is none.
func verifiersFrom(paths []string) (note.Verifiers, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var text []byte
	for _, path := range paths {
		b, err := readFile(path, manifest.MaxSigned)
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		text = append(append(text, b...), '\n')
	}
	keys, err := manifest.ParseVerifiers(string(text))
	if err != nil {
		return nil, fmt.Errorf("read public keys: %w", err)
	}
	return keys, nil
}

// firstKeyName returns the name of the first public key in the text of a file.
func firstKeyName(text string) (string, error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return "", err
		}
		return v.Name(), nil
	}
	return "", errors.New("no key")
}
