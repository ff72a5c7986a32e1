package api

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// errDecodedTooLarge ends a body that is larger decoded than it may be.
var errDecodedTooLarge = errors.New("decoded body is too large")

// errTooSlow ends a body that comes too slowly.
var errTooSlow = fmt.Errorf("body came too slowly: it must bring %d bytes a second, and never pause for %d seconds", slowest, stall/time.Second)

// zstdWindow is the largest window of a zstd body, bytes: what the decoder
// holds in memory. RFC 8878 3.1.1.1.2 recommends to support 8 MB.
const zstdWindow = 8 << 20

// openBody returns the decoded body of a request. No more than the limit is
// read of it, as sent and as decoded: a decoder's own limit of memory does not
// stop a stream. Close releases the decoder.
func (h *Handler) openBody(w http.ResponseWriter, r *http.Request) (io.ReadCloser, error) {
	limit := h.Limits.BodyBytes
	if r.ContentLength > limit {
		return nil, fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", limit))
	}
	sent := &patient{Reader: http.MaxBytesReader(w, r.Body, limit), control: http.NewResponseController(w)}
	switch coding := r.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		return io.NopCloser(sent), nil
	case "gzip", "x-gzip":
		decoder, err := gzip.NewReader(sent)
		if err != nil {
			return nil, bodyFailure(err)
		}
		return &decoded{Reader: &bounded{decoder, limit}, close: func() { decoder.Close() }}, nil
	case "zstd":
		decoder, err := zstd.NewReader(sent, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(zstdWindow))
		if err != nil {
			return nil, bodyFailure(err)
		}
		return &decoded{Reader: &bounded{decoder, limit}, close: decoder.Close}, nil
	default:
		w.Header().Set("Accept-Encoding", "gzip, zstd")
		return nil, fail(http.StatusUnsupportedMediaType, fmt.Sprintf("content coding %q is not gzip, zstd or identity", coding))
	}
}

// decoded is a reader whose decoder is closed by a function.
type decoded struct {
	io.Reader
	close func()
}

func (d *decoded) Close() error { d.close(); return nil }

// bounded gives errDecodedTooLarge where io.LimitReader would pretend that the
// body ends.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		return int(b.left), errDecodedTooLarge
	}
	b.left -= int64(n)
	return n, err
}

// patient moves the deadline of the connection on while a body brings bytes: a
// gigabyte may take hours, but neither silence nor a trickle holds a place for
// long. Time in which nobody reads, since the ledger is busy, is not the
// sender's. Servers without deadlines, as in tests, are let be.
type patient struct {
	io.Reader
	control *http.ResponseController
	got     int64         // bytes
	waited  time.Duration // for them
}

func (p *patient) Read(b []byte) (int, error) {
	start := time.Now()
	p.control.SetReadDeadline(start.Add(p.patience())) // an error means that there are no deadlines
	n, err := p.Reader.Read(b)
	p.control.SetReadDeadline(time.Time{})
	p.got += int64(n)
	p.waited += time.Since(start)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errTooSlow
	}
	return n, err
}

// patience is how long the next bytes may take.
func (p *patient) patience() time.Duration {
	paid := time.Duration(p.got/slowest) * time.Second
	return min(stall, stall+paid-p.waited)
}
