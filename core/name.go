package core

import (
	"encoding/binary"
	"net/netip"

	"ucedge/snapshot"
)

// A zone is a zone of the snapshot with its names in wire form.
type zone struct {
	*snapshot.Zone
	labels       int
	suffix       []byte // owner name of the apex, lower case, root label included
	words        []word // of suffix
	soa          stencil
	negative     uint32 // TTL of the SOA of negative answers, seconds (RFC 2308 5)
	mname, rname tail
	ns           []tail
	test         string // template of the TXT of the test points
}

// A tail is a name on the wire that may end in a part of its zone's suffix:
// head, then the suffix from offset on. With an offset of -1 the head is the
// whole name, root label included.
type tail struct {
	head   []byte
	offset int
}

// A stencil is a record of a zone's apex with gaps where it points at parts of
// the zone's suffix, which stands elsewhere in every message.
type stencil struct {
	record   []byte
	pointers []pointer
}

// A pointer is a compression pointer to write at at: to the suffix from offset
// on.
type pointer struct{ at, offset int }

const ttlOffset = 6 // of the TTL in a record whose owner is a pointer

// A word is eight bytes of a zone's suffix and the bits in which letters of
// either case may differ. A name is compared by words: in a guest a step of a
// loop takes as long for a byte as for eight of them.
type word struct {
	at         int
	bits, fold uint64
}

// newZone prepares z for answers from the snapshot of that serial. It reports
// false if one of its names is none.
func newZone(z *snapshot.Zone, serial snapshot.Serial) (zone, bool) {
	made := zone{Zone: z, test: z.TestText, negative: min(z.SOATTL, z.Minimum)}
	if made.test == "" {
		made.test = z.Text
	}
	var ok bool
	if made.suffix, made.labels, ok = wireName(z.Suffix); !ok {
		return zone{}, false
	}
	if made.mname, ok = made.tailOf(z.MName); !ok {
		return zone{}, false
	}
	if made.rname, ok = made.tailOf(z.RName); !ok {
		return zone{}, false
	}
	for _, name := range z.NS {
		ns, ok := made.tailOf(name)
		if !ok {
			return zone{}, false
		}
		made.ns = append(made.ns, ns)
	}
	made.words = wordsOf(made.suffix)
	made.soa = made.stencilOfSOA(serial)
	return made, true
}

// stencilOfSOA makes the SOA record (RFC 1035 3.3.13), its TTL left out.
func (z *zone) stencilOfSOA(serial snapshot.Serial) (s stencil) {
	s.point(0)
	s.record = append(s.record, 0, typeSOA, 0, classIN, 0, 0, 0, 0, 0, 0)
	from := len(s.record)
	for _, name := range []*tail{&z.mname, &z.rname} {
		s.record = append(s.record, name.head...)
		if name.offset >= 0 {
			s.point(name.offset)
		}
	}
	for _, n := range []uint32{uint32(serial), z.Refresh, z.Retry, z.Expire, z.Minimum} {
		s.record = binary.BigEndian.AppendUint32(s.record, n)
	}
	binary.BigEndian.PutUint16(s.record[from-2:], uint16(len(s.record)-from))
	return s
}

// point appends a gap for a pointer.
func (s *stencil) point(offset int) {
	s.pointers = append(s.pointers, pointer{len(s.record), offset})
	s.record = append(s.record, 0, 0)
}

// wordsOf parts a name in lower case into words. The last one begins where it
// ends with the name. A name shorter than a word has none.
func wordsOf(name []byte) (words []word) {
	for at := 0; at < len(name) && len(name) >= 8; at += 8 {
		w := word{at: min(at, len(name)-8)}
		for i, c := range name[w.at : w.at+8] {
			w.bits |= uint64(c) << (8 * i)
			if 'a' <= c && c <= 'z' {
				w.fold |= ('a' - 'A') << (8 * i)
			}
		}
		words = append(words, w)
	}
	return words
}

// ends reports whether name, which is as long as the zone's suffix, is it.
func (z *zone) ends(name []byte) bool {
	if len(z.words) == 0 {
		return equalFold(name, z.suffix)
	}
	for i := range z.words {
		w := &z.words[i]
		if binary.LittleEndian.Uint64(name[w.at:])|w.fold != w.bits {
			return false
		}
	}
	return true
}

// tailOf gives the name as a tail on the zone's suffix, the longest part of it
// that they share.
func (z *zone) tailOf(text string) (tail, bool) {
	name, _, ok := wireName(text)
	if !ok {
		return tail{}, false
	}
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		for offset := 0; z.suffix[offset] != 0; offset += 1 + int(z.suffix[offset]) {
			if string(name[at:]) == string(z.suffix[offset:]) {
				return tail{head: name[:at], offset: offset}, true
			}
		}
	}
	return tail{head: name, offset: -1}, true
}

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
		q.ownerOctets(o, count)
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

// ownerOctets reads the first count labels, at most four, as decimal octets,
// the least significant one first. An octet with a leading zero is none.
func (q *query) ownerOctets(o *owner, count int) {
	var octets [4]byte
	for i := range count {
		octet, ok := decimal(q.label(i))
		if !ok {
			return
		}
		octets[(count-1-i)&3] = octet
	}
	address := netip.AddrFrom4(octets)
	if count == 4 {
		o.address = address
	} else {
		o.partial4 = netip.PrefixFrom(address, 8*count)
	}
}

// decimal reads a label as a number up to 255 without leading zeros.
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
