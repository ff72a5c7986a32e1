//go:build unix && (amd64 || arm64)

package edge

import (
	"context"
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// withMemory returns a context with which guests get mapped memory: room for
// the largest that a guest may have is reserved, and costs nothing until it is
// used. Growing copies nothing, and a guest that is closed gives everything
// back at once, which the garbage collector would do much later.
func withMemory(ctx context.Context) context.Context {
	return experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(mapMemory))
}

// mapMemory reserves most bytes. Where that is not possible it allocates them
// as they are needed.
func mapMemory(_, most uint64) experimental.LinearMemory {
	room, err := syscall.Mmap(-1, 0, int(most), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return new(heapMemory)
	}
	return &mappedMemory{room}
}

// mappedMemory is a reserved range. Nothing may touch it after Free; a guest is
// only closed when no call is under way.
type mappedMemory struct{ room []byte }

// Reallocate implements experimental.LinearMemory.
func (m *mappedMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.room)) {
		return nil
	}
	return m.room[:size]
}

// Free implements experimental.LinearMemory.
func (m *mappedMemory) Free() {
	if m.room != nil {
		syscall.Munmap(m.room) // of a range that was mapped: it cannot fail
		m.room = nil
	}
}

// heapMemory is memory from the heap.
type heapMemory struct{ b []byte }

// Reallocate implements experimental.LinearMemory.
func (m *heapMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.b)) {
		m.b = append(m.b, make([]byte, size-uint64(len(m.b)))...)
	}
	return m.b[:size]
}

// Free implements experimental.LinearMemory.
func (m *heapMemory) Free() { m.b = nil }
