package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strings"

	"ucedge/origin/publish"
	"ucedge/origin/publish/s3"
)

// openStore opens the place to publish to: a folder, or a bucket behind an S3
// API as s3://HOST/BUCKET[/PREFIX], s3+http:// for one without TLS. The
// credentials of a bucket are taken from the environment, as every S3 client
// does, so that they appear on no command line.
func openStore(out string) (publish.Store, error) {
	scheme := "https://"
	switch {
	case strings.HasPrefix(out, "s3://"):
	case strings.HasPrefix(out, "s3+http://"):
		scheme = "http://"
	default:
		return publish.NewFolder(out)
	}
	u, err := url.Parse(out)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", out, err)
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if u.Host == "" || bucket == "" {
		return nil, fmt.Errorf("store %q is not s3://HOST/BUCKET or s3://HOST/BUCKET/PREFIX", out)
	}
	return publish.NewS3(&s3.Bucket{
		URL:    scheme + u.Host + "/" + bucket,          // R2 and most others answer to the bucket in the path
		Region: cmp.Or(os.Getenv("AWS_REGION"), "auto"), // R2 has one region, of this name
		ID:     cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_ACCESS_KEY")),
		Secret: cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SECRET_KEY")),
		Token:  os.Getenv("AWS_SESSION_TOKEN"),
	}, prefix), nil
}
