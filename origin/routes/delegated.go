package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ucedge/snapshot"
)

// asnBlockMax is how many AS numbers one delegated record may cover and still
// be read as those of one holder; wider ones are registry blocks.
const asnBlockMax = 1024

// A delegation collects an RIR statistics exchange file. It names holders, not
// routes: a block belongs to the AS of its holder only if the same holder (the
// opaque id of the extended format) has exactly one AS number, else its origin
// is unknown and it takes part in Level 2 alone.
type delegation struct {
	blocks []block
	asns   map[string][]snapshot.ASN
}

// A block is one delegated range of addresses.
type block struct {
	first, last netip.Addr
	holder      string
}

func newDelegation() *delegation { return &delegation{asns: map[string][]snapshot.ASN{}} }

// line takes one record: registry|cc|type|start|value|date|status[|opaque-id].
func (d *delegation) line(text string, s *Stats) error {
	f := strings.Split(text, "|")
	if len(f) >= 6 && f[len(f)-1] == "summary" {
		return nil
	}
	if _, err := strconv.ParseFloat(f[0], 64); err == nil && len(f) == 7 {
		return nil // version line
	}
	if len(f) < 7 {
		return fmt.Errorf("got %d fields, want at least 7", len(f))
	}
	if status := f[6]; status != "allocated" && status != "assigned" {
		s.Skipped++
		return nil
	}
	holder := ""
	if len(f) > 7 && f[7] != "" {
		holder = f[0] + "|" + f[7]
	}
	if len(holder) > holderMax {
		return fmt.Errorf("holder %q has more than %d bytes", clip(holder), holderMax)
	}
	switch f[2] {
	case "asn":
		return d.asn(holder, f[3], f[4], s)
	case "ipv4", "ipv6":
		return d.block(holder, f[2], f[3], f[4])
	}
	return fmt.Errorf("type %q is not asn, ipv4 or ipv6", clip(f[2]))
}

// asn takes the AS numbers of a holder.
func (d *delegation) asn(holder, start, count string, s *Stats) error {
	first, err := strconv.ParseUint(start, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not an AS number", clip(start))
	}
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil || n == 0 || first+n > 1<<32 {
		return fmt.Errorf("%q is not a count of AS numbers", clip(count))
	}
	s.Skipped++
	if holder == "" || n > asnBlockMax {
		return nil
	}
	if len(d.asns) >= MaxRoutes {
		return errFull
	}
	// Two are enough to know that there is not exactly one.
	for i := uint64(0); i < n && len(d.asns[holder]) < 2; i++ {
		if asn := snapshot.ASN(first + i); !slices.Contains(d.asns[holder], asn) {
			d.asns[holder] = append(d.asns[holder], asn)
		}
	}
	return nil
}

// block takes a range of addresses: a count of them in IPv4, which need not be
// a power of two, a prefix length in IPv6.
func (d *delegation) block(holder, family, start, value string) error {
	a, err := netip.ParseAddr(start)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "ipv4") {
		return fmt.Errorf("%q is not an %s address", clip(start), family)
	}
	if len(d.blocks) >= MaxRoutes {
		return errFull
	}
	if family == "ipv6" {
		bits, err := strconv.Atoi(value)
		if err != nil || bits < 1 || bits > 128 {
			return fmt.Errorf("%q is not a prefix length", clip(value))
		}
		p := netip.PrefixFrom(a, bits)
		if p != p.Masked() {
			return fmt.Errorf("prefix %q has bits set past its length", p)
		}
		last := lastKey(true, UnitOf(a).Key, min(bits, 64))
		end := prefixOf(true, last, 64).Addr().As16()
		for i := 8; i < 16 && bits <= 64; i++ {
			end[i] = 0xff
		}
		d.blocks = append(d.blocks, block{a, netip.AddrFrom16(end), holder})
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 32)
	first := UnitOf(a).Key
	if err != nil || n == 0 || first+n > 1<<32 {
		return fmt.Errorf("%q is not a count of addresses", clip(value))
	}
	d.blocks = append(d.blocks, block{a, prefixOf(false, first+n-1, 32).Addr(), holder})
	return nil
}

// resolve adds all blocks with the AS of their holders.
func (d *delegation) resolve(b *Builder, s *Stats) error {
	for _, blk := range d.blocks {
		var origins []snapshot.ASN
		if asns := d.asns[blk.holder]; len(asns) == 1 {
			origins = asns
		}
		n, err := b.AddRange(blk.first, blk.last, origins...)
		if err := s.took(n, err); err != nil {
			return err
		}
	}
	return nil
}
