// Package s3 reads and writes the objects of one bucket over the API of S3,
// which R2 and many others have too.
//
// Most callers fill in a Bucket and call Get, Put, List and Delete. Promised:
// every request is signed (Signature Version 4) with the SHA-256 of its body;
// an object is written by one request, whole or not at all; what a server says
// comes back as an *Error; a failure that may pass is tried again. Not
// promised: uploads of several parts, buckets that are to be made, credentials
// from anywhere but the Bucket.
package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of a request.
const (
	attemptsMax   = 5                      // of one request; the last waits begin after 0.1, 0.2, 0.4 and 0.8 s
	firstWait     = 100 * time.Millisecond // doubled with each attempt, and half of it at random
	headerTimeout = time.Minute            // for the server to begin its answer
	answerMax     = 8 << 20                // bytes of an answer that is not an object
)

// A Bucket is a bucket and the credentials for it. It may be used by many
// goroutines, and must not be changed then.
type Bucket struct {
	URL    string // https://HOST/BUCKET
	Region string // that requests are signed for; R2 has one, "auto"
	ID     string // of the access key; empty sends requests without a signature
	Secret string
	Token  string // of a session; empty is none
}

// An Error is an answer other than success.
type Error struct {
	Status  int    // of HTTP
	Code    string // such as NoSuchKey; empty if the answer names none
	Message string
}

func (e *Error) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("status %d %s: %s", e.Status, e.Code, e.Message), ": ")
}

// NoSuchKey is the Code that says that the bucket is there and the object is not.
const NoSuchKey = "NoSuchKey"

// An Object is one row of a list.
type Object struct {
	Key      string    `xml:"Key"`
	Size     int64     `xml:"Size"`
	Modified time.Time `xml:"LastModified"`
}

// Get returns the object and its ETag, with the quotes. The caller closes it.
func (b *Bucket) Get(ctx context.Context, key string) (object io.ReadCloser, etag string, err error) {
	res, err := b.do(ctx, http.MethodGet, key, nil, nil, nil)
	if err != nil {
		return nil, "", err
	}
	return res.Body, res.Header.Get("ETag"), nil
}

// Put writes an object. The header may hold conditions (If-Match with an ETag
// as Get gives it, If-None-Match: *) and what the server is to tell with it. A
// condition that does not hold is an *Error with Status 412, or 409 where two
// writers met; so it is if the answer to an earlier attempt was lost.
func (b *Bucket) Put(ctx context.Context, key string, data []byte, header http.Header) error {
	return discard(b.do(ctx, http.MethodPut, key, nil, data, header))
}

// Delete deletes an object. One that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return discard(b.do(ctx, http.MethodDelete, key, nil, nil, nil))
}

// discard reads the answer to its end, so that the connection serves again.
func discard(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, answerMax))
	return res.Body.Close()
}

// List gives the objects whose keys begin with prefix, by key. After an error,
// which comes with the zero Object, there is nothing more.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for token := ""; ; {
			p, err := b.list(ctx, prefix, token)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, o := range p.Contents {
				if !yield(o, nil) {
					return
				}
			}
			if token = p.Next; !p.More {
				return
			}
		}
	}
}

// A page is a part of a list.
type page struct {
	Contents []Object
	More     bool   `xml:"IsTruncated"`
	Next     string `xml:"NextContinuationToken"`
}

func (b *Bucket) list(ctx context.Context, prefix, token string) (p page, err error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	res, err := b.do(ctx, http.MethodGet, "", query, nil, nil)
	if err != nil {
		return page{}, err
	}
	defer res.Body.Close()
	if err := xml.NewDecoder(io.LimitReader(res.Body, answerMax)).Decode(&p); err != nil {
		return page{}, fmt.Errorf("list %q: %w", prefix, err)
	}
	if p.More && p.Next == "" {
		return page{}, fmt.Errorf("list %q: there is more, but no token for it", prefix)
	}
	return p, nil
}

// do sends a request until the answer is final. An answer that comes back is a
// success, and its body is to be closed.
func (b *Bucket) do(ctx context.Context, method, key string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	for wait, attempt := firstWait, 1; ; wait, attempt = 2*wait, attempt+1 {
		res, err := b.once(ctx, method, key, query, body, header)
		if err == nil || attempt == attemptsMax || !mayPass(err) {
			return res, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// mayPass reports whether the same request may succeed later.
func mayPass(err error) bool {
	var answer *Error
	if !errors.As(err, &answer) {
		return true // no answer
	}
	switch answer.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// client follows no redirection: a signature holds for one host.
var client = &http.Client{
	Transport:     transport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = headerTimeout
	t.DisableCompression = true // objects come as they were put
	return t
}

// once sends a request once.
func (b *Bucket) once(ctx context.Context, method, key string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	target := b.URL
	if key != "" {
		target += "/" + escape(key)
	}
	if len(query) > 0 {
		target += "?" + encode(query)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	b.Sign(req, body, time.Now())
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, refusal(res)
	}
	return res, nil
}

// refusal returns what an answer says, and closes it.
func refusal(res *http.Response) error {
	defer res.Body.Close()
	e := &Error{Status: res.StatusCode}
	text, err := io.ReadAll(io.LimitReader(res.Body, answerMax))
	if err == nil {
		var named struct{ Code, Message string }
		if xml.Unmarshal(text, &named) == nil {
			e.Code, e.Message = named.Code, named.Message
		}
	}
	return e
}
