//go:build wasip1

// Command guest is package core as a WebAssembly module: thin exports, as
// package abi names them, over one Core. It owns the memory that host and
// guest pass bytes through, and all of the project's unsafe code.
//
// It holds one snapshot in its life. The guest is one thread, so its state is
// plain variables.
package main

import (
	"unsafe"

	"ucedge/core"
	"ucedge/snapshot"
	"ucedge/wasm/abi"
)

func main() {} // never called: the module is a library

var (
	snap     *snapshot.Snapshot
	manifest core.Manifest
	current  = core.New(nil, core.Manifest{})

	fixed    [abi.RequestBytes]byte // the request buffer
	large    []byte                 // what request_buffer gave for the largest request yet
	request  = fixed[:]             // one of the two, for the request to come
	frame    abi.Request
	exchange core.Request
	response core.Response
	fields   []abi.Field
	said     abi.Response
	output   []byte // what the last answer or serve gave
	failure  string // text of the last failure
)

//go:wasmexport abi_version
func abiVersion() uint32 { return abi.Version }

//go:wasmexport image_buffer
func imageBuffer(n uint32) uint32 {
	if n == 0 || n > imageBytesMax {
		fail("an image of this size does not fit")
		return 0
	}
	return address(buffer(int(n)))
}

// imageBytesMax is the largest image or filter that a guest takes: half of the
// memory that a module of 32-bit addresses can have.
const imageBytesMax = 2 << 30

//go:wasmexport load
func load(image, imageLen, filter, filterLen uint32) uint32 {
	if snap != nil {
		return fail("a snapshot is loaded already")
	}
	bytes := given(image, imageLen)
	if bytes == nil {
		return fail("the image is not in a buffer that image_buffer gave")
	}
	var gate []byte
	if filterLen != 0 {
		if gate = given(filter, filterLen); gate == nil {
			return fail("the filter is not in a buffer that image_buffer gave")
		}
	}
	opened, err := snapshot.OpenVerified(bytes, gate)
	if err != nil {
		return fail(err.Error())
	}
	if err := opened.Sane(snapshot.DefaultLimits()); err != nil {
		return fail(err.Error())
	}
	snap = opened
	current = core.New(snap, manifest)
	return 0
}

//go:wasmexport drop
func drop() {
	snap, manifest = nil, core.Manifest{}
	current = core.New(nil, manifest)
	// What the last answer was made of may be bytes of the image.
	frame, exchange, response, said, fields = abi.Request{}, core.Request{}, core.Response{}, abi.Response{}, nil
	release()
	pass(lookBytes)
}

//go:wasmexport set_manifest
func setManifest(n uint32) uint32 {
	if n > uint32(len(request)) {
		return fail("the manifest frame is longer than the request buffer")
	}
	m, err := abi.ParseManifest(request[:n])
	if err != nil {
		return fail("manifest: " + err.Error())
	}
	manifest = core.Manifest{
		List:    m.List,
		Serial:  snapshot.Serial(m.Serial),
		Built:   m.Built,
		Next:    m.Next,
		Expires: m.Expires,
		Host:    m.Host,
	}
	current = core.New(snap, manifest)
	pass(int(n))
	return 0
}

//go:wasmexport request_buffer
func requestBuffer(n uint32) uint32 {
	switch {
	case n <= abi.RequestBytes:
		request = fixed[:]
	case n > requestBytesMax:
		fail("a request of this size does not fit")
		return 0
	case n > uint32(len(large)):
		large = make([]byte, n)
		request = large
	default:
		request = large
	}
	return address(request)
}

// requestBytesMax bounds what one request can make the guest allocate; core
// refuses smaller ones already.
const requestBytesMax = 1 << 20

//go:wasmexport answer
func answer(n uint32, now int64, gate uint32) uint64 {
	if n > uint32(len(request)) || gate > uint32(core.Keyed) {
		fail("the message is longer than the request buffer, or the gate is unknown")
		return 0
	}
	output = current.AppendAnswer(output[:0], request[:n], now, core.Gate(gate))
	pass(len(output))
	return span(output)
}

//go:wasmexport serve
func serve(n uint32) uint64 {
	if n > uint32(len(request)) || abi.ParseRequest(request[:n], &frame) != nil {
		fail("the request buffer does not hold a request frame of this length")
		return 0
	}
	exchange.Now, exchange.Gate = frame.Now, core.Gate(frame.Gate)
	exchange.Method, exchange.Target, exchange.Body = frame.Method, frame.Target, frame.Body
	exchange.Accept, exchange.ContentType, exchange.IfNoneMatch = frame.Accept, frame.ContentType, frame.IfNoneMatch
	current.Serve(&exchange, &response)
	fields = fields[:0]
	for _, field := range response.Fields {
		fields = append(fields, abi.Field(field))
	}
	said.Status, said.Ref = response.Status, uint8(response.Ref)
	said.Fields, said.Body = fields, response.Body
	output = abi.AppendResponse(output[:0], &said)
	pass(int(n) + len(output))
	return span(output)
}

//go:wasmexport last_error
func lastError() uint64 {
	output = append(output[:0], failure...)
	return span(output)
}

// fail notes the text of a failure and returns the status that says so.
func fail(text string) uint32 {
	failure = text
	return 1
}

// given returns the buffer at the address, which must be one that image_buffer
// gave out for exactly this length, or nil.
func given(at, length uint32) []byte {
	for _, image := range images {
		if address(image) == at && uint32(len(image)) == length {
			return image
		}
	}
	return nil
}

// address returns where in linear memory b begins. It fits 32 bits, as the
// module's memory does.
func address(b []byte) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// span returns b as address<<32 | length.
func span(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return uint64(address(b))<<32 | uint64(len(b))
}
