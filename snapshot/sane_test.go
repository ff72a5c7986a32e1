package snapshot_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// lying returns an image with the listings that claims to cover nothing.
func lying(t testing.TB, list ...snapshot.Listing) *snapshot.Snapshot {
	t.Helper()
	image, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
	sections := parts(t, image)
	for i := range sections {
		if sections[i].kind == snapshot.KindCollateral {
			sections[i].body = make([]byte, 5*snapshot.System)
		}
	}
	return mustOpen(t, assemble(sections))
}

func mustOpen(t testing.TB, image []byte) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listed(level snapshot.Level, prefixes ...string) (list []snapshot.Listing) {
	for _, p := range prefixes {
		list = append(list, snapshot.Listing{Level: level, Prefix: netip.MustParsePrefix(p)})
	}
	return list
}

// nested returns a prefix and all that it holds of up to so many bits more.
func nested(level snapshot.Level, prefix string, more int) (list []snapshot.Listing) {
	p := netip.MustParsePrefix(prefix)
	for bits := p.Bits(); bits <= p.Bits()+more; bits++ {
		for a := p.Addr(); p.Contains(a); {
			x := netip.PrefixFrom(a, bits)
			list = append(list, snapshot.Listing{Level: level, Prefix: x})
			a = lastOf(x).Next()
		}
	}
	return list
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// TestSaneMeasures holds that the limits are on what a snapshot lists, not on
// what it claims to, and not on sums that count an address several times.
func TestSaneMeasures(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []snapshot.Listing
		want string
	}{
		{"three eighths of IPv4", listed(3, "16.0.0.0/4", "32.0.0.0/3", "128.0.0.0/3", "176.0.0.0/4"), "level 3 lists 1610612736 addresses, more than 250 thousandths of IPv4"},
		{"an eighth on Level 2", listed(2, "32.0.0.0/3"), "level 2 lists 536870912 addresses, more than 100 thousandths of IPv4"},
		{"a sixty-fourth on Level 1", listed(1, "32.0.0.0/6"), "level 1 lists 67108864 addresses, more than 10 thousandths of IPv4"},
		{"all IPv6", listed(3, "2000::/3"), "level 3 lists 2305843009213693952 /64s, more than 250 millionths of 2000::/3"},
		{"a provider's IPv6 on Level 1", listed(1, "2a00::/16"), "level 1 lists 281474976710656 /64s, more than 10 millionths of 2000::/3"},
		{"6to4 on Level 2", listed(2, "2002::/16"), ""},
		{"as much again", listed(2, "2002::/16", "2a00::/16"), "level 2 lists 562949953421312 /64s, more than 200 millionths of 2000::/3"},
		{"the same on Level 3", listed(3, "2002::/16", "2a00::/16"), ""},
		{"everything", listed(3, "::/0"), "level 3 lists 18446744073709551615 /64s"},
		{"a quarter around what is not listed", append(listed(3, "32.0.0.0/3", "128.0.0.0/3"),
			snapshot.Listing{Level: 3, Prefix: netip.MustParsePrefix("32.0.0.0/4"), Excluded: true}), ""},
		{"a sixteenth, five times over", nested(3, "32.0.0.0/4", 5), ""},
		{"a sixteenth on Level 2, five times over", nested(2, "32.0.0.0/4", 5), ""},
		{"IPv6, five times over", nested(3, "2a00::/16", 5), ""},
	} {
		err := lying(t, tt.list...).Sane(snapshot.DefaultLimits())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// lyingNets returns an image whose IPv4 nets of Level 3 are the given columns.
// Row 1 is a listing, row 0 an exclusion.
func lyingNets(t testing.TB, deepest byte, lengths []byte, starts []uint32, parents, rows []byte) ([]byte, error) {
	t.Helper()
	n := len(lengths)
	body := append([]byte{deepest, 1, 1, 0}, lengths...)
	for _, shift := range []int{16, 0} {
		for _, a := range starts {
			body = binary.LittleEndian.AppendUint16(body, uint16(a>>shift))
		}
	}
	body = append(append(body, parents...), rows...)
	image, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: listed(3, "198.51.100.0/24")})
	sections := parts(t, image)
	for i := range sections {
		if sections[i].kind == snapshot.KindNets {
			sections[i].count, sections[i].body = n, body
		}
	}
	image = assemble(sections)
	_, err := snapshot.Open(image)
	return image, err
}

