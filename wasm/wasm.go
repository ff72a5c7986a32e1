// Package wasm carries the guest module that `make guest` builds, so that one
// binary is a whole edge. It is not part of any package's tests by itself:
// what the guest does is tested where it is run, in package edge.
package wasm

import (
	"embed"
	"fmt"
)

//go:embed dist
var dist embed.FS

// Guest returns the bytes of the guest module, or an error that says how to
// build it when the binary was built without one.
func Guest() ([]byte, error) {
	guest, err := dist.ReadFile("dist/guest.wasm")
	if err != nil {
		return nil, fmt.Errorf("this binary carries no guest module: build it with `make`, or use the native engine: %w", err)
	}
	return guest, nil
}
