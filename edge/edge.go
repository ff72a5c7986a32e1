// Package edge serves answers over HTTP and DNS from a snapshot that it keeps
// current: it owns I/O, time, limits and keys, and leaves every answer to
// package core, compiled natively or as a WebAssembly guest.
//
// Most callers use Sync to follow a source of snapshots and Server to answer.
// Promised: no unverified byte reaches an engine, and an edge that cannot
// verify anything newer keeps what it has. Not promised: any listing policy.
package edge

import (
	"context"

	"ucedge/core"
	"ucedge/snapshot/manifest"
)

// A Generation is one verified and decompressed snapshot. It is immutable.
type Generation struct {
	Manifest manifest.Manifest
	Signed   []byte // the signed text of the manifest, as fetched
	Image    []byte // the base image
	Filter   []byte // the filter object; empty if the manifest names none
}

// An Engine answers from the generation that it was given last. Its methods
// are safe for concurrent use.
type Engine interface {
	// Load makes g the generation that answers. When it returns nil, every
	// request that starts later is answered from g, and each request from one
	// generation only; on error the one before stays.
	Load(ctx context.Context, g *Generation) error
	// Renew replaces only the manifest: same objects, later times.
	Renew(ctx context.Context, g *Generation) error
	// Serve answers one HTTP exchange. The response's memory belongs to the caller.
	Serve(ctx context.Context, req *core.Request, resp *core.Response) error
	// Answer appends the answer to one DNS message to dst. Nothing appended
	// means that the message deserves no answer.
	Answer(ctx context.Context, dst, query []byte, now int64, gate core.Gate) ([]byte, error)
	// Current returns the generation that answers, or nil.
	Current() *Generation
	Close(ctx context.Context) error
}
