package manifest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

var update = flag.Bool("update", false, "write the vectors that the TypeScript edge shares")

const vectorFile = "../testdata/manifest/vectors.json"

// A vector is one signed manifest, how an edge is set when it meets it, and
// what must come of it: "ok", or the reason of the refusal.
type vector struct {
	Name   string          `json:"name"`
	Keys   []string        `json:"keys"`   // trusted public keys
	List   string          `json:"list"`   // list that is followed
	ABI    uint32          `json:"abi"`    // guest interface of the edge
	Now    int64           `json:"now"`    // seconds since the Unix epoch
	Serial snapshot.Serial `json:"serial"` // highest serial accepted before, 0 for none
	Text   string          `json:"text"`   // text hash of that one, hex
	Signed string          `json:"signed"`
	Want   string          `json:"want"`
	Result *result         `json:"result,omitempty"` // of an "ok": what the text says
}

type result struct {
	Serial   snapshot.Serial `json:"serial"`
	Built    int64           `json:"built"`
	Next     int64           `json:"next"`
	Expires  int64           `json:"expires"`
	ABIMin   uint32          `json:"abiMin"`
	ABIMax   uint32          `json:"abiMax"`
	Profile  string          `json:"profile"`
	Previous string          `json:"previous"`
	TextHash string          `json:"textHash"`
	Objects  []object        `json:"objects"`
}

type object struct {
	Role     manifest.Role   `json:"role"`
	Hash     string          `json:"hash"`
	Size     int64           `json:"size"`
	Coding   manifest.Coding `json:"coding"`
	WireHash string          `json:"wireHash"`
	WireSize int64           `json:"wireSize"`
}

func resultOf(m manifest.Manifest) *result {
	r := &result{
		Serial: m.Serial, Built: m.Built, Next: m.Next, Expires: m.Expires, ABIMin: m.ABIMin, ABIMax: m.ABIMax,
		Profile: m.Profile, Previous: m.Previous.String(), TextHash: m.TextHash().String(),
	}
	for _, o := range m.Objects {
		r.Objects = append(r.Objects, object{o.Role, o.Hash.String(), o.Size, o.Coding, o.WireHash.String(), o.WireSize})
	}
	return r
}

