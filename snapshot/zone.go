package snapshot

// A Zone is the settings of one DNS zone that a snapshot answers for.
type Zone struct {
	Suffix string  // owner name of the apex, lower case, without the final dot
	Level  Level   // what it lists; Combined answers for all three
	Code   [4]byte // RDATA of its A records; for Combined that of Level 1, and one more for each level up
	TTL    uint32  // of A and TXT records, seconds

	MName, RName                    string // SOA (RFC 1035 3.3.13), names as Suffix
	SOATTL                          uint32 // TTL of the SOA at the apex, seconds
	Refresh, Retry, Expire, Minimum uint32 // SOA timers, seconds; Minimum is the negative TTL (RFC 2308)

	NS    []string // name servers, may be empty
	NSTTL uint32   // seconds

	Text     string // template of the TXT of a listed address
	TestText string // template of the TXT of the test point 127.0.0.2; empty is Text
	URL      string // what {url} stands for in templates
}

// Templates know these words; a doubled brace is a literal one:
//
//	{ip}       the address that was asked about
//	{net}      the prefix that is listed
//	{count}    Facts.Count
//	{as_name}  Facts.ASName
//	{asn}      Facts.ASN, digits only
//	{url}      Zone.URL
//
// After expansion a text has at most MaxText bytes: the AS name is cut first,
// the address and the link never.
const MaxText = 255

// A Profile names the rule by which a snapshot was decided, and carries it as
// text, so that anyone can replay a decision.
type Profile struct {
	Name string // "classic", "impacts", "careful", or "imported"
	Text string // the table of thresholds, TOML; may be empty for "imported"
}

// Collateral is what one level covers, published with every snapshot.
type Collateral struct {
	Level     Level
	Entries   uint64 // listings
	Excluded  uint64 // exclusions
	Addresses uint64 // IPv4 addresses covered, each counted once, exclusions left out
	Slash64s  uint64 // IPv6 /64s covered, likewise; saturates at 2^64-1
	Abusers   uint64 // Level 1 listings (addresses and /64s) inside
}
