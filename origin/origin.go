// Package origin runs an origin: at every interval, and soon after what is
// urgent, it decides what is listed, publishes it as a signed snapshot, and
// writes down what has changed.
//
// Most callers use New and Run. Promised: whatever instruction a crash falls
// on, the store holds a whole snapshot, no serial is used twice, and the next
// build completes what the ledger lacks. A build that fails is logged and
// counted, the snapshot before it stays, and the next one is tried in time.
// Not promised: HTTP, which is package api's, and who may ask for what.
package origin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/publish"
	"ucedge/origin/state"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// Times of an Origin.
const (
	// debounce is how long an urgent build waits for what else is urgent: an
	// operator who exempts a list of addresses causes one build, not hundreds.
	debounce = time.Second
	// compactEvery is the time between two compactions of the ledger.
	compactEvery = time.Hour
	// look is the time between two looks for decisions that another process,
	// such as a command, has written into the ledger.
	look = time.Second
	// DefaultRetain is how long reports are kept: the window, and as long
	// again, so that any moment of the last seven days can be replayed.
	DefaultRetain = 2 * policy.Window * time.Second
)

// Settings of an Origin. Those of State, the ledger, the zones, the store and
// the keys are needed.
type Settings struct {
	Ledger  ledger.Ledger
	State   state.Settings
	Zones   []snapshot.Zone
	Store   publish.Store
	Keys    []note.Signer
	Publish publish.Options // List is needed; Now, Interval, TakeSerial and Log are set for each build

	Every  time.Duration // between two builds; 0 is publish.DefaultInterval
	Retain time.Duration // how long reports are kept; 0 is DefaultRetain, less than policy.Window is that
	// Published is called after each publication. Nil does nothing.
	Published func(publish.Result)
	Clock     func() time.Time
	Log       *slog.Logger // nil discards
}

// An Origin decides and publishes. Build and Run must not be called at once;
// everything else may be, from many goroutines.
type Origin struct {
	Settings
	live     *state.Live
	budget   *budget
	metrics  *Metrics
	urgent   chan struct{}
	compacts time.Time // of the last compaction
	last     Times
}

// Times are what the parts of a build took.
type Times struct {
	Decide  time.Duration // reading the ledger, and deciding
	Publish time.Duration // making, signing, checking and storing the snapshot
	Record  time.Duration // writing down what has changed, after the publication
}

