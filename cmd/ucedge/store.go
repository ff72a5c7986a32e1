package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"ucedge/edge"
	"ucedge/origin/publish"
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

// region returns the region that requests are signed for. R2 has one, of this
// name.
func region() string { return cmp.Or(os.Getenv("AWS_REGION"), "auto") }

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
	client, err := minio.New(b.host, &minio.Options{
		Creds:        credentials.NewEnvAWS(),
		Secure:       b.secure,
		BucketLookup: minio.BucketLookupPath,
		Region:       region(),
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %q: %w", out, err)
	}
	return publish.NewS3(client, b.name, b.prefix), nil
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
	return edge.NewHTTPSource(b.url(), signing{edge.SourceTransport(), b.host, credentials.NewEnvAWS()})
}

// A signing is a transport that signs what goes to the host of a bucket (AWS
// Signature Version 4).
type signing struct {
	next  http.RoundTripper
	host  string
	creds *credentials.Credentials
}

// RoundTrip implements http.RoundTripper.
func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	value, err := s.creds.GetWithContext(nil)
	if err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", s.host, err)
	}
	if value.SignerType.IsAnonymous() || r.URL.Host != s.host {
		return s.next.RoundTrip(r)
	}
	const emptyBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing
	r = r.Clone(r.Context())
	r.Header.Set("X-Amz-Content-Sha256", emptyBody)
	return s.next.RoundTrip(signer.SignV4(*r, value.AccessKeyID, value.SecretAccessKey, value.SessionToken, region()))
}
