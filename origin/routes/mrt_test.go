package routes

import (
	"bytes"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/packet/mrt"

	"ucedge/snapshot"
)

// records yields the header and the body of each record of a dump.
func records(dump []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(head, body []byte) bool) {
		for len(dump) > 0 {
			head, rest := dump[:mrtHeaderSize], dump[mrtHeaderSize:]
			n := binary.BigEndian.Uint32(head[8:])
			if !yield(head, rest[:n]) {
				return
			}
			dump = rest[n:]
		}
	}
}

// libraryRIB decodes a record with the library. It is nil if the library
// refuses the record, or if it holds no routes.
func libraryRIB(head, body []byte) *mrt.Rib {
	h, err := mrt.ParseHeader(head)
	if err != nil {
		return nil
	}
	m, err := mrt.ParseBody(body, h)
	if err != nil {
		return nil
	}
	rib, _ := m.Body.(*mrt.Rib)
	return rib
}

// libraryOrigins are the last AS of the last sequence, or all of the last set,
// of each path that the library has decoded.
func libraryOrigins(rib *mrt.Rib) map[snapshot.ASN]bool {
	origins := map[snapshot.ASN]bool{}
	for _, e := range rib.Entries {
		for _, a := range e.PathAttributes {
			path, ok := a.(*bgp.PathAttributeAsPath)
			if !ok {
				continue
			}
			for _, seg := range slices.Backward(path.Value) {
				asns := seg.GetAS()
				if kind := seg.GetType(); kind == bgp.BGP_ASPATH_ATTR_TYPE_SEQ {
					asns = asns[max(0, len(asns)-1):]
				} else if kind != bgp.BGP_ASPATH_ATTR_TYPE_SET {
					continue
				}
				for _, asn := range asns {
					origins[snapshot.ASN(asn)] = true
				}
				if len(asns) > 0 {
					break
				}
			}
		}
	}
	return origins
}

// FuzzRIB holds the reader against the library: of a record that both accept,
// they say the same.
func FuzzRIB(f *testing.F) {
	for head, body := range records(sampleRIB(f)) {
		f.Add(body, byte(binary.BigEndian.Uint16(head[6:])))
	}
	f.Fuzz(func(t *testing.T, body []byte, subtype byte) {
		v6 := subtype == ribIPv6Unicast || subtype == ribIPv6UnicastAddPath
		addPath := subtype == ribIPv4UnicastAddPath || subtype == ribIPv6UnicastAddPath
		if !v6 && !addPath && subtype != ribIPv4Unicast {
			return
		}
		p, origins, err := parseRIB(body, v6, addPath)
		if err != nil {
			if p.IsValid() || origins != nil {
				t.Errorf("refused, with %v of %v", p, origins)
			}
			return
		}
		head := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 0, mrtTableDumpV2, 0, subtype}, uint32(len(body)))
		rib := libraryRIB(head, body)
		if rib == nil {
			return
		}
		if got := rib.Prefix.(*bgp.IPAddrPrefix).Prefix; got != p {
			t.Errorf("prefix %v, the library has %v", p, got)
		}
		want := libraryOrigins(rib)
		delete(want, 0) // no AS: RFC 7607
		if len(want) > originsMax {
			return
		}
		for _, asn := range origins {
			if !want[asn] {
				t.Errorf("%v: origin %d, the library has %v", p, asn, want)
			}
		}
		if len(origins) != len(want) {
			t.Errorf("%v: origins %v, the library has %v", p, origins, want)
		}
	})
}

// TestMRTAgainstLibrary compares the origins read here with those that the
// library decodes.
func TestMRTAgainstLibrary(t *testing.T) {
	dump := sampleRIB(t)
	table, _, err := Read(bytes.NewReader(dump), epoch)
	if err != nil {
		t.Fatal(err)
	}
	want := map[netip.Prefix]map[snapshot.ASN]bool{}
	for head, body := range records(dump) {
		if rib := libraryRIB(head, body); rib != nil && len(libraryOrigins(rib)) > 0 {
			want[rib.Prefix.(*bgp.IPAddrPrefix).Prefix] = libraryOrigins(rib)
		}
	}
	if len(want) != table.Len() {
		t.Errorf("%d routes, the library has %d", table.Len(), len(want))
	}
	for p, origins := range want {
		got := table.Covering(UnitOf(p.Addr()))
		for _, r := range got {
			if r.Prefix != p {
				continue
			}
			if len(r.Origins) != len(origins) {
				t.Errorf("%v: origins %v, the library has %v", p, r.Origins, origins)
			}
			for _, asn := range r.Origins {
				if !origins[asn] {
					t.Errorf("%v: origin %d, the library has %v", p, asn, origins)
				}
			}
		}
	}
}
