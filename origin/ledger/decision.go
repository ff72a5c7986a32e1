package ledger

import (
	"fmt"
	"net/netip"

	"ucedge/snapshot"
)

// A DecisionKind says what was decided.
type DecisionKind string

// The kinds of decisions. The comment names the fields that carry meaning
// beside At, Actor, Reason and Note.
const (
	ReportRefused    DecisionKind = "report-refused"    // Reporter, Count (refusals that this row stands for)
	Listed           DecisionKind = "listing"           // Level, Prefix or ASN, Serial, Until
	Delisted         DecisionKind = "delisting"         // Level, Prefix or ASN, Serial
	Exempted         DecisionKind = "exemption"         // Prefix, Until (0 is until it is ended)
	ExemptionEnded   DecisionKind = "exemption-end"     // Prefix
	Removed          DecisionKind = "removal"           // Prefix: express removal of one address
	RemovalRefused   DecisionKind = "removal-refused"   // Prefix
	Relapsed         DecisionKind = "relapse"           // Prefix: it was reported again at At after its removal
	ManualListed     DecisionKind = "manual-listing"    // Prefix, Until
	Purged           DecisionKind = "purge"             // Reporter: its word alone no longer lists what it saw up to At
	Released         DecisionKind = "release"           // Reporter: what waited past its budget counts, up to At
	KeyCreated       DecisionKind = "key-created"       // Subject: the key's id
	KeyRevoked       DecisionKind = "key-revoked"       // Subject: the key's id
	Published        DecisionKind = "publish"           // Serial, Count of listings
	PublishStopped   DecisionKind = "publish-stop"      // Serial
	BudgetTaken      DecisionKind = "budget-taken"      // Reporter, Count: it may name so many new addresses in the hour of At
	ExemptionRefused DecisionKind = "exemption-refused" // Prefix
)

// refusals are the kinds of decisions whose refusal by the rule is one too.
var refusals = map[DecisionKind]DecisionKind{Removed: RemovalRefused, Exempted: ExemptionRefused}

// Refused returns the decision that the rule refuses d for a reason, and whether
// the ledger keeps such. What d would have published is kept, not published.
func (d Decision) Refused(reason string) (no Decision, kept bool) {
	no = d
	no.Kind, kept = refusals[d.Kind]
	no.Reason, no.Note, no.Until = reason, d.Reason, 0
	return no, kept
}

// kindNumbers are the kinds as a store keeps them. Numbers are never reused.
var kindNumbers = map[DecisionKind]int{
	ReportRefused: 1, Listed: 2, Delisted: 3, Exempted: 4, ExemptionEnded: 5, Removed: 6, RemovalRefused: 7,
	ManualListed: 8, Purged: 9, Released: 10, KeyCreated: 11, KeyRevoked: 12, Published: 13, PublishStopped: 14,
	Relapsed: 15, BudgetTaken: 16, ExemptionRefused: 17,
}

// Valid reports whether k is one of the kinds above.
func (k DecisionKind) Valid() bool { return kindNumbers[k] != 0 }

// A Decision is one row of the ledger beside the reports (POLICY: every
// decision is one row).
type Decision struct {
	ID       int64 // number given by the ledger, ever-growing; 0 before
	At       int64 // when it was made
	Kind     DecisionKind
	Level    snapshot.Level // of a listing
	Prefix   netip.Prefix   // the subject, masked; the zero Prefix if there is none
	ASN      snapshot.ASN   // the subject, if it is an AS
	Until    int64          // when it ends by itself; 0 is never
	Serial   snapshot.Serial
	Count    int64
	Subject  string // the subject, if it is neither prefix nor AS
	Actor    string // who decided, never published
	Reporter string // whose reports are concerned, never published
	Reason   string // why, in words that are published
	Note     string // proof, evidence and names, never published
}

// MaxText bounds each text of a Decision, bytes.
const MaxText = 4096

// check says why d cannot be stored.
func (d *Decision) check() error {
	switch {
	case !d.Kind.Valid():
		return fmt.Errorf("decision kind %q is unknown: %w", d.Kind, ErrInvalid)
	case d.At <= 0 || d.At > MaxTime || d.Until < 0 || d.Until > MaxTime:
		return fmt.Errorf("decision %s at %d until %d: time out of range: %w", d.Kind, d.At, d.Until, ErrInvalid)
	case d.Prefix.IsValid() && (d.Prefix != d.Prefix.Masked() || d.Prefix.Addr().Is4In6()):
		return fmt.Errorf("decision %s: prefix %q is not masked or is IPv4-mapped: %w", d.Kind, d.Prefix, ErrInvalid)
	case d.Level > snapshot.System:
		return fmt.Errorf("decision %s: level %d is unknown: %w", d.Kind, d.Level, ErrInvalid)
	case (d.Kind == Purged || d.Kind == Released || d.Kind == BudgetTaken) && d.Reporter == "":
		return fmt.Errorf("decision %s names no reporter: %w", d.Kind, ErrInvalid)
	}
	for _, text := range [...]string{d.Subject, d.Actor, d.Reporter, d.Reason, d.Note} {
		if len(text) > MaxText {
			return fmt.Errorf("decision %s: a text is longer than %d bytes: %w", d.Kind, MaxText, ErrInvalid)
		}
	}
	return nil
}

// A Page selects decisions for Audit. The zero Page is the newest ones.
type Page struct {
	Before int64          // only numbers below this one; 0 is no bound
	Since  int64          // only decisions made at this time or later
	Kinds  []DecisionKind // only these; empty is all
	Within netip.Prefix   // only subjects inside this prefix; the zero Prefix is all
	Limit  int            // at most so many; 0 is DefaultPage, more than MaxPage is MaxPage
}

// Lengths of a page of Audit, in decisions.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// length returns the limit that holds for the page.
func (p Page) length() int {
	switch {
	case p.Limit <= 0:
		return DefaultPage
	case p.Limit > MaxPage:
		return MaxPage
	}
	return p.Limit
}
