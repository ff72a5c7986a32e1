package core

import (
	"net/netip"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// The world of these tests: four zones over documentation ranges, at noon.
const (
	noon   = 1_795_348_800 // 2026-11-22T12:00:00Z
	serial = 1_795_348_500
	suffix = "bl.example"
)

var worldManifest = Manifest{
	List:    suffix,
	Serial:  serial,
	Built:   noon - 120,
	Next:    noon + 180,
	Expires: noon + 7*86400,
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// worldZones are the zones of DESIGN §5, and one under a name of its own.
func worldZones() []snapshot.Zone {
	zone := func(name string, level snapshot.Level, text string) snapshot.Zone {
		return snapshot.Zone{
			Suffix: name, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 2100,
			MName: "ns1.bl.example", RName: "hostmaster.example.net", SOATTL: 3600,
			Refresh: 300, Retry: 60, Expire: 604800, Minimum: 900,
			NS: []string{"ns1.bl.example", "ns2.example.net"}, NSTTL: 86400,
			Text: text, URL: "https://bl.example/look",
		}
	}
	zones := []snapshot.Zone{
		zone("dnsbl-1.bl.example", snapshot.Address, "IP {ip} is UCEPROTECT-Level 1 listed. See {url}?ipr={ip}"),
		zone("dnsbl-2.bl.example", snapshot.Allocation, "Net {net} is UCEPROTECT-Level2 listed because of {count} abusers. Your ISP {as_name}/AS{asn} has to fix this. See: {url}?ipr={ip}"),
		zone("dnsbl-3.bl.example", snapshot.System, "Your ISP {as_name}/AS{asn} is UCEPROTECT-Level3 listed for hosting a total of {count} abusers. See: {url}?ipr={ip}"),
		zone("dnsbl.bl.example", snapshot.Combined, "{ip} is listed, see {url}?ipr={ip}"),
	}
	zones[0].TestText = "Test point {ip} of Level 1"
	zones[2].NS = nil
	return zones
}

// worldListings has every case that an answer tells apart.
func worldListings() []snapshot.Listing {
	const hour = noon / 3600
	listing := func(level snapshot.Level, p string, facts snapshot.Facts) snapshot.Listing {
		return snapshot.Listing{Level: level, Prefix: prefix(p), Facts: facts}
	}
	exclusion := func(level snapshot.Level, p string) snapshot.Listing {
		return snapshot.Listing{Level: level, Prefix: prefix(p), Excluded: true}
	}
	network := snapshot.Facts{Count: 12, Threshold: 5, ASN: 64496, ASName: "Example Net", First: hour - 100, Last: hour - 2, Kinds: snapshot.Spamtrap | snapshot.Scan}
	wider := network
	wider.Count, wider.Threshold = 31, 25
	system := network
	system.Count, system.Threshold = 140, 100
	latin := system
	latin.ASN, latin.ASName = 65536, "Beispiel M\xfcnchen"
	return []snapshot.Listing{
		listing(snapshot.Address, "192.0.2.1/32", snapshot.Facts{Count: 3, Threshold: 1, First: hour - 30, Last: hour - 1, End: hour + 167, Kinds: snapshot.Spamtrap | snapshot.UserReport}),
		listing(snapshot.Address, "192.0.2.9/32", snapshot.Facts{Count: 1, Threshold: 1, Last: hour - 168, End: hour + 1}),
		listing(snapshot.Address, "192.0.2.77/32", snapshot.Facts{Count: 1, End: hour - 1}),
		listing(snapshot.Address, "203.0.113.0/24", snapshot.Facts{}),
		listing(snapshot.Address, "203.0.113.7/32", snapshot.Facts{Text: `says "{ip}" \ {{more}} {none}`}),
		listing(snapshot.Address, "2001:db8:0:1::/64", snapshot.Facts{Count: 2, Threshold: 1, Last: hour - 5, End: hour + 100}),
		listing(snapshot.Address, "2001:db8:ffff::1/128", snapshot.Facts{}),
		listing(snapshot.Allocation, "192.0.2.0/24", network),
		listing(snapshot.Allocation, "192.0.0.0/21", wider),
		exclusion(snapshot.Allocation, "192.0.2.200/32"),
		listing(snapshot.Allocation, "2001:db8::/48", network),
		listing(snapshot.System, "192.0.2.0/24", system),
		exclusion(snapshot.System, "192.0.2.200/32"),
		listing(snapshot.System, "198.51.100.0/24", latin),
		listing(snapshot.System, "2001:db8::/32", system),
	}
}

// adviceWorld lists networks for every reason that there is, and no address but
// one by hand.
func adviceWorld(profile snapshot.Profile) build.Input {
	const hour = noon / 3600
	listing := func(level snapshot.Level, p string, facts snapshot.Facts) snapshot.Listing {
		return snapshot.Listing{Level: level, Prefix: prefix(p), Facts: facts}
	}
	named := snapshot.Facts{Count: 6, Threshold: 5, ASN: 64500, ASName: "Example Net", Last: hour - 2}
	small := snapshot.Facts{Count: 1, Threshold: 1, ASN: 64500, Last: hour - 160}
	two := snapshot.Facts{Count: 2, Threshold: 2, Last: hour - 170}
	manual := snapshot.Facts{ASN: 64500, ASName: "Example Net", First: hour - 5, Last: hour - 5, End: hour + 100, Kinds: snapshot.Manual}
	return build.Input{
		Zones:   worldZones(),
		Profile: profile,
		Listings: []snapshot.Listing{
			listing(snapshot.Address, "192.0.2.4/32", manual),
			listing(snapshot.Allocation, "192.0.2.0/24", named),
			listing(snapshot.Allocation, "198.51.100.0/28", small),
			listing(snapshot.Allocation, "198.51.100.64/26", two),
			listing(snapshot.Allocation, "198.51.100.128/25", manual),
			listing(snapshot.Allocation, "203.0.113.0/25", snapshot.Facts{}),
			listing(snapshot.System, "203.0.113.0/24", snapshot.Facts{Threshold: 3, ASN: 64501}),
		},
	}
}

// newWorld builds the world's snapshot.
func newWorld(t testing.TB) *snapshot.Snapshot {
	t.Helper()
	return newSnapshot(t, build.Input{
		Zones:    worldZones(),
		Listings: worldListings(),
		Profile:  snapshot.Profile{Name: "classic", Text: "# classic\n"},
	})
}

func newSnapshot(t testing.TB, in build.Input) *snapshot.Snapshot {
	t.Helper()
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newFiltered builds the world's snapshot behind its filter.
func newFiltered(t testing.TB) *snapshot.Snapshot {
	t.Helper()
	image, err := build.Image(build.Input{Zones: worldZones(), Listings: worldListings(), Profile: snapshot.Profile{Name: "classic"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	object, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(object)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.WithFilter(f); err != nil {
		t.Fatal(err)
	}
	return s
}
