package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// decisionColumns are those that decide writes, in its order.
const decisionColumns = "at, kind, level, address, bits, asn, until, serial, count, subject, actor, reporter, reason, note"

// Events is promised by Ledger.
func (s *SQLite) Events(ctx context.Context, until int64, kinds ...DecisionKind) ([]Decision, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	var c conditions
	c.add("at <= ?", until)
	c.kinds(kinds)
	events, err := s.decisions(ctx, c.where()+" ORDER BY at, id", c.args...)
	if err != nil {
		return nil, fmt.Errorf("read events until %d: %w", until, err)
	}
	return events, nil
}

// Audit is promised by Ledger.
func (s *SQLite) Audit(ctx context.Context, page Page) ([]Decision, error) {
	var decisions []Decision
	clauses, args, err := s.clauses(ctx, page)
	if err == nil {
		decisions, err = s.decisions(ctx, clauses, args...)
	}
	if err != nil {
		return nil, fmt.Errorf("read audit page: %w", err)
	}
	return decisions, nil
}

func (s *SQLite) decisions(ctx context.Context, clauses string, args ...any) ([]Decision, error) {
	found, err := s.db.QueryContext(ctx, "SELECT id, "+decisionColumns+" FROM decisions "+clauses, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var decisions []Decision
	for found.Next() {
		var d Decision
		var kind, bits int
		var address []byte
		err := found.Scan(&d.ID, &d.At, &kind, &d.Level, &address, &bits, &d.ASN, &d.Until, &d.Serial, &d.Count,
			&d.Subject, &d.Actor, &d.Reporter, &d.Reason, &d.Note)
		if err == nil {
			d.Kind, err = kindOf(kind)
		}
		if err == nil {
			d.Prefix, err = prefixOf(address, bits)
		}
		if err != nil {
			return nil, fmt.Errorf("decision %d: %w", d.ID, err)
		}
		decisions = append(decisions, d)
	}
	return decisions, found.Err()
}

// numbersOf returns the numbers of kinds, each once; those of all kinds if
// there are none.
func numbersOf(kinds []DecisionKind) []int {
	if len(kinds) == 0 {
		return slices.Sorted(maps.Values(kindNumbers))
	}
	numbers := make([]int, len(kinds))
	for i, kind := range kinds {
		numbers[i] = kindNumbers[kind]
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// kindsByNumber is the inverse of kindNumbers.
var kindsByNumber = func() []DecisionKind {
	kinds := make([]DecisionKind, len(kindNumbers)+1)
	for kind, number := range kindNumbers {
		kinds[number] = kind
	}
	return kinds
}()

func kindOf(number int) (DecisionKind, error) {
	if number <= 0 || number >= len(kindsByNumber) {
		return "", fmt.Errorf("kind number %d is unknown: %w", number, errDamaged)
	}
	return kindsByNumber[number], nil
}

// AllKinds returns the kinds of decisions, by name.
func AllKinds() []DecisionKind { return slices.Sorted(maps.Keys(kindNumbers)) }

// Public returns what of d anyone may read, and whether anyone may: not who
// decided, whose reports were concerned, or what proves it (POLICY, What an
// answer says: trap addresses and reporter names never leave the origin).
func (d Decision) Public() (Decision, bool) {
	if !slices.Contains(publicKinds, d.Kind) {
		return Decision{}, false
	}
	d.Actor, d.Reporter, d.Note, d.Subject = "", "", "", ""
	return d, true
}

// publicKinds are the kinds of which anyone may read.
var publicKinds = []DecisionKind{Listed, Delisted, Exempted, ExemptionRefused, ExemptionEnded, Removed, RemovalRefused, ManualListed, Purged, Published, PublishStopped}

// PublicKinds returns the kinds of decisions that anyone may read of.
func PublicKinds() []DecisionKind { return slices.Clone(publicKinds) }
