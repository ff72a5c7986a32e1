package routes

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/packet/mrt"
)

var update = flag.Bool("update", false, "write the golden files")

var epoch = time.Unix(1_800_000_000, 0)

// describe writes a table and the statistics of its file as text.
func describe(t *Table, s Stats) string {
	var b strings.Builder
	fmt.Fprintf(&b, "format %s: %d lines, %d routes, %d skipped, %d bad\n", s.Format, s.Lines, s.Routes, s.Skipped, s.Bad)
	for _, p := range s.Problems {
		fmt.Fprintln(&b, p)
	}
	for _, v6 := range []bool{false, true} {
		f := t.Family(v6)
		for i := range f.Len() {
			fmt.Fprintf(&b, "%v %v", f.Prefix(i), f.Origins(i))
			if up := f.Parent(i); up >= 0 {
				fmt.Fprintf(&b, " in %v", f.Prefix(up))
			}
			fmt.Fprintln(&b)
		}
	}
	for _, s := range t.Systems() {
		fmt.Fprintf(&b, "AS%d %q: %d addresses, %d /48s, %v\n", s.ASN, s.Name, s.Addresses, s.Slash48s, t.Prefixes(s.ASN))
	}
	return b.String()
}

// TestGolden reads every file of testdata/golden, plain and compressed, and
// compares the table with the text beside it.
func TestGolden(t *testing.T) {
	if *update {
		write(t, "rib.mrt", sampleRIB(t))
		for _, size := range []int{24, 28, 32} {
			write(t, fmt.Sprintf("asn%d.mmdb", size), sampleMMDB(size))
		}
	}
	all, err := filepath.Glob("testdata/golden/*")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, path := range all {
		if strings.HasSuffix(path, ".want") {
			continue
		}
		files++
		plain, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for how, compressed := range [][]byte{plain, gzipped(t, plain), zstandard(t, plain)} {
			table, stats, err := Read(bytes.NewReader(compressed), epoch)
			if err != nil {
				t.Errorf("%s, compression %d: %v", path, how, err)
				continue
			}
			if !table.Dated().Equal(epoch) {
				t.Errorf("%s: dated %v", path, table.Dated())
			}
			got := describe(table, stats)
			if *update && how == 0 {
				write(t, filepath.Base(path)+".want", []byte(got))
			}
			want, err := os.ReadFile(path + ".want")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s, compression %d: got\n%s\nwant\n%s", path, how, got, want)
			}
		}
	}
	if files < 9 {
		t.Errorf("only %d golden files", files)
	}
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("testdata", "golden", name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// sampleRIB makes a dump with the library's own encoder, so that the reader
// here is held against somebody else's writing of the format.
func sampleRIB(tb testing.TB) []byte {
	tb.Helper()
	var out []byte
	add := func(subtype mrt.MRTSubTypeTableDumpv2, body mrt.Body) {
		m, err := mrt.NewMRTMessage(epoch, mrt.TABLE_DUMPv2, subtype, body)
		if err != nil {
			tb.Fatal(err)
		}
		b, err := m.Serialize()
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, b...)
	}
	peer := netip.MustParseAddr("192.0.2.1")
	add(mrt.PEER_INDEX_TABLE, mrt.NewPeerIndexTable(peer, "", []*mrt.Peer{mrt.NewPeer(peer, peer, 64496, true)}))
	seq := func(asns ...uint32) bgp.AsPathParamInterface {
		return bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, asns)
	}
	set := func(asns ...uint32) bgp.AsPathParamInterface {
		return bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SET, asns)
	}
	confed := func(asns ...uint32) bgp.AsPathParamInterface {
		return bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_CONFED_SEQ, asns)
	}
	rib := func(subtype mrt.MRTSubTypeTableDumpv2, addPath bool, prefix string, paths ...[]bgp.AsPathParamInterface) {
		nlri, err := bgp.NewIPAddrPrefix(netip.MustParsePrefix(prefix))
		if err != nil {
			tb.Fatal(err)
		}
		var entries []*mrt.RibEntry
		for i, p := range paths {
			attrs := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0), bgp.NewPathAttributeAsPath(p)}
			entries = append(entries, mrt.NewRibEntry(0, uint32(epoch.Unix()), uint32(i), attrs, addPath))
		}
		// Of IPv6 the library would write the family too, which only generic
		// records have (RFC 6396 4.3.3).
		add(subtype, mrt.NewRib(1, bgp.RF_IPv4_UC, nlri, entries))
	}
	type path = []bgp.AsPathParamInterface
	rib(mrt.RIB_IPV4_UNICAST, false, "192.0.2.0/24", path{seq(64496, 64497, 64500)}, path{seq(64498, 64500)})
	rib(mrt.RIB_IPV4_UNICAST, false, "198.51.100.0/25", path{seq(64496, 64501)}, path{seq(64497, 64500)})
	rib(mrt.RIB_IPV4_UNICAST, false, "198.51.100.0/24", path{seq(64496, 64497), set(64503, 64502)})
	rib(mrt.RIB_IPV4_UNICAST, false, "203.0.113.0/24", path{seq(64496, 65536), confed(65550)})
	rib(mrt.RIB_IPV4_UNICAST, false, "203.0.113.128/25", path{})
	rib(mrt.RIB_IPV6_UNICAST, false, "2001:db8::/32", path{seq(64496, 64500)})
	rib(mrt.RIB_IPV4_UNICAST_ADDPATH, true, "203.0.113.0/26", path{seq(64496, 64504)}, path{seq(64496, 64505)})
	return out
}

