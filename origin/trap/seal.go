package trap

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A header is sealed by HPKE in base mode (RFC 9180) with DHKEM(X25519,
// HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305: the trap can write what
// only the holder of the secret key can read. A sealed header is the line
// sealMark, then the encapsulated key and the ciphertext.
const sealMark = "ucedge sealed header v1\n"

// Key texts begin so that one is not taken for the other.
const (
	publicMark = "ucedge-seal-public-"
	secretMark = "ucedge-seal-secret-"
)

func sealKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// A SealKey seals headers.
type SealKey struct{ key hpke.PublicKey }

// GenerateSealKey makes a pair of keys in text form. The secret one belongs
// to the operator and never on the host of the trap.
func GenerateSealKey() (secret, public string, err error) {
	key, err := sealKEM().GenerateKey()
	if err != nil {
		return "", "", err
	}
	bytes, err := key.Bytes()
	if err != nil {
		return "", "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	return secretMark + encode(bytes), publicMark + encode(key.PublicKey().Bytes()), nil
}

// ParseSealKey reads the text of a public key.
func ParseSealKey(text string) (*SealKey, error) {
	bytes, err := keyBytes(text, publicMark)
	if err != nil {
		return nil, err
	}
	key, err := sealKEM().NewPublicKey(bytes)
	if err != nil {
		return nil, fmt.Errorf("seal key %q: %w", text, err)
	}
	return &SealKey{key}, nil
}

func keyBytes(text, mark string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, mark)
	if !ok {
		return nil, fmt.Errorf("seal key does not begin with %q", mark)
	}
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("seal key is no base64url") // without the text, which may be secret
	}
	return bytes, nil
}

// Seal seals a header.
func (k *SealKey) Seal(header []byte) ([]byte, error) {
	sealed, err := hpke.Seal(k.key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(sealMark), header)
	if err != nil {
		return nil, fmt.Errorf("seal header: %w", err)
	}
	return append([]byte(sealMark), sealed...), nil
}

// Unseal opens a sealed header with the text of the secret key.
func Unseal(secret string, sealed []byte) ([]byte, error) {
	keyText, err := keyBytes(secret, secretMark)
	if err != nil {
		return nil, err
	}
	key, err := sealKEM().NewPrivateKey(keyText)
	if err != nil {
		return nil, errors.New("seal key is no secret key of X25519")
	}
	body, ok := bytes.CutPrefix(sealed, []byte(sealMark))
	if !ok {
		return nil, errors.New("not a sealed header of this version")
	}
	header, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(sealMark), body)
	if err != nil {
		return nil, fmt.Errorf("open sealed header: %w", err)
	}
	return header, nil
}

// A Folder is a Keeper that writes each sealed header to a file of its own,
// NAME.sealed, NAME being the evidence id.
type Folder struct{ name string }

// NewFolder returns a keeper in a folder, which must exist.
func NewFolder(name string) *Folder { return &Folder{name} }

// evidenceName is what an evidence id looks like; no other becomes a file name.
var evidenceName = regexp.MustCompile(`^trap-[0-9a-f]{32}$`)

// Keep is promised by Keeper.
func (f *Folder) Keep(evidence string, sealed []byte) error {
	if !evidenceName.MatchString(evidence) {
		return fmt.Errorf("keep header: evidence id %q is not a trap's", evidence)
	}
	if err := f.write(filepath.Join(f.name, evidence+".sealed"), sealed); err != nil {
		return fmt.Errorf("keep header: %w", err)
	}
	return nil
}

// write puts a file in place whole or not at all.
func (f *Folder) write(name string, content []byte) error {
	file, err := os.CreateTemp(f.name, ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it is renamed
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(f.name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
