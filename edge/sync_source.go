package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"ucedge/snapshot/manifest"
)

// A Source is where snapshots come from. It is not trusted: whatever it gives
// is verified. Its methods may be called at once from many goroutines.
type Source interface {
	// Manifest returns the signed manifest as it is now, at most
	// manifest.MaxSigned bytes.
	Manifest(ctx context.Context) ([]byte, error)
	// Object returns a reader of the wire bytes of o, which the caller closes.
	// There may be more or fewer of them than o says.
	Object(ctx context.Context, o manifest.Object) (io.ReadCloser, error)
}

// NewSource returns the source at a location: an http or https URL, or the
// path of a folder.
func NewSource(location string) (Source, error) {
	if strings.HasPrefix(location, "https://") || strings.HasPrefix(location, "http://") {
		s, err := NewHTTPSource(location, nil)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	if scheme, _, ok := strings.Cut(location, "://"); ok {
		return nil, fmt.Errorf("source %q: unknown scheme %q", location, scheme)
	}
	if location == "" {
		return nil, errors.New("source: no location")
	}
	return Folder(location), nil
}

// A Folder is a source in a directory, which may be on a network file system.
type Folder string

// Manifest implements Source.
func (f Folder) Manifest(context.Context) ([]byte, error) {
	return readFile(filepath.Join(string(f), manifest.StoreName), manifest.MaxSigned)
}

// Object implements Source.
func (f Folder) Object(_ context.Context, o manifest.Object) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), filepath.FromSlash(o.StoreName())))
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readUpTo(f, path, limit)
}

// readUpTo reads all of r, which is more than limit bytes only as an error.
func readUpTo(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &manifest.Refusal{Reason: manifest.WrongSize, Detail: fmt.Sprintf("%s has more than %d bytes", name, limit)}
	}
	return b, nil
}

// Limits of an HTTPSource. The time for a whole object is the Syncer's affair.
const (
	manifestTimeout     = 30 * time.Second
	sourceHeaderTimeout = 15 * time.Second
	sourceHeaderBytes   = 64 << 10
	redirectsMax        = 3
)

// An HTTPSource is a source behind a URL, for example of a bucket or a web
// server over a folder. It asks for the manifest with If-None-Match, and
// follows a redirect only within its scheme.
type HTTPSource struct {
	base   *url.URL
	client http.Client

	mu     sync.Mutex
	etag   string
	signed []byte // what came with etag
}

// NewHTTPSource returns the source at base, of which the manifest and objects/
// are children. A nil transport is one with time limits.
func NewHTTPSource(base string, transport http.RoundTripper) (*HTTPSource, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("source %q is not an http or https URL", u.Redacted())
	}
	if transport == nil {
		transport = SourceTransport()
	}
	return &HTTPSource{base: u, client: http.Client{Transport: transport, CheckRedirect: checkRedirect}}, nil
}

// SourceTransport returns the transport of a source that is given none, for
// those who want to put something in front of it.
func SourceTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = sourceHeaderTimeout
	t.MaxResponseHeaderBytes = sourceHeaderBytes
	t.DisableCompression = true // hashes and sizes are of the bytes on the wire
	return t
}

func checkRedirect(to *http.Request, via []*http.Request) error {
	if len(via) > redirectsMax {
		return fmt.Errorf("more than %d redirects", redirectsMax)
	}
	if from := via[0].URL.Scheme; to.URL.Scheme != from {
		return fmt.Errorf("redirect from %s to %s", from, to.URL.Scheme)
	}
	return nil
}

// Manifest implements Source.
func (s *HTTPSource) Manifest(ctx context.Context) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, manifestTimeout)
	defer stop()
	s.mu.Lock()
	etag, signed := s.etag, s.signed
	s.mu.Unlock()
	res, err := s.get(ctx, manifest.StoreName, etag)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified {
		return signed, nil
	}
	if signed, err = readUpTo(res.Body, manifest.StoreName, manifest.MaxSigned); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.etag, s.signed = res.Header.Get("ETag"), signed
	s.mu.Unlock()
	return signed, nil
}

// Forget makes the next Manifest ask for the whole text: what came last was
// refused, and might have been damaged on its way.
func (s *HTTPSource) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.etag, s.signed = "", nil
}

// Object implements Source.
func (s *HTTPSource) Object(ctx context.Context, o manifest.Object) (io.ReadCloser, error) {
	res, err := s.get(ctx, o.StoreName(), "")
	if err != nil {
		return nil, err
	}
	if n := res.ContentLength; n >= 0 && n != o.WireSize {
		res.Body.Close()
		return nil, &manifest.Refusal{Reason: manifest.WrongSize,
			Detail: fmt.Sprintf("object %s is sent with %d bytes, %d are named", o.Role, n, o.WireSize)}
	}
	return res.Body, nil
}

// get returns a response of status 200, or 304 if an etag was given. The
// caller closes its body.
func (s *HTTPSource) get(ctx context.Context, name, etag string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(name).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "ucedge")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNotModified && etag != "" {
		return res, nil
	}
	return nil, errors.Join(fmt.Errorf("GET %q: status %d", req.URL.Redacted(), res.StatusCode), res.Body.Close())
}