// makeVectors returns every vector but for what comes of those that are good,
// which TestVectors compares with the manifest that was signed.
func makeVectors(t *testing.T) []vector {
	one, two := newPair(t, "bl.example", "one"), newPair(t, "bl.example", "two")
	other := newPair(t, "other.example", "three")
	good := sample()
	sign := func(m manifest.Manifest, keys ...note.Signer) string {
		b, err := manifest.Sign(m, keys...)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// raw signs any text, so that rules of the text are met behind a good signature.
	raw := func(old, new string) string {
		text := strings.Replace(string(manifest.Format(good)), old, new, 1)
		b, err := note.Sign(&note.Note{Text: text}, one.signer)
		if err != nil || text == string(manifest.Format(good)) {
			t.Fatalf("replace %q: %v", old, err)
		}
		return string(b)
	}
	signed := sign(good, one.signer)
	lines := strings.SplitAfter(signed, "\n")
	signature := lines[len(lines)-2]
	both := sign(good, two.signer, one.signer)
	minimal := good
	minimal.Objects = good.Objects[:1]
	minimal.Previous = hash("before")
	base, filter := hash("base").String(), hash("filter").String()
	gzipLine := "object base " + base + " 4194304 gzip " + hash("base.gz").String() + " 2097152\n"
	plainLine := "object base " + base + " 4194304 plain " + base + " 4194304\n"
	zstdFilter, plainFilter := "1000 zstd "+hash("filter.zst").String()+" 1010", "1000 plain "+filter+" 1000"

	var out []vector
	add := func(name, want, text string, set ...func(*vector)) {
		v := vector{Name: name, Keys: []string{one.public}, List: "bl.example", ABI: 1, Now: built + 10,
			Text: manifest.Hash{}.String(), Signed: text, Want: want}
		for _, f := range set {
			f(&v)
		}
		out = append(out, v)
	}
	keys := func(k ...string) func(*vector) { return func(v *vector) { v.Keys = k } }
	now := func(n int64) func(*vector) { return func(v *vector) { v.Now = n } }
	last := func(s snapshot.Serial, h manifest.Hash) func(*vector) {
		return func(v *vector) { v.Serial, v.Text = s, h.String() }
	}

	add("good", "ok", signed)
	add("good, base in one coding alone", "ok", sign(minimal, one.signer))
	add("good, base in zstd and plain", "ok", raw(gzipLine, ""))
	add("good, all in every coding", "ok", raw(zstdFilter, zstdFilter+"\nobject filter "+filter+" 1000 gzip "+
		hash("filter.gz").String()+" 1020\nobject filter "+filter+" "+plainFilter))
	add("two signatures, the second is trusted", "ok", both)
	add("two signatures, both are trusted", "ok", both, keys(one.public, two.public))
	add("one signature, two keys are trusted", "ok", signed, keys(two.public, one.public))
	add("a witness of another name signs as well", "ok", sign(good, one.signer, other.signer), keys(one.public, other.public))
	add("newer serial", "ok", signed, last(good.Serial-1, hash("text of the one before")))
	add("same serial, same text", "ok", signed, last(good.Serial, good.TextHash()))
	add("built five minutes ahead", "ok", signed, now(built-300))
	add("last second before expiry", "ok", signed, now(good.Expires-1))
	add("highest abi of the range", "ok", signed, func(v *vector) { v.ABI = 2 })

	add("unknown key", "untrusted", signed, keys(two.public))
	add("no key", "untrusted", signed, keys())
	add("trusted key of another name alone", "untrusted", sign(good, one.signer, other.signer), keys(other.public))
	add("signature of other bytes", "signature", strings.Replace(signed, "serial 1795363200", "serial 1795363201", 1))
	add("one of two trusted signatures is wrong", "signature",
		strings.Replace(both, signature, sigOf(t, one, "other text\n"), 1), keys(one.public, two.public))
	add("wrong signature of an unknown key beside a good one", "ok",
		strings.Replace(both, signature, sigOf(t, one, "other text\n"), 1), keys(two.public))
	add("signature repeated", "malformed", signed+signature)
	add("second spelling of a signature", "malformed", respell(t, signed))
	add("signature without its last byte", "signature", shorten(signed))
	add("no signature", "malformed", string(manifest.Format(good)))
	add("empty signature block", "malformed", string(manifest.Format(good))+"\n")
	add("truncated in the text", "malformed", signed[:200])
	add("truncated in the signature", "malformed", signed[:len(signed)-10])
	add("without the last end of line", "malformed", signed[:len(signed)-1])
	add("empty", "malformed", "")
	add("longer than allowed", "malformed", signed+strings.Repeat(signature, manifest.MaxSigned/len(signature)))
	add("another version", "malformed", raw("manifest v1", "manifest v2"))
	add("list in capitals", "malformed", raw("list bl.example", "list BL.example"))
	add("serial with a leading zero", "malformed", raw("serial 1", "serial 01"))
	add("serial of 33 bits", "malformed", raw("serial 1795363200", "serial 4294967296"))
	add("serial zero", "malformed", raw("serial 1795363200", "serial 0"))
	add("time with an offset", "malformed", raw("16:00:00Z", "16:00:00+00:00"))
	add("time of no calendar", "malformed", raw("2026-11-29", "2026-11-31"))
	add("next not after built", "malformed", raw("16:05:00Z", "16:00:00Z"))
	add("expires before next", "malformed", raw("expires 2026-11-29", "expires 2026-11-20"))
	add("abi range upside down", "malformed", raw("abi 1 2", "abi 2 1"))
	add("profile missing", "malformed", raw("profile classic\n", ""))
	add("hash in capitals", "malformed", raw(hash("base").String(), strings.ToUpper(hash("base").String())))
	add("size zero", "malformed", raw(" 1000 ", " 0 "))
	add("size above the limit", "malformed", raw(" 1000 ", " 268435457 "))
	add("size beyond 53 bits", "malformed", raw(" 1000 ", " 18446744073709551616 "))
	add("unknown role", "malformed", raw("object filter", "object delta"))
	add("unknown coding", "malformed", raw("1000 zstd", "1000 br"))
	add("twins that differ in hash", "malformed", raw("object base "+hash("base").String()+" 4194304 gzip", "object base "+hash("filter").String()+" 4194304 gzip"))
	add("twins that differ in size", "malformed", raw("4194304 gzip", "4194305 gzip"))
	add("object repeated", "malformed", raw("4194304 gzip", "4194304 zstd"))
	add("filter without zstd", "malformed", raw("1000 zstd", "1000 gzip"))
	add("plain of another wire hash", "malformed", raw("plain "+base, "plain "+filter))
	add("plain of another wire size", "malformed", raw("plain "+base+" 4194304", "plain "+base+" 4194305"))
	add("plain of another object", "malformed", raw(base+" 4194304 plain "+base, filter+" 4194304 plain "+filter))
	add("plain before gzip", "malformed", raw(gzipLine+plainLine, plainLine+gzipLine))
	add("filter in plain alone", "malformed", raw(zstdFilter, plainFilter))
	add("line after the objects", "malformed", raw(" 1010\n", " 1010\nmore\n"))

	add("wrong list", "list", signed, keys(one.public, other.public), func(v *vector) { v.List = "other.example" })
	add("abi below the range", "abi", raw("abi 1 2", "abi 2 2"))
	add("abi above the range", "abi", signed, func(v *vector) { v.ABI = 3 })
	add("built beyond tolerance", "future", signed, now(built-301))
	add("at expiry", "expired", signed, now(good.Expires))
	add("lower serial", "rollback", signed, last(good.Serial+1, hash("text of the one before")))
	add("same serial, other text", "fork", signed, last(good.Serial, hash("text of another")))
	return out
}

// sigOf returns the signature line of k over text.
func sigOf(t *testing.T, k pair, text string) string {
	b, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[len(text)+1:])
}

