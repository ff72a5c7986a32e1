package manifest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The reasons that concern an object that a manifest names.
const (
	WrongSize Reason = "size"   // wire or plain bytes are more or fewer than named
	WrongHash Reason = "hash"   // wire or plain bytes have another SHA-256 than named
	BadCoding Reason = "coding" // wire bytes that do not decode
)

// MakeObject encodes plain and returns its line in a manifest with the wire
// bytes, which may be plain itself. The same input gives the same bytes with
// the same compressor.
func MakeObject(role Role, plain []byte, coding Coding) (Object, []byte, error) {
	if len(plain) == 0 || len(plain) > MaxObject {
		return Object{}, nil, fmt.Errorf("object %s of %d bytes, must be 1 to %d", role, len(plain), MaxObject)
	}
	wire, err := encode(plain, coding)
	if err != nil {
		return Object{}, nil, fmt.Errorf("object %s: %w", role, err)
	}
	if len(wire) > MaxObject {
		return Object{}, nil, fmt.Errorf("object %s of %d bytes on the wire, at most %d are allowed", role, len(wire), MaxObject)
	}
	return Object{
		Role: role, Hash: sha256.Sum256(plain), Size: int64(len(plain)),
		Coding: coding, WireHash: sha256.Sum256(wire), WireSize: int64(len(wire)),
	}, wire, nil
}

// The sizes between which the best level pays. It sets up 50 MiB of tables
// however small the object; the better level takes 20 MiB, and on 16 KiB gives
// about a tenth more bytes. A large image is mostly codes that no level makes
// smaller: of 40 MB the best level takes five seconds of a processor, and the
// default 0.3 for 4 % more bytes.
const smallBytes, largeBytes = 16 << 10, 8 << 20

func levelOf(size int) zstd.EncoderLevel {
	switch {
	case size < smallBytes:
		return zstd.SpeedBetterCompression
	case size > largeBytes:
		return zstd.SpeedDefault
	}
	return zstd.SpeedBestCompression
}

func encode(plain []byte, coding Coding) ([]byte, error) {
	switch coding {
	case Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(levelOf(len(plain))), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, err
		}
		return e.EncodeAll(plain, nil), nil
	case Gzip:
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(plain); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	case Plain:
		return plain, nil
	}
	return nil, fmt.Errorf("unknown coding %q", coding)
}

// Receive reads the wire bytes of o, and never more than one byte beyond its
// size: that one shows that there are too many. The error of a failed read is
// returned as it is, that of a wrong size is a *Refusal.
func (o Object) Receive(r io.Reader) ([]byte, error) {
	if o.WireSize <= 0 || o.WireSize > MaxObject {
		return nil, refuse(WrongSize, "object %s is said to have %d bytes on the wire", o.Role, o.WireSize)
	}
	// One byte of room more than there should be: it stays empty.
	wire := make([]byte, o.WireSize+1)
	n := 0
	for n < len(wire) {
		k, err := r.Read(wire[n:])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err // io.ErrUnexpectedEOF too: the line broke
		}
	}
	switch {
	case int64(n) < o.WireSize:
		return nil, refuse(WrongSize, "object %s has %d bytes on the wire, %d are named", o.Role, n, o.WireSize)
	case int64(n) > o.WireSize:
		return nil, refuse(WrongSize, "object %s has more than the %d bytes on the wire that are named", o.Role, o.WireSize)
	}
	return wire[:n:n], nil
}

// Open checks wire against o, decodes it, checks what came out, and returns
// that, which may be wire itself. It allocates no more than o.Size, besides the
// decoder's tables. Every error is a *Refusal.
func (o Object) Open(wire []byte) ([]byte, error) {
	switch {
	case o.Size <= 0 || o.Size > MaxObject:
		return nil, refuse(WrongSize, "object %s is said to have %d bytes", o.Role, o.Size)
	case int64(len(wire)) != o.WireSize:
		return nil, refuse(WrongSize, "object %s has %d bytes on the wire, %d are named", o.Role, len(wire), o.WireSize)
	case sha256.Sum256(wire) != o.WireHash:
		return nil, refuse(WrongHash, "object %s has another hash on the wire than %s", o.Role, o.WireHash)
	}
	plain, err := o.decode(wire)
	switch {
	case err != nil:
		return nil, err
	case int64(len(plain)) != o.Size:
		return nil, refuse(WrongSize, "object %s has %d bytes, %d are named", o.Role, len(plain), o.Size)
	case sha256.Sum256(plain) != o.Hash:
		return nil, refuse(WrongHash, "object %s has another hash than %s", o.Role, o.Hash)
	}
	return plain, nil
}

func (o Object) decode(wire []byte) ([]byte, error) {
	switch o.Coding {
	case Zstd:
		return o.decodeZstd(wire)
	case Gzip:
		return o.decodeGzip(wire)
	case Plain:
		return wire, nil
	}
	return nil, refuse(BadCoding, "unknown coding %q", o.Coding)
}

// windowMax is the window, in bytes, that a frame may ask for even if its
// object is smaller. RFC 8878 3.1.1.1.2 recommends that every decoder can do 8 MiB.
const windowMax = 8 << 20

// decodeZstd refuses by the size that the first frame declares, and stops a
// frame that declares none, or is not the last, at the size that o names.
func (o Object) decodeZstd(wire []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(wire); err != nil {
		return nil, refuse(BadCoding, "object %s: %v", o.Role, err)
	}
	if h.HasFCS && h.FrameContentSize != uint64(o.Size) {
		return nil, refuse(WrongSize, "object %s declares %d bytes, %d are named", o.Role, h.FrameContentSize, o.Size)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(uint64(max(o.Size, windowMax))))
	if err != nil {
		return nil, refuse(BadCoding, "object %s: %v", o.Role, err)
	}
	defer d.Close()
	plain, err := d.DecodeAll(wire, make([]byte, 0, o.Size))
	if err == zstd.ErrDecoderSizeExceeded {
		return nil, refuse(WrongSize, "object %s has more than the %d bytes that are named", o.Role, o.Size)
	}
	if err != nil {
		return nil, refuse(BadCoding, "object %s: %v", o.Role, err)
	}
	return plain, nil
}

func (o Object) decodeGzip(wire []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(wire))
	if err != nil {
		return nil, refuse(BadCoding, "object %s: %v", o.Role, err)
	}
	plain := bytes.NewBuffer(make([]byte, 0, o.Size+bytes.MinRead))
	if _, err := io.Copy(plain, io.LimitReader(r, o.Size+1)); err != nil {
		return nil, refuse(BadCoding, "object %s: %v", o.Role, err)
	}
	return plain.Bytes(), nil
}
