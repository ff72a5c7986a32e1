package edge

import (
	"ucedge/core"
	"ucedge/wasm/abi"
)

// requestFrame sets frame to what the guest gets of req.
func requestFrame(frame *abi.Request, req *core.Request) {
	*frame = abi.Request{
		Now:         req.Now,
		Gate:        uint8(req.Gate),
		Method:      req.Method,
		Target:      req.Target,
		Accept:      req.Accept,
		ContentType: req.ContentType,
		IfNoneMatch: req.IfNoneMatch,
		Body:        req.Body,
	}
}

// copyResponse copies frame, whose bytes are the guest's, to resp, in resp's own
// memory: the body first and the fields behind it in one piece, so that nothing
// is allocated once the piece is large enough.
func copyResponse(resp *core.Response, frame *abi.Response) {
	resp.Status = frame.Status
	resp.Ref = core.Ref(frame.Ref)
	memory := append(resp.Body[:0], frame.Body...)
	for _, f := range frame.Fields {
		memory = append(append(memory, f.Name...), f.Value...)
	}
	resp.Body = memory[:len(frame.Body)]
	rest := memory[len(frame.Body):]
	resp.Fields = resp.Fields[:0]
	for _, f := range frame.Fields {
		name, both := len(f.Name), len(f.Name)+len(f.Value)
		resp.Fields = append(resp.Fields, core.Field{Name: rest[:name:name], Value: rest[name:both:both]})
		rest = rest[both:]
	}
}

// manifestFrame returns the manifest frame of m.
func manifestFrame(m core.Manifest) []byte {
	return abi.AppendManifest(nil, &abi.Manifest{
		Serial:  uint32(m.Serial),
		Built:   m.Built,
		Next:    m.Next,
		Expires: m.Expires,
		List:    m.List,
		Host:    m.Host,
	})
}
