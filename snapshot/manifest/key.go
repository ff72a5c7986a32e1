package manifest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// GenerateKey returns a new Ed25519 key pair for the list of that name, in the
// text form of package note: the secret one begins with "PRIVATE+KEY+".
func GenerateKey(list string) (secret, public string, err error) {
	if !validName(list) {
		return "", "", fmt.Errorf("generate key: %q is not a list name", list)
	}
	return note.GenerateKey(rand.Reader, list)
}

// KeyID returns the name and hash by which signatures name a key, for example
// "bl.example+1c2d3e4f". A note.Signer and its note.Verifier have the same.
func KeyID(k interface {
	Name() string
	KeyHash() uint32
}) string {
	return fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash())
}

// ParseVerifiers returns the public keys in text, one a line. Empty lines and
// lines that begin with '#' are left out. No key at all is an error, and so is
// one that occurs twice.
func ParseVerifiers(text string) (note.Verifiers, error) {
	var keys []note.Verifier
	seen := map[string]bool{}
	for _, line := range keyLines(text) {
		k, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("public key %q: %v", line, err)
		}
		if seen[KeyID(k)] {
			return nil, fmt.Errorf("public key %q occurs twice", KeyID(k))
		}
		seen[KeyID(k)] = true
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key")
	}
	return note.VerifierList(keys...), nil
}

// ParseSigners returns the secret keys in text, one a line, with empty lines
// and comments as in ParseVerifiers. Errors never quote a key.
func ParseSigners(text string) ([]note.Signer, error) {
	var keys []note.Signer
	for i, line := range keyLines(text) {
		k, err := note.NewSigner(line)
		if err != nil {
			return nil, fmt.Errorf("secret key %d: %v", i+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no secret key")
	}
	return keys, nil
}

func keyLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// secretMode is the only access a file of secret keys may give.
const secretMode fs.FileMode = 0o600

// WriteKeys writes a key pair to two new files, the secret one readable by its
// owner alone. It never replaces a file: a lost key cannot be made again.
func WriteKeys(secretPath, secret, publicPath, public string) error {
	if err := writeNew(secretPath, secret, secretMode); err != nil {
		return err
	}
	return writeNew(publicPath, public, 0o644)
}

func writeNew(path, line string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// ReadSigners returns the secret keys in a file, and refuses a file that
// others than its owner may read or write.
func ReadSigners(path string) ([]note.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	}
	if extra := info.Mode().Perm() &^ secretMode; extra != 0 {
		return nil, fmt.Errorf("read secret key %q: mode %04o, must be %04o", path, info.Mode().Perm(), secretMode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	}
	keys, err := ParseSigners(string(text))
	if err != nil {
		return nil, fmt.Errorf("read secret key %q: %w", path, err)
	}
	return keys, nil
}

// ReadVerifiers returns the public keys in a file.
func ReadVerifiers(path string) (note.Verifiers, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	keys, err := ParseVerifiers(string(text))
	if err != nil {
		return nil, fmt.Errorf("read public key %q: %w", path, err)
	}
	return keys, nil
}
