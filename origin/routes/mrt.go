package routes

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"ucedge/snapshot"
)

// What is read of a dump (RFC 6396 4.1, 4.3, RFC 8050 4) and of the attributes
// in it (RFC 4271 4.3).
const (
	mrtHeaderSize  = 12 // time, type, subtype, length of the body
	mrtTableDumpV2 = 13

	ribIPv4Unicast        = 2
	ribIPv6Unicast        = 4
	ribIPv4UnicastAddPath = 8
	ribIPv6UnicastAddPath = 10
	ribGenericAddPath     = 12 // the highest subtype of a table dump

	attributeExtended = 0x10 // flag: the length is two bytes
	attributeASPath   = 2
	segmentSet        = 1
	segmentSequence   = 2
)

// mrtBodyMax is the longest record that is read, in bytes. A RIB record holds
// one path for each peer of a collector: some hundred of some hundred bytes.
const mrtBodyMax = 16 << 20

// isMRT reports whether the first record is a TABLE_DUMP_V2 one (RFC 6396 4.3).
func isMRT(head []byte) bool {
	return len(head) >= mrtHeaderSize &&
		binary.BigEndian.Uint16(head[4:]) == mrtTableDumpV2 &&
		binary.BigEndian.Uint16(head[6:]) <= ribGenericAddPath
}

// readMRT reads the unicast RIB records of a dump.
func (b *Builder) readMRT(br *bufio.Reader, s *Stats) error {
	var body []byte
	head := make([]byte, mrtHeaderSize)
	for record := 1; ; record++ {
		if _, err := io.ReadFull(br, head); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: record %d is cut off", ErrBad, record)
		}
		s.Lines = record
		length := binary.BigEndian.Uint32(head[8:])
		if length > mrtBodyMax {
			return fmt.Errorf("%w: record %d has %d bytes", ErrBad, record, length)
		}
		body = slices.Grow(body[:0], int(length))[:length]
		if _, err := io.ReadFull(br, body); err != nil {
			return fmt.Errorf("%w: record %d is cut off", ErrBad, record)
		}
		if err := b.takeRecord(head, body, s); errors.Is(err, errFull) {
			return err
		} else if err != nil {
			s.bad(record, err)
		}
	}
}

// takeRecord adds the route of one record; other kinds of record are skipped.
func (b *Builder) takeRecord(head, body []byte, s *Stats) error {
	if binary.BigEndian.Uint16(head[4:]) != mrtTableDumpV2 {
		s.Skipped++
		return nil
	}
	v6, addPath := false, false
	switch binary.BigEndian.Uint16(head[6:]) {
	case ribIPv4Unicast:
	case ribIPv4UnicastAddPath:
		addPath = true
	case ribIPv6Unicast:
		v6 = true
	case ribIPv6UnicastAddPath:
		v6, addPath = true, true
	default:
		s.Skipped++
		return nil
	}
	p, origins, err := parseRIB(body, v6, addPath)
	if err != nil {
		return err
	}
	if len(origins) == 0 {
		s.Skipped++
		return nil
	}
	err = b.Add(p, origins...)
	if err != nil {
		return s.took(0, err)
	}
	return s.took(1, nil)
}

var errShort = errors.New("record ends early")

// cursor takes bytes off the front of a record; after the end it gives zeros
// and short is set.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.short = true
		c.b = nil
		return make([]byte, min(n, 16))
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) uint8() int  { return int(c.take(1)[0]) }
func (c *cursor) uint16() int { return int(binary.BigEndian.Uint16(c.take(2))) }

// parseRIB returns the prefix of a RIB record and the origins of all its paths
// in ascending order (RFC 6396 4.3.2). It looks at nothing but the AS_PATH:
// decoding every attribute of every path of a full table takes minutes.
func parseRIB(body []byte, v6, addPath bool) (netip.Prefix, []snapshot.ASN, error) {
	c := cursor{b: body}
	c.take(4) // sequence number
	bits := c.uint8()
	var a [16]byte
	size := 4
	if v6 {
		size = 16
	}
	if bits > 8*size {
		return netip.Prefix{}, nil, fmt.Errorf("prefix length %d is too long", bits)
	}
	copy(a[:], c.take((bits+7)/8))
	addr := netip.AddrFrom16(a)
	if !v6 {
		addr = netip.AddrFrom4([4]byte(a[:4]))
	}
	p := netip.PrefixFrom(addr, bits)
	if p != p.Masked() {
		return netip.Prefix{}, nil, fmt.Errorf("prefix %q has bits set past its length", p)
	}
	var origins []snapshot.ASN
	for n := c.uint16(); n > 0 && !c.short; n-- {
		c.take(6) // peer index, time
		if addPath {
			c.take(4)
		}
		attrs := c.take(c.uint16())
		if c.short {
			break
		}
		var err error
		if origins, err = pathOrigins(origins, attrs); err != nil {
			return netip.Prefix{}, nil, err
		}
	}
	if c.short {
		return netip.Prefix{}, nil, errShort
	}
	slices.Sort(origins)
	return p, origins, nil
}

// pathOrigins adds the origins that one path names to those known.
func pathOrigins(origins []snapshot.ASN, attrs []byte) ([]snapshot.ASN, error) {
	c := cursor{b: attrs}
	for len(c.b) > 0 {
		flags, kind := c.uint8(), c.uint8()
		size := 0
		if flags&attributeExtended != 0 {
			size = c.uint16()
		} else {
			size = c.uint8()
		}
		value := c.take(size)
		if c.short {
			return nil, errShort
		}
		if kind == attributeASPath {
			return lastSegment(origins, value)
		}
	}
	return origins, nil
}

// lastSegment adds the last AS of the last sequence, or all of the last set,
// of an AS_PATH with four-octet numbers (RFC 4271 4.3, RFC 6396 4.3.4).
// Confederation segments are inside one AS and never name an origin.
func lastSegment(origins []snapshot.ASN, path []byte) ([]snapshot.ASN, error) {
	c := cursor{b: path}
	var last []byte
	for len(c.b) > 0 {
		kind, n := c.uint8(), c.uint8()
		asns := c.take(4 * n)
		if c.short {
			return nil, errShort
		}
		switch {
		case n == 0:
		case kind == segmentSequence:
			last = asns[4*n-4:]
		case kind == segmentSet:
			last = asns
		}
	}
	for ; len(last) > 0; last = last[4:] {
		asn := snapshot.ASN(binary.BigEndian.Uint32(last))
		if asn != 0 && !slices.Contains(origins, asn) && len(origins) < originsMax {
			origins = append(origins, asn)
		}
	}
	return origins, nil
}
