package snapshot

import (
	"math"
	"net/netip"
	"strconv"
)

// Limits are what a snapshot may list at most before an edge refuses it.
type Limits struct {
	// Share is the most IPv4 addresses that a level may cover, in thousandths
	// of the whole space, by level from 1. Zero is no limit.
	Share [System]uint32
	// Share6 is the most /64s that a level may cover, in millionths of those of
	// 2000::/3, likewise.
	Share6 [System]uint32
	// Protected are prefixes of which no address may be listed at any level.
	Protected []netip.Prefix
}

// DefaultLimits returns the limits for a public list: Level 1 lists at most
// 1 %, Level 2 at most 10 % and Level 3 at most 25 % of the IPv4 addresses (the
// public lists of 2026 cover 0.001 %, 3 % and 4 %), and nobody lists
// special-use space (POLICY, Never listed).
//
// Of IPv6 they list at most 10, 200 and 250 millionths of 2000::/3, in which
// all global unicast addresses are (RFC 4291). In June 2026 551 of these were
// announced, against 771 thousandths of IPv4. One prefix, 2002::/16 (6to4,
// RFC 3056), is 122 of them, and a list may hold it: without it Levels 2 and 3
// can cover 18 % and 30 % of what is announced, where with IPv4 it is 13 % and
// 32 %. No AS has more than 16 besides. The public lists of 2026 hold no IPv6.
func DefaultLimits() Limits {
	return Limits{Share: [System]uint32{10, 100, 250}, Share6: [System]uint32{10, 200, 250}, Protected: SpecialUse()}
}

// SpecialUse returns the prefixes of the special-purpose registries (RFC 6890)
// that must not be listed, without the documentation prefixes, which
// demonstrations list.
func SpecialUse() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range [...]string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
		"::/127", "::ffff:0:0/96", "64:ff9b::/96", "100::/64", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// Sane refuses a snapshot that lists more than the limits allow, as one that a
// mistake or an intruder at the origin made. It believes neither the figures of
// the image nor the order of its nets, which only Check verifies, and yet looks
// at most nets only for their length and first byte: where these leave a doubt,
// it checks and measures what a level holds of a family. The error is a
// LimitError, or the FormatError of nets that do not let anybody tell what they
// cover.
func (s *Snapshot) Sane(limits Limits) error {
	protected := limits.protected()
	return s.families(func(level Level, version uint8, f *family) error {
		most := limits.most(level, version)
		wide, near := f.atMost() > most, f.mayTouch(protected[version])
		if !wide && !near {
			return nil
		}
		rows := f.nets.rows
		if item, problem := f.nets.check(&rows); problem != "" {
			return fault(Section{Kind: KindNets, Level: level, Family: version}.String(), item, problem)
		}
		if wide {
			if covered := s.covered(level, version); covered > most {
				return &LimitError{level, strconv.FormatUint(covered, 10) + limits.excess(level, version)}
			}
		}
		for _, x := range protected[version] {
			if f.anyBelow(x.first, x.bits, 0, &s.facts) {
				return &LimitError{level, "part of the protected prefix " + netip.PrefixFrom(x.first.netip(version), x.bits).String()}
			}
		}
		return nil
	})
}

// most returns how many addresses or /64s a level may cover.
func (l *Limits) most(level Level, version uint8) uint64 {
	switch {
	case version == 4 && l.Share[level-1] != 0:
		return uint64(l.Share[level-1]) << 32 / 1000
	case version == 6 && l.Share6[level-1] != 0:
		return uint64(l.Share6[level-1]) * (1 << 61 / 1_000_000)
	}
	return math.MaxUint64
}

// excess returns the words that follow a number that is greater.
func (l *Limits) excess(level Level, version uint8) string {
	if version == 4 {
		return " addresses, more than " + strconv.FormatUint(uint64(l.Share[level-1]), 10) + " thousandths of IPv4"
	}
	return " /64s, more than " + strconv.FormatUint(uint64(l.Share6[level-1]), 10) + " millionths of 2000::/3"
}

// protected returns the protected prefixes by family, 4 or 6.
func (l *Limits) protected() (out [7][]span) {
	for _, p := range l.Protected {
		if version := 6; p.IsValid() {
			if p.Addr().Is4() {
				version = 4
			}
			out[version] = append(out[version], span{number(p.Addr()).masked(p.Bits()), p.Bits()})
		}
	}
	return out
}

// A LimitError says which limit a snapshot exceeds.
type LimitError struct {
	Level  Level
	Listed string // what it lists
}

func (e *LimitError) Error() string {
	return "snapshot: level " + strconv.Itoa(int(e.Level)) + " lists " + e.Listed
}

// atMost returns a number that is never less than the addresses or /64s that
// lookups may find listed, whatever an image says that nobody has checked: all
// nets taken together, nested ones and exclusions, too, and all points. Past
// 2^53 it is 2^64 - 1.
func (f *family) atMost() uint64 {
	if f.nets.n == 0 {
		return uint64(f.points.n)
	}
	sum := float64(f.points.n) + sumOf(f.sizes(), f.nets.lengths)
	if sum >= 1<<53 {
		return math.MaxUint64
	}
	return uint64(sum)
}

