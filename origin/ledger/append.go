package ledger

import (
	"context"
	"fmt"
	"net/netip"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// AppendReports is promised by Ledger.
func (s *SQLite) AppendReports(ctx context.Context, reports []report.Report) (Receipt, error) {
	return s.appendReports(ctx, reports, 0)
}

// HoldReports is promised by Ledger.
func (s *SQLite) HoldReports(ctx context.Context, reports []report.Report) (Receipt, error) {
	return s.appendReports(ctx, reports, rowWaits)
}

func (s *SQLite) appendReports(ctx context.Context, reports []report.Report, mark byte) (Receipt, error) {
	keys := make([]report.Key, len(reports))
	for i := range reports {
		if err := checkReport(&reports[i]); err != nil {
			return Receipt{}, fmt.Errorf("report %d: %w", i, err)
		}
		keys[i] = reports[i].Key() // here, not in the writer, which is alone
	}
	var receipt Receipt
	err := s.writer.do(ctx, len(reports), func(ctx context.Context, tx *tx) error {
		receipt = Receipt{}
		for i := range reports {
			added, err := tx.add(ctx, &reports[i], keys[i], mark)
			if err != nil {
				return err
			}
			if added {
				receipt.Accepted++
			} else {
				receipt.Duplicates++
			}
		}
		return nil
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("append %d reports: %w", len(reports), err)
	}
	return receipt, nil
}

// Fresh is promised by Ledger.
func (s *SQLite) Fresh(ctx context.Context, reports []report.Report) ([]bool, error) {
	select {
	case <-s.writer.quit:
		return nil, errClosed
	default:
	}
	keys := make([]report.Key, len(reports))
	for i := range reports {
		keys[i] = reports[i].Key()
	}
	return s.writer.fresh(keys), ctx.Err()
}

// checkReport says why a row cannot hold r. What makes a report acceptable is
// decided by report.Rules; these are the bounds of the store.
func checkReport(r *report.Report) error {
	switch {
	case !r.Address.IsValid() || r.Address.Is4In6() || r.Address.Zone() != "":
		return fmt.Errorf("address %q is not plain: %w", r.Address, ErrInvalid)
	case r.Seen < 0 || r.Seen > MaxTime:
		return fmt.Errorf("seen %d is out of range: %w", r.Seen, ErrInvalid)
	case len(r.Kind.Names()) != 1 || r.Kind&(r.Kind-1) != 0:
		return fmt.Errorf("kind %d is not exactly one kind: %w", r.Kind, ErrInvalid)
	case r.Reporter == "" || len(r.Reporter) > report.MaxName:
		return fmt.Errorf("reporter %q is empty or too long: %w", r.Reporter, ErrInvalid)
	case len(r.Evidence) > report.MaxEvidence:
		return fmt.Errorf("evidence is longer than %d bytes: %w", report.MaxEvidence, ErrInvalid)
	}
	return nil
}

// AppendDecisions is promised by Ledger.
func (s *SQLite) AppendDecisions(ctx context.Context, decisions []Decision) error {
	for i := range decisions {
		if err := decisions[i].check(); err != nil {
			return fmt.Errorf("decision %d: %w", i, err)
		}
	}
	err := s.writer.do(ctx, len(decisions), func(ctx context.Context, tx *tx) error {
		for i := range decisions {
			if err := tx.decide(ctx, &decisions[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("append %d decisions: %w", len(decisions), err)
	}
	return nil
}

// decide writes one decision.
func (t *tx) decide(ctx context.Context, d *Decision) error {
	var address []byte
	bits := 0
	if d.Prefix.IsValid() {
		mapped := d.Prefix.Addr().As16()
		address, bits = mapped[:], d.Prefix.Bits()
		if d.Prefix.Addr().Is4() {
			bits += 96
		}
	}
	_, err := insert(ctx, t.statement.decision, d.At, kindNumbers[d.Kind], int(d.Level), address, bits, int64(d.ASN),
		d.Until, int64(d.Serial), d.Count, d.Subject, d.Actor, d.Reporter, d.Reason, d.Note)
	return err
}

// TakeSerial is promised by Ledger.
func (s *SQLite) TakeSerial(ctx context.Context, at int64) (snapshot.Serial, error) {
	var serial int64
	err := s.writer.do(ctx, 1, func(ctx context.Context, tx *tx) error {
		var last int64
		if err := tx.conn.QueryRowContext(ctx, "SELECT coalesce(max(serial), 0) FROM serials").Scan(&last); err != nil {
			return err
		}
		serial = max(last+1, at)
		if serial > MaxTime {
			return refuse("serial %d: %w", serial, ErrNoSerial)
		}
		_, err := tx.conn.ExecContext(ctx, "INSERT INTO serials (serial, at) VALUES (?, ?)", serial, at)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take serial: %w", err)
	}
	return snapshot.Serial(serial), nil
}

// prefixOf returns the prefix that decide stored.
func prefixOf(address []byte, bits int) (netip.Prefix, error) {
	if len(address) == 0 {
		return netip.Prefix{}, nil
	}
	if len(address) != 16 {
		return netip.Prefix{}, fmt.Errorf("address of %d bytes: %w", len(address), errDamaged)
	}
	a := netip.AddrFrom16([16]byte(address))
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	return netip.PrefixFrom(a, bits), nil
}