// sampleMMDB makes a small ASN database with records of that many bits: three
// IPv4 networks, one of them wider than any route, one in IPv6, and the 6to4
// alias that real files have.
func sampleMMDB(recordBits int) []byte {
	var data bytes.Buffer
	record := func(asn uint32, name string) int {
		at := data.Len()
		data.WriteByte(7<<5 | 2) // map of two
		for _, s := range []string{"autonomous_system_number"} {
			mmdbString(&data, s)
		}
		data.Write([]byte{6<<5 | 4})
		data.Write(binary.BigEndian.AppendUint32(nil, asn))
		mmdbString(&data, "autonomous_system_organization")
		mmdbString(&data, name)
		return at
	}
	var nodes [][2]int // child: 0 none, n > 0 node n, n < 0 data at -n-1
	nodes = append(nodes, [2]int{})
	insert := func(a [16]byte, bits, child int) {
		at := 0
		for i := range bits {
			side := int(a[i/8] >> (7 - i%8) & 1)
			if i == bits-1 {
				nodes[at][side] = child
				return
			}
			if nodes[at][side] == 0 {
				nodes = append(nodes, [2]int{})
				nodes[at][side] = len(nodes) - 1
			}
			at = nodes[at][side]
		}
	}
	v4 := func(s string) (a [16]byte) { b := netip.MustParseAddr(s).As4(); copy(a[12:], b[:]); return a }
	insert(v4("192.0.2.0"), 96+24, -1-record(64500, "Example Net"))
	insert(v4("198.51.100.0"), 96+26, -1-record(64501, "Other Net"))
	insert(v4("8.0.0.0"), 96+6, -1-record(64502, "Wide Net"))
	insert(netip.MustParseAddr("2001:db8::").As16(), 32, -1-record(64503, "Six Net"))
	root := 0
	for range 96 {
		root = nodes[root][0]
	}
	insert(netip.MustParseAddr("2002::").As16(), 16, root)
	var out bytes.Buffer
	for _, n := range nodes {
		var v [2]uint32
		for i, c := range n {
			switch {
			case c == 0:
				v[i] = uint32(len(nodes))
			case c > 0:
				v[i] = uint32(c)
			default:
				v[i] = uint32(len(nodes) + 16 - c - 1)
			}
		}
		switch recordBits {
		case 24:
			out.Write([]byte{byte(v[0] >> 16), byte(v[0] >> 8), byte(v[0]), byte(v[1] >> 16), byte(v[1] >> 8), byte(v[1])})
		case 28:
			out.Write([]byte{byte(v[0] >> 16), byte(v[0] >> 8), byte(v[0]), byte(v[0]>>24<<4 | v[1]>>24), byte(v[1] >> 16), byte(v[1] >> 8), byte(v[1])})
		case 32:
			out.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, v[0]), v[1]))
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	number := func(key string, n int) {
		mmdbString(&out, key)
		out.WriteByte(6<<5 | 4)
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
	out.WriteByte(7<<5 | 6)
	number("node_count", len(nodes))
	number("record_size", recordBits)
	number("ip_version", 6)
	number("binary_format_major_version", 2)
	number("binary_format_minor_version", 0)
	mmdbString(&out, "database_type")
	mmdbString(&out, "Example-ASN")
	return out.Bytes()
}

// mmdbString writes a string of the MMDB data format.
func mmdbString(b *bytes.Buffer, s string) {
	if len(s) < 29 {
		b.WriteByte(2<<5 | byte(len(s)))
	} else {
		b.Write([]byte{2<<5 | 29, byte(len(s) - 29)})
	}
	b.WriteString(s)
}
