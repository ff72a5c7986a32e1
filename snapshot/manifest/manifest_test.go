package manifest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot/manifest"
)

// A pair is one key, secret and public.
type pair struct {
	public   string
	signer   note.Signer
	verifier note.Verifier
}

// newPair makes a key from the hash of a word, so that vectors do not change
// from run to run.
func newPair(t testing.TB, name, word string) pair {
	t.Helper()
	private := sha256.Sum256([]byte(word))
	public, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(private[:]).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(public[len(name)+1:], "+")
	secret := "PRIVATE+KEY+" + name + "+" + id + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, private[:]...))
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return pair{public, s, v}
}

const built = 1795363200 // 2026-11-22T16:00:00Z

func hash(s string) manifest.Hash { return sha256.Sum256([]byte(s)) }

func sample() manifest.Manifest {
	return manifest.Manifest{
		List: "bl.example", Serial: built, Built: built, Next: built + 300, Expires: built + 7*86400,
		ABIMin: 1, ABIMax: 2, Profile: "classic",
		Objects: []manifest.Object{
			{Role: manifest.Base, Hash: hash("base"), Size: 4 << 20, Coding: manifest.Zstd, WireHash: hash("base.zst"), WireSize: 1 << 20},
			{Role: manifest.Base, Hash: hash("base"), Size: 4 << 20, Coding: manifest.Gzip, WireHash: hash("base.gz"), WireSize: 2 << 20},
			{Role: manifest.Base, Hash: hash("base"), Size: 4 << 20, Coding: manifest.Plain, WireHash: hash("base"), WireSize: 4 << 20},
			{Role: manifest.Filter, Hash: hash("filter"), Size: 1000, Coding: manifest.Zstd, WireHash: hash("filter.zst"), WireSize: 1010},
		},
	}
}

func TestParseGivesBackWhatFormatWrote(t *testing.T) {
	want := sample()
	got, err := manifest.Parse(manifest.Format(want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Each row replaces one piece of the text of sample.
func TestParseRefuses(t *testing.T) {
	b, f := hash("base").String(), hash("filter").String()
	rows := []struct{ name, old, new, err string }{
		{"other version", "manifest v1", "manifest v2", "is not"},
		{"upper case list", "list bl.example", "list BL.example", "list name"},
		{"final dot", "list bl.example", "list bl.example.", "list name"},
		{"empty list", "list bl.example", "list ", "list name"},
		{"long label", "list bl.example", "list " + strings.Repeat("a", 64), "list name"},
		{"long list", "list bl.example", "list " + strings.Repeat("a.", 127), "list name"},
		{"leading zero", "serial 1", "serial 01", "not a number"},
		{"sign", "serial 1", "serial +1", "not a number"},
		{"serial too large", "serial 1795363200", "serial 4294967296", "not a number"},
		{"serial zero", "serial 1795363200", "serial 0", "serial 0"},
		{"offset in time", "16:00:00Z\nnext", "16:00:00+00:00\nnext", "not a time"},
		{"fraction in time", "16:00:00Z\nnext", "16:00:00.0Z\nnext", "not a time"},
		{"no such day", "2026-11-29", "2026-11-31", "not a time"},
		{"before the epoch", "built 2026", "built 1926", "not a time"},
		{"next at built", "next 2026-11-22T16:05", "next 2026-11-22T16:00", "not after built"},
		{"expires before next", "expires 2026-11-29", "expires 2026-11-20", "before next"},
		{"abi from zero", "abi 1 2", "abi 0 2", "abi range"},
		{"abi upside down", "abi 1 2", "abi 3 2", "abi range"},
		{"abi of one word", "abi 1 2", "abi 1", "2 words"},
		{"profile with space", "classic", "clas sic", "1 words"},
		{"profile in capitals", "classic", "Classic", "profile name"},
		{"long profile", "classic", strings.Repeat("c", 33), "profile name"},
		{"short previous", "previous 00", "previous 0", "hexadecimal"},
		{"hash in capitals", b, strings.ToUpper(b), "hexadecimal"},
		{"hash of other letters", b, "g" + b[1:], "invalid byte"},
		{"fields swapped", "serial 1795363200\nbuilt 2026-11-22T16:00:00Z\n", "built 2026-11-22T16:00:00Z\nserial 1795363200\n", "serial"},
		{"field missing", "profile classic\n", "", "profile"},
		{"carriage return", "classic\n", "classic\r\n", "profile name"},
		{"two spaces", "profile classic", "profile  classic", "1 words"},
		{"no end of line", " 1010\n", " 1010", "ends in"},
		{"empty line at the end", " 1010\n", " 1010\n\n", "6 words"},
		{"more after the end", " 1010\n", " 1010\nmore\n", "6 words"},
		{"unknown role", "object filter", "object delta", "unknown"},
		{"unknown coding", "1000 zstd", "1000 br", "unknown"},
		{"size zero", " 1000 ", " 0 ", "size 0"},
		{"size too large", " 1000 ", " 268435457 ", "not a number"},
		{"wire size too large", " 1010\n", " 268435457\n", "not a number"},
		{"negative size", " 1000 ", " -1000 ", "not a number"},
		{"twins differ in hash", "object base " + b + " 4194304 gzip", "object base " + f + " 4194304 gzip", "twins"},
		{"twins differ in size", "4194304 gzip", "4194305 gzip", "twins"},
		{"filter first", "object base " + b + " 4194304 zstd", "object filter " + b + " 4194304 zstd", "not a base"},
		{"base repeated", "4194304 gzip", "4194304 zstd", "repeated"},
		{"plain of another wire hash", "plain " + b, "plain " + f, "another hash or size on the wire"},
		{"plain of another wire size", "plain " + b + " 4194304", "plain " + b + " 4194305", "another hash or size on the wire"},
		{"plain of another object", b + " 4194304 plain " + b, f + " 4194304 plain " + f, "twins"},
		{"plain before gzip", "4194304 gzip " + hash("base.gz").String() + " 2097152\nobject base " + b + " 4194304 plain " + b + " 4194304",
			"4194304 plain " + b + " 4194304\nobject base " + b + " 4194304 gzip " + hash("base.gz").String() + " 2097152", "out of order"},
		{"filter in plain alone", "1000 zstd " + hash("filter.zst").String() + " 1010", "1000 plain " + f + " 1000", "no zstd"},
		{"filter in gzip alone", "1000 zstd", "1000 gzip", "no zstd"},
		{"base in gzip alone", "4194304 zstd", "4194304 gzip", "no zstd"},
	}
	text := string(manifest.Format(sample()))
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if !strings.Contains(text, r.old) {
				t.Fatalf("row is wrong: %q is not in the text", r.old)
			}
			m, err := manifest.Parse([]byte(strings.Replace(text, r.old, r.new, 1)))
			if err == nil || !strings.Contains(err.Error(), r.err) {
				t.Errorf("error %v, want one with %q", err, r.err)
			}
			if !reflect.DeepEqual(m, manifest.Manifest{}) {
				t.Errorf("refused, but gave %+v", m)
			}
		})
	}
}

