package edge

import (
	"errors"
	"fmt"

	"ucedge/core"
	"ucedge/snapshot/manifest"
)

// ErrClosed is the error of every call of an engine that has been closed.
var ErrClosed = errors.New("engine is closed")

// coreManifest returns what the core of an edge that is called host needs to
// know of the manifest of g.
func coreManifest(g *Generation, host string) core.Manifest {
	m := &g.Manifest
	return core.Manifest{List: m.List, Serial: m.Serial, Built: m.Built, Next: m.Next, Expires: m.Expires, Host: host}
}

// renewed returns a generation with the objects of old and the manifest of g.
// It is an error if the manifest of g names other objects.
func renewed(old, g *Generation) (*Generation, error) {
	if old == nil {
		return nil, errors.New("renew: nothing is loaded")
	}
	for _, role := range []manifest.Role{manifest.Base, manifest.Filter} {
		if plainHash(old, role) != plainHash(g, role) {
			return nil, fmt.Errorf("renew: serial %d has another %s than serial %d", g.Manifest.Serial, role, old.Manifest.Serial)
		}
	}
	return &Generation{Manifest: g.Manifest, Signed: g.Signed, Image: old.Image, Filter: old.Filter}, nil
}

// plainHash returns the SHA-256 of the object of g with that role, before
// compression, or the zero Hash if its manifest names none.
func plainHash(g *Generation, role manifest.Role) manifest.Hash {
	for _, o := range g.Manifest.Objects {
		if o.Role == role {
			return o.Hash
		}
	}
	return manifest.Hash{}
}
