//go:build !unix || !(amd64 || arm64)

package edge

import "context"

// withMemory leaves the memory of guests to wazero.
func withMemory(ctx context.Context) context.Context { return ctx }
