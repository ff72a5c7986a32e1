package edge

import (
	"encoding/binary"
	"errors"

	"ucedge/core"
	"ucedge/wasm/abi"
)

// errFrame is a response frame whose lengths do not add up, or whose status is
// not that of a final response.
var errFrame = errors.New("response frame is malformed")

// requestSize returns the number of bytes of the frame of req.
func requestSize(req *core.Request) int {
	return abi.RequestHeader + len(req.Method) + len(req.Target) + len(req.Accept) +
		len(req.ContentType) + len(req.IfNoneMatch) + len(req.Body)
}

// putRequest writes the frame of req to dst, which has requestSize(req) bytes.
func putRequest(dst []byte, req *core.Request) {
	le := binary.LittleEndian
	le.PutUint64(dst, uint64(req.Now))
	le.PutUint32(dst[8:], uint32(req.Gate))
	at := abi.RequestHeader
	for i, part := range [...][]byte{req.Method, req.Target, req.Accept, req.ContentType, req.IfNoneMatch, req.Body} {
		le.PutUint32(dst[12+4*i:], uint32(len(part)))
		at += copy(dst[at:], part)
	}
}

// readResponse copies the response in frame to resp, in resp's own memory: the
// body first and the fields behind it in one piece, so that nothing is
// allocated once the piece is large enough.
func readResponse(frame []byte, resp *core.Response) error {
	if len(frame) < abi.ResponseHeader {
		return errFrame
	}
	le := binary.LittleEndian
	fieldBytes, bodyBytes := uint64(le.Uint32(frame[4:])), uint64(le.Uint32(frame[8:]))
	if abi.ResponseHeader+fieldBytes+bodyBytes != uint64(len(frame)) {
		return errFrame
	}
	resp.Status = int(le.Uint16(frame))
	resp.Ref = core.Ref(frame[2])
	if resp.Status < 200 || resp.Status > 599 {
		return errFrame
	}
	fields := frame[abi.ResponseHeader:][:fieldBytes]
	memory := append(resp.Body[:0], frame[abi.ResponseHeader+fieldBytes:]...)
	memory = append(memory, fields...)
	resp.Body = memory[:bodyBytes]
	return readFields(memory[bodyBytes:], int(frame[3]), resp)
}

// readFields splits block into n header fields.
func readFields(block []byte, n int, resp *core.Response) error {
	le := binary.LittleEndian
	resp.Fields = resp.Fields[:0]
	for range n {
		if len(block) < 4 {
			return errFrame
		}
		name, value := int(le.Uint16(block)), int(le.Uint16(block[2:]))
		block = block[4:]
		if len(block) < name+value {
			return errFrame
		}
		resp.Fields = append(resp.Fields, core.Field{Name: block[:name:name], Value: block[name : name+value : name+value]})
		block = block[name+value:]
	}
	if len(block) != 0 {
		return errFrame
	}
	return nil
}

// manifestFrame returns the manifest frame of m.
func manifestFrame(m core.Manifest) []byte {
	le := binary.LittleEndian
	frame := make([]byte, abi.ManifestHeader, abi.ManifestHeader+len(m.List))
	le.PutUint32(frame, uint32(m.Serial))
	le.PutUint64(frame[8:], uint64(m.Built))
	le.PutUint64(frame[16:], uint64(m.Next))
	le.PutUint64(frame[24:], uint64(m.Expires))
	return append(frame, m.List...)
}
