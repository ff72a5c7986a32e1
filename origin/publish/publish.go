// Package publish turns listings into a signed snapshot in a store: image and
// filter, compressed, checked as an edge would check them, immutable objects
// first and the manifest last.
//
// Most callers use Publish for each build, and Resign between builds to show
// edges that nothing was withheld. Promised: whatever instruction a crash
// falls on, the store holds a whole snapshot, the one before or the new one,
// and the next run removes what was left behind. Serials only grow, and two
// publishers never sign two manifests into one store that both stay. Not
// promised: any listing policy.
package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
)

// Defaults of Options.
const (
	DefaultInterval  = 5 * time.Minute
	DefaultLife      = 7 * 24 * time.Hour // the window of POLICY: by then every listing has ended
	DefaultKeep      = 8
	DefaultChurnMax  = 0.5       // half of all entries
	DefaultOrphanAge = time.Hour // longer than any publisher takes from its first object to its manifest
)

// Options are what Publish needs besides listings and keys. Zero values stand
// for the defaults, but for List and Now, which must be set.
type Options struct {
	List string // name of the list, also that of at least one key
	Now  int64  // seconds since the Unix epoch

	Interval time.Duration // until the next manifest is due
	Life     time.Duration // until the manifest expires
	ABIMin   uint32        // guest interfaces that can read the objects; 0 is 1
	ABIMax   uint32        // 0 is ABIMin
	Gzip     bool          // adds a gzip twin of each object
	NoFilter bool          // leaves the filter object out

	Trusted note.Verifiers // old keys that may have signed the manifest that is replaced; may be nil
	// TakeSerial returns a serial that was never used and is not below atLeast,
	// and keeps it from ever being used again. Nil takes atLeast itself, which
	// is above all that the store has seen.
	TakeSerial func(ctx context.Context, atLeast snapshot.Serial) (snapshot.Serial, error)

	Limits    *snapshot.Limits // what a snapshot may list; nil is snapshot.DefaultLimits
	ChurnMax  float64          // share of the entries that may differ from the snapshot before, 0 to 1
	Override  []Limit          // limits that an operator lifts for this run; each must be liftable
	Keep      int              // generations of objects that stay in the store, at least 2
	OrphanAge time.Duration    // age from which objects that no manifest names are deleted

	Log *slog.Logger // nil logs nothing
}

// A Result is what Publish or Resign has done.
type Result struct {
	Manifest manifest.Manifest
	Signed   []byte
	Changed  bool    // the objects differ from those of the manifest before
	Churn    float64 // share of the entries that differ from the snapshot before; 0 if there was none
	Put      int     // objects written
	Deleted  int     // names removed by retention
}

// Publish builds the snapshot of in, signs it with keys and makes it current.
// An error that is a *Excess says which limit refused it, ErrConflict
// that another publisher was faster; in both cases, and after every other
// error, the store still holds a whole snapshot.
func Publish(ctx context.Context, store Store, in build.Input, keys []note.Signer, o Options) (Result, error) {
	r, err := begin(ctx, store, keys, o)
	if err != nil {
		return Result{}, fmt.Errorf("publish: %w", err)
	}
	res, err := r.publish(ctx, in)
	if err != nil {
		return Result{}, fmt.Errorf("publish %q: %w", o.List, err)
	}
	return res, nil
}

// Resign signs the objects of the current manifest again, under a new serial
// and later times. An error that is fs.ErrNotExist says that there is no
// manifest, or that an object it names is gone: publish instead.
func Resign(ctx context.Context, store Store, keys []note.Signer, o Options) (Result, error) {
	r, err := begin(ctx, store, keys, o)
	if err != nil {
		return Result{}, fmt.Errorf("resign: %w", err)
	}
	res, err := r.resign(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("resign %q: %w", o.List, err)
	}
	return res, nil
}

// A run is one call of Publish or Resign.
type run struct {
	Options
	store  Store
	keys   []note.Signer
	signed []byte            // manifest in the store; nil is none
	before manifest.Manifest // the same; zero is none
}

