//go:build wasip1

package main

import (
	"ucedge/core"
	"ucedge/wasm/abi"
)

// A runtime that compiles each function when it is first called would do so
// with most of the core while the first client waits, and a worker's first
// request may take 10 ms of processor time. Hence a guest goes through its part
// once while it starts, which a worker does before there are requests: it loads
// a snapshot of a few documentation addresses, answers, and forgets all of it.
// The snapshot is in Go, as package embed would bring syscall into the guest.

// The rehearsal asks by GET for 198.51.100.7, which its snapshot lists.
const rehearsalTarget = "/dns-query?dns=AAABAAABAAAAAAAAATcDMTAwAjUxAzE5OAdkbnNibC0xAmJsB2V4YW1wbGUAAAEAAQ"

func init() {
	image, filter := imageBuffer(uint32(len(rehearsalImage))), imageBuffer(uint32(len(rehearsalFilter)))
	copy(images[0], rehearsalImage)
	copy(images[1], rehearsalFilter)
	if load(image, uint32(len(rehearsalImage)), filter, uint32(len(rehearsalFilter))) != 0 {
		panic("rehearsal: " + failure)
	}
	n := len(abi.AppendManifest(request[:0], &abi.Manifest{List: "bl.example", Serial: 1, Built: 1, Next: 2, Expires: 3}))
	setManifest(uint32(n))
	serve(uint32(len(abi.AppendRequest(request[:0], &abi.Request{Now: 1, Method: []byte("GET"), Target: []byte(rehearsalTarget)}))))
	images, snap, manifest, kept = nil, nil, core.Manifest{}, 0
	current = core.New(nil, manifest)
}