// respell changes the last digit of the signature's base64 in the bits that do
// not count.
func respell(t *testing.T, signed string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := len(signed) - len("x=\n")
	n := strings.IndexByte(digits, signed[i])
	if n < 0 || signed[i+1:] != "=\n" {
		t.Fatalf("signature ends in %q", signed[i:])
	}
	return signed[:i] + digits[n^1:n^1+1] + signed[i+1:]
}

// shorten takes the last byte off the signature: 67 bytes in place of 68, in
// canonical base64.
func shorten(signed string) string {
	line := signed[strings.LastIndex(signed, " ")+1 : len(signed)-1]
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		panic(err)
	}
	return strings.Replace(signed, line, base64.StdEncoding.EncodeToString(raw[:len(raw)-1]), 1)
}

func judge(v vector) (manifest.Manifest, string, error) {
	var keys []note.Verifier
	for _, k := range v.Keys {
		key, err := note.NewVerifier(k)
		if err != nil {
			return manifest.Manifest{}, "", err
		}
		keys = append(keys, key)
	}
	text, err := manifest.ParseHash(v.Text)
	if err != nil {
		return manifest.Manifest{}, "", err
	}
	m, err := manifest.Open([]byte(v.Signed), note.VerifierList(keys...))
	if err == nil {
		err = m.Accept(manifest.Rules{List: v.List, ABI: v.ABI, Now: v.Now, Serial: v.Serial, Text: text})
	}
	var r *manifest.Refusal
	switch {
	case err == nil:
		return m, "ok", nil
	case errors.As(err, &r):
		return m, string(r.Reason), err
	}
	return m, "", err
}

// TestVectors judges every vector of the shared file, and holds the file to
// what this package makes of the same seeds.
func TestVectors(t *testing.T) {
	made := makeVectors(t)
	for i, v := range made {
		m, got, err := judge(v)
		if got != v.Want {
			t.Errorf("%s: got %q (%v), want %q", v.Name, got, err, v.Want)
		}
		if got == "ok" {
			made[i].Result = resultOf(m)
		}
	}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(made); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, want.Bytes()) {
		t.Errorf("%s is not what this test makes; run it with -update and read the difference", vectorFile)
	}
	seen := map[string]bool{}
	for _, v := range made {
		seen[v.Want] = true
	}
	for _, r := range []manifest.Reason{"ok", manifest.Malformed, manifest.Signature, manifest.Untrusted, manifest.WrongList,
		manifest.WrongABI, manifest.Future, manifest.Expired, manifest.Rollback, manifest.Fork} {
		if !seen[string(r)] {
			t.Errorf("no vector has the outcome %q", r)
		}
	}
}
