package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// TestSignExamples are the examples of the S3 API reference, "Signature
// Calculations for the Authorization Header", that sign what is signed here.
func TestSignExamples(t *testing.T) {
	b := &Bucket{Region: "us-east-1", ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for target, want := range map[string]string{
		"https://examplebucket.s3.amazonaws.com/?lifecycle=":              "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		"https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J":     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		"https://examplebucket.s3.amazonaws.com?" + "max-keys=2&prefix=J": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
	} {
		req, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Sign(req, nil, now)
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+want) {
			t.Errorf("%s: %s, want signature %s", target, got, want)
		}
	}
}

// TestSignAgainstLibrary compares signatures with those of another client, for
// keys, prefixes and bodies of all kinds.
func TestSignAgainstLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	text := func(n int) string {
		const letters = "aZ09-._~/ +%&=?#:@!$'()*,;[]ä√\x01"
		runes := []rune(letters)
		var s strings.Builder
		for range random.IntN(n) {
			s.WriteRune(runes[random.IntN(len(runes))])
		}
		return s.String()
	}
	for range 3000 {
		b := &Bucket{URL: "https://s3.example/lists", Region: "auto", ID: "id", Secret: text(40), Token: text(3)}
		target := b.URL + "/" + escape(text(20))
		if random.IntN(2) == 0 {
			target += "?" + encode(url.Values{"list-type": {"2"}, "prefix": {text(20)}, "continuation-token": {text(20)}})
		}
		req, err := http.NewRequest(http.MethodPut, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Meta-One", "1")
		now, body := time.Now(), []byte(text(100))
		b.Sign(req, body, now)

		same := req.Clone(t.Context())
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
			same.Header.Del(name)
		}
		digest := sha256.Sum256(body)
		same.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(digest[:]))
		same = signer.SignV4(*same, b.ID, b.Secret, b.Token, b.Region)
		if same.Header.Get("X-Amz-Date") != req.Header.Get("X-Amz-Date") {
			continue // a second has passed between the two
		}
		if got, want := req.Header.Get("Authorization"), same.Header.Get("Authorization"); got != want {
			t.Fatalf("%s:\ngot  %s\nwant %s", req.URL, got, want)
		}
	}
}

// TestUnsigned: without a key nothing is added.
func TestUnsigned(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://s3.example/lists/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	new(Bucket).Sign(req, nil, time.Now())
	if len(req.Header) != 0 {
		t.Errorf("headers %v", req.Header)
	}
}
