// Package reserved knows the address space that no list may list: the
// special-use ranges of the IANA registries that RFC 6890 set up, and
// multicast.
//
// Most callers ask Covering whether a prefix lies in such space. Promised: the
// table holds every range that the registries call not globally reachable, and
// the more specific ranges inside them that are. Not promised: space that is
// merely unallocated, and ranges whose reachability the registries leave open
// (6to4, Teredo).
package reserved

import "net/netip"

// A Range is one row of the table.
type Range struct {
	Prefix netip.Prefix
	Name   string // as the registry names it
	Source string // the document that reserved it
	global bool   // globally reachable: an exception inside a wider row
}

// table is ordered from wide to narrow within each branch, so that the last
// row that covers a prefix is the most specific one.
var table = [...]Range{
	row("0.0.0.0/8", "This network", "RFC 791"),
	row("10.0.0.0/8", "Private-Use", "RFC 1918"),
	row("100.64.0.0/10", "Shared Address Space", "RFC 6598"),
	row("127.0.0.0/8", "Loopback", "RFC 1122"),
	row("169.254.0.0/16", "Link Local", "RFC 3927"),
	row("172.16.0.0/12", "Private-Use", "RFC 1918"),
	row("192.0.0.0/24", "IETF Protocol Assignments", "RFC 6890"), // two anycast addresses in it send no mail
	row("192.0.2.0/24", "Documentation (TEST-NET-1)", "RFC 5737"),
	row("192.168.0.0/16", "Private-Use", "RFC 1918"),
	row("198.18.0.0/15", "Benchmarking", "RFC 2544"),
	row("198.51.100.0/24", "Documentation (TEST-NET-2)", "RFC 5737"),
	row("203.0.113.0/24", "Documentation (TEST-NET-3)", "RFC 5737"),
	row("224.0.0.0/4", "Multicast", "RFC 5771"),
	row("240.0.0.0/4", "Reserved", "RFC 1112"),

	row("::/128", "Unspecified Address", "RFC 4291"),
	row("::1/128", "Loopback Address", "RFC 4291"),
	row("::ffff:0:0/96", "IPv4-mapped Address", "RFC 4291"),
	row("64:ff9b::/96", "IPv4-IPv6 Translation", "RFC 6052"), // stands for IPv4 addresses, which are listed as such
	row("64:ff9b:1::/48", "IPv4-IPv6 Translation", "RFC 8215"),
	row("100::/64", "Discard-Only Address Block", "RFC 6666"),
	row("100:0:0:1::/64", "Dummy IPv6 Prefix", "RFC 9780"),
	row("2001::/23", "IETF Protocol Assignments", "RFC 2928"),
	except("2001::/32", "TEREDO", "RFC 4380"),
	except("2001:1::1/128", "Port Control Protocol Anycast", "RFC 7723"),
	except("2001:1::2/128", "TURN Anycast", "RFC 8155"),
	except("2001:1::3/128", "DNS-SD Service Registration Protocol Anycast", "RFC 9665"),
	except("2001:3::/32", "AMT", "RFC 7450"),
	except("2001:4:112::/48", "AS112-v6", "RFC 7535"),
	except("2001:20::/28", "ORCHIDv2", "RFC 7343"),
	except("2001:30::/28", "Drone Remote ID Protocol Entity Tags", "RFC 9374"),
	row("2001:db8::/32", "Documentation", "RFC 3849"),
	row("3fff::/20", "Documentation", "RFC 9637"),
	row("5f00::/16", "Segment Routing (SRv6) SIDs", "RFC 9602"),
	row("fc00::/7", "Unique-Local", "RFC 4193"),
	row("fe80::/10", "Link-Local Unicast", "RFC 4291"),
	row("ff00::/8", "Multicast", "RFC 4291"),
}

func row(prefix, name, source string) Range {
	return Range{Prefix: netip.MustParsePrefix(prefix), Name: name, Source: source}
}

func except(prefix, name, source string) Range {
	r := row(prefix, name, source)
	r.global = true
	return r
}

// first4 marks the first octets of IPv4 under which the table has a row: most
// addresses are done after one look.
var first4 = func() (marked [256]bool) {
	for _, r := range table {
		if !r.Prefix.Addr().Is4() {
			continue
		}
		first := int(r.Prefix.Addr().As4()[0])
		for i := first; i < first+1<<max(0, 8-r.Prefix.Bits()); i++ {
			marked[i] = true
		}
	}
	return marked
}()

// Covering returns the special-use range in which the whole of p lies. An
// IPv4-mapped prefix lies in its own range, whatever the IPv4 address is.
func Covering(p netip.Prefix) (Range, bool) {
	a := p.Addr()
	if a.Is4() && !first4[a.As4()[0]] {
		return Range{}, false
	}
	var found Range
	for _, r := range table {
		if r.Prefix.Bits() <= p.Bits() && r.Prefix.Contains(a) {
			found = r
		}
	}
	return found, found.Name != "" && !found.global
}

// Within returns the special-use ranges that lie in p and are narrower than it,
// in the order of their addresses. The globally reachable exceptions inside
// them are not told apart.
func Within(p netip.Prefix) []Range {
	var ranges []Range
	for _, r := range table {
		if !r.global && r.Prefix.Bits() > p.Bits() && p.Contains(r.Prefix.Addr()) {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// Ranges returns the special-use ranges, IPv4 before IPv6, each by address.
func Ranges() []Range {
	var ranges []Range
	for _, r := range table {
		if !r.global {
			ranges = append(ranges, r)
		}
	}
	return ranges
}
