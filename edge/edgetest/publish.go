package edgetest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/wasm/abi"
)

// A Store is a folder with a signed snapshot, for hosts that follow a folder or
// a URL.
type Store struct {
	Dir    string
	Public string // the key that hosts must trust, in note form
	signer note.Signer
}

// NewStore returns a store in dir with a new key.
func NewStore(dir string) (*Store, error) {
	secret, public, err := manifest.GenerateKey(List)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	return &Store{Dir: dir, Public: public, signer: signer}, os.MkdirAll(filepath.Join(dir, manifest.StorePrefix), 0o755)
}

// Publish puts World as it stands at now, seconds since the Unix epoch, into
// dir for a host in that state, and returns the public key.
func Publish(dir string, state State, now int64) (public string, err error) {
	s, err := NewStore(dir)
	if err != nil {
		return "", err
	}
	return s.Public, s.Publish(World(now), Times(state, now))
}

// Publish builds in and names it in a manifest with the times of m: objects
// first, manifest last. Each object is there in both codings.
func (s *Store) Publish(in build.Input, m manifest.Manifest) error {
	image, err := build.Image(in)
	if err != nil {
		return err
	}
	filter, err := build.Filter(image)
	if err != nil {
		return err
	}
	m.ABIMin, m.ABIMax, m.Profile = abi.Version, abi.Version, in.Profile.Name
	if err := s.put(&m, manifest.Base, image); err != nil {
		return err
	}
	if err := s.put(&m, manifest.Filter, filter); err != nil {
		return err
	}
	signed, err := manifest.Sign(m, s.signer)
	if err != nil {
		return err
	}
	return s.write(manifest.StoreName, signed)
}

// put writes one object in every coding and adds it to the manifest.
func (s *Store) put(m *manifest.Manifest, role manifest.Role, plain []byte) error {
	for _, coding := range []manifest.Coding{manifest.Zstd, manifest.Gzip, manifest.Plain} {
		wire, err := Encode(coding, plain)
		if err != nil {
			return err
		}
		o := manifest.Object{
			Role: role, Hash: sha256.Sum256(plain), Size: int64(len(plain)),
			Coding: coding, WireHash: sha256.Sum256(wire), WireSize: int64(len(wire)),
		}
		if err := s.write(o.StoreName(), wire); err != nil {
			return err
		}
		m.Objects = append(m.Objects, o)
	}
	return nil
}

// Encode compresses an object as a store holds it.
func Encode(coding manifest.Coding, plain []byte) ([]byte, error) {
	if coding == manifest.Plain {
		return plain, nil
	}
	if coding == manifest.Gzip {
		var wire bytes.Buffer
		w, err := gzip.NewWriterLevel(&wire, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(plain); err != nil {
			return nil, err
		}
		err = w.Close()
		return wire.Bytes(), err
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return w.EncodeAll(plain, nil), nil
}

// write puts bytes under a name at once: a host that reads meanwhile sees the
// file before or after.
func (s *Store) write(name string, b []byte) error {
	temporary := filepath.Join(s.Dir, "temporary")
	if err := os.WriteFile(temporary, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(s.Dir, name))
}
