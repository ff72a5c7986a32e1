package report

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"ucedge/origin/zonefile"
	"ucedge/snapshot"
)

// MaxZoneEntries is how many entries ZoneFile takes, which holds them all: up to
// 45 MB.
const MaxZoneEntries = 100_000

// ErrTooLarge ends the reports of a body that can only be read whole and is too
// large for that.
var ErrTooLarge = errors.New("is too large to be read whole")

// ZoneFile reads a zone file of rbldnsd as reports: each address that it lists
// was seen at its $TIMESTAMP or, without one, in the hour in which the body was
// received, so that a file sent twice within the hour counts once. A report is
// about one address (IPv6: one /64), so wider entries are refused; exclusions
// say nothing. The kind must be that of the rules. Unlike the other formats a
// zone file is read to its end before the first report comes out, so a large one
// gives ErrTooLarge and no report; listings that it refuses by prefix have line 0.
func ZoneFile(body io.Reader, rules Rules) Reports {
	return func(yield func(Report, error) bool) {
		result, err := zonefile.Parse(zonefile.Options{
			Zone:            snapshot.Zone{Suffix: "report.invalid", Level: snapshot.Address},
			Now:             rules.Now,
			AllowSpecialUse: true, // refused by the rules, each with its reason
			AddressesOnly:   true,
			MaxEntries:      MaxZoneEntries,
		}, zonefile.Source{Name: "body", Reader: body})
		switch {
		case errors.Is(err, zonefile.ErrExpired):
			yield(Report{}, &Refusal{1, err.Error()})
			return
		case errors.Is(err, zonefile.ErrLimit):
			yield(Report{}, fmt.Errorf("zone file %w: %w; split it, or send it as a list (text/plain), each address with its time", ErrTooLarge, err))
			return
		case err != nil:
			yield(Report{}, fmt.Errorf("read zone file: %w", err))
			return
		}
		if !yieldProblems(result, yield) {
			return
		}
		for _, l := range result.Listings {
			if l.Excluded {
				continue
			}
			if !yield(zoneReport(l.Prefix, result.Built, &rules)) {
				return
			}
		}
	}
}

// yieldProblems refuses the lines that could not be read. It returns false if
// no more is wanted.
func yieldProblems(result *zonefile.Result, yield func(Report, error) bool) bool {
	for _, p := range result.Problems {
		if !p.Kept && !yield(Report{}, &Refusal{p.Line, p.Reason}) {
			return false
		}
	}
	if more := result.ProblemCount - len(result.Problems); more > 0 {
		return yield(Report{}, &Refusal{0, fmt.Sprintf("%d further lines have problems", more)})
	}
	return true
}

func zoneReport(p netip.Prefix, built int64, rules *Rules) (Report, error) {
	if p.Bits() < p.Addr().BitLen() && !(p.Addr().Is6() && p.Bits() >= 64) {
		return Report{}, &Refusal{0, fmt.Sprintf("%s is more than one address", p)}
	}
	if built == 0 {
		built = rules.Now - rules.Now%3600
	}
	r, err := rules.Check(Report{Address: p.Addr(), Seen: built})
	if err != nil {
		return Report{}, &Refusal{0, err.Error()}
	}
	return r, nil
}
