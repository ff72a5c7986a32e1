//go:build wasip1

package main

import (
	"runtime"
	"slices"
	_ "unsafe" // for go:linkname
)

// The guest collects its garbage by itself, between two calls. Left alone, the
// collector would mark in the background, and in a guest nothing runs in the
// background: a cycle that begins in one call may never end, since the
// runtime's limits on its own work need a clock that moves, and hosts give
// none. Memory would grow without end, with the write barrier on for every
// query. A DNS answer leaves no garbage; a check of many addresses does.

// setGCPercent is runtime/debug.SetGCPercent. That package would bring fmt into
// the guest, 86 KB gzipped.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) int32

func init() { setGCPercent(-1) }

const (
	// lookBytes is how many bytes go through the guest between two looks at its
	// heap: a look costs as much as a few dozen queries.
	lookBytes = 1 << 20
	// garbageBytes is how much garbage is worth a collection.
	garbageBytes = 4 << 20
)

var (
	passed int    // bytes since the last look
	kept   uint64 // bytes of the heap after the last collection, and of images since
	stats  runtime.MemStats
)

// pass notes that n bytes went through the guest, and collects the garbage if
// there is enough of it. Nothing that the host still reads is garbage: it is in
// a variable.
func pass(n int) {
	if passed += n; passed < lookBytes {
		return
	}
	passed = 0
	runtime.ReadMemStats(&stats)
	if stats.HeapAlloc >= kept+garbageBytes {
		collect()
	}
}

// collect collects the garbage.
func collect() {
	runtime.GC()
	runtime.ReadMemStats(&stats)
	kept = stats.HeapAlloc
}

// Images are most of what a guest holds, and V8 takes tens of milliseconds for
// the first collection, since it compiles the collector for it. So the buffers
// of a snapshot that was dropped are used again for the next.
var (
	images [][]byte // what image_buffer gave out, so that it stays
	spares [][]byte // what is free to be given out again
)

// buffer returns n bytes for an image, whatever is in them, and keeps them in
// images: the least of the spare ones that will do, or fresh ones with room for
// a list that grows.
func buffer(n int) []byte {
	best := -1
	for i, b := range spares {
		if cap(b) >= n && (best < 0 || cap(b) < cap(spares[best])) {
			best = i
		}
	}
	var image []byte
	if best >= 0 {
		image = spares[best][:n]
		spares = slices.Delete(spares, best, best+1)
	} else {
		image = make([]byte, n, n+n/8)
		kept += uint64(cap(image))
	}
	images = append(images, image)
	return image
}

// release makes the buffers of images spare. Those that were spare before are
// garbage: they were too small.
func release() {
	for _, b := range spares {
		kept -= min(kept, uint64(cap(b)))
	}
	clear(spares)
	images, spares = spares[:0], images
}
