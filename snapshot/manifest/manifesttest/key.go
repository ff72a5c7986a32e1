// Package manifesttest lends key pairs to tests of whatever signs and verifies
// manifests.
package manifesttest

import (
	"testing"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot/manifest"
)

// A Key is one key pair, in note form and ready for use.
type Key struct {
	Secret, Public string
	Signer         note.Signer
	Verifier       note.Verifier
}

// NewKey makes a key pair for the list.
func NewKey(tb testing.TB, list string) Key {
	tb.Helper()
	secret, public, err := manifest.GenerateKey(list)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		tb.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		tb.Fatal(err)
	}
	return Key{secret, public, signer, verifier}
}
