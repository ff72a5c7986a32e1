package state

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/routes"
)

// ErrNotDecided is returned before the first Decide.
var ErrNotDecided = errors.New("nothing is decided yet")

// A Live answers for the state that was decided last. Its methods may be
// called at once from many goroutines.
type Live struct {
	ledger   ledger.Ledger
	settings Settings
	clock    func() int64
	current  atomic.Pointer[decided]
}

// decided is one state and what policy made of it. It never changes.
type decided struct {
	in      policy.Input // impacts by unit
	result  *policy.Result
	numbers *numbers
	impacts map[string]uint64 // by reporter
}

// NewLive returns a Live on a ledger. The clock gives seconds since the Unix
// epoch.
func NewLive(l ledger.Ledger, s Settings, clock func() int64) *Live {
	return &Live{ledger: l, settings: s, clock: clock}
}

// Decide reads the state of this moment, records relapses, and makes the
// result the one that Explain tells of.
func (v *Live) Decide(ctx context.Context) (*policy.Result, error) {
	room := 0
	if last := v.current.Load(); last != nil {
		room = len(last.in.Impacts) + len(last.in.Impacts)/16
	}
	in, numbers, err := read(ctx, v.ledger, netip.Prefix{}, v.clock(), v.settings, room)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := v.ledger.AppendDecisions(ctx, Relapses(in)); err != nil {
		return nil, err
	}
	order(in.Impacts) // they come by address, so by unit
	d := &decided{in: in, result: policy.Decide(in), numbers: numbers, impacts: numbers.count(in.Impacts)}
	v.current.Store(d)
	return d.result, nil
}

// order puts the impacts of each unit in the order in which Explain tells them,
// so that it need not copy them: there may be millions of one address.
func order(all []policy.Impact) {
	for first, i := 0, 0; i < len(all); i++ {
		if i+1 == len(all) || all[i+1].Unit != all[first].Unit {
			if unit := all[first : i+1]; !slices.IsSortedFunc(unit, policy.ByTime) {
				slices.SortFunc(unit, policy.ByTime)
			}
			first = i + 1
		}
	}
}

// Explain derives the listings of one address in the last result.
func (v *Live) Explain(_ context.Context, a netip.Addr) (policy.Derivation, error) {
	d := v.current.Load()
	if d == nil {
		return policy.Derivation{}, ErrNotDecided
	}
	in := d.in
	in.Impacts = impactsOf(in.Impacts, routes.UnitOf(a))
	return policy.Explain(in, d.result, a), nil
}

// impactsOf returns the impacts of one unit among those of all, by unit.
func impactsOf(all []policy.Impact, u routes.Unit) []policy.Impact {
	compare := func(i policy.Impact, u routes.Unit) int { return i.Unit.Compare(u) }
	first, _ := slices.BinarySearchFunc(all, u, compare)
	n := 0
	for first+n < len(all) && all[first+n].Unit == u {
		n++
	}
	return all[first : first+n]
}

// Impacts returns how many impacts of each reporter were in the window when it
// was decided last. The caller must not change the map.
func (v *Live) Impacts() map[string]uint64 {
	if d := v.current.Load(); d != nil {
		return d.impacts
	}
	return nil
}

// Known reports whether the address had an impact in the window when it was
// decided last.
func (v *Live) Known(a netip.Addr) bool {
	d := v.current.Load()
	return d != nil && len(impactsOf(d.in.Impacts, routes.UnitOf(a))) > 0
}

// CheckRemoval asks policy about the ledger as it is now, not as it was decided
// last: limits hold for requests that follow each other closely.
func (v *Live) CheckRemoval(ctx context.Context, q policy.RemovalRequest) error {
	check, err := v.Removal(ctx, q)
	if err != nil {
		return err
	}
	return check(ctx)
}

// CheckLift does so for taking an address off Levels 2 and 3.
func (v *Live) CheckLift(ctx context.Context, a netip.Addr) error {
	check, err := v.Lift(ctx, a)
	if err != nil {
		return err
	}
	return check(ctx)
}

// CheckManual does so for a manual listing, which no impact matters to.
func (v *Live) CheckManual(ctx context.Context, m policy.Manual) error {
	in, err := stand(ctx, v.ledger, v.clock(), v.settings, nil, &numbers{})
	if err != nil {
		return fmt.Errorf("check manual listing: %w", err)
	}
	return policy.CheckManual(in, m)
}