// TestSaneLies holds Sane to images whose nets hide from a search what they
// list: it refuses each that lets a lookup find more than the limits allow.
func TestSaneLies(t *testing.T) {
	protected := func(p string) snapshot.Limits {
		return snapshot.Limits{Protected: []netip.Prefix{netip.MustParsePrefix(p)}}
	}
	share := func(most uint32) snapshot.Limits { return snapshot.Limits{Share: [snapshot.System]uint32{0, 0, most}} }
	for _, tt := range []struct {
		name    string
		limits  snapshot.Limits
		listed  string // what a lookup finds
		deepest byte
		lengths []byte
		starts  []uint32
		parents []byte
		rows    []byte
	}{
		{"a parent that only some know", protected("10.0.0.0/8"), "10.200.0.1", 32,
			[]byte{6, 32, 32}, []uint32{8 << 24, 10 << 24, 10<<24 | 128<<16}, []byte{0, 0, 2}, []byte{1, 0, 0}},
		{"out of order", protected("10.0.0.0/8"), "10.1.2.3", 32,
			[]byte{32, 16, 32, 32}, []uint32{9 << 24, 10<<24 | 1<<16, 9<<24 | 1, 11 << 24}, []byte{0, 0, 1, 0}, []byte{1, 1, 1, 1}},
		{"a length that counts as the longest", protected("160.0.0.0/8"), "160.0.0.1", 6,
			[]byte{6, 200}, []uint32{8 << 24, 160 << 24}, []byte{0, 0}, []byte{0, 1}},
		{"parents that hold nothing", share(100), "72.0.0.1", 6, []byte{4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6},
			[]uint32{16 << 24, 32 << 24, 40 << 24, 44 << 24, 48 << 24, 52 << 24, 56 << 24, 60 << 24, 64 << 24, 68 << 24, 72 << 24},
			[]byte{0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9}, []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"one exclusion four times", share(50), "56.0.0.1", 5,
			[]byte{3, 5, 5, 5, 5}, []uint32{32 << 24, 32 << 24, 32 << 24, 32 << 24, 32 << 24}, []byte{0, 1, 2, 3, 4}, []byte{1, 0, 0, 0, 0}},
	} {
		image, err := lyingNets(t, tt.deepest, tt.lengths, tt.starts, tt.parents, tt.rows)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		s, a := mustOpen(t, image), netip.MustParseAddr(tt.listed)
		if !s.Lookup(snapshot.System, a, 0).Listed || len(tt.limits.Protected) == 0 && !tooMuch(s, tt.limits, int(tt.deepest)) {
			t.Errorf("%s: lookups stay within the limits", tt.name)
		}
		if s.Sane(tt.limits) == nil {
			t.Errorf("%s: taken", tt.name)
		}
	}
}

// tooMuch says whether lookups find more of Level 3 listed than the limits
// allow, where no net is longer than bits.
func tooMuch(s *snapshot.Snapshot, limits snapshot.Limits, bits int) bool {
	covered := uint64(0)
	for i := range uint32(1) << bits {
		if s.Lookup(snapshot.System, v4(i<<(32-bits)), 0).Listed {
			covered += 1 << (32 - bits)
		}
	}
	return covered > uint64(limits.Share[snapshot.System-1])<<32/1000
}

