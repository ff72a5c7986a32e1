//go:build unix && (amd64 || arm64)

package edge

import (
	"bytes"
	"testing"

	"github.com/tetratelabs/wazero/experimental"
)

func TestMemoryGrows(t *testing.T) {
	const page = 65536
	for name, m := range map[string]experimental.LinearMemory{
		"mapped": mapMemory(0, 64*page), "heap": new(heapMemory), "mapped, too much": mapMemory(0, 1<<62),
	} {
		written := []byte{}
		for _, pages := range []int{1, 1, 2, 7, 64} {
			b := m.Reallocate(uint64(pages * page))
			if len(b) != pages*page {
				t.Fatalf("%s: got %d bytes, want %d", name, len(b), pages*page)
			}
			want := append(written, make([]byte, len(b)-len(written))...)
			if !bytes.Equal(b, want) {
				t.Errorf("%s: at %d pages it does not hold what was written, and zeros after that", name, pages)
			}
			b[len(b)-1] = byte(pages)
			written = bytes.Clone(b)
		}
		if b := m.Reallocate(65 * page); name == "mapped" && b != nil {
			t.Errorf("%s: got %d bytes of %d reserved", name, len(b), 64*page)
		}
		m.Free()
		m.Free()
	}
}
