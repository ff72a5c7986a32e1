package core

import "encoding/binary"

// Numbers of the DNS that the core knows (RFC 1035, 2136, 6891 and the
// registry of DNS parameters).
const (
	typeA       = 1
	typeNS      = 2
	typeSOA     = 6
	typeTXT     = 16
	typeOPT     = 41
	typeSVCB    = 64
	typeIXFR    = 251
	typeAXFR    = 252
	typeANY     = 255
	typeRESINFO = 261

	classIN = 1

	opcodeQuery = 0

	flagQR = 1 << 15
	flagAA = 1 << 10
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagRA = 1 << 7
	flagAD = 1 << 5
	flagCD = 1 << 4

	optionECS     = 8  // RFC 7871
	optionPadding = 12 // RFC 7830
	optionEDE     = 15 // RFC 8914
)

const (
	headerBytes  = 12    // of a DNS message
	nameBytesMax = 255   // of a name on the wire, with its root label (RFC 1035 2.3.4)
	labelsMax    = 127   // of a name, without its root label
	messageMax   = 65535 // bytes of a message (RFC 1035 4.2.2, RFC 8484 6)
)

// A query is one parsed DNS message from a client. Its slices are views of the
// message.
type query struct {
	id     uint16
	flags  uint16
	head   []byte               // header and question as they came, if there is a single question
	name   []byte               // QNAME as asked, root label included; empty if there is no single question
	starts [labelsMax + 1]uint8 // where each label of name begins
	labels int                  // number of labels, without the root
	qtype  uint16
	class  uint16

	opt     bool   // the message has an OPT record
	version uint8  // of EDNS
	do      bool   // DNSSEC OK
	ecs     []byte // data of the client subnet option, or nil
	padding bool   // the message has a padding option

	formerr bool // it can be read, but a rule of the format is broken
}

// opcode returns the kind of query (RFC 1035 4.1.1).
func (q *query) opcode() uint16 { return q.flags >> 11 & 15 }

// A parsing is what came of reading a message.
type parsing uint8

const (
	parsed   parsing = iota
	noQuery          // too short for a header, too long, or a response: nobody to answer
	unusable         // the header can be read, the rest cannot
)

// parse reads msg into q. Unless it gives noQuery, q has at least the header.
//
// A compression pointer in the name of the question is unusable: the name is
// the first in the message, so there is nothing to point to (RFC 1035 4.1.4).
// Pointers in names of other records may only point backwards, and are not
// followed. Bytes after the last record are unusable too.
func (q *query) parse(msg []byte) parsing {
	if len(msg) < headerBytes || len(msg) > messageMax {
		return noQuery
	}
	q.id = binary.BigEndian.Uint16(msg)
	q.flags = binary.BigEndian.Uint16(msg[2:])
	if q.flags&flagQR != 0 {
		return noQuery
	}
	questions := int(binary.BigEndian.Uint16(msg[4:]))
	others := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	additional := int(binary.BigEndian.Uint16(msg[10:]))

	off, ok := q.question(msg, questions)
	for i := 0; ok && i < others+additional; i++ {
		off, ok = q.record(msg, off, i >= others)
	}
	if !ok || off != len(msg) {
		return unusable
	}
	return parsed
}

// question reads the question section. Anything but one question is a format
// error (RFC 9619).
func (q *query) question(msg []byte, count int) (off int, ok bool) {
	off = headerBytes
	if count != 1 {
		q.formerr = true
		for range count {
			if off, ok = skipName(msg, off); !ok || len(msg)-off < 4 {
				return 0, false
			}
			off += 4
		}
		return off, true
	}
	if off, ok = q.qname(msg); !ok || len(msg)-off < 4 {
		return 0, false
	}
	q.head = msg[:off+4]
	q.name = msg[headerBytes:off]
	q.qtype = binary.BigEndian.Uint16(msg[off:])
	q.class = binary.BigEndian.Uint16(msg[off+2:])
	return off + 4, true
}

// qname notes where the labels of the question's name begin, and returns the
// offset after it. There is room for all labels of the longest name.
func (q *query) qname(msg []byte) (off int, ok bool) {
	labels, limit := 0, min(len(msg), headerBytes+nameBytesMax)
	for off = headerBytes; off < limit; labels++ {
		length := int(msg[off])
		if length == 0 {
			q.labels = labels
			return off + 1, true
		}
		if length > 63 {
			return 0, false
		}
		q.starts[labels%len(q.starts)] = uint8(off - headerBytes)
		off += 1 + length
	}
	return 0, false
}

// skipName returns the offset after the name at off. It bounds a pointer, but
// does not follow it.
func skipName(msg []byte, off int) (next int, ok bool) {
	start := off
	for off < len(msg) {
		length := int(msg[off])
		switch {
		case length == 0:
			return off + 1, off+1-start <= nameBytesMax
		case length <= 63:
			off += 1 + length
		case length >= 0xc0 && off+1 < len(msg):
			target := (length&0x3f)<<8 | int(msg[off+1])
			return off + 2, target >= headerBytes && target < start
		default:
			return 0, false
		}
	}
	return 0, false
}

// record reads one resource record and keeps what an OPT record says. An OPT
// record anywhere else than in the additional section is a format error.
func (q *query) record(msg []byte, off int, additional bool) (next int, ok bool) {
	name := off
	if off, ok = skipName(msg, off); !ok || len(msg)-off < 10 {
		return 0, false
	}
	length := int(binary.BigEndian.Uint16(msg[off+8:]))
	if len(msg)-off-10 < length {
		return 0, false
	}
	next = off + 10 + length
	if binary.BigEndian.Uint16(msg[off:]) != typeOPT {
		return next, true
	}
	if q.opt || !additional || msg[name] != 0 {
		q.formerr = true
		return next, true
	}
	q.opt = true
	q.version = msg[off+5]
	q.do = msg[off+6]&0x80 != 0
	if !q.options(msg[off+10 : next]) {
		q.formerr = true
	}
	return next, true
}

// options reads the options of an OPT record (RFC 6891 6.1.2). Those that the
// core does not know, cookies among them, are ignored.
func (q *query) options(data []byte) (ok bool) {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code := binary.BigEndian.Uint16(data)
		length := int(binary.BigEndian.Uint16(data[2:]))
		if len(data)-4 < length {
			return false
		}
		value := data[4 : 4+length]
		data = data[4+length:]
		switch code {
		case optionPadding:
			q.padding = true
		case optionECS:
			if q.ecs != nil || !validSubnet(value) {
				return false
			}
			q.ecs = value
		}
	}
	return true
}

// validSubnet reports whether data is a client subnet option as a client may
// send it (RFC 7871 6): exactly the octets that the prefix needs, no bit set
// past it, and a scope of zero.
func validSubnet(data []byte) bool {
	if len(data) < 4 || data[3] != 0 {
		return false
	}
	bits, address := int(data[2]), data[4:]
	switch binary.BigEndian.Uint16(data) {
	case 0: // no family: what a client sends that has no address to tell
		return bits == 0 && len(address) == 0
	case 1:
		return validSubnetAddress(address, bits, 32)
	case 2:
		return validSubnetAddress(address, bits, 128)
	}
	return false
}

func validSubnetAddress(address []byte, bits, bitsMax int) bool {
	if bits > bitsMax || len(address) != (bits+7)/8 {
		return false
	}
	if rest := bits % 8; rest != 0 {
		return address[len(address)-1]&(0xff>>rest) == 0
	}
	return true
}
