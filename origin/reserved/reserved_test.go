package reserved

import (
	"net/netip"
	"testing"

	"ucedge/snapshot"
)

func TestCovering(t *testing.T) {
	for _, c := range []struct{ prefix, name string }{
		{"10.0.0.0/8", "Private-Use"},
		{"10.1.2.3/32", "Private-Use"},
		{"100.64.0.0/10", "Shared Address Space"},
		{"100.63.255.255/32", ""},
		{"100.128.0.0/32", ""},
		{"127.0.0.2/32", "Loopback"},
		{"172.31.255.255/32", "Private-Use"},
		{"172.32.0.0/32", ""},
		{"192.0.0.8/32", "IETF Protocol Assignments"},
		{"192.0.0.9/32", "IETF Protocol Assignments"},
		{"192.0.0.8/29", "IETF Protocol Assignments"},
		{"192.0.2.0/24", "Documentation (TEST-NET-1)"},
		{"192.0.2.0/23", ""},
		{"192.0.0.0/16", ""},
		{"198.20.0.0/32", ""},
		{"0.0.0.0/0", ""},
		{"239.255.255.255/32", "Multicast"},
		{"255.255.255.255/32", "Reserved"},
		{"223.255.255.255/32", ""},
		{"::/0", ""},
		{"::1/128", "Loopback Address"},
		{"::2/128", ""},
		{"::ffff:192.0.2.1/128", "IPv4-mapped Address"},
		{"64:ff9b::/96", "IPv4-IPv6 Translation"},
		{"64:ff9b:1::/48", "IPv4-IPv6 Translation"},
		{"2001::/32", ""},
		{"2001:2::/48", "IETF Protocol Assignments"},
		{"2001:1::1/128", ""},
		{"2001:1::4/128", "IETF Protocol Assignments"},
		{"2001:200::/32", ""},
		{"2001:db8::/32", "Documentation"},
		{"2001:db8:1::/64", "Documentation"},
		{"2001:db9::/32", ""},
		{"2002::/16", ""},
		{"2600::/12", ""},
		{"fdff::1/128", "Unique-Local"},
		{"fe80::/10", "Link-Local Unicast"},
		{"fec0::/10", ""},
		{"ff02::1/128", "Multicast"},
	} {
		got, ok := Covering(netip.MustParsePrefix(c.prefix))
		if ok != (c.name != "") || (ok && got.Name != c.name) {
			t.Errorf("Covering(%s) = %q, %v; want %q", c.prefix, got.Name, ok, c.name)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"192.0.0.0/8", []string{"192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16"}},
		{"192.0.2.0/24", nil},
		{"192.0.2.0/23", []string{"192.0.2.0/24"}},
		{"8.0.0.0/8", nil},
		{"2001:d00::/24", []string{"2001:db8::/32"}},
	} {
		got := Within(netip.MustParsePrefix(c.prefix))
		if len(got) != len(c.want) {
			t.Errorf("Within(%s) = %v, want %v", c.prefix, got, c.want)
			continue
		}
		for i, r := range got {
			if r.Prefix.String() != c.want[i] {
				t.Errorf("Within(%s)[%d] = %s, want %s", c.prefix, i, r.Prefix, c.want[i])
			}
		}
	}
}

// TestTable holds what Covering relies on: rows are masked, no row comes twice,
// a narrower row comes after the one that covers it, and every exception lies
// in a special-use row.
func TestTable(t *testing.T) {
	for i, r := range table {
		if r.Prefix != r.Prefix.Masked() {
			t.Errorf("%s has host bits", r.Prefix)
		}
		covered := false
		for j, other := range table {
			if i == j || !other.Prefix.Overlaps(r.Prefix) {
				continue
			}
			if wider := other.Prefix.Bits() < r.Prefix.Bits(); wider != (j < i) {
				t.Errorf("%s and %s stand in the wrong order", r.Prefix, other.Prefix)
			}
			covered = covered || (j < i && !other.global)
		}
		if r.global && !covered {
			t.Errorf("exception %s lies in no special-use range", r.Prefix)
		}
	}
	if n := len(Ranges()); n < 20 {
		t.Errorf("Ranges returned %d rows", n)
	}
}

// covers reports whether an address lies in a special-use range.
func covers(a netip.Addr) bool {
	_, ok := Covering(netip.PrefixFrom(a, a.BitLen()))
	return ok
}

// TestCoveringEdges walks the first and last address of every range and their
// neighbours, with the table as a linear scan for the model.
func TestCoveringEdges(t *testing.T) {
	for _, r := range table {
		for _, a := range []netip.Addr{r.Prefix.Addr(), last(r.Prefix), r.Prefix.Addr().Prev(), last(r.Prefix).Next()} {
			if a.IsValid() && covers(a) != scan(a) {
				t.Errorf("Covering(%s) is %v, the table says %v", a, covers(a), scan(a))
			}
		}
	}
}

func scan(a netip.Addr) bool {
	best, special := -1, false
	for _, r := range table {
		if r.Prefix.Contains(a) && r.Prefix.Bits() > best {
			best, special = r.Prefix.Bits(), !r.global
		}
	}
	return special
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func BenchmarkCovering(b *testing.B) {
	for name, text := range map[string]string{"v4/unmarked": "8.8.8.8", "v4/marked": "192.5.5.5", "v6": "2600::1"} {
		a := netip.MustParseAddr(text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if covers(a) {
					b.Fatal("special")
				}
			}
		})
	}
}

// TestEdgesAgree: what an edge refuses in a snapshot is refused in a report, or
// a single address would cost a list all of its edges.
func TestEdgesAgree(t *testing.T) {
	for _, p := range snapshot.SpecialUse() {
		for _, a := range []netip.Addr{p.Addr(), last(p)} {
			if !covers(a) {
				t.Errorf("%s of %s, which edges protect, can be listed", a, p)
			}
		}
		if _, ok := Covering(p); !ok && p.Bits() > 3 && p.Addr() != netip.IPv6Unspecified() { // 224.0.0.0/3 and ::/127 are two rows each
			t.Errorf("%s, which edges protect, is not in one row", p)
		}
		for _, r := range table {
			if r.global && p.Contains(r.Prefix.Addr()) {
				t.Errorf("%s, an exception, lies in %s, which edges protect", r.Prefix, p)
			}
		}
	}
}