// TestSaneIsSound holds random columns of nets to what lookups find, address
// for address: Sane takes none that exceeds a limit.
func TestSaneIsSound(t *testing.T) {
	const bits = 10 // of the longest net
	r := rand.New(rand.NewPCG(7, 7))
	limits := snapshot.Limits{Share: [snapshot.System]uint32{0, 0, 300}, Protected: []netip.Prefix{
		netip.MustParsePrefix("64.0.0.0/9"), netip.MustParsePrefix("200.0.0.0/10"), netip.MustParsePrefix("96.64.0.0/10")}}
	var opened, taken, refused int
	for range 4000 {
		n := 1 + r.IntN(24)
		lengths, starts := make([]byte, n), make([]uint32, n)
		parents, rows := make([]byte, n), make([]byte, n)
		start, step := r.Uint32N(1<<bits), 1+r.Uint32N(1<<bits/uint32(n))
		for i := range n {
			lengths[i] = byte(bits - r.IntN(2+r.IntN(bits)))
			if start += r.Uint32N(step); r.IntN(20) == 0 {
				start -= r.Uint32N(step)
			}
			starts[i] = start % (1 << bits) << (32 - bits)
			if r.IntN(20) == 0 {
				lengths[i] = byte(r.Uint32())
			}
			parents[i], rows[i] = byte(r.IntN(3)), byte(min(1, r.IntN(4)))
		}
		image, err := lyingNets(t, bits, lengths, starts, parents, rows)
		if err != nil {
			continue
		}
		opened++
		s := mustOpen(t, image)
		if err := s.Sane(limits); err != nil {
			refused++
			var format *snapshot.FormatError
			var limit *snapshot.LimitError
			if !errors.As(err, &format) && !errors.As(err, &limit) {
				t.Fatalf("refused with %v", err)
			}
			continue
		}
		taken++
		what := "lengths %d starts %x parents %d rows %d"
		if tooMuch(s, limits, bits) {
			t.Fatalf("more than the share is listed: "+what, lengths, starts, parents, rows)
		}
		for _, p := range limits.Protected {
			for i := range uint32(1) << bits {
				if a := v4(i << (32 - bits)); p.Contains(a) && s.Lookup(snapshot.System, a, 0).Listed {
					t.Fatalf("%v is listed: "+what, a, lengths, starts, parents, rows)
				}
			}
		}
	}
	t.Logf("%d images opened, %d taken, %d refused", opened, taken, refused)
	if taken < 100 || refused < 100 {
		t.Errorf("%d images taken and %d refused: the test tells little", taken, refused)
	}
}

// TestSanePoints holds that points inside protected prefixes are found, unless
// a longer exclusion hides what is protected.
func TestSanePoints(t *testing.T) {
	around := listed(1, "fe7f:ffff:ffff:ffff::/64", "100::/64")
	for _, tt := range []struct {
		name      string
		protected string
		list      []snapshot.Listing
		want      string
	}{
		{"address", "10.0.0.0/8", listed(1, "10.1.2.3/32"), "level 1 lists part of the protected prefix 10.0.0.0/8"},
		{"/64", "fc00::/7", listed(1, "fd00:1:2:3::/64"), "level 1 lists part of the protected prefix fc00::/7"},
		{"neighbours", "fe80::/10", around, ""},
		{"inside a /64", "100::25/128", around, "level 1 lists part of the protected prefix 100::25/128"},
		{"inside a /64, excluded", "100::25/128",
			append(around, snapshot.Listing{Level: 1, Prefix: netip.MustParsePrefix("100::25/128"), Excluded: true}), ""},
	} {
		err := lying(t, tt.list...).Sane(snapshot.Limits{Protected: []netip.Prefix{netip.MustParsePrefix(tt.protected)}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// BenchmarkSane is what an edge pays before the first answer from a snapshot.
func BenchmarkSane(b *testing.B) {
	_, s := mustImage(b, realZones(b))
	limits := snapshot.DefaultLimits()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Sane(limits); err != nil {
			b.Fatal(err)
		}
	}
}
