// Package state reads out of a ledger what package policy decides on, and
// keeps what it decided last.
//
// Most callers use Read for a moment of their own choosing (replay, what-if)
// and Live for the moment that is published. Promised: the same reports and
// decisions give the same state, in whatever order they arrived. Not promised:
// routes of a past moment; the caller brings those that it has.
package state

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/routes"
)

// Settings are what a decision depends on beside the ledger.
type Settings struct {
	Profile   *policy.Profile
	Routes    func() *routes.Table // asked for each time, as tables are reloaded; nil gives none
	Protected []policy.Protected
}

// Read returns what was known and decided at a time, in seconds since the Unix
// epoch. Reporters are numbered in the order in which their impacts come.
func Read(ctx context.Context, l ledger.Ledger, at int64, s Settings) (policy.Input, error) {
	in, _, err := read(ctx, l, netip.Prefix{}, at, s, 0)
	if err != nil {
		return policy.Input{}, fmt.Errorf("read state at %d: %w", at, err)
	}
	return in, nil
}

// read does so with the impacts within a prefix alone, unless it is zero. It
// has room for so many of them before it must grow.
func read(ctx context.Context, l ledger.Ledger, within netip.Prefix, at int64, s Settings, room int) (policy.Input, *numbers, error) {
	impacts, numbers, err := readImpacts(ctx, l, within, at, room)
	if err != nil {
		return policy.Input{}, nil, err
	}
	in, err := stand(ctx, l, at, s, impacts, numbers)
	return in, numbers, err
}

// readImpacts reads the impacts, for which it goes through all reports of the
// window.
func readImpacts(ctx context.Context, l ledger.Ledger, within netip.Prefix, at int64, room int) ([]policy.Impact, *numbers, error) {
	found, err := l.Impacts(ctx, within, at-policy.Window, at)
	if err != nil {
		return nil, nil, err
	}
	impacts, numbers := make([]policy.Impact, 0, room), &numbers{}
	for r := range found {
		impacts = append(impacts, policy.Impact{Unit: routes.UnitOf(r.Address), Seen: r.Seen, Reporter: numbers.of(r), Kind: r.Kind})
	}
	return impacts, numbers, nil
}

// stand returns these impacts with what was decided until a time.
func stand(ctx context.Context, l ledger.Ledger, at int64, s Settings, impacts []policy.Impact, n *numbers) (policy.Input, error) {
	events, err := l.Events(ctx, at, ledger.Exempted, ledger.ExemptionEnded, ledger.Removed, ledger.Relapsed, ledger.ManualListed, ledger.Purged)
	if err != nil {
		return policy.Input{}, err
	}
	in := policy.Input{Now: at, Profile: s.Profile, Protected: s.Protected, Impacts: impacts}
	if s.Routes != nil {
		in.Routes = s.Routes()
	}
	replay(&in, events, n)
	return in, nil
}

// numbers gives reporters numbers in the order in which they are met, which is
// that of the impacts and so does not depend on their arrival.
type numbers struct {
	byName map[string]uint32
	last   string // impacts of one reporter often follow one another
	number uint32
}

func (n *numbers) of(r report.Report) uint32 {
	if r.Reporter == n.last && n.byName != nil {
		return n.number
	}
	n.last, n.number = r.Reporter, n.named(r.Reporter)
	return n.number
}

func (n *numbers) named(name string) uint32 {
	if n.byName == nil {
		n.byName = map[string]uint32{}
	}
	number, ok := n.byName[name]
	if !ok {
		number = uint32(len(n.byName))
		n.byName[name] = number
	}
	return number
}

// count returns the number of impacts of each reporter.
func (n *numbers) count(impacts []policy.Impact) map[string]uint64 {
	byNumber := make([]uint64, len(n.byName))
	for _, i := range impacts {
		byNumber[i.Reporter]++
	}
	counts := make(map[string]uint64, len(n.byName))
	for name, number := range n.byName {
		counts[name] = byNumber[number]
	}
	return counts
}

// replay turns events, in the order of their times, into the standing of the
// moment.
func replay(in *policy.Input, events []ledger.Decision, n *numbers) {
	exempt := map[netip.Prefix]int{} // open exemption of a subject, by its place
	for _, e := range events {
		a := e.Prefix.Addr()
		switch e.Kind {
		case ledger.Exempted, ledger.ExemptionEnded:
			if i, open := exempt[e.Prefix]; open {
				in.Exemptions[i].Until = sooner(in.Exemptions[i].Until, e.At)
				delete(exempt, e.Prefix)
			}
			if e.Kind == ledger.Exempted {
				exempt[e.Prefix] = len(in.Exemptions)
				in.Exemptions = append(in.Exemptions, policy.Exemption{Address: a, From: e.At, Until: e.Until})
			}
		case ledger.Removed:
			in.Removals = append(in.Removals, policy.Removal{Address: a, At: e.At})
		case ledger.Relapsed:
			relapse(in.Removals, e)
		case ledger.ManualListed:
			in.Manual = append(in.Manual, policy.Manual{Prefix: e.Prefix, From: e.At, Until: e.Until, Evidence: e.Note})
		case ledger.Purged:
			in.Withdrawn = append(in.Withdrawn, policy.Withdrawal{Reporter: n.named(e.Reporter), At: e.At})
		}
	}
}

// sooner returns the earlier of two ends, of which 0 is none.
func sooner(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// relapse marks the last removal of the address before the relapse.
func relapse(removals []policy.Removal, e ledger.Decision) {
	for i, r := range slices.Backward(removals) {
		if r.Address == e.Prefix.Addr() && r.At <= e.At {
			if r.Relapse == 0 {
				removals[i].Relapse = e.At
			}
			return
		}
	}
}

// Relapses returns the decisions that record impacts soon after a removal and
// are not in the ledger yet. To be appended at every build: the impact itself
// is compacted away long before the bar that it raises ends.
func Relapses(in policy.Input) []ledger.Decision {
	var found []ledger.Decision
	for _, r := range in.Removals {
		if r.Relapse != 0 {
			continue
		}
		if at := policy.Relapse(in.Profile, r, in.Impacts); at != 0 {
			found = append(found, ledger.Decision{At: at, Kind: ledger.Relapsed, Prefix: netip.PrefixFrom(r.Address, r.Address.BitLen())})
		}
	}
	return found
}
