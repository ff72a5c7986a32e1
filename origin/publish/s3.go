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

	"ucedge/origin/publish/s3"
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
	bucket *s3.Bucket
	prefix string // empty, or ends in a slash
}

// NewS3 returns the store under prefix, which may be empty, in a bucket that
// exists.
func NewS3(bucket *s3.Bucket, prefix string) *S3 {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &S3{bucket, prefix}
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
	r, etag, err := s.bucket.Get(ctx, s.prefix+name)
	if err != nil {
		return nil, "", s3Error(name, err)
	}
	defer r.Close()
	if data, err = readAll(r, name, limit); err != nil {
		return nil, "", err
	}
	return data, etag, nil
}

// s3Error gives an answer that nothing is there, or that a condition did not
// hold, the form that Store promises.
func s3Error(name string, err error) error {
	var answer *s3.Error
	switch {
	case !errors.As(err, &answer):
	case answer.Code == s3.NoSuchKey:
		return fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	case answer.Status == http.StatusPreconditionFailed, answer.Status == http.StatusConflict:
		return ErrConflict
	}
	return fmt.Errorf("%q: %w", name, err)
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, name string, data []byte) error {
	if name == manifest.StoreName {
		return fmt.Errorf("put %q: only Swap writes the manifest", name)
	}
	return s.put(ctx, name, data, headers(cacheObject, "application/octet-stream"))
}

func (s *S3) put(ctx context.Context, name string, data []byte, header http.Header) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.bucket.Put(ctx, s.prefix+name, data, header); err != nil {
		return s3Error(name, err)
	}
	return nil
}

// headers are what the server is to tell with an object.
func headers(cache, contentType string) http.Header {
	return http.Header{"Cache-Control": {cache}, "Content-Type": {contentType}}
}

// Swap implements Store. It compares the bytes, and then has the server
// compare the ETag of just these bytes.
func (s *S3) Swap(ctx context.Context, previous, next []byte) error {
	header := headers(cacheManifest, "text/plain; charset=utf-8")
	now, etag, err := s.get(ctx, manifest.StoreName, manifest.MaxSigned)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if previous != nil {
			return ErrConflict
		}
		header.Set("If-None-Match", "*")
	case err != nil:
		return err
	case previous == nil || !bytes.Equal(now, previous):
		return ErrConflict
	default:
		header.Set("If-Match", etag)
	}
	return s.put(ctx, manifest.StoreName, next, header)
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix string) (out []Entry, err error) {
	if err := checkName(prefix + "x"); err != nil || !strings.HasSuffix(prefix, "/") {
		return nil, fmt.Errorf("store prefix %q", prefix)
	}
	for o, err := range s.bucket.List(ctx, s.prefix+prefix) {
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Name: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Age: time.Since(o.Modified)})
	}
	return out, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.bucket.Delete(ctx, s.prefix+name)
}
