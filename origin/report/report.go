// Package report turns what reporters send into reports: one piece of evidence
// each, about one address, at one time.
//
// Most callers use NDJSON, CSV, List, Form or Mail, which read a body from
// first to last byte and give, record by record, a Report or the reason why the
// record was refused. Promised: a bad record never loses a good one, no record
// longer than MaxRecord is held in memory, and a report that comes out obeys
// the Rules. Not promised: that it counts; that is decided by package policy.
package report

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"ucedge/snapshot"
)

// A Report is one piece of evidence as received (POLICY, Words).
type Report struct {
	Address  netip.Addr     // unmapped, without zone
	Seen     int64          // when it was seen, seconds since the Unix epoch
	Reporter string         // name of the reporter, never published
	Kind     snapshot.Kinds // exactly one kind of evidence
	Evidence string         // id by which the reporter knows it; empty is derived from the rest
}

// A Key identifies a report: two reports with one key are the same report sent
// twice. It depends on the reporter and the evidence id alone, or, where there
// is no id, on everything else.
type Key [16]byte

// Key returns the key of r, the start of a SHA-256.
func (r Report) Key() Key {
	var buf [2 * MaxName]byte
	b := append(buf[:0], r.Reporter...)
	if r.Evidence != "" {
		b = append(b, 0, 'e')
		b = append(b, r.Evidence...)
	} else {
		address := r.Address.As16()
		b = append(b, 0, 'c')
		b = append(b, address[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(r.Seen))
		b = append(b, byte(r.Kind))
	}
	sum := sha256.Sum256(b)
	return Key(sum[:])
}

// Bounds on what one record may hold, in bytes.
const (
	MaxRecord   = 8 << 10 // one line; a report needs about a hundred
	MaxName     = 64      // a reporter's name
	MaxEvidence = 256     // an evidence id; Message-IDs of up to 250 are seen in the wild
	MaxMail     = 4 << 20 // one ARF or X-ARF mail with what it encloses
)

// Rules are what every report of one body must satisfy.
type Rules struct {
	Reporter string // who sends; a record that names another reporter is refused
	Now      int64  // when the body was received, seconds since the Unix epoch
	Ahead    int64  // how far past Now a report may be seen, seconds: clocks differ
	Window   int64  // how long before Now a report may be seen, seconds
	// Kind is the kind of a record that names none. Zero means that every
	// record must name its own.
	Kind snapshot.Kinds
	// Seen is when the address of a record was seen that tells no time, seconds
	// since the Unix epoch. Zero means that every record must tell its own.
	Seen int64
	// Reserved says why an address is never listed. A nil Reserved lets every
	// address pass.
	Reserved func(netip.Addr) (reason string, reserved bool)
}

// Defaults for the settings of Rules, seconds.
const (
	DefaultAhead  = 300           // five minutes: a host without NTP is off by more only when broken
	DefaultWindow = 7 * 24 * 3600 // POLICY, Words
)

// NoTime begins the reason why a record is refused that tells no time.
const NoTime = "seen is missing"

// A Refusal says why one record was refused.
type Refusal struct {
	Line   int // of the body, from 1; 1 for mails, 0 if no line is known
	Reason string
}

// Error returns the refusal with its line in front.
func (r *Refusal) Error() string {
	if r.Line == 0 {
		return r.Reason
	}
	return fmt.Sprintf("line %d: %s", r.Line, r.Reason)
}

// A Reports is what a parser gives: for each record a report and no error, or
// a *Refusal. Any other error comes from reading the body, and is the last.
type Reports = iter.Seq2[Report, error]

// Check returns r as the ledger keeps it, with its address unmapped, or why the
// rules refuse it.
func (rules *Rules) Check(r Report) (Report, error) {
	if r.Reporter == "" {
		r.Reporter = rules.Reporter
	}
	if r.Kind == 0 {
		r.Kind = rules.Kind
	}
	r.Address = r.Address.Unmap()
	for _, check := range [...]func(*Report) error{rules.checkSource, rules.checkSeen, rules.checkAddress} {
		if err := check(&r); err != nil {
			return Report{}, err
		}
	}
	return r, nil
}

// CheckName says why no report can bear the name of a reporter.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("is missing")
	case len(name) > MaxName:
		return fmt.Errorf("is longer than %d bytes", MaxName)
	case !printable(name):
		return fmt.Errorf("%q holds a control character or is not UTF-8", name)
	}
	return nil
}

func (rules *Rules) checkSource(r *Report) error {
	if err := CheckName(r.Reporter); err != nil {
		return fmt.Errorf("reporter %w", err)
	}
	switch {
	case rules.Reporter != "" && r.Reporter != rules.Reporter:
		return fmt.Errorf("reporter %q is not the one whose key this is", r.Reporter)
	case len(r.Evidence) > MaxEvidence:
		return fmt.Errorf("evidence is longer than %d bytes", MaxEvidence)
	case !printable(r.Evidence):
		return fmt.Errorf("evidence %q holds a control character or is not UTF-8", r.Evidence)
	case r.Kind == 0:
		return fmt.Errorf("kind is missing")
	case r.Kind&(r.Kind-1) != 0 || len(r.Kind.Names()) != 1:
		return fmt.Errorf("kind %d is not exactly one kind", r.Kind)
	}
	return nil
}

func (rules *Rules) checkSeen(r *Report) error {
	switch {
	case r.Seen > rules.Now+rules.Ahead:
		return fmt.Errorf("seen %s is in the future by more than %d s", formatTime(r.Seen), rules.Ahead)
	case r.Seen <= rules.Now-rules.Window:
		return fmt.Errorf("seen %s is older than the window of %d s", formatTime(r.Seen), rules.Window)
	}
	return nil
}

func (rules *Rules) checkAddress(r *Report) error {
	switch {
	case !r.Address.IsValid():
		return fmt.Errorf("address is missing")
	case r.Address.Zone() != "":
		return fmt.Errorf("address %q has a zone", r.Address)
	case rules.Reserved == nil:
		return nil
	}
	if reason, reserved := rules.Reserved(r.Address); reserved {
		return fmt.Errorf("address %s is never listed: %s", r.Address, reason)
	}
	return nil
}
