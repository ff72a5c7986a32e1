package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
	"ucedge/wasm/abi"
)

// Times of a Syncer.
const (
	// defaultLook is the longest time between two looks at the source, however
	// late the next manifest is due: a purge is published out of turn.
	defaultLook = 10 * time.Minute
	// defaultTimeout ends one attempt: at 5 MB it asks for 17 kB/s.
	defaultTimeout = 5 * time.Minute
	// firstBackoff is the pause after a first failure; it doubles up to the
	// longest time between two looks.
	firstBackoff = 5 * time.Second
	// overdueLookMax is the longest pause when the next manifest is overdue.
	overdueLookMax = time.Minute
	// jitterMax is by how much edges spread after a manifest is due, so that
	// they do not all ask in the same second.
	jitterMax = 30 * time.Second
)

// The reasons of a Syncer besides those of package manifest.
const (
	BadImage   manifest.Reason = "image"  // the base is no image
	BadFilter  manifest.Reason = "filter" // the filter is none, or of another image
	OverLimit  manifest.Reason = "limit"  // the snapshot lists more than its limits
	NotFetched manifest.Reason = "fetch"  // the source has failed
	NotLoaded  manifest.Reason = "load"   // the engine has failed
	NotKept    manifest.Reason = "state"  // the state folder has failed
)

// A SyncError is a failure that is nobody's refusal: of the source, the engine
// or the state folder. A refusal is a *manifest.Refusal.
type SyncError struct {
	Reason manifest.Reason
	Err    error
}

func (e *SyncError) Error() string { return fmt.Sprintf("%s: %v", e.Reason, e.Err) }
func (e *SyncError) Unwrap() error { return e.Err }

// SyncReason returns the reason in an error of a Syncer, as the label of a
// metric. There are few.
func SyncReason(err error) string {
	var refusal *manifest.Refusal
	var failure *SyncError
	switch {
	case errors.As(err, &refusal):
		return string(refusal.Reason)
	case errors.As(err, &failure):
		return string(failure.Reason)
	}
	return "other"
}

// A Syncer keeps an engine current: it fetches the manifest of a source,
// verifies it, fetches the objects that have changed, verifies them, and loads
// them. Whatever it cannot verify leaves the engine as it is. Fields are set
// before the first call and not changed afterwards. Its methods are safe for
// concurrent use.
type Syncer struct {
	Source Source         // where snapshots come from; not trusted
	Engine Engine         // what answers
	Keys   note.Verifiers // trusted keys
	List   string         // the list to follow, also the name of its keys

	State  string           // folder that lets a restart answer at once; empty keeps nothing
	Limits *snapshot.Limits // what a snapshot may list; nil is snapshot.DefaultLimits

	Look    time.Duration // longest time between two looks; 0 is ten minutes
	Timeout time.Duration // of one attempt; 0 is five minutes

	Log    *slog.Logger        // nil logs nothing
	Failed func(reason string) // counts failures, see SyncReason; may be nil

	busy     sync.Mutex // one attempt at a time
	accepted accepted
	keptText manifest.Hash            // text hash of the manifest in the state folder, if it is known
	unkept   map[manifest.Hash][]byte // wire bytes that are not yet in the state folder, by wire hash

	mu     sync.Mutex
	status SyncStatus
}

// An accepted is the manifest of the highest serial that a Syncer has accepted.
type accepted struct {
	serial snapshot.Serial
	text   manifest.Hash
	signed []byte // the manifest as it was signed
	file   string // of the state folder, if it comes from there
}

func newAccepted(m manifest.Manifest, signed []byte, file string) accepted {
	return accepted{m.Serial, m.TextHash(), signed, file}
}

// A SyncStatus is how a Syncer fares. Zero times are of what has not happened.
type SyncStatus struct {
	Serial      snapshot.Serial // highest one accepted
	LastAttempt time.Time       // end of the last attempt
	LastSuccess time.Time       // end of the last one that verified what the source has
	Failures    int             // attempts since then
	LastError   string          // of the last attempt; empty after a success
	LastReason  string          // its reason
	StateError  string          // why the state folder lags behind; empty if it does not
}

