package edgetest

import (
	"net/netip"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// List is the name of the world's list, and of the key that signs it.
const List = "bl.example"

// zones are the four zones. Their times differ, so that each rule about
// freshness has a zone in which it decides:
//
//	zone    TTL     SOA TTL  MINIMUM  decides about max-age
//	1       10800   3600     1800     the time to the next snapshot
//	2       300     3600     60       TTL of the record; MINIMUM
//	3       300     120      600      TTL of the record; TTL of the SOA
//	all     10800   3600     300      the time to the next snapshot; MINIMUM
func zones() []snapshot.Zone {
	zone := snapshot.Zone{
		Code:  [4]byte{127, 0, 0, 2},
		MName: "ns1.bl.example", RName: "hostmaster.bl.example",
		Refresh: 300, Retry: 60, Expire: 604800,
		NS: []string{"ns1.bl.example", "ns2.bl.example"}, NSTTL: 86400,
		URL: "https://bl.example/",
	}
	one, two, three, all := zone, zone, zone, zone
	one.Suffix, one.Level, one.TTL, one.SOATTL, one.Minimum = "dnsbl-1.bl.example", snapshot.Address, 10800, 3600, 1800
	one.Text = "IP {ip} is UCEPROTECT-Level 1 listed. See {url}?ipr={ip}"
	two.Suffix, two.Level, two.TTL, two.SOATTL, two.Minimum = "dnsbl-2.bl.example", snapshot.Allocation, 300, 3600, 60
	two.Text = "Net {net} is UCEPROTECT-Level2 listed because of {count} abusers. Your ISP {as_name}/AS{asn} has to fix this. See: {url}?ipr={ip}"
	two.TestText = "Test of {{Level 2}}, see {url}"
	three.Suffix, three.Level, three.TTL, three.SOATTL, three.Minimum = "dnsbl-3.bl.example", snapshot.System, 300, 120, 600
	three.Text = "Your ISP {as_name}/AS{asn} is UCEPROTECT-Level3 listed for hosting a total of {count} abusers. See: {url}?ipr={ip}"
	three.TestText = "Test of Level 3, see {url}?ipr={ip}"
	all.Suffix, all.Level, all.TTL, all.SOATTL, all.Minimum = "dnsbl.bl.example", snapshot.Combined, 10800, 3600, 300
	all.Text, all.TestText = one.Text, "Test of all levels, see {url}"
	return []snapshot.Zone{one, two, three, all}
}

// A row is a listing in the shortest form.
type row struct {
	prefix string
	facts  snapshot.Facts
	except bool // an exclusion
}

func listings(level snapshot.Level, rows []row) []snapshot.Listing {
	var all []snapshot.Listing
	for _, r := range rows {
		all = append(all, snapshot.Listing{Level: level, Prefix: netip.MustParsePrefix(r.prefix), Excluded: r.except, Facts: r.facts})
	}
	return all
}

func addresses(hour snapshot.Hour) []snapshot.Listing {
	known := snapshot.Facts{
		Count: 17, First: hour - 50, Last: hour - 2, End: hour + 5,
		Kinds: snapshot.Spamtrap | snapshot.AuthAbuse,
	}
	return listings(snapshot.Address, []row{
		{prefix: "192.0.2.1/32"}, // nothing known; also on Levels 2 and 3
		{prefix: "192.0.2.10/32", facts: snapshot.Facts{End: hour + 1}}, // ends before its zone's TTL
		{prefix: "192.0.2.11/32", facts: snapshot.Facts{End: hour - 2}}, // has ended
		{prefix: "192.0.2.12/32", facts: known},                         // everything known
		{prefix: "192.0.2.32/28"},                                       // an imported net on Level 1 …
		{prefix: "192.0.2.40/32", except: true},                         // … with an exclusion
		{prefix: "192.0.2.50/32", facts: snapshot.Facts{Text: `own "text" of {ip} \ {{X}}`}},
		{prefix: "198.51.100.0/25", except: true},                        // an exclusion by itself …
		{prefix: "198.51.100.7/32"},                                      // … with an address in it
		{prefix: "198.51.100.200/32"},                                    // the only level for it in another half
		{prefix: "203.0.113.9/32", facts: snapshot.Facts{End: hour - 2}}, // the only one under its /24, and ended
		{prefix: "2001:db8:0:1::/64"},
		{prefix: "2001:db8:0:2::1/128"},                 // an imported /128 never widens
		{prefix: "2001:db8:0:3::/64"},                   // with …
		{prefix: "2001:db8:0:3::bad/128", except: true}, // … one exclusion
		{prefix: "2001:db8:0:4::/64", facts: snapshot.Facts{End: hour + 1, Count: 3}},
	})
}

func allocations(hour snapshot.Hour) []snapshot.Listing {
	net := snapshot.Facts{Count: 6, Threshold: 5, ASN: 64496, ASName: "Example Net"}
	return listings(snapshot.Allocation, []row{
		{prefix: "192.0.2.0/24", facts: net},
		{prefix: "192.0.2.128/25", facts: snapshot.Facts{Count: 3, Threshold: 2, ASN: 64497, ASName: "Österreich & <Söhne>"}},
		{prefix: "192.0.2.192/26", except: true},
		{prefix: "192.0.2.200/29", facts: snapshot.Facts{Count: 1, Threshold: 1, Text: "{net} has its own text"}},
		{prefix: "192.0.2.255/32", except: true},
		{prefix: "198.51.100.0/24", facts: snapshot.Facts{Count: 7, Threshold: 5, ASN: 65551, ASName: longName}},
		{prefix: "198.51.100.10/32", except: true},
		{prefix: "198.51.100.64/26", facts: snapshot.Facts{Count: 2, Threshold: 2, End: hour - 2}}, // ended: the /24 answers
		{prefix: "2001:db8::/32", facts: net},
		{prefix: "2001:db8:ffff::/48", except: true},
		{prefix: "2001:db8:ffff:1::/64", facts: snapshot.Facts{Count: 1, Threshold: 1}},
	})
}

// longName is an AS name that no answer can carry whole.
const longName = "A Provider With A Name So Long That No Answer Could Ever Carry It Whole And So It Is Cut " +
	"Somewhere While The Address And The Link Stay As They Are Because They Are What A Reader Needs Most Of All " +
	"And The Name Is Only There To Be Recognised"

func systems() []snapshot.Listing {
	as := func(asn snapshot.ASN, name string) snapshot.Facts {
		return snapshot.Facts{Count: 123, Threshold: 100, ASN: asn, ASName: name}
	}
	return listings(snapshot.System, []row{
		{prefix: "192.0.2.0/24", facts: as(64496, "Example Net")},
		{prefix: "203.0.113.0/24", facts: as(65551, longName)},
		{prefix: "203.0.113.128/25", facts: as(64511, "Inner Net")}, // announced by another AS
		{prefix: "3fff::/20", facts: as(65536, "Example Six")},
	})
}

// Times returns the times of the world's manifest: now for Built unless the
// state needs another.
func Times(state State, now int64) manifest.Manifest {
	const minute = 60
	m := manifest.Manifest{List: List, Serial: snapshot.Serial(now), Built: now, Next: now + 15*minute, Expires: now + 7*24*60*minute}
	switch state {
	case Stale:
		m.Built, m.Next = now-60*minute, now-40*minute
	case Expired:
		m.Built, m.Next, m.Expires = now-60*minute, now-40*minute, now
	}
	return m
}