func begin(ctx context.Context, store Store, keys []note.Signer, o Options) (*run, error) {
	if o.Now <= 0 || o.Now > math.MaxUint32 {
		return nil, fmt.Errorf("time %d is not that of a serial", o.Now)
	}
	for _, l := range o.Override {
		if err := l.Liftable(); err != nil {
			return nil, err
		}
	}
	r := &run{Options: o.withDefaults(), store: store, keys: keys}
	signed, err := store.Get(ctx, manifest.StoreName, manifest.MaxSigned)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("manifest before: %w", err)
	}
	r.signed = signed
	if r.before, err = manifest.Open(signed, verifiers{keys, o.Trusted}); err != nil {
		return nil, fmt.Errorf("manifest before: %w", err)
	}
	if r.before.List != o.List {
		return nil, fmt.Errorf("manifest before is of list %q, not %q", r.before.List, o.List)
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	o.Interval = orDefault(o.Interval, DefaultInterval)
	o.Life = orDefault(o.Life, DefaultLife)
	o.ABIMin = orDefault(o.ABIMin, 1)
	o.ABIMax = orDefault(o.ABIMax, o.ABIMin)
	o.ChurnMax = orDefault(o.ChurnMax, DefaultChurnMax)
	o.Keep = max(2, orDefault(o.Keep, DefaultKeep))
	o.OrphanAge = orDefault(o.OrphanAge, DefaultOrphanAge)
	if o.Limits == nil {
		limits := snapshot.DefaultLimits()
		o.Limits = &limits
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (r *run) publish(ctx context.Context, in build.Input) (Result, error) {
	var stock stock
	var plain []byte
	err := together(func() (err error) {
		plain, err = build.Image(in)
		return err
	}, func() error {
		stock = r.takeStock(ctx)
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	var parcels []parcel
	var churn float64
	err = together(func() (err error) {
		parcels, err = r.pack(plain, stock)
		return err
	}, func() (err error) {
		churn, err = r.examine(plain, stock.image)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	res, err := r.sign(ctx, in.Profile.Name, r.ABIMin, r.ABIMax, objectsOf(parcels))
	if err != nil {
		return Result{}, err
	}
	image, err := r.inspect(res.Signed, parcels)
	if err != nil {
		return Result{}, fmt.Errorf("own output: %w", err)
	}
	res.Churn = churn
	if err := r.limit(image, res.Churn); err != nil {
		return Result{}, err
	}
	for _, p := range parcels {
		if p.stored {
			continue
		}
		if err := r.store.Put(ctx, p.object.StoreName(), p.wire); err != nil {
			return Result{}, fmt.Errorf("put object %s: %w", p.object.Role, err)
		}
		res.Put++
	}
	return r.finish(ctx, res)
}

func (r *run) resign(ctx context.Context) (Result, error) {
	if r.signed == nil {
		return Result{}, fmt.Errorf("manifest: %w", fs.ErrNotExist)
	}
	entries, err := r.store.List(ctx, manifest.StorePrefix)
	if err != nil {
		return Result{}, err
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		sizes[e.Name] = e.Size
	}
	for _, o := range r.before.Objects {
		if sizes[o.StoreName()] != o.WireSize {
			return Result{}, fmt.Errorf("object %q: %w", o.StoreName(), fs.ErrNotExist)
		}
	}
	res, err := r.sign(ctx, r.before.Profile, r.before.ABIMin, r.before.ABIMax, r.before.Objects)
	if err != nil {
		return Result{}, err
	}
	return r.finish(ctx, res)
}

// sign makes the manifest that follows the one before.
func (r *run) sign(ctx context.Context, profile string, abiMin, abiMax uint32, objects []manifest.Object) (Result, error) {
	if r.before.Serial == math.MaxUint32 {
		return Result{}, errors.New("the last serial is in use")
	}
	serial, err := r.serial(ctx)
	if err != nil {
		return Result{}, err
	}
	m := manifest.Manifest{
		List:    r.List,
		Serial:  serial,
		Built:   r.Now,
		Next:    r.Now + int64(r.Interval/time.Second),
		Expires: r.Now + int64(r.Life/time.Second),
		ABIMin:  abiMin, ABIMax: abiMax,
		Profile: profile,
		Objects: objects,
	}
	if r.signed != nil {
		m.Previous = r.before.TextHash()
	}
	signed, err := manifest.Sign(m, r.keys...)
	if err != nil {
		return Result{}, err
	}
	return Result{Manifest: m, Signed: signed, Changed: r.signed == nil || !m.SameObjects(r.before)}, nil
}

// serial returns the serial of the next manifest.
func (r *run) serial(ctx context.Context) (snapshot.Serial, error) {
	atLeast := max(r.before.Serial+1, snapshot.Serial(r.Now))
	if r.TakeSerial == nil {
		return atLeast, nil
	}
	serial, err := r.TakeSerial(ctx, atLeast)
	if err == nil && serial < atLeast {
		err = fmt.Errorf("serial %d was taken, at least %d is needed", serial, atLeast)
	}
	return serial, err
}

// finish keeps the manifest before in the history, replaces it, and deletes
// what retention lets go of. A failed deletion is logged and left to the next
// run, because the snapshot is published.
func (r *run) finish(ctx context.Context, res Result) (Result, error) {
	if r.signed != nil {
		if err := r.store.Put(ctx, historyName(r.before.Serial), r.signed); err != nil {
			return Result{}, fmt.Errorf("put history: %w", err)
		}
	}
	if err := r.swap(ctx, res.Signed); err != nil {
		return Result{}, fmt.Errorf("put manifest: %w", err)
	}
	var err error
	if res.Deleted, err = r.retain(ctx, res); err != nil {
		r.Log.Warn("retention not finished", "list", r.List, "err", err)
	}
	r.Log.Info("published", "list", r.List, "serial", res.Manifest.Serial, "changed", res.Changed,
		"churn", res.Churn, "put", res.Put, "deleted", res.Deleted)
	return res, nil
}

// swap makes signed current. After an error it looks whether it is all the
// same: over a network an answer may be lost, and a client may have tried
// again and met its own manifest as a conflict.
func (r *run) swap(ctx context.Context, signed []byte) error {
	err := r.store.Swap(ctx, r.signed, signed)
	if err == nil {
		return nil
	}
	if now, e := r.store.Get(ctx, manifest.StoreName, manifest.MaxSigned); e == nil && bytes.Equal(now, signed) {
		return nil
	}
	return err
}

// verifiers are the public sides of signers, and older keys besides. Ed25519
// gives the same signature each time, so a signer can check its own.
type verifiers struct {
	signers []note.Signer
	older   note.Verifiers
}

func (v verifiers) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, s := range v.signers {
		if s.Name() == name && s.KeyHash() == hash {
			return ownVerifier{s}, nil
		}
	}
	if v.older != nil {
		return v.older.Verifier(name, hash)
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

type ownVerifier struct{ note.Signer }

func (v ownVerifier) Verify(msg, sig []byte) bool {
	own, err := v.Sign(msg)
	return err == nil && bytes.Equal(own, sig)
}