// Status returns how s fares.
func (s *Syncer) Status() SyncStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run restores what the state folder has, and then follows the source until
// ctx ends, whose error it returns. No other failure ends it.
func (s *Syncer) Run(ctx context.Context) error {
	if err := s.Restore(ctx); err != nil {
		s.log().Warn("state not restored", "folder", s.State, "err", err)
	}
	for {
		err := s.Sync(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		timer := time.NewTimer(s.pause(err))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// pause returns how long to wait after an attempt: until the next manifest is
// due, longer and longer after failures, and never exactly as long as the
// other edges.
func (s *Syncer) pause(err error) time.Duration {
	look := orDuration(s.Look, defaultLook)
	if err != nil {
		failures := s.Status().Failures
		wait := min(firstBackoff<<min(max(failures-1, 0), 16), look)
		return wait/2 + upTo(wait/2)
	}
	g := s.Engine.Current()
	if g == nil {
		return firstBackoff
	}
	period := time.Duration(g.Manifest.Next-g.Manifest.Built) * time.Second
	spread := min(period/10, look/10, jitterMax)
	if due := time.Until(time.Unix(g.Manifest.Next, 0)); due > 0 {
		return min(due, look-spread) + upTo(spread)
	}
	wait := max(min(period/10, overdueLookMax), firstBackoff)
	return wait/2 + upTo(wait/2)
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// upTo returns a random duration from 0 to d.
func upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(d) + 1))
}

// Sync makes one attempt. When it returns nil the engine answers from what the
// source has, be it news or not. An error is a *manifest.Refusal or a
// *SyncError, and the engine then answers as before.
func (s *Syncer) Sync(ctx context.Context) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	attempt, stop := context.WithTimeout(ctx, orDuration(s.Timeout, defaultTimeout))
	defer stop()
	err := s.attempt(attempt)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // nobody failed
	}
	s.note(err)
	return err
}

// attempt is Sync without its bookkeeping.
func (s *Syncer) attempt(ctx context.Context) error {
	signed, err := s.Source.Manifest(ctx)
	if err != nil {
		return failed(NotFetched, err)
	}
	m, err := s.open(signed, s.accepted)
	if err != nil {
		if source, ok := s.Source.(interface{ Forget() }); ok {
			source.Forget()
		}
		return err
	}
	old := s.Engine.Current()
	if old != nil && old.Manifest.TextHash() == m.TextHash() {
		s.keep(old)
		return nil
	}
	g, err := s.assemble(ctx, m, signed, old)
	if err != nil {
		return err
	}
	if err := s.load(ctx, g, old); err != nil {
		return err
	}
	s.accept(newAccepted(m, g.Signed, ""))
	s.log().Info("snapshot loaded", "list", m.List, "serial", m.Serial, "built", m.Built, "bytes", len(g.Image)+len(g.Filter))
	s.keep(g)
	return nil
}

// Restore loads what the state folder has, if it has anything.
func (s *Syncer) Restore(ctx context.Context) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	if s.State == "" {
		return nil
	}
	s.restoreAccepted()
	signed, err := Folder(s.State).Manifest(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed(NotKept, err)
	}
	// What is kept was accepted once, so that its serial is no matter: if the
	// highest is a later one, this is still the last good snapshot.
	m, err := s.open(signed, accepted{})
	if err != nil {
		return err
	}
	from := Syncer{Source: Folder(s.State)}
	g, err := from.assemble(ctx, m, signed, nil)
	if err != nil {
		return err
	}
	if err := s.load(ctx, g, nil); err != nil {
		return err
	}
	s.accept(newAccepted(m, g.Signed, filepath.Join(s.State, manifest.StoreName)))
	s.keptText = m.TextHash()
	s.log().Info("snapshot restored", "list", m.List, "serial", m.Serial, "built", m.Built)
	return nil
}

// open verifies a manifest and holds it against the rules.
func (s *Syncer) open(signed []byte, floor accepted) (manifest.Manifest, error) {
	m, err := manifest.Open(signed, s.Keys)
	if err != nil {
		return manifest.Manifest{}, err
	}
	rules := manifest.Rules{List: s.List, ABI: abi.Version, Now: time.Now().Unix(), Serial: floor.serial, Text: floor.text}
	if err := m.Accept(rules); err != nil {
		return manifest.Manifest{}, s.explain(err, floor)
	}
	return m, nil
}

// explain adds to a refusal whose reason is the serial in floor where that is
// kept, and what to do.
func (s *Syncer) explain(err error, floor accepted) error {
	var refusal *manifest.Refusal
	if floor.file == "" || !errors.As(err, &refusal) || refusal.Reason != manifest.Rollback && refusal.Reason != manifest.Fork {
		return err
	}
	detail := fmt.Sprintf("%s, which was accepted before and is kept in %q; if the list was begun anew, stop the edge and remove %q",
		refusal.Detail, floor.file, s.State)
	return &manifest.Refusal{Reason: refusal.Reason, Detail: detail}
}

