package core

import (
	"math"
	"net/netip"

	"ucedge/snapshot"
)

// The points with which clients test a list (RFC 5782 5): the first must be
// listed in every zone, the other never. In the combined zone each is listed at
// one level: 127.0.0.2 at Level 1, 127.0.0.3 at Level 2, 127.0.0.4 at Level 3.
var (
	testListed   = netip.AddrFrom4([4]byte{127, 0, 0, 2})
	testUnlisted = netip.AddrFrom4([4]byte{127, 0, 0, 1})
)

var testFirst = testListed.As4()

// testMapped is how ::ffff:127.0.0.2 reads in nibbles.
var testMapped = netip.AddrFrom16(testListed.As16())

// mapped is the part of IPv6 whose nibble names stand for IPv4 addresses.
var mapped = netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), 96)

// A hit is one level that lists an address, in the eyes of one zone.
type hit struct {
	level snapshot.Level
	code  [4]byte        // RDATA of the A record
	ttl   uint32         // of both records, seconds
	test  bool           // a test point: match says nothing but the address
	match snapshot.Match // the listing
	zone  *zone          // whose texts speak for it
}

// A verdict is what a zone says about a name.
type verdict struct {
	exists bool   // the name exists, if only because others do below it
	hits   [3]hit // the levels that list it, narrowest first
	count  int    // of hits
}

// judge fills v with what the zone says about the owner at the time now.
func (c *Core) judge(v *verdict, z *zone, o *owner, now int64) {
	v.count = 0
	if o.address.IsValid() {
		first, last := z.reach()
		for level := first; level <= last; level++ {
			if c.look(&v.hits[v.count], z, level, o.address, now) == listed {
				v.count++
			}
		}
	}
	v.exists = o.apex || v.count > 0 ||
		o.partial4.IsValid() && c.anyBelow4(z, o.partial4, now) ||
		o.partial6.IsValid() && c.anyBelow6(z, o.partial6, now)
}

// ttl returns the TTL of the records of all hits: they are one set, which has
// one TTL (RFC 2181 5.2), that of the listing that ends first.
func (v *verdict) ttl() uint32 {
	ttl := uint32(math.MaxUint32)
	for i := range v.hits[:v.count] {
		ttl = min(ttl, v.hits[i].ttl)
	}
	return ttl
}

// reach returns the levels that the zone answers for.
func (z *zone) reach() (first, last snapshot.Level) {
	if z.Level == snapshot.Combined {
		return snapshot.Address, snapshot.System
	}
	return z.Level, z.Level
}

// A finding is the outcome of one look-up.
type finding uint8

const (
	unlisted finding = iota
	excluded         // the most specific entry says that the address is exempt
	listed
)

// look looks the address up in one level and fills h, whole if it is listed,
// and with match alone if it is excluded.
func (c *Core) look(h *hit, z *zone, level snapshot.Level, address netip.Addr, now int64) finding {
	if point, reserved := z.testPoint(address); reserved {
		h.test = point == level
		h.match = snapshot.Match{Listed: h.test, Prefix: netip.PrefixFrom(address, address.BitLen())}
	} else {
		h.test = false
		c.snap.LookupInto(&h.match, level, address, now)
	}
	if !h.match.Listed {
		if h.match.Excluded {
			return excluded
		}
		return unlisted
	}
	h.level = level
	h.zone = z
	h.code = z.Code
	h.ttl = z.TTL
	if z.Level == snapshot.Combined {
		h.code[3] += byte(level - snapshot.Address)
		if own := c.levels[level]; own != nil && !h.test {
			h.zone = own
		}
	}
	if end := h.match.Facts.End; end != 0 {
		h.ttl = uint32(min(int64(h.ttl), max(1, end.Seconds()-now)))
	}
	return listed
}

// testPoint reports whether the answer for the address comes from code, and if
// so at which level it is listed; Combined means at none.
func (z *zone) testPoint(address netip.Addr) (level snapshot.Level, reserved bool) {
	if !address.Is4() {
		return 0, false
	}
	octets := address.As4()
	above := octets[3] - testFirst[3]
	octets[3] = testFirst[3]
	switch {
	case octets != testFirst:
		return 0, false
	case address == testUnlisted:
		return snapshot.Combined, true
	case z.Level != snapshot.Combined:
		return z.Level, above == 0
	}
	return snapshot.Address + snapshot.Level(above), above <= byte(snapshot.System-snapshot.Address)
}

// anyBelow4 reports whether the zone lists any IPv4 address in p, test points
// included.
func (c *Core) anyBelow4(z *zone, p netip.Prefix, now int64) bool {
	if p.Contains(testListed) {
		return true
	}
	first, last := z.reach()
	for level := first; level <= last; level++ {
		if c.snap.AnyBelow(level, p, now) {
			return true
		}
	}
	return false
}

// anyBelow6 is anyBelow4 for nibbles: what is in the IPv4-mapped part is
// looked up as IPv4.
func (c *Core) anyBelow6(z *zone, p netip.Prefix, now int64) bool {
	if p.Contains(testMapped) {
		return true
	}
	if p.Bits() >= mapped.Bits() && mapped.Contains(p.Addr()) {
		return c.anyBelow4(z, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped.Bits()), now)
	}
	first, last := z.reach()
	for level := first; level <= last; level++ {
		if c.snap.AnyBelow(level, p, now) {
			return true
		}
	}
	return false
}