// New returns an origin with these settings.
func New(s Settings) (*Origin, error) {
	if s.Ledger == nil || s.Store == nil || len(s.Keys) == 0 || s.State.Profile == nil || s.Publish.List == "" {
		return nil, errors.New("origin: settings need a ledger, a profile, a store, keys and the name of the list")
	}
	if err := snapshot.CheckZones(s.Zones); err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	if s.Every == 0 {
		s.Every = publish.DefaultInterval
	}
	if s.Retain == 0 {
		s.Retain = DefaultRetain
	}
	s.Retain = max(s.Retain, policy.Window*time.Second)
	if s.Clock == nil {
		s.Clock = time.Now
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	o := &Origin{Settings: s, urgent: make(chan struct{}, 1)}
	o.live = state.NewLive(s.Ledger, s.State, o.now)
	var err error
	if o.budget, err = newBudget(s.State.Profile.Budget, o.live, s.Ledger, s.Clock); err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	o.metrics = newMetrics(s.Clock)
	return o, nil
}

// now is the time in seconds since the Unix epoch.
func (o *Origin) now() int64 { return o.Clock().Unix() }

// Live returns the state that was decided last, for package api.
func (o *Origin) Live() *state.Live { return o.live }

// Admission returns what decides whether a report is within its reporter's
// budget, for package api.
func (o *Origin) Admission() *budget { return o.budget }

// Metrics returns the counts of this origin.
func (o *Origin) Metrics() *Metrics { return o.metrics }

// Last returns what the parts of the last build took that was published.
func (o *Origin) Last() Times { return o.last }

// Urgent asks for a build soon. It does not block.
func (o *Origin) Urgent() {
	select {
	case o.urgent <- struct{}{}:
	default: // one is asked for already
	}
}

// Run builds at once and then at every interval and whenever it is urgent,
// until ctx ends. No failure of a build ends it.
func (o *Origin) Run(ctx context.Context) {
	go o.watch(ctx)
	defer o.settle(ctx)
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	for {
		o.try(ctx)
		o.compact(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-o.urgent:
			if !sleep(ctx, debounce) {
				return
			}
			drain(o.urgent)
		}
	}
}

// urgentKinds are the decisions that must not wait for the next interval.
var urgentKinds = []ledger.DecisionKind{
	ledger.Exempted, ledger.ExemptionEnded, ledger.Removed, ledger.ManualListed, ledger.Purged, ledger.Released,
}

// watch asks for a build when the ledger has a new decision that is urgent,
// whoever wrote it.
func (o *Origin) watch(ctx context.Context) {
	last := int64(-1)
	for {
		rows, err := o.Ledger.Audit(ctx, ledger.Page{Kinds: urgentKinds, Limit: 1})
		newest := int64(0)
		if len(rows) > 0 {
			newest = rows[0].ID
		}
		if err == nil && last >= 0 && newest > last {
			o.Urgent()
		}
		if err == nil {
			last = newest
		}
		if !sleep(ctx, look) {
			return
		}
	}
}

// try builds, and says and counts how that went.
func (o *Origin) try(ctx context.Context) {
	start := time.Now()
	result, err := o.Build(ctx)
	if ctx.Err() != nil && err != nil {
		return // told to stop, which is no failure
	}
	o.metrics.built(result, err, time.Since(start))
	if err != nil {
		o.Log.Error("not published, the snapshot before stays", "err", err)
	}
}

// Build decides and publishes once.
func (o *Origin) Build(ctx context.Context) (publish.Result, error) {
	if err := o.record(ctx); err != nil { // what a crash has left out
		return publish.Result{}, fmt.Errorf("record what was published: %w", err)
	}
	start := time.Now()
	decided, err := o.live.Decide(ctx)
	if err != nil {
		return publish.Result{}, fmt.Errorf("decide: %w", err)
	}
	if err := o.budget.renew(); err != nil {
		return publish.Result{}, err
	}
	times := Times{Decide: time.Since(start)}
	result, err := o.publish(ctx, decided)
	if err != nil {
		return publish.Result{}, err
	}
	times.Publish = time.Since(start) - times.Decide
	o.metrics.decided(decided)
	if o.Published != nil {
		o.Published(result)
	}
	// Told to stop now, it writes down all the same what is published.
	if err := o.record(context.WithoutCancel(ctx)); err != nil {
		return result, fmt.Errorf("published, but not recorded: %w", err)
	}
	times.Record = time.Since(start) - times.Decide - times.Publish
	o.last = times
	return result, nil
}

// publish publishes what was decided, under a serial of the ledger.
func (o *Origin) publish(ctx context.Context, decided *policy.Result) (publish.Result, error) {
	options := o.options()
	var taken snapshot.Serial
	options.TakeSerial = func(ctx context.Context, atLeast snapshot.Serial) (serial snapshot.Serial, err error) {
		taken, err = o.Ledger.TakeSerial(ctx, int64(atLeast))
		return taken, err
	}
	in := build.Input{Zones: o.Zones, Ordered: decided.All(), Profile: decided.Profile.Snapshot()}
	result, err := publish.Publish(ctx, o.Store, in, o.Keys, options)
	if err != nil {
		return publish.Result{}, errors.Join(err, o.stopped(ctx, err, taken))
	}
	return result, nil
}

// options are those of one build.
func (o *Origin) options() publish.Options {
	options := o.Publish
	options.Now, options.Log = o.now(), o.Log
	options.Interval = max(o.Every, time.Second) // a manifest tells whole seconds
	return options
}

// stopped writes down that a limit has stopped a snapshot. Of any other
// failure there is nothing to decide.
func (o *Origin) stopped(ctx context.Context, err error, serial snapshot.Serial) error {
	var excess *publish.Excess
	if !errors.As(err, &excess) {
		return nil
	}
	return o.Ledger.AppendDecisions(ctx, []ledger.Decision{{
		At: o.now(), Kind: ledger.PublishStopped, Serial: serial, Reason: excess.Error(),
	}})
}

// settle writes down what reporters have used of their budgets. Told to stop,
// it does so all the same.
func (o *Origin) settle(ctx context.Context) {
	if err := o.budget.settle(context.WithoutCancel(ctx)); err != nil {
		o.Log.Error("budgets not settled, a restart costs reporters some of them", "err", err)
	}
}

// compact takes reports out of the ledger that are older than they are kept.
func (o *Origin) compact(ctx context.Context) {
	now := o.Clock()
	if now.Sub(o.compacts) < compactEvery {
		return
	}
	o.compacts = now
	removed, err := o.Ledger.Compact(ctx, now.Add(-o.Retain).Unix())
	if err != nil && ctx.Err() == nil {
		o.Log.Error("ledger not compacted", "err", err)
	}
	if removed > 0 {
		o.Log.Info("ledger compacted", "removed", removed)
	}
}

// sleep waits, and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// drain takes what has come in while a build was put off.
func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}
