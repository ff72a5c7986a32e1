package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

const day = 24 * 3600

// A Removal is one granted express removal. It sets aside every impact of the
// address up to then; those after it count again.
type Removal struct {
	Address netip.Addr
	At      int64
	Relapse int64 // time of the first impact within relapse_days after it, if known; 0: none
}

// RemovalLimits are the limits of express removal, which no payment lifts.
type RemovalLimits struct {
	AddressDays     int64 `toml:"address_days"`     // between two removals of one address
	NetLimit        int   `toml:"net_limit"`        // in one /24 or /48 within AddressDays
	AllocationLimit int   `toml:"allocation_limit"` // in one announced prefix within AddressDays
	SystemDayLimit  int   `toml:"system_day_limit"` // in one AS within 24 hours
	QuietSeconds    int64 `toml:"quiet_seconds"`    // no removal this soon after an impact
	RelapseDays     int64 `toml:"relapse_days"`     // an impact this soon after a removal
	BarDays         int64 `toml:"bar_days"`         // bars the next one for so long after it
}

// daysMax keeps times far from overflow.
const daysMax = 3650

func (l *RemovalLimits) check() error {
	for _, d := range []int64{l.AddressDays, l.RelapseDays, l.BarDays} {
		if d < 1 || d > daysMax {
			return fmt.Errorf("%d days is outside 1 to %d", d, daysMax)
		}
	}
	if l.NetLimit < 1 || l.AllocationLimit < 1 || l.SystemDayLimit < 1 {
		return errors.New("net_limit, allocation_limit and system_day_limit must be at least 1")
	}
	if l.QuietSeconds < 0 || l.QuietSeconds > Window {
		return fmt.Errorf("quiet_seconds %d is outside 0 to %d", l.QuietSeconds, Window)
	}
	return nil
}

// A RemovalRequest asks for express removal of an address. Proven says that
// whoever asks has shown control of it.
type RemovalRequest struct {
	Address netip.Addr
	Proven  bool
}

// A Refusal is the error of a request that the rule does not allow. Rule is one
// word for programs, Until the time from which the rule alone would allow it,
// or 0 if time does not help.
type Refusal struct {
	Rule   string
	Reason string
	Until  int64
}

func (r *Refusal) Error() string {
	if r.Until == 0 {
		return r.Reason
	}
	return r.Reason + "; possible from " + clock(r.Until)
}

// clock writes a time for a person.
func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04 UTC") }

// CheckRemoval returns nil if the profile allows an express removal at in.Now,
// or a Refusal. It reads the impacts of that address, of which those older
// than the window need not be there if the removals carry their relapses, and
// all removals of the last address_days and bar_days.
func CheckRemoval(in Input, q RemovalRequest) error {
	h := history{in, routes.UnitOf(q.Address)}
	if !q.Proven {
		return &Refusal{"proof", fmt.Sprintf("control of %v is not proven", q.Address), 0}
	}
	g := newGuard(in)
	if why, never := g.neverAround(netip.PrefixFrom(q.Address, q.Address.BitLen())); never {
		return &Refusal{"unlisted", fmt.Sprintf("%v is never listed: %s", q.Address, why), 0}
	}
	for _, rule := range []func() *Refusal{h.listed, h.quiet, h.barred, h.again, h.net, h.allocation, h.system} {
		if refusal := rule(); refusal != nil {
			return refusal
		}
	}
	return nil
}

// history is what CheckRemoval looks at: the input as seen from one unit.
type history struct {
	Input
	unit routes.Unit
}

// listed refuses what express removal cannot help.
func (h history) listed() *Refusal {
	own := h.Input
	own.Routes, own.Impacts = nil, h.impacts()
	if _, ok := Decide(own).family(h.unit.V6).find(h.unit.Key); !ok {
		return &Refusal{"unlisted", fmt.Sprintf("%v is not on Level 1 by its impacts", h.unit.Prefix()), 0}
	}
	return nil
}

// impacts returns the impacts of the unit up to now.
func (h history) impacts() (own []Impact) {
	for _, i := range h.Impacts {
		if i.Unit == h.unit && i.Seen <= h.Now {
			own = append(own, i)
		}
	}
	return own
}

// quiet refuses soon after an impact.
func (h history) quiet() *Refusal {
	until := int64(0)
	for _, i := range h.impacts() {
		until = max(until, i.Seen+h.Profile.Removal.QuietSeconds)
	}
	if h.Now < until {
		return &Refusal{"quiet", "the last impact is too recent", until}
	}
	return nil
}

// barred refuses after an earlier removal that did not last.
func (h history) barred() *Refusal {
	l := h.Profile.Removal
	until := int64(0)
	for r := range h.removals(l.BarDays + l.RelapseDays) {
		if routes.UnitOf(r.Address) != h.unit {
			continue
		}
		if at := Relapse(h.Profile, r, h.Impacts); at != 0 && at <= h.Now {
			until = max(until, at+l.BarDays*day)
		}
	}
	if h.Now < until {
		return &Refusal{"relapse", "it was listed again soon after an express removal", until}
	}
	return nil
}

