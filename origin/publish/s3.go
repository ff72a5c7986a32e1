package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"ucedge/snapshot/manifest"
)

// How long caches in front of a bucket may hold what is in it: objects never
// change, and of the manifest every reader wants the one that is there.
const (
	cacheObject   = "public, max-age=31536000, immutable"
	cacheManifest = "no-cache"
)

// An S3 is a Store in a bucket of S3, R2 or anything alike that has conditional
// writes (If-Match and If-None-Match on PUT). It writes no temporary files: a
// PUT is whole or is not there.
type S3 struct {
	client *minio.Client
	bucket string
	prefix string // empty, or ends in a slash
}

// NewS3 returns the store under prefix, which may be empty, in a bucket that
// exists.
func NewS3(client *minio.Client, bucket, prefix string) *S3 {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &S3{client, bucket, prefix}
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	data, _, err := s.get(ctx, name, limit)
	return data, err
}

// get returns what is under name, and its ETag.
func (s *S3) get(ctx context.Context, name string, limit int64) (data []byte, etag string, err error) {
	if err := checkName(name); err != nil {
		return nil, "", err
	}
	// One request gives both, so that they belong together.
	r, info, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, "", s3Error(name, err)
	}
	defer r.Close()
	if data, err = readAll(r, name, limit); err != nil {
		return nil, "", err
	}
	return data, info.ETag, nil
}

// s3Error gives an answer that nothing is there, or that a condition did not
// hold, the form that Store promises.
func s3Error(name string, err error) error {
	switch res := minio.ToErrorResponse(err); {
	case res.Code == minio.NoSuchKey:
		return fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	case res.StatusCode == http.StatusPreconditionFailed, res.StatusCode == http.StatusConflict:
		return ErrConflict
	}
	return fmt.Errorf("%q: %w", name, err)
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, name string, data []byte) error {
	if name == manifest.StoreName {
		return fmt.Errorf("put %q: only Swap writes the manifest", name)
	}
	return s.put(ctx, name, data, minio.PutObjectOptions{CacheControl: cacheObject, ContentType: "application/octet-stream"})
}

func (s *S3) put(ctx context.Context, name string, data []byte, o minio.PutObjectOptions) error {
	if err := checkName(name); err != nil {
		return err
	}
	o.DisableMultipart = true // an upload that is broken off leaves nothing behind
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)), o)
	if err != nil {
		return s3Error(name, err)
	}
	return nil
}

// Swap implements Store. It compares the bytes, and then has the server
// compare the ETag of just these bytes.
func (s *S3) Swap(ctx context.Context, previous, next []byte) error {
	o := minio.PutObjectOptions{CacheControl: cacheManifest, ContentType: "text/plain; charset=utf-8"}
	now, etag, err := s.get(ctx, manifest.StoreName, manifest.MaxSigned)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if previous != nil {
			return ErrConflict
		}
		o.SetMatchETagExcept("*")
	case err != nil:
		return err
	case previous == nil || !bytes.Equal(now, previous):
		return ErrConflict
	default:
		o.SetMatchETag(etag)
	}
	return s.put(ctx, manifest.StoreName, next, o)
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix string) (out []Entry, err error) {
	if err := checkName(prefix + "x"); err != nil || !strings.HasSuffix(prefix, "/") {
		return nil, fmt.Errorf("store prefix %q", prefix)
	}
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		out = append(out, Entry{Name: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Age: time.Since(o.LastModified)})
	}
	return out, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
}
