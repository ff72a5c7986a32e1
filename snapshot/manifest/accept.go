package manifest

import (
	"fmt"
	"time"

	"ucedge/snapshot"
)

// A Reason is why something fetched was refused. Its text is short and
// constant, so that it can label a metric.
type Reason string

// The reasons that concern a manifest alone (DESIGN, 3).
const (
	Malformed Reason = "malformed" // not a signed note, or its text breaks a rule
	Signature Reason = "signature" // a trusted key's signature does not fit the text
	Untrusted Reason = "untrusted" // no trusted key of the list has signed it
	WrongList Reason = "list"      // it is for another list
	WrongABI  Reason = "abi"       // this program's guest interface is out of its range
	Future    Reason = "future"    // built later than now, beyond Tolerance
	Expired   Reason = "expired"   // its expiry has come
	Rollback  Reason = "rollback"  // its serial is below one already accepted
	Fork      Reason = "fork"      // an accepted serial with another text
)

// A Refusal says why a manifest, or something that it names, was refused.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Reason, r.Detail) }

func refuse(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// Tolerance is by how much an origin's clock may be ahead of an edge's. NTP
// keeps both within a second; five minutes forgive a machine without it, and
// are no longer than the usual time between two builds.
const Tolerance = 5 * time.Minute

// Rules are what a verified manifest is held against before it is used.
type Rules struct {
	List   string          // the list that is followed
	ABI    uint32          // the guest interface of this program
	Now    int64           // seconds since the Unix epoch
	Serial snapshot.Serial // highest serial accepted so far; zero is none
	Text   Hash            // TextHash of the manifest that had it
}

// Accept returns nil if m may be used, and else a *Refusal. The rules are
// tried in a fixed order: list, ABI, future, expiry, serial.
func (m Manifest) Accept(r Rules) error {
	switch {
	case m.List != r.List:
		return refuse(WrongList, "list %q is not %q", m.List, r.List)
	case r.ABI < m.ABIMin || r.ABI > m.ABIMax:
		return refuse(WrongABI, "abi %d is outside %d to %d", r.ABI, m.ABIMin, m.ABIMax)
	case m.Built > r.Now+int64(Tolerance/time.Second):
		return refuse(Future, "built %s, now %s", formatTime(m.Built), formatTime(r.Now))
	case r.Now >= m.Expires:
		return refuse(Expired, "expired %s, now %s", formatTime(m.Expires), formatTime(r.Now))
	case m.Serial < r.Serial:
		return refuse(Rollback, "serial %d is below %d", m.Serial, r.Serial)
	case m.Serial == r.Serial && m.TextHash() != r.Text:
		return refuse(Fork, "serial %d has text %s, before it had %s", m.Serial, m.TextHash(), r.Text)
	}
	return nil
}
