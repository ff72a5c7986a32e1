//go:build wasip1

// Command guest is a guest for tests of the host: it keeps to package abi, says
// which image and manifest it has, and misbehaves when it is asked to.
//
// An answer is the first byte of the image and the serial, eight hex digits.
// These queries do something else:
//
//	panic      ends in a panic
//	exit       ends the program
//	outside    gives bytes that are not in its memory
//	nothing    gives no answer
//	loop       never returns
//
// So does the load of an image that is called like this.
//
// An exchange with one of these as its path does likewise; "malformed" gives
// a frame whose lengths do not add up, "early" one with status 103, "filter"
// the filter. Any other exchange is echoed with everything else of the request.
package main

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"ucedge/wasm/abi"
)

func main() {}

// version is what abi_version says if a test links one.
var version string

var (
	request  = make([]byte, abi.RequestBytes)
	images   [][]byte
	mark     byte = '-'
	serial   uint32
	output   []byte
	failure  string
	maxImage uint32 = 64 << 20
)

//go:wasmexport abi_version
func abiVersion() uint32 {
	if n, err := strconv.Atoi(version); err == nil {
		return uint32(n)
	}
	return abi.Version
}

//go:wasmexport image_buffer
func imageBuffer(n uint32) uint32 {
	if n > maxImage {
		return 0
	}
	images = append(images, make([]byte, n))
	return address(images[len(images)-1])
}

//go:wasmexport load
func load(image, imageLen, filter, filterLen uint32) uint32 {
	end(string(images[0]))
	if string(images[0][:min(3, imageLen)]) == "bad" {
		failure = "image is bad"
		return 1
	}
	mark = images[0][0]
	return 0
}

//go:wasmexport set_manifest
func setManifest(n uint32) uint32 {
	m, err := abi.ParseManifest(request[:n])
	if err != nil || m.List == "refused" {
		failure = "manifest is refused"
		return 1
	}
	serial = m.Serial
	return 0
}

//go:wasmexport request_buffer
func requestBuffer(n uint32) uint32 {
	if n > 1<<20 {
		return 0
	}
	if n != uint32(len(request)) {
		request = make([]byte, max(n, abi.RequestBytes))
	}
	return address(request)
}

//go:wasmexport answer
func answer(n uint32, now int64, gate uint32) uint64 {
	switch query := string(request[:n]); query {
	case "outside":
		return 1<<63 | 100
	case "nothing":
		return 0
	default:
		end(query)
	}
	output = says(output[:0])
	return span(output)
}

// says appends what an answer is.
func says(dst []byte) []byte {
	dst = append(dst, mark)
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[serial>>shift&15])
	}
	return dst
}

func end(how string) {
	switch how {
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(3)
	case "loop":
		for {
		}
	}
}

//go:wasmexport serve
func serve(n uint32) uint64 {
	var in abi.Request
	if err := abi.ParseRequest(request[:n], &in); err != nil {
		panic(err)
	}
	out := abi.Response{Status: 200}
	out.Fields = append(out.Fields, abi.Field{Name: []byte("content-type"), Value: []byte("text/plain")})
	switch path := strings.TrimPrefix(string(in.Target), "/"); path {
	case "outside":
		return 1<<63 | 100
	case "malformed":
		output = append(abi.AppendResponse(output[:0], &out), 0)
		return span(output)
	case "early":
		out.Status = 103
	case "filter":
		out.Ref = 1
		out.Fields = append(out.Fields, abi.Field{Name: []byte("etag"), Value: says(nil)})
	default:
		end(path)
		out.Body = says(out.Body)
		out.Body = append(out.Body, '|', '0'+in.Gate)
		for _, part := range [][]byte{in.Method, in.Target, in.Accept, in.ContentType, in.IfNoneMatch, in.Body} {
			out.Body = append(append(out.Body, '|'), part...)
		}
	}
	output = abi.AppendResponse(output[:0], &out)
	return span(output)
}

//go:wasmexport last_error
func lastError() uint64 {
	output = append(output[:0], failure...)
	return span(output)
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func span(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return uint64(address(b))<<32 | uint64(len(b))
}
