package routes

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/packet/mrt"

	"ucedge/snapshot"
)

// mrtBodyMax is the longest record that is read, in bytes. A RIB record holds
// one path for each peer of a collector: some hundred of some hundred bytes.
const mrtBodyMax = 16 << 20

// isMRT reports whether the first record is a TABLE_DUMP_V2 one (RFC 6396 4.3).
func isMRT(head []byte) bool {
	return len(head) >= mrt.MRT_COMMON_HEADER_LEN &&
		binary.BigEndian.Uint16(head[4:]) == uint16(mrt.TABLE_DUMPv2) &&
		binary.BigEndian.Uint16(head[6:]) <= uint16(mrt.RIB_GENERIC_ADDPATH)
}

// readMRT reads the unicast RIB records of a dump.
func (b *Builder) readMRT(br *bufio.Reader, s *Stats) error {
	var body []byte
	head := make([]byte, mrt.MRT_COMMON_HEADER_LEN)
	for record := 1; ; record++ {
		if _, err := io.ReadFull(br, head); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: record %d is cut off", ErrBad, record)
		}
		s.Lines = record
		h, err := mrt.ParseHeader(head)
		if err != nil {
			return fmt.Errorf("%w: record %d: %v", ErrBad, record, err)
		}
		if h.Len > mrtBodyMax {
			return fmt.Errorf("%w: record %d has %d bytes", ErrBad, record, h.Len)
		}
		body = slices.Grow(body[:0], int(h.Len))[:h.Len]
		if _, err := io.ReadFull(br, body); err != nil {
			return fmt.Errorf("%w: record %d is cut off", ErrBad, record)
		}
		if err := b.takeRecord(h, body, s); errors.Is(err, errFull) {
			return err
		} else if err != nil {
			s.bad(record, err)
		}
	}
}

// takeRecord adds the route of one record; other kinds of record are skipped.
func (b *Builder) takeRecord(h *mrt.MRTHeader, body []byte, s *Stats) error {
	v6, addPath := false, false
	switch mrt.MRTSubTypeTableDumpv2(h.SubType) {
	case mrt.RIB_IPV4_UNICAST:
	case mrt.RIB_IPV4_UNICAST_ADDPATH:
		addPath = true
	case mrt.RIB_IPV6_UNICAST:
		v6 = true
	case mrt.RIB_IPV6_UNICAST_ADDPATH:
		v6, addPath = true, true
	default:
		s.Skipped++
		return nil
	}
	if h.Type != mrt.TABLE_DUMPv2 {
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
		if bgp.BGPAttrFlag(flags)&bgp.BGP_ATTR_FLAG_EXTENDED_LENGTH != 0 {
			size = c.uint16()
		} else {
			size = c.uint8()
		}
		value := c.take(size)
		if c.short {
			return nil, errShort
		}
		if bgp.BGPAttrType(kind) == bgp.BGP_ATTR_TYPE_AS_PATH {
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
		case kind == bgp.BGP_ASPATH_ATTR_TYPE_SEQ:
			last = asns[4*n-4:]
		case kind == bgp.BGP_ASPATH_ATTR_TYPE_SET:
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
