package zonefile

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"ucedge/snapshot"
)

// Reasons why an address is refused.
const (
	badAddress = "invalid address"
	badRange   = "range that ends before it begins"
	hostBits   = "address with bits beyond the prefix length"
	crlf       = "invalid address (the line ends with CR LF)"
)

// kindOf tells the kind of a file from the first entry: hexadecimal digits up
// to a colon are IPv6.
func kindOf(b []byte, level snapshot.Level) Kind {
	for i, c := range b {
		if hexDigit(c) >= 0 {
			continue
		}
		if c == ':' && (i == 0 || i+1 < len(b) && (b[i+1] == ':' || hexDigit(b[i+1]) >= 0)) || c == '/' && i > 3 {
			return IP6Trie
		}
		break
	}
	if level == snapshot.Address {
		return IP4Set
	}
	return IP4Trie
}

// parse4 reads the addresses at the start of b as far as the kind allows: an
// address, leading octets, CIDR, or (ip4set) a range. It returns the first and
// last address and what follows them, or why not.
func parse4(b []byte, kind Kind, maskHost bool) (first, last uint32, rest []byte, reason string) {
	first, octets, rest := octets4(b)
	last = first | mask4(8*octets)
	switch {
	case octets == 0 || kind == IP4TSet && octets < 4:
		return 0, 0, nil, why4(b)
	case kind == IP4TSet:
	case len(rest) > 0 && rest[0] == '/':
		first, last, rest, reason = cidr4(first, rest[1:], kind, maskHost)
	case len(rest) > 0 && rest[0] == '-' && kind == IP4Set:
		last, rest, reason = range4(first, octets, rest[1:])
	case octets == 1:
		reason = badAddress
	}
	if reason == "" && !ends4(rest) {
		reason = why4(b)
	}
	return first, last, rest, reason
}

// why4 tells a line that ends with CR LF, which rbldnsd refuses too, from other
// garbage.
func why4(b []byte) string {
	if len(b) > 1 && b[len(b)-1] == '\r' {
		return crlf
	}
	return badAddress
}

// ends4 reports whether an IPv4 entry may end in front of rest.
func ends4(rest []byte) bool {
	return len(rest) == 0 || isBlank(rest[0]) || rest[0] == ':' || rest[0] == '#' || rest[0] == ';'
}

// mask4 returns the bits beyond a prefix length.
func mask4(length int) uint32 { return uint32(uint64(1)<<(32-length) - 1) }

// octets4 reads up to four octets joined by dots; zero octets is no address.
// Leading zeros do not matter and are decimal, as in rbldnsd.
func octets4(b []byte) (addr uint32, octets int, rest []byte) {
	for octets < 4 {
		n, after, ok := decimal(b, 255)
		if !ok {
			return 0, 0, nil
		}
		addr |= n << (24 - 8*octets)
		octets++
		b = after
		if len(b) == 0 || b[0] != '.' {
			return addr, octets, b
		}
		if octets < 4 {
			b = b[1:]
		}
	}
	return addr, octets, b
}

// decimal reads digits of a number that is at most limit.
func decimal(b []byte, limit uint32) (n uint32, rest []byte, ok bool) {
	var v uint64
	i := 0
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		v = v*10 + uint64(b[i]-'0')
		if v > uint64(limit) {
			return 0, nil, false
		}
	}
	return uint32(v), b[i:], i > 0
}

func cidr4(first uint32, b []byte, kind Kind, maskHost bool) (from, to uint32, rest []byte, reason string) {
	n, rest, ok := decimal(b, 32)
	if !ok || n == 0 && kind == IP4Set {
		return 0, 0, nil, badAddress
	}
	host := mask4(int(n))
	if first&host != 0 && !maskHost {
		return 0, 0, nil, hostBits
	}
	return first &^ host, first | host, rest, ""
}

// range4 reads the end of a range whose first octets are known. One octet alone
// replaces the last of them; otherwise there must be as many, and what they
// leave out is all ones.
func range4(first uint32, octets int, b []byte) (last uint32, rest []byte, reason string) {
	last, n, rest := octets4(b)
	switch {
	case n == 1:
		keep := mask4(8 * (octets - 1))
		last = first&^keep | last>>(8*(octets-1))
	case n != octets:
		return 0, nil, badAddress
	}
	last |= mask4(8 * octets)
	if last < first {
		return 0, nil, badRange
	}
	return last, rest, ""
}

// blockBits returns the length of the widest prefix that begins at first and
// ends at or in front of last.
func blockBits(first, last uint32) int {
	aligned := bits.TrailingZeros32(first)
	size := bits.Len64(uint64(last-first)+1) - 1
	return 32 - min(aligned, size)
}

// parse6 reads the address at the start of b: words joined by colons, "::" once
// for any zero words, and a prefix length. Without "::" and without a length,
// the words are the prefix.
func parse6(b []byte, kind Kind, excluded, maskHost bool) (addr netip.Addr, length int, rest []byte, reason string) {
	a, words, compressed, rest := words6(b)
	switch {
	case rest == nil:
		return addr, 0, nil, why4(b)
	case compressed:
		length = 128
	default:
		length = 16 * words
	}
	if kind == IP6TSet {
		if want := map[bool]int{false: 64, true: 128}[excluded]; length != want {
			return addr, 0, nil, badAddress
		}
	} else if len(rest) > 0 && rest[0] == '/' {
		n, after, ok := decimal(rest[1:], 128)
		if !ok {
			return addr, 0, nil, badAddress
		}
		length, rest = int(n), after
	} else if words < 2 && !compressed {
		return addr, 0, nil, badAddress
	}
	prefix := netip.PrefixFrom(netip.AddrFrom16(a), length)
	if masked := prefix.Masked(); masked != prefix {
		if !maskHost {
			return addr, 0, nil, hostBits
		}
		prefix = masked
	}
	if len(rest) > 0 && !isBlank(rest[0]) && rest[0] != '#' && rest[0] != ';' {
		return addr, 0, nil, why4(b)
	}
	return prefix.Addr(), length, rest, ""
}

// words6 reads the words of an IPv6 address. A nil rest means that there is
// none.
func words6(b []byte) (a [16]byte, words int, compressed bool, rest []byte) {
	gap := -1
	if len(b) > 1 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for words < 8 {
		n, after, ok := word6(b)
		if !ok {
			if gap == words {
				break // nothing stands behind "::"
			}
			return a, 0, false, nil
		}
		binary.BigEndian.PutUint16(a[2*words:], n)
		words++
		b = after
		if len(b) == 0 || b[0] != ':' {
			break
		}
		if gap < 0 && len(b) > 1 && b[1] == ':' {
			gap, b = words, b[2:]
			continue
		}
		b = b[1:]
	}
	if b == nil {
		b = []byte{}
	}
	if gap < 0 {
		return a, words, false, b
	}
	if words == 8 {
		return a, 0, false, nil
	}
	moved := 16 - 2*words + 2*gap
	copy(a[moved:], a[2*gap:2*words])
	clear(a[2*gap : moved])
	return a, words, true, b
}

// word6 reads one word of an IPv6 address.
func word6(b []byte) (n uint16, rest []byte, ok bool) {
	var v uint32
	i := 0
	for ; i < len(b) && hexDigit(b[i]) >= 0; i++ {
		if v = v<<4 | uint32(hexDigit(b[i])); v > 0xffff {
			return 0, nil, false
		}
	}
	return uint16(v), b[i:], i > 0
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func halves(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
