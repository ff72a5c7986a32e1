package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"ucedge/origin/publish"
)

// openStore opens the place to publish to: a folder, or a bucket behind an S3
// API as s3://HOST/BUCKET[/PREFIX], s3+http:// for one without TLS. The
// credentials of a bucket are taken from the environment, as every S3 client
// does, so that they appear on no command line.
func openStore(out string) (publish.Store, error) {
	secure := strings.HasPrefix(out, "s3://")
	if !secure && !strings.HasPrefix(out, "s3+http://") {
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
	client, err := minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewEnvAWS(),
		Secure:       secure,
		BucketLookup: minio.BucketLookupPath,                  // R2 and most others answer to it
		Region:       cmp.Or(os.Getenv("AWS_REGION"), "auto"), // R2 has one region, of this name
	})
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", out, err)
	}
	return publish.NewS3(client, bucket, prefix), nil
}