// Relapse returns the time of the first impact within relapse_days after a
// removal, as recorded with it or found among the impacts; 0 if there is none.
func Relapse(p *Profile, r Removal, impacts []Impact) int64 {
	first := r.Relapse
	unit := routes.UnitOf(r.Address)
	for _, i := range impacts {
		if i.Unit == unit && i.Seen > r.At && i.Seen <= r.At+p.Removal.RelapseDays*day && (first == 0 || i.Seen < first) {
			first = i.Seen
		}
	}
	return first
}

// removals yields the removals of the last so many days.
func (h history) removals(days int64) func(func(Removal) bool) {
	return func(yield func(Removal) bool) {
		for _, r := range h.Removals {
			if r.At <= h.Now && h.Now < r.At+days*day && !yield(r) {
				return
			}
		}
	}
}

// again refuses a second removal of the address.
func (h history) again() *Refusal {
	l := h.Profile.Removal
	until := int64(0)
	for r := range h.removals(l.AddressDays) {
		if routes.UnitOf(r.Address) == h.unit {
			until = max(until, r.At+l.AddressDays*day)
		}
	}
	if until == 0 {
		return nil
	}
	return &Refusal{"address", fmt.Sprintf("an address is removed once in %d days", l.AddressDays), until}
}

// net refuses past the limit of the /24 or /48.
func (h history) net() *Refusal {
	p, _ := h.unit.Prefix().Addr().Prefix(ownBits(h.unit.V6))
	l := h.Profile.Removal
	return h.within("net", p, l.NetLimit, l.AddressDays)
}

// allocation refuses past the limit of the narrowest announced prefix.
func (h history) allocation() *Refusal {
	covering := h.Routes.Covering(h.unit)
	if len(covering) == 0 {
		return nil
	}
	l := h.Profile.Removal
	return h.within("allocation", covering[0].Prefix, l.AllocationLimit, l.AddressDays)
}

// within refuses if a prefix has had its number of removals.
func (h history) within(rule string, p netip.Prefix, limit int, days int64) *Refusal {
	var times []int64
	for r := range h.removals(days) {
		if routes.UnitOf(r.Address).Within(p) {
			times = append(times, r.At)
		}
	}
	reason := fmt.Sprintf("%v has had %d express removals in %d days", p, len(times), days)
	return overLimit(rule, reason, times, limit, days)
}

// overLimit refuses if there are limit times or more; the time to ask again is
// when all but limit-1 of them are too old.
func overLimit(rule, reason string, times []int64, limit int, days int64) *Refusal {
	if len(times) < limit {
		return nil
	}
	slices.Sort(times)
	return &Refusal{rule, reason, times[len(times)-limit] + days*day}
}

// system refuses past the limit of an AS that originates the address.
func (h history) system() *Refusal {
	limit := h.Profile.Removal.SystemDayLimit
	for _, asn := range h.origins(h.unit) {
		var times []int64
		for r := range h.removals(1) {
			if slices.Contains(h.origins(routes.UnitOf(r.Address)), asn) {
				times = append(times, r.At)
			}
		}
		reason := fmt.Sprintf("AS%d has had %d express removals in a day", asn, len(times))
		if refusal := overLimit("system", reason, times, limit, 1); refusal != nil {
			return refusal
		}
	}
	return nil
}

// origins returns the origins of the narrowest route around a unit.
func (h history) origins(u routes.Unit) []snapshot.ASN {
	if covering := h.Routes.Covering(u); len(covering) > 0 {
		return covering[0].Origins
	}
	return nil
}

// CheckLift returns nil if whoever uses the address may have it taken off Levels
// 2 and 3, or a Refusal: not while the address itself is on Level 1. Of
// in.Impacts it reads those of the address.
func CheckLift(in Input, a netip.Addr) error {
	h := history{in, routes.UnitOf(a)}
	own := in
	own.Routes, own.Impacts = nil, h.impacts()
	d := Explain(own, nil, a)
	switch {
	case !d.Level1.Listed:
		return nil
	case d.Level1.ByHand:
		return &Refusal{"level1", fmt.Sprintf("%v is itself on Level 1, by hand", d.Address), d.Level1.Ends.Unix()}
	}
	return &Refusal{"level1", fmt.Sprintf("%v is itself on Level 1", d.Address), d.EndsExactly}
}

// CheckManual returns nil if a manual listing may be made beside the earlier
// ones, or a Refusal: it needs evidence, and to renew one needs new evidence.
func CheckManual(in Input, m Manual) error {
	g := newGuard(in)
	p := m.prefix()
	switch why, never := g.neverAround(m.Prefix); {
	case never:
		return &Refusal{"never", fmt.Sprintf("%v is never listed: %s", m.Prefix, why), 0}
	case in.Profile.Threshold(p) == 0:
		return &Refusal{"wide", fmt.Sprintf("%v is wider than any allocation", p), 0}
	case m.Evidence == "":
		return &Refusal{"evidence", "a manual listing needs evidence", 0}
	case m.Until <= m.From || m.Until-m.From > Window:
		return &Refusal{"term", "a manual listing lasts at most seven days", 0}
	}
	for _, old := range in.Manual {
		if old.prefix() == p && old.Evidence == m.Evidence {
			return &Refusal{"evidence", fmt.Sprintf("evidence %q was used for %v before", m.Evidence, p), 0}
		}
	}
	return nil
}
