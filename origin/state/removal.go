package state

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"ucedge/origin/policy"
	"ucedge/origin/routes"
)

// GlanceRemoval asks policy about the impacts that were decided on last and the
// decisions of now: whoever is refused then need not have the ledger gone
// through. Nil means that Removal is to be asked.
func (v *Live) GlanceRemoval(ctx context.Context, q policy.RemovalRequest) error {
	d := v.current.Load()
	if d == nil {
		return nil
	}
	numbers := &numbers{byName: maps.Clone(d.numbers.byName)}
	in, err := stand(ctx, v.ledger, v.clock(), v.settings, impactsOf(d.in.Impacts, routes.UnitOf(q.Address)), numbers)
	if err != nil {
		return fmt.Errorf("glance at removal: %w", err)
	}
	return policy.CheckRemoval(in, q)
}

// Removal reads the impacts of an address, for which it goes through all reports
// of the window: a fifth of a second for five million. The check that it
// returns asks policy about them and the decisions of then, which takes no time;
// it may be called once.
func (v *Live) Removal(ctx context.Context, q policy.RemovalRequest) (check func(context.Context) error, err error) {
	return v.about(ctx, q.Address, func(in policy.Input) error { return policy.CheckRemoval(in, q) })
}

// Lift does so for taking an address off Levels 2 and 3.
func (v *Live) Lift(ctx context.Context, a netip.Addr) (check func(context.Context) error, err error) {
	return v.about(ctx, a, func(in policy.Input) error { return policy.CheckLift(in, a) })
}

// about reads the impacts of an address, and returns a check that asks about
// them and the decisions of then.
func (v *Live) about(ctx context.Context, a netip.Addr, ask func(policy.Input) error) (check func(context.Context) error, err error) {
	impacts, numbers, err := readImpacts(ctx, v.ledger, routes.UnitOf(a).Prefix(), v.clock(), 0)
	if err != nil {
		return nil, fmt.Errorf("check %v: %w", a, err)
	}
	return func(ctx context.Context) error {
		in, err := stand(ctx, v.ledger, v.clock(), v.settings, impacts, numbers)
		if err != nil {
			return fmt.Errorf("check %v: %w", a, err)
		}
		return ask(in)
	}, nil
}
