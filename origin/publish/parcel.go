package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

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

// A stock is what the store holds of the manifest before.
type stock struct {
	wire  map[manifest.Object][]byte // objects that are whole
	image []byte                     // the base, or nil
}

// takeStock reads every object of the manifest before. One that is not whole
// is logged; it is put again if it is still needed.
func (r *run) takeStock(ctx context.Context) stock {
	s := stock{wire: map[manifest.Object][]byte{}}
	for _, o := range r.before.Objects {
		wire, err := r.store.Get(ctx, o.StoreName(), o.WireSize)
		var plain []byte
		if err == nil {
			plain, err = o.Open(wire)
		}
		if err != nil {
			r.Log.Warn("object of the manifest before is damaged", "list", r.List, "object", o.StoreName(), "err", err)
			continue
		}
		s.wire[o] = wire
		if o.Role == manifest.Base && o.Coding == manifest.Zstd {
			s.image = plain
		}
	}
	return s
}

// together runs all at once, and returns the error of the first, in this
// order, that fails.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for i, do := range all {
		wait.Go(func() { errs[i] = do() })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pack makes parcels of an image and of its filter, and takes from the stock
// those that are the same as before.
func (r *run) pack(image []byte, stock stock) ([]parcel, error) {
	var base, filter []parcel
	err := together(func() (err error) {
		base, err = r.parcels(manifest.Base, image, stock)
		return err
	}, func() error {
		if r.NoFilter {
			return nil
		}
		plain, err := build.Filter(image)
		if err != nil {
			return err
		}
		filter, err = r.parcels(manifest.Filter, plain, stock)
		return err
	})
	return append(base, filter...), err
}

// parcels returns an object in every coding.
func (r *run) parcels(role manifest.Role, plain []byte, stock stock) ([]parcel, error) {
	codings := []manifest.Coding{manifest.Zstd, manifest.Plain}
	if r.Gzip {
		codings = []manifest.Coding{manifest.Zstd, manifest.Gzip, manifest.Plain}
	}
	var out []parcel
	for _, coding := range codings {
		p, err := r.parcel(role, plain, coding, stock)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *run) parcel(role manifest.Role, plain []byte, coding manifest.Coding, stock stock) (parcel, error) {
	if o, ok := r.before.Object(role, coding); ok && o.Hash == sha256.Sum256(plain) {
		if wire, ok := stock.wire[o]; ok {
			return parcel{o, wire, true}, nil
		}
	}
	o, wire, err := manifest.MakeObject(role, plain, coding)
	return parcel{o, wire, false}, err
}

// examine does the full check of an image, and meanwhile compares it with the
// one before, if there is one.
func (r *run) examine(image, before []byte) (churn float64, err error) {
	s, err := snapshot.Open(image)
	if err == nil {
		err = together(s.Check, func() error {
			if !bytes.Equal(image, before) {
				churn = r.churn(before, s)
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("own image: %w", err)
	}
	return churn, nil
}

// inspect does with the output what an edge will do with it, in every coding.
// The image that it decodes, and returns, has the hash of the one that examine
// has checked.
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
	if plains[manifest.Filter] == nil {
		return s, nil
	}
	f, err := snapshot.OpenFilter(plains[manifest.Filter])
	if err != nil {
		return nil, err
	}
	return s.WithFilter(f)
}
