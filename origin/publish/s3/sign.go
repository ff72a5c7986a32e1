package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The parts of Signature Version 4, "Authenticating Requests (AWS Signature
// Version 4)" of the S3 API reference.
const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeLayout = "20060102T150405Z"
	dayLayout  = "20060102"
)

// Sign adds date, digest of the body and signature to a request. What it signs
// are these headers, the host, the path and the query.
func (b *Bucket) Sign(req *http.Request, body []byte, now time.Time) {
	if b.ID == "" {
		return
	}
	now = now.UTC()
	digest := sha256.Sum256(body)
	req.Header.Set("X-Amz-Date", now.Format(timeLayout))
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(digest[:]))
	if b.Token != "" {
		req.Header.Set("X-Amz-Security-Token", b.Token)
	}
	names, canonical := canonicalRequest(req)
	hash := sha256.Sum256([]byte(canonical))
	scope := now.Format(dayLayout) + "/" + b.Region + "/s3/aws4_request"
	key := []byte("AWS4" + b.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	signature := mac(key, strings.Join([]string{algorithm, now.Format(timeLayout), scope, hex.EncodeToString(hash[:])}, "\n"))
	req.Header.Set("Authorization", algorithm+" Credential="+b.ID+"/"+scope+
		", SignedHeaders="+names+", Signature="+hex.EncodeToString(signature))
}

// canonicalRequest returns the names of the headers that are signed, and what
// is signed.
func canonicalRequest(req *http.Request) (names, canonical string) {
	lines := []string{"host:" + req.URL.Host}
	for name, values := range req.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			lines = append(lines, name+":"+strings.Join(strings.Fields(strings.Join(values, ",")), " "))
		}
	}
	slices.Sort(lines)
	signed := make([]string, len(lines))
	for i, line := range lines {
		signed[i], _, _ = strings.Cut(line, ":")
	}
	names = strings.Join(signed, ";")
	path := req.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return names, strings.Join([]string{
		req.Method, path, req.URL.RawQuery, strings.Join(lines, "\n") + "\n", names, req.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// encode returns the query in the one form that can be signed: sorted, and
// with %20 for a blank.
func encode(query url.Values) string { return strings.ReplaceAll(query.Encode(), "+", "%20") }

// escape returns the path of a key: everything but slashes and the unreserved
// characters of RFC 3986 in hexadecimal.
func escape(key string) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(part), "+", "%20")
	}
	return strings.Join(parts, "/")
}
