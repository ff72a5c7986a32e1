package abi

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrFrame is the error of every Parse function: the bytes are not the frame
// that they should be.
var ErrFrame = errors.New("malformed frame")

// A Request is what a request frame holds.
type Request struct {
	Now         int64 // seconds since the Unix epoch
	Gate        uint8 // core.Gate
	Method      []byte
	Target      []byte
	Accept      []byte
	ContentType []byte
	IfNoneMatch []byte
	Body        []byte
}

// parts returns the parts of variable length in the order of the frame.
func (r *Request) parts() [6]*[]byte {
	return [...]*[]byte{&r.Method, &r.Target, &r.Accept, &r.ContentType, &r.IfNoneMatch, &r.Body}
}

// RequestSize returns the length of r's frame in bytes.
func RequestSize(r *Request) int {
	size := RequestHeader
	for _, part := range r.parts() {
		size += len(*part)
	}
	return size
}

// AppendRequest appends the frame of r to dst.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Now))
	dst = append(dst, r.Gate, 0, 0, 0)
	for _, part := range r.parts() {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(*part)))
	}
	for _, part := range r.parts() {
		dst = append(dst, *part...)
	}
	return dst
}

// noRequest is copied to clear a request: the runtime of a guest (wazero) clears
// large variables slowly, see package core.
var noRequest Request

// ParseRequest reads a request frame into r, whose slices become views of the
// frame. On error r is zero.
func ParseRequest(frame []byte, r *Request) error {
	if len(frame) < RequestHeader || frame[9]|frame[10]|frame[11] != 0 {
		*r = noRequest
		return ErrFrame
	}
	rest := frame[RequestHeader:]
	for i, part := range r.parts() {
		length := binary.LittleEndian.Uint32(frame[12+4*i:])
		if uint64(length) > uint64(len(rest)) {
			*r = noRequest
			return ErrFrame
		}
		*part, rest = rest[:length:length], rest[length:]
	}
	if len(rest) != 0 {
		*r = noRequest
		return ErrFrame
	}
	r.Now = int64(binary.LittleEndian.Uint64(frame))
	r.Gate = frame[8]
	return nil
}

// A Response is what a response frame holds.
type Response struct {
	Status int   // three digits
	Ref    uint8 // core.Ref
	Fields []Field
	Body   []byte
}

// A Field is one header field.
type Field struct{ Name, Value []byte }

// AppendResponse appends the frame of r to dst. It panics if r does not fit
// the layout: more than 255 fields, or a name or a value of 64 KiB.
func AppendResponse(dst []byte, r *Response) []byte {
	length := 0
	for i := range r.Fields {
		name, value := len(r.Fields[i].Name), len(r.Fields[i].Value)
		if name > math.MaxUint16 || value > math.MaxUint16 {
			panic("abi: header field too long")
		}
		length += 4 + name + value
	}
	if len(r.Fields) > math.MaxUint8 {
		panic("abi: too many header fields")
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(r.Status))
	dst = append(dst, r.Ref, byte(len(r.Fields)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(length))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Body)))
	for i := range r.Fields {
		field := &r.Fields[i]
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(field.Name)))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(field.Value)))
		dst = append(append(dst, field.Name...), field.Value...)
	}
	return append(dst, r.Body...)
}

// ParseResponse reads a response frame into r, whose slices become views of
// the frame; the memory of r.Fields is used again. On error r holds nothing.
func ParseResponse(frame []byte, r *Response) error {
	fields := r.Fields[:0]
	*r = Response{Fields: fields}
	if len(frame) < ResponseHeader {
		return ErrFrame
	}
	length := uint64(binary.LittleEndian.Uint32(frame[4:]))
	body := uint64(binary.LittleEndian.Uint32(frame[8:]))
	if ResponseHeader+length+body != uint64(len(frame)) {
		return ErrFrame
	}
	rest := frame[ResponseHeader : ResponseHeader+length]
	for range frame[3] {
		if len(rest) < 4 {
			return ErrFrame
		}
		name := int(binary.LittleEndian.Uint16(rest))
		value := int(binary.LittleEndian.Uint16(rest[2:]))
		if rest = rest[4:]; len(rest) < name+value {
			return ErrFrame
		}
		fields = append(fields, Field{Name: rest[:name:name], Value: rest[name : name+value : name+value]})
		rest = rest[name+value:]
	}
	status := int(binary.LittleEndian.Uint16(frame))
	if len(rest) != 0 || status < 100 || status > 999 {
		return ErrFrame
	}
	r.Status = status
	r.Ref = frame[2]
	r.Fields = fields
	r.Body = frame[ResponseHeader+length:]
	return nil
}

// A Manifest is what a manifest frame holds. Times are seconds since the Unix
// epoch.
type Manifest struct {
	Serial               uint32
	Built, Next, Expires int64
	List                 string
	Host                 string // the edge's own name, empty if it has none to tell
}

// AppendManifest appends the frame of m to dst.
func AppendManifest(dst []byte, m *Manifest) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, m.Serial)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.Host)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Built))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Next))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Expires))
	return append(append(dst, m.List...), m.Host...)
}

// ParseManifest reads a manifest frame.
func ParseManifest(frame []byte) (Manifest, error) {
	if len(frame) < ManifestHeader {
		return Manifest{}, ErrFrame
	}
	names := frame[ManifestHeader:]
	host := uint64(binary.LittleEndian.Uint32(frame[4:]))
	if host > uint64(len(names)) {
		return Manifest{}, ErrFrame
	}
	list := len(names) - int(host)
	return Manifest{
		Serial:  binary.LittleEndian.Uint32(frame),
		Built:   int64(binary.LittleEndian.Uint64(frame[8:])),
		Next:    int64(binary.LittleEndian.Uint64(frame[16:])),
		Expires: int64(binary.LittleEndian.Uint64(frame[24:])),
		List:    string(names[:list]),
		Host:    string(names[list:]),
	}, nil
}
