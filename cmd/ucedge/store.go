package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"ucedge/edge"
	"ucedge/origin/publish"
	"ucedge/origin/publish/s3"
)

// A bucket is a place in a bucket behind an S3 API: s3://HOST/BUCKET[/PREFIX],
// s3+http:// for one without TLS.
type bucket struct {
	secure             bool
	host, name, prefix string
}

// parseBucket reads the location of a bucket. It reports false for a location
// that is of another kind.
func parseBucket(location string) (b bucket, ok bool, err error) {
	b.secure = strings.HasPrefix(location, "s3://")
	if !b.secure && !strings.HasPrefix(location, "s3+http://") {
		return b, false, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return b, true, fmt.Errorf("bucket %q: %w", location, err)
	}
	b.host = u.Host
	b.name, b.prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if b.host == "" || b.name == "" {
		return b, true, fmt.Errorf("bucket %q is not s3://HOST/BUCKET or s3://HOST/BUCKET/PREFIX", location)
	}
	return b, true, nil
}

// url returns where the bucket's objects are, in the form with the bucket in
// the path: R2 and most others answer to it.
func (b bucket) url() string {
	u := url.URL{Scheme: "https", Host: b.host, Path: "/" + b.name + "/" + b.prefix}
	if !b.secure {
		u.Scheme = "http"
	}
	return u.String()
}

// openStore opens the place to publish to: a folder or a bucket. The
// credentials of a bucket are taken from the environment, as every S3 client
// does, so that they appear on no command line.
func openStore(out string) (publish.Store, error) {
	b, ok, err := parseBucket(out)
	if err != nil {
		return nil, err
	}
	if !ok {
		return publish.NewFolder(out)
	}
	return publish.NewS3(b.client(), b.prefix), nil
}

// client returns the bucket with the credentials of the environment.
func (b bucket) client() *s3.Bucket {
	return &s3.Bucket{
		URL:    strings.TrimSuffix(bucket{secure: b.secure, host: b.host, name: b.name}.url(), "/"),
		Region: cmp.Or(os.Getenv("AWS_REGION"), "auto"), // R2 has one region, of this name
		ID:     cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_ACCESS_KEY")),
		Secret: cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SECRET_KEY")),
		Token:  os.Getenv("AWS_SESSION_TOKEN"),
	}
}

// openSource opens the place that an edge follows: a folder, a URL or a bucket.
// Without credentials in the environment a bucket is asked as anybody may.
func openSource(from string) (edge.Source, error) {
	b, ok, err := parseBucket(from)
	if err != nil {
		return nil, err
	}
	if !ok {
		return edge.NewSource(from)
	}
	return edge.NewHTTPSource(b.url(), signing{edge.SourceTransport(), b.host, b.client()})
}

// A signing is a transport that signs what goes to the host of a bucket.
type signing struct {
	next   http.RoundTripper
	host   string
	bucket *s3.Bucket
}

// RoundTrip implements http.RoundTripper. An edge only reads: there is no body.
func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != s.host {
		return s.next.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	s.bucket.Sign(r, nil, time.Now())
	return s.next.RoundTrip(r)
}
