package core

import (
	"encoding/binary"
	"net/netip"
)

// wireName gives the wire form of a name in lower case, root label included.
// The empty text is the root.
func wireName(text string) (name []byte, labels int, ok bool) {
	name, labels, ok = appendWireName(nil, []byte(text))
	for i, c := range name {
		name[i] = lower[c]
	}
	return name, labels, ok
}

// appendWireName appends the wire form of the name in text, whose final dot is
// optional. A backslash makes the character after it, or the octet of the
// three digits after it, a part of the label (RFC 1035 5.1).
func appendWireName(dst, text []byte) (name []byte, labels int, ok bool) {
	base := len(dst)
	if string(text) == "." {
		text = nil
	}
	for len(text) > 0 {
		at := len(dst)
		dst = append(dst, 0)
		if dst, text, ok = appendLabel(dst, text); !ok {
			return dst, 0, false
		}
		length := len(dst) - at - 1
		if length == 0 || length > 63 {
			return dst, 0, false
		}
		dst[at] = byte(length)
		labels++
	}
	dst = append(dst, 0)
	return dst, labels, len(dst)-base <= nameBytesMax
}

// appendLabel appends the octets of the first label of text, and returns what
// comes after its dot.
func appendLabel(dst, text []byte) (label, rest []byte, ok bool) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '.':
			return dst, text[i+1:], true
		case '\\':
			if len(text)-i < 2 {
				return dst, nil, false
			}
			if !isDigit(text[i+1]) {
				dst = append(dst, text[i+1])
				i++
				continue
			}
			if len(text)-i < 4 || !isDigit(text[i+2]) || !isDigit(text[i+3]) {
				return dst, nil, false
			}
			octet := int(text[i+1]-'0')*100 + int(text[i+2]-'0')*10 + int(text[i+3]-'0')
			if octet > 255 {
				return dst, nil, false
			}
			dst = append(dst, byte(octet))
			i += 3
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil, true
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// lower maps a byte of a name to its lower case (RFC 4343). The lengths of
// labels are below 'A' and stay what they are.
var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			table[i] = byte(i) + 'a' - 'A'
		}
	}
	return table
}()

// equalFold reports whether the name is want, which is in lower case.
func equalFold(name, want []byte) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if lower[c] != want[i] {
			return false
		}
	}
	return true
}

// under reports whether the name of q is that of the suffix or below it.
func (q *query) under(suffix []byte, labels int) bool {
	switch {
	case labels > q.labels:
		return false
	case labels == 0:
		return true
	}
	return equalFold(q.name[q.starts[q.labels-labels]:], suffix)
}

// zoneOf returns the zone that the name of q is in, the one with the longest
// suffix if there are several, or nil for a foreign name.
func (c *Core) zoneOf(q *query) *zone {
	var best *zone
	for i := range c.zones {
		z := &c.zones[i]
		if z.labels > q.labels || best != nil && z.labels <= best.labels {
			continue
		}
		from := len(q.name) - len(z.suffix)
		if z.labels > 0 && from != int(q.starts[q.labels-z.labels]) {
			continue
		}
		if z.ends(q.name[from:]) {
			best = z
		}
	}
	return best
}

// An owner is what a name within a zone stands for. At most one of apex and
// address holds; the partial names may both be valid, as 1.0.<zone> is the
// parent of IPv4 addresses and of nibble names, and partial6 may be valid
// beside an address, as 1.0.0.2.<zone> is 2.0.0.1 and the parent of nibble
// names. If nothing holds the name stands for nothing.
type owner struct {
	apex     bool
	address  netip.Addr   // unmapped: a nibble name of an IPv4-mapped address is that IPv4 address
	partial4 netip.Prefix // one to three octets
	partial6 netip.Prefix // one to 31 nibbles
}

// owner reads the labels of q before the zone's suffix into o, which is zero.
func (z *zone) owner(o *owner, q *query) {
	count := q.labels - z.labels
	if count == 0 {
		o.apex = true
		return
	}
	if count <= 4 {
		q.octets(o, count)
	}
	if nibbles, ok := q.nibbles(count); ok {
		address := netip.AddrFrom16(nibbles)
		if count == 32 {
			o.address = address.Unmap()
		} else {
			o.partial6 = netip.PrefixFrom(address, 4*count)
		}
	}
}

// octets reads the first count labels, at most four, as decimal octets, the
// least significant one first.
func (q *query) octets(o *owner, count int) {
	var octets [4]byte
	for i := range count {
		octet, ok := decimal(q.label(i))
		if !ok {
			return
		}
		octets[(count-1-i)%len(octets)] = octet
	}
	address := netip.AddrFrom4(octets)
	if count == 4 {
		o.address = address
	} else {
		o.partial4 = netip.PrefixFrom(address, 8*count)
	}
}

// decimal reads a label as an octet. One with a leading zero is none.
func decimal(label []byte) (octet byte, ok bool) {
	value := uint(0)
	for _, c := range label {
		if c -= '0'; c > 9 {
			return 0, false
		}
		value = 10*value + uint(c)
	}
	return byte(value), value <= 255 && len(label) <= 3 && (len(label) == 1 || label[0] != '0')
}

// nibbles reads the first count labels as hexadecimal digits, the least
// significant one first (RFC 5782 2.4).
func (q *query) nibbles(count int) (address [16]byte, ok bool) {
	if count > 32 {
		return address, false
	}
	var high, low uint64
	for i := range count {
		label := q.label(i)
		if len(label) != 1 || hexDigit[label[0]] > 15 {
			return address, false
		}
		position := count - 1 - i // of the nibble, 0 is the most significant
		shift := 60 - 4*(position%16)
		if position < 16 {
			high |= uint64(hexDigit[label[0]]) << shift
		} else {
			low |= uint64(hexDigit[label[0]]) << shift
		}
	}
	binary.BigEndian.PutUint64(address[:8], high)
	binary.BigEndian.PutUint64(address[8:], low)
	return address, true
}

// hexDigit is the value of a hexadecimal digit, or 255.
var hexDigit = func() (table [256]byte) {
	for i := range table {
		table[i] = 255
	}
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i)
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = byte(10 + i)
	}
	return table
}()

// label returns label i of the question's name, 0 is the first.
func (q *query) label(i int) []byte {
	start := int(q.starts[i])
	return q.name[start+1 : start+1+int(q.name[start])]
}
