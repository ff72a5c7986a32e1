package ledger

import (
	"context"
	"net/netip"
	"slices"
)

// ExemptionsAt replays the exemptions and their ends: it returns the decisions
// that are in force at a time, one for each subject, in the order in which they
// were made. A new exemption of a subject takes the place of the one before.
func ExemptionsAt(ctx context.Context, l Ledger, at int64) ([]Decision, error) {
	events, err := l.Events(ctx, at, Exempted, ExemptionEnded)
	if err != nil {
		return nil, err
	}
	last := map[netip.Prefix]int{}
	for i, event := range events {
		last[event.Prefix] = i
	}
	inForce := slices.Collect(func(yield func(Decision) bool) {
		for i, event := range events {
			over := event.Kind == ExemptionEnded || event.Until != 0 && event.Until <= at
			if last[event.Prefix] == i && !over && !yield(event) {
				return
			}
		}
	})
	return inForce, nil
}
