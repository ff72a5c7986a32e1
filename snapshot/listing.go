package snapshot

import "net/netip"

// A Level says how wide a listing reaches. The zero Level, Combined, is not a
// width: it marks the zone that answers for all three at once.
type Level uint8

const (
	Combined   Level = iota // one A and one TXT per level that lists the address
	Address                 // Level 1: an IPv4 address or an IPv6 /64
	Allocation              // Level 2: a registered or announced prefix
	System                  // Level 3: every announced prefix of an AS
)

// A Serial numbers a snapshot. It only ever grows, and it is the SOA serial of
// every zone.
type Serial uint32

// An ASN is an autonomous system number. Zero means that none is known
// (RFC 7607 reserves AS 0).
type ASN uint32

// An Hour is a time in whole hours since the Unix epoch. The zero Hour means
// that the time is unknown, or for an end that there is none.
type Hour uint32

// Seconds returns the hour as seconds since the Unix epoch.
func (h Hour) Seconds() int64 { return int64(h) * 3600 }

// HourOf returns the first whole hour at or after the time given in seconds
// since the Unix epoch: ends are rounded up, never down (POLICY, Level 1).
func HourOf(unix int64) Hour {
	if unix <= 0 {
		return 0
	}
	return Hour((unix + 3599) / 3600)
}

// Kinds is the set of the kinds of evidence behind a listing.
type Kinds uint8

// The kinds of evidence (POLICY, Words), as bits of a Kinds.
const (
	Spamtrap Kinds = 1 << iota
	UserReport
	Scan
	AuthAbuse
	Backscatter
	Manual
)

// kindNames are the names of the bits of a Kinds, lowest first, as they stand
// in reports and in answers.
var kindNames = [...]string{"spamtrap", "user", "scan", "auth", "backscatter", "manual"}

// Names returns the names of the kinds in k, in a fixed order.
func (k Kinds) Names() []string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseKind returns the kind of that name.
func ParseKind(name string) (Kinds, bool) {
	for i, n := range kindNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Facts is what is known of one listing. The zero Facts says that nothing is,
// which is usual for imported zone files.
type Facts struct {
	Count     uint32 // abusers or impacts that count (Level 1: impacts); 0 is unknown
	Threshold uint32 // the count from which the profile lists; 0 is unknown
	ASN       ASN    // origin AS, or 0
	ASName    string // its name, in the words of the source
	First     Hour   // hour of the first impact in the window
	Last      Hour   // hour of the last impact
	End       Hour   // hour in which the listing ends by itself; 0 is no fixed end
	Kinds     Kinds  // kinds of evidence
	Text      string // TXT template of this listing alone; empty is the zone's
}

// A Listing is one prefix in force at one level, or, if Excluded, one that the
// level never lists unless a longer prefix within it is listed. Prefix is
// masked and never IPv4-mapped. A /32 listing of Level 1 is an address, a /64
// one the unit in which the policy lists IPv6.
type Listing struct {
	Level    Level
	Prefix   netip.Prefix
	Excluded bool
	Facts
}
