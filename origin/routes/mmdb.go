package routes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang"

	"ucedge/snapshot"
)

// An asnRecord is what the usual ASN databases hold for a network.
type asnRecord struct {
	Number uint64 `maxminddb:"autonomous_system_number"`
	Name   string `maxminddb:"autonomous_system_organization"`
	ASN    string `maxminddb:"asn"`
	ASName string `maxminddb:"as_name"`
}

// An mmdbTree is the search tree of an MMDB. It is walked here and not by the
// library, because a hostile tree may share nodes so that it has more paths
// than there are atoms; here each node is visited once.
type mmdbTree struct {
	b       *Builder
	s       *Stats
	db      *maxminddb.Reader
	tree    []byte
	nodes   uint
	size    uint // bytes of a node
	data    mmdbValues
	visited []bool
}

// mmdbGap is how many bytes are between tree and data.
const mmdbGap = 16

// readMMDB adds every network that has an ASN record.
func (b *Builder) readMMDB(whole []byte, s *Stats) error {
	if len(whole) > mmdbBytesMax {
		return fmt.Errorf("%w: more than %d bytes", ErrBad, mmdbBytesMax)
	}
	if err := checkMetadata(whole); err != nil {
		return err
	}
	db, err := maxminddb.FromBytes(whole)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrBad, err)
	}
	m := db.Metadata
	t := mmdbTree{b: b, s: s, db: db, tree: whole, nodes: m.NodeCount, size: m.RecordSize / 4}
	if m.RecordSize != 24 && m.RecordSize != 28 && m.RecordSize != 32 {
		return fmt.Errorf("%w: records of %d bits", ErrBad, m.RecordSize)
	}
	if t.nodes > uint(len(whole))/t.size {
		return fmt.Errorf("%w: the search tree is longer than the file", ErrBad)
	}
	t.data = whole[t.nodes*t.size : bytes.LastIndex(whole, mmdbMark)]
	t.data = t.data[min(mmdbGap, len(t.data)):]
	t.visited = make([]bool, t.nodes)
	if m.IPVersion == 4 {
		return t.walk(0, netip.IPv4Unspecified(), 0)
	}
	// IPv4 lives in ::/96. Taking it first keeps its other places in the tree,
	// which mappings like 6to4 share, from being taken for IPv6 networks.
	root, depth := uint(0), 0
	for ; depth < 96 && root < t.nodes; depth++ {
		root = t.child(root, 0)
	}
	if depth == 96 {
		if err := t.walk(root, netip.IPv4Unspecified(), 0); err != nil {
			return err
		}
	}
	return t.walk(0, netip.IPv6Unspecified(), 0)
}

// child returns what the left (0) or right (1) record of a node points at.
func (t *mmdbTree) child(node, side uint) uint {
	n := t.tree[node*t.size : (node+1)*t.size]
	switch t.size {
	case 6:
		r := n[side*3:]
		return uint(r[0])<<16 | uint(r[1])<<8 | uint(r[2])
	case 8:
		return uint(binary.BigEndian.Uint32(n[side*4:]))
	}
	r := n[side*4:] // 28 bits: the middle byte holds the upper four of both
	high := uint(n[3] >> 4)
	if side == 1 {
		high = uint(n[3] & 15)
	}
	return high<<24 | uint(r[0])<<16 | uint(r[1])<<8 | uint(r[2])
}

// walk takes everything below a record that stands for the prefix a/bits.
func (t *mmdbTree) walk(record uint, a netip.Addr, bits int) error {
	switch {
	case record == t.nodes:
		return nil // no data
	case record > t.nodes:
		return t.leaf(record, netip.PrefixFrom(a, bits))
	case t.visited[record]:
		return nil
	case bits == a.BitLen():
		t.s.Lines++
		t.s.bad(t.s.Lines, errors.New("the search tree is deeper than an address is long"))
		return nil
	}
	t.visited[record] = true
	if err := t.walk(t.child(record, 0), a, bits+1); err != nil {
		return err
	}
	return t.walk(t.child(record, 1), withBit(a, bits), bits+1)
}

// withBit returns the address with one bit set, counted from the left.
func withBit(a netip.Addr, bit int) netip.Addr {
	b := a.AsSlice()
	b[bit/8] |= 0x80 >> (bit % 8)
	a, _ = netip.AddrFromSlice(b)
	return a
}

// leaf takes one network.
func (t *mmdbTree) leaf(record uint, p netip.Prefix) error {
	t.s.Lines++
	if p.Addr().Is6() && p.Bits() >= 96 && isV4Place(p) {
		return nil // taken as IPv4
	}
	var r asnRecord
	at := record - t.nodes - mmdbGap
	if !t.data.small(at) {
		t.s.bad(t.s.Lines, errors.New("a record that is too large or broken"))
		return nil
	}
	if err := t.db.Decode(uintptr(at), &r); err != nil {
		t.s.bad(t.s.Lines, err)
		return nil
	}
	if r.ASN == "" {
		r.ASN = fmt.Sprint(r.Number)
	}
	if r.Name == "" {
		r.Name = r.ASName
	}
	origins, err := parseOrigins(r.ASN)
	if err != nil {
		t.s.bad(t.s.Lines, err)
		return nil
	}
	if unrouted(origins) {
		t.s.Skipped++
		return nil
	}
	if len(origins) == 1 {
		t.b.SetName(origins[0], r.Name)
	}
	return t.s.took(t.b.addNetwork(p, origins))
}

// addNetwork adds a prefix of a source that joins neighbours: one wider than
// any route is several.
func (b *Builder) addNetwork(p netip.Prefix, origins []snapshot.ASN) (int, error) {
	u := UnitOf(p.Addr())
	if p.Bits() > width(u.V6) {
		return 0, nil
	}
	return b.addKeys(u.V6, u.Key, lastKey(u.V6, u.Key, p.Bits()), origins)
}

// isV4Place reports whether an IPv6 prefix lies in ::/96.
func isV4Place(p netip.Prefix) bool {
	return netip.PrefixFrom(netip.IPv6Unspecified(), 96).Contains(p.Addr())
}
