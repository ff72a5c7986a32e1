package publish

import (
	"context"
	"crypto/sha256"

	"golang.org/x/sync/errgroup"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
)

// A parcel is one object on its way into the store.
type parcel struct {
	object manifest.Object
	wire   []byte
	stored bool // the store holds it, whole
}

func objectsOf(parcels []parcel) []manifest.Object {
	out := make([]manifest.Object, len(parcels))
	for i, p := range parcels {
		out[i] = p.object
	}
	return out
}

// takeStock reads every object of the manifest before and returns the wire
// bytes of those that are whole. One that is not is logged; it is put again if
// it is still needed.
func (r *run) takeStock(ctx context.Context) map[manifest.Object][]byte {
	stock := map[manifest.Object][]byte{}
	for _, o := range r.before.Objects {
		wire, err := r.store.Get(ctx, o.StoreName(), o.WireSize)
		if err == nil {
			_, err = o.Open(wire)
		}
		if err != nil {
			r.Log.Warn("object of the manifest before is damaged", "list", r.List, "object", o.StoreName(), "err", err)
			continue
		}
		stock[o] = wire
	}
	return stock
}

// pack builds the objects of in, and takes from the stock those that are the
// same as before.
func (r *run) pack(in build.Input, stock map[manifest.Object][]byte) ([]parcel, error) {
	image, err := build.Image(in)
	if err != nil {
		return nil, err
	}
	codings := []manifest.Coding{manifest.Zstd}
	if r.Gzip {
		codings = append(codings, manifest.Gzip)
	}
	var base, filter []parcel
	var parts errgroup.Group // to compress the image takes as long as to make the filter
	parts.Go(func() (err error) {
		base, err = r.parcels(manifest.Base, image, codings, stock)
		return err
	})
	if !r.NoFilter {
		parts.Go(func() error {
			plain, err := build.Filter(image)
			if err == nil {
				filter, err = r.parcels(manifest.Filter, plain, codings, stock)
			}
			return err
		})
	}
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	return append(base, filter...), nil
}

// parcels returns one object in each of the codings.
func (r *run) parcels(role manifest.Role, plain []byte, codings []manifest.Coding, stock map[manifest.Object][]byte) (out []parcel, err error) {
	for _, coding := range codings {
		p, err := r.parcel(role, plain, coding, stock)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *run) parcel(role manifest.Role, plain []byte, coding manifest.Coding, stock map[manifest.Object][]byte) (parcel, error) {
	if o, ok := r.before.Object(role, coding); ok && o.Hash == sha256.Sum256(plain) {
		if wire, ok := stock[o]; ok {
			return parcel{o, wire, true}, nil
		}
	}
	o, wire, err := manifest.MakeObject(role, plain, coding)
	return parcel{o, wire, false}, err
}

// inspect does with the output what an edge will do with it, and more: every
// coding, and the full check. It returns the image.
func (r *run) inspect(signed []byte, parcels []parcel) (*snapshot.Snapshot, error) {
	m, err := manifest.Open(signed, verifiers{r.keys, nil})
	if err != nil {
		return nil, err
	}
	rules := manifest.Rules{List: r.List, ABI: m.ABIMin, Now: r.Now, Serial: r.before.Serial, Text: r.before.TextHash()}
	if err := m.Accept(rules); err != nil {
		return nil, err
	}
	plains := map[manifest.Role][]byte{}
	for i, p := range parcels {
		if plains[p.object.Role], err = m.Objects[i].Open(p.wire); err != nil {
			return nil, err
		}
	}
	s, err := snapshot.Open(plains[manifest.Base])
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if plains[manifest.Filter] == nil {
		return s, nil
	}
	f, err := snapshot.OpenFilter(plains[manifest.Filter])
	if err != nil {
		return nil, err
	}
	_, err = s.WithFilter(f)
	return s, err
}
