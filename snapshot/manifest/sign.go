package manifest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Sign returns the text of m with one signature of each key. It refuses a
// manifest that Parse would refuse, and keys of which none has the list's name.
func Sign(m Manifest, keys ...note.Signer) ([]byte, error) {
	text := Format(m)
	if _, err := Parse(text); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	named := false
	for _, k := range keys {
		named = named || k.Name() == m.List
	}
	if !named {
		return nil, fmt.Errorf("sign: no key has the name of list %q", m.List)
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, keys...)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(signed) > MaxSigned {
		return nil, fmt.Errorf("sign: %d bytes, at most %d are allowed", len(signed), MaxSigned)
	}
	return signed, nil
}

// Open returns the manifest in signed if a key of keys that has the name of
// its list has signed exactly these bytes. Signatures by other keys are
// ignored; a wrong signature by one of keys refuses the whole. An error is a
// *Refusal with reason Malformed, Signature or Untrusted, and the manifest is
// then zero. Open has no clock: see Accept.
func Open(signed []byte, keys note.Verifiers) (Manifest, error) {
	if len(signed) > MaxSigned {
		return Manifest{}, refuse(Malformed, "%d bytes, at most %d are allowed", len(signed), MaxSigned)
	}
	n, err := note.Open(signed, keys)
	if err != nil {
		return Manifest{}, refuse(noteReason(err), "%v", err)
	}
	if err := checkSignatures(signed, n); err != nil {
		return Manifest{}, refuse(Malformed, "%v", err)
	}
	m, err := Parse([]byte(n.Text))
	if err != nil {
		return Manifest{}, refuse(Malformed, "%v", err)
	}
	for _, s := range n.Sigs {
		if s.Name == m.List {
			return m, nil
		}
	}
	return Manifest{}, refuse(Untrusted, "signed by %q, which is not a key of list %q", n.Sigs[0].Name, m.List)
}

func noteReason(err error) Reason {
	var invalid *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &invalid):
		return Signature
	case errors.As(err, &unverified):
		return Untrusted
	}
	return Malformed
}

// checkSignatures holds what package note leaves open: no signature line is
// repeated, and each is written in the one canonical base64, so that nobody
// can change a byte of a signature and have it pass.
func checkSignatures(signed []byte, n *note.Note) error {
	block := strings.TrimSuffix(string(signed[len(n.Text)+1:]), "\n")
	if lines := strings.Count(block, "\n") + 1; lines != len(n.Sigs)+len(n.UnverifiedSigs) {
		return errors.New("a signature is repeated")
	}
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return fmt.Errorf("signature of %q: %v", s.Name, err)
		}
	}
	return nil
}

// Text returns the part of a signed manifest that is signed, without checking
// a signature: for messages and inspection only.
func Text(signed []byte) []byte {
	text, _, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return nil
	}
	return append(bytes.Clone(text), '\n')
}