// sumOf adds up the sizes of nets by their lengths. Sums of floating-point
// numbers need no thought of overflow, and are exact up to 2^53.
//
// A worker runs this while its first client waits, in code that nobody has
// optimised. V8 optimises meanwhile what it has run 13 MB of, and counts each
// round of a loop as all of the function up to the end of the loop. That takes
// more time than it saves, so here and below loops stand alone, and look at many
// nets a round.
//
//go:noinline
func sumOf(sizes *[256]float64, lengths []byte) (sum float64) {
	for ; len(lengths) >= 32; lengths = lengths[32:] {
		a, b, c, d := le64(lengths), le64(lengths[8:]), le64(lengths[16:]), le64(lengths[24:])
		sum += four(sizes, a) + four(sizes, a>>32) + four(sizes, b) + four(sizes, b>>32) +
			four(sizes, c) + four(sizes, c>>32) + four(sizes, d) + four(sizes, d>>32)
	}
	for _, l := range lengths {
		sum += sizes[l]
	}
	return sum
}

// four adds up the sizes of nets whose lengths are the four lowest bytes of w.
func four(sizes *[256]float64, w uint64) float64 {
	return sizes[byte(w)] + sizes[byte(w>>8)] + sizes[byte(w>>16)] + sizes[byte(w>>24)]
}

// sizes returns how many addresses or /64s a net covers, by the length that
// stands in its column: at least one, and as nets.bits has it.
func (f *family) sizes() *[256]float64 {
	var sizes [256]float64
	longest := min(f.bits, f.nets.deepest)
	size := math.Ldexp(1, f.bits-longest)
	for l := len(sizes) - 1; l >= 0; l-- {
		if l < longest {
			size *= 2
		}
		sizes[l] = size
	}
	return &sizes
}

// A span is a prefix of either family, as nets has them.
type span struct {
	first addr
	bits  int
}

// mayTouch says whether lookups may find an address of the spans listed,
// whatever an image says that nobody has checked. If it says no, there is none.
func (f *family) mayTouch(spans []span) bool {
	for _, x := range spans {
		if lo, hi := f.pointsInside(x.first, x.bits); lo < hi {
			return true
		}
	}
	return f.nets.n > 0 && f.nets.mayTouch(spans)
}

// mayTouch looks closer at nets that are near the spans, which are few.
func (t *nets) mayTouch(spans []span) bool {
	if t.deepest < wideBits || anyShorter(t.lengths) {
		for i := range t.n {
			if t.bits(i) < wideBits && t.lists(i, spans) {
				return true
			}
		}
	}
	near := whereabouts(spans)
	for i := t.nextNear(near, 0); i < t.n; i = t.nextNear(near, i+1) {
		if t.lists(i, spans) {
			return true
		}
	}
	return false
}

// nextNear returns the first net from i on that may be near the spans, or how
// many nets there are: it starts where whereabouts says that they are, or has
// one first byte with them and is too short to tell more.
//
//go:noinline
func (t *nets) nextNear(near *[256]uint64, i int) int {
	for i < t.n {
		high := t.starts[0][2*i:]
		bits := near[high[1]]
		switch {
		case bits == 0:
			i += alike(high)
		case bits>>(high[0]>>2)&1 != 0 || t.bits(i) < nearBits:
			return i
		default:
			i++
		}
	}
	return t.n
}

// alike returns how many nets in a row have the first byte of the first one, or
// a few less, but at least 1.
//
//go:noinline
func alike(high []byte) int {
	const firstBytes = 0xff00_ff00_ff00_ff00
	first, n := uint64(high[1])*0x0100_0100_0100_0100, 0
	for ; len(high) >= 64; high = high[64:] {
		if (le64(high)^first|le64(high[8:])^first|le64(high[16:])^first|le64(high[24:])^first|
			le64(high[32:])^first|le64(high[40:])^first|le64(high[48:])^first|le64(high[56:])^first)&firstBytes != 0 {
			break
		}
		n += 32
	}
	for ; len(high) >= 8 && (le64(high)^first)&firstBytes == 0; high = high[8:] {
		n += 4
	}
	return max(n, 1)
}

const (
	wideBits = 8  // the length below which a net has several first bytes
	nearBits = 14 // how many bits of an address whereabouts looks at
)

// whereabouts tells by the first byte of an address, in 64 bits for the six bits
// that follow, where there are addresses of the spans.
func whereabouts(spans []span) *[256]uint64 {
	var near [256]uint64
	for _, x := range spans {
		first, last := x.first.hi>>(64-nearBits), x.first.last(x.bits).hi>>(64-nearBits)
		for b := first >> 6; b <= last>>6; b++ {
			near[b] |= ^uint64(0) << (first & 63) & (^uint64(0) >> (63 - last&63)) // all of them if there are several bytes
		}
	}
	return &near
}

// anyShorter says whether one of the lengths is below wideBits.
//
//go:noinline
func anyShorter(lengths []byte) bool {
	const ones, tops = 0x01_01_01_01_01_01_01_01, 0x80_80_80_80_80_80_80_80
	for ; len(lengths) >= 16; lengths = lengths[16:] {
		v, w := le64(lengths), le64(lengths[8:])
		if ((v-wideBits*ones)&^v|(w-wideBits*ones)&^w)&tops != 0 {
			return true
		}
	}
	for _, l := range lengths {
		if l < wideBits {
			return true
		}
	}
	return false
}

// lists says whether net i is a listing, and has an address in common with one
// of the spans.
//
//go:noinline
func (t *nets) lists(i int, spans []span) bool {
	if t.row(i) == 0 {
		return false
	}
	a, bits := t.addr(i), t.bits(i)
	for _, x := range spans {
		n := min(bits, x.bits)
		if (a.hi^x.first.hi)>>(64-min(n, 64)) == 0 && (n <= 64 || (a.lo^x.first.lo)>>(128-n) == 0) {
			return true
		}
	}
	return false
}