func TestParseRefusesTooManyObjects(t *testing.T) {
	m := sample()
	for len(m.Objects) <= manifest.MaxObjects {
		m.Objects = append(m.Objects, m.Objects[0])
	}
	if _, err := manifest.Parse(manifest.Format(m)); err == nil || !strings.Contains(err.Error(), "more than 6") {
		t.Errorf("error %v", err)
	}
	m.Objects = nil
	if _, err := manifest.Parse(manifest.Format(m)); err == nil || !strings.Contains(err.Error(), "not a base") {
		t.Errorf("error %v", err)
	}
}

func TestEveryChangeIsRefused(t *testing.T) {
	k := newPair(t, "bl.example", "one")
	keys := note.VerifierList(k.verifier)
	signed, err := manifest.Sign(sample(), k.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Open(signed, keys); err != nil {
		t.Fatal(err)
	}
	for i := range signed {
		if _, err := manifest.Open(signed[:i], keys); err == nil {
			t.Errorf("cut to %d of %d bytes: accepted", i, len(signed))
		}
		for _, b := range []byte{signed[i] ^ 1, signed[i] ^ 0x20, signed[i] + 1, 0, '\n', ' ', 'A', '=', 0xff} {
			changed := bytes.Clone(signed)
			changed[i] = b
			if _, err := manifest.Open(changed, keys); err == nil && b != signed[i] {
				t.Errorf("byte %d %q as %q: accepted", i, signed[i], b)
			}
		}
	}
}

// TestEverySpellingOfASignatureIsRefused tries all 256 values for each byte of
// the signature line, where base64 leaves room for two spellings.
func TestEverySpellingOfASignatureIsRefused(t *testing.T) {
	k := newPair(t, "bl.example", "one")
	signed, err := manifest.Sign(sample(), k.signer)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(signed) - 8; i < len(signed); i++ {
		for b := range 256 {
			changed := bytes.Clone(signed)
			changed[i] = byte(b)
			if _, err := manifest.Open(changed, note.VerifierList(k.verifier)); err == nil && byte(b) != signed[i] {
				t.Errorf("byte %d %q as %q: accepted", i, signed[i], byte(b))
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	k, other := newPair(t, "bl.example", "one"), newPair(t, "other.example", "two")
	if _, err := manifest.Sign(sample()); err == nil {
		t.Error("signed without a key")
	}
	if _, err := manifest.Sign(sample(), other.signer); err == nil {
		t.Error("signed with the key of another list alone")
	}
	if _, err := manifest.Sign(sample(), other.signer, k.signer); err != nil {
		t.Errorf("with a witness beside the list's key: %v", err)
	}
	bad := sample()
	bad.Expires = 1 << 40 // year 36812 does not fit the text form
	if _, err := manifest.Sign(bad, k.signer); err == nil {
		t.Error("signed a manifest that Parse refuses")
	}
}

func TestSameObjects(t *testing.T) {
	a, b := sample(), sample()
	b.Serial++
	b.Objects = []manifest.Object{a.Objects[0], a.Objects[3]} // without the twins
	if !a.SameObjects(b) {
		t.Error("the same plain bytes count as others")
	}
	b.Objects = a.Objects[:1]
	if a.SameObjects(b) || b.SameObjects(a) {
		t.Error("a missing filter goes unnoticed")
	}
	b = sample()
	b.Objects[3].Hash[0]++
	if a.SameObjects(b) {
		t.Error("another filter goes unnoticed")
	}
}

func TestTextIsWhatWasSigned(t *testing.T) {
	k := newPair(t, "bl.example", "one")
	signed, err := manifest.Sign(sample(), k.signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := manifest.Text(signed), manifest.Format(sample()); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := manifest.Text([]byte("no note")); got != nil {
		t.Errorf("text of no note: %q", got)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	sec, pub := filepath.Join(dir, "key"), filepath.Join(dir, "key.pub")
	secret, public, err := manifest.GenerateKey("bl.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.WriteKeys(sec, secret, pub, public); err != nil {
		t.Fatal(err)
	}
	if err := manifest.WriteKeys(sec, secret, pub, public); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key file was replaced: %v", err)
	}
	info, err := os.Stat(sec)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %04o, want 0600", got)
	}
	signers, err := manifest.ReadSigners(sec)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := manifest.ReadVerifiers(pub)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := manifest.Sign(sample(), signers...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Open(signed, keys); err != nil {
		t.Errorf("own key: %v", err)
	}
	if got := manifest.KeyID(signers[0]); !strings.HasPrefix(public, got+"+") {
		t.Errorf("key id %q is not how the public key begins", got)
	}
	if err := os.Chmod(sec, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.ReadSigners(sec); err == nil || !strings.Contains(err.Error(), "mode 0640") {
		t.Errorf("a secret key that a group may read: %v", err)
	}
}

func TestParseKeys(t *testing.T) {
	a, b := newPair(t, "bl.example", "one"), newPair(t, "bl.example", "two")
	if _, err := manifest.ParseVerifiers("# old\n" + a.public + "\n\n# new\n" + b.public); err != nil {
		t.Errorf("two keys and comments: %v", err)
	}
	for name, text := range map[string]string{
		"nothing": "\n# only a comment\n", "junk": "bl.example", "twice": a.public + "\n" + a.public,
		"wrong hash": strings.Replace(a.public, a.public[len("bl.example+"):][:8], "00000000", 1),
	} {
		if _, err := manifest.ParseVerifiers(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	const leak = "PRIVATE+KEY+bl.example+00000000+c2VjcmV0"
	if _, err := manifest.ParseSigners(leak); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("secret key error %v", err)
	}
	if _, err := manifest.ParseSigners(""); err == nil {
		t.Error("no secret key is accepted")
	}
	if _, _, err := manifest.GenerateKey("BL example"); err == nil {
		t.Error("a key for a name that no list can have")
	}
}

// FuzzParse: what is accepted is canonical, what is refused gives no value.
func FuzzParse(f *testing.F) {
	f.Add(manifest.Format(sample()))
	one := sample()
	one.Objects = one.Objects[:1]
	f.Add(manifest.Format(one))
	f.Add([]byte("ucedge manifest v1\nlist a\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := manifest.Parse(in)
		if err != nil {
			if !reflect.DeepEqual(m, manifest.Manifest{}) {
				t.Fatalf("refused (%v), but gave %+v", err, m)
			}
			return
		}
		if out := manifest.Format(m); !bytes.Equal(in, out) {
			t.Fatalf("two texts of one manifest:\n%q\n%q", in, out)
		}
	})
}
