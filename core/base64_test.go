package core

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

// TestBase64 holds the decoder to the standard library's, which is strict about
// unused bits too, on texts that are right and on texts with one byte changed.
func TestBase64(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	strict := base64.RawURLEncoding.Strict()
	right, wrong := 0, 0
	for range 50_000 {
		raw := make([]byte, random.IntN(40))
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		text := []byte(strict.EncodeToString(raw))
		if len(text) > 0 && random.IntN(2) == 0 {
			text[random.IntN(len(text))] = byte(random.Uint32())
		}
		if random.IntN(8) == 0 {
			text = text[:random.IntN(len(text)+1)]
		}
		if bytes.ContainsAny(text, "\r\n") { // which the library passes over
			continue
		}
		want, err := strict.DecodeString(string(text))
		got, ok := appendBase64Plain([]byte("before"), text)
		switch {
		case ok != (err == nil):
			t.Fatalf("%q: got %v, want error %v", text, ok, err)
		case ok && string(got) != "before"+string(want):
			t.Fatalf("%q: got %x, want before it and %x", text, got, want)
		case !ok && string(got) != "before":
			t.Fatalf("%q: got %x of a text that is none", text, got)
		case ok:
			right++
		default:
			wrong++
		}
	}
	if right < 1000 || wrong < 1000 {
		t.Errorf("%d texts were right and %d wrong, want many of both", right, wrong)
	}
	for _, text := range []string{"AA\nAA", "AAAA\r\n", "AA==", "AAAA=", "AA+A", "AA/A"} {
		if got, ok := appendBase64Plain(nil, []byte(text)); ok {
			t.Errorf("%q: got %x, want refused", text, got)
		}
	}
}

// TestWords holds the comparison by words to the one by bytes: for every suffix
// of some lengths, every octet in every place.
func TestWords(t *testing.T) {
	for _, suffix := range []string{"", "a", "bl.example", "example", "dnsbl-1.bl.example", "[`{@.bl.example", "a-name.of-24-octets.test"} {
		name, _, ok := wireName(suffix)
		if !ok {
			t.Fatalf("%q is no name", suffix)
		}
		z := zone{suffix: name, words: wordsOf(name)}
		for i := range name {
			asked := bytes.ToUpper(name)
			for c := range 256 {
				asked[i] = byte(c)
				if got, want := z.ends(asked), equalFold(asked, name); got != want {
					t.Errorf("%q with %#x at %d: got %v, want %v", suffix, c, i, got, want)
				}
			}
		}
	}
}