// assemble returns the generation of m. It takes what it can from the
// generation before and from the state folder, and fetches the rest.
func (s *Syncer) assemble(ctx context.Context, m manifest.Manifest, signed []byte, old *Generation) (*Generation, error) {
	s.forgetUnkept(m, old)
	g := &Generation{Manifest: m, Signed: bytes.Clone(signed)}
	var err error
	if g.Image, err = s.object(ctx, m, manifest.Base, old); err != nil {
		return nil, err
	}
	g.Filter, err = s.object(ctx, m, manifest.Filter, old)
	return g, err
}

// object returns the plain bytes of the object of that role, or none if m
// names none.
func (s *Syncer) object(ctx context.Context, m manifest.Manifest, role manifest.Role, old *Generation) ([]byte, error) {
	o, ok := m.Object(role, manifest.Zstd)
	if !ok {
		return nil, nil
	}
	if old != nil && plainHash(old, role) == o.Hash && s.hasKept(o) {
		return old.plain(role), nil
	}
	if plain := s.kept(o); plain != nil {
		return plain, nil
	}
	wire, err := s.fetch(ctx, o)
	if err != nil {
		return nil, err
	}
	plain, err := o.Open(wire)
	if err != nil {
		return nil, err
	}
	s.willKeep(o, wire)
	return plain, nil
}

// plain returns the bytes of the object of that role.
func (g *Generation) plain(role manifest.Role) []byte {
	if role == manifest.Filter {
		return g.Filter
	}
	return g.Image
}

// fetch returns the wire bytes of o from the source, not yet verified.
func (s *Syncer) fetch(ctx context.Context, o manifest.Object) ([]byte, error) {
	r, err := s.Source.Object(ctx, o)
	if err != nil {
		return nil, failed(NotFetched, err)
	}
	defer r.Close()
	wire, err := o.Receive(r)
	return wire, failed(NotFetched, err)
}

// failed gives an error its reason, unless it is a refusal or has one.
func failed(reason manifest.Reason, err error) error {
	var refusal *manifest.Refusal
	var failure *SyncError
	if err == nil || errors.As(err, &refusal) || errors.As(err, &failure) {
		return err
	}
	return &SyncError{reason, err}
}

// load verifies the plain objects of g and gives it to the engine. If they are
// those of old, which were verified, the engine only learns the new times.
func (s *Syncer) load(ctx context.Context, g, old *Generation) error {
	load := s.Engine.Load
	if old != nil && old.Manifest.SameObjects(g.Manifest) {
		load = s.Engine.Renew
	} else if err := s.inspect(g); err != nil {
		return err
	}
	if err := load(ctx, g); err != nil {
		return failed(NotLoaded, err)
	}
	return nil
}

// accept raises the highest serial accepted to that of a, unless that is as high.
func (s *Syncer) accept(a accepted) {
	if a.serial <= s.accepted.serial {
		return
	}
	s.accepted = a
	s.mu.Lock()
	s.status.Serial = a.serial
	s.mu.Unlock()
}

// inspect opens the objects of g and holds the snapshot to its limits. It looks
// at their checksums too, although their hashes are right: what was damaged
// between building and signing is found here or nowhere, as engines do not look,
// in half a millisecond a publication.
func (s *Syncer) inspect(g *Generation) error {
	image, err := snapshot.Open(g.Image)
	if err != nil {
		return &manifest.Refusal{Reason: BadImage, Detail: err.Error()}
	}
	if len(g.Filter) > 0 {
		f, err := snapshot.OpenFilter(g.Filter)
		if err == nil {
			_, err = image.WithFilter(f)
		}
		if err != nil {
			return &manifest.Refusal{Reason: BadFilter, Detail: err.Error()}
		}
	}
	limits := s.Limits
	if limits == nil {
		standard := snapshot.DefaultLimits()
		limits = &standard
	}
	if err := image.Sane(*limits); err != nil {
		return &manifest.Refusal{Reason: OverLimit, Detail: err.Error()}
	}
	return nil
}

// note keeps and tells what came of an attempt.
func (s *Syncer) note(err error) {
	s.mu.Lock()
	s.status.LastAttempt = time.Now()
	if err == nil {
		s.status.LastSuccess, s.status.Failures = s.status.LastAttempt, 0
		s.status.LastError, s.status.LastReason = "", ""
	} else {
		s.status.Failures++
		s.status.LastError, s.status.LastReason = err.Error(), SyncReason(err)
	}
	s.mu.Unlock()
	if err != nil {
		s.log().Warn("snapshot not renewed", "list", s.List, "reason", SyncReason(err), "err", err)
		s.count(err)
	}
}

func (s *Syncer) count(err error) {
	if s.Failed != nil {
		s.Failed(SyncReason(err))
	}
}

func (s *Syncer) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
