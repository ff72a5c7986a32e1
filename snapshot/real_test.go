package snapshot_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// dataFile returns the path of a file of real data, or skips the test.
func dataFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("UCEDGE_DATA")
	if dir == "" {
		root, err := filepath.Abs(".")
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if root == filepath.Dir(root) {
				t.Fatal("no go.mod above the test")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "../shared/data")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("real data absent, set UCEDGE_DATA to measure on it: %v", err)
	}
	return path
}

// realAddresses are two million IPv4 addresses from public abuse lists.
func realAddresses(t testing.TB) []netip.Addr {
	t.Helper()
	packed, err := os.ReadFile(dataFile(t, "addresses/real-2.09M.u32.zst"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	addrs := make([]netip.Addr, len(raw)/4)
	for i := range addrs {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.LittleEndian.Uint32(raw[4*i:]))
		addrs[i] = netip.AddrFrom4(b)
	}
	return addrs
}

func wireSize(t testing.TB, b []byte) int {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return len(w.EncodeAll(b, nil))
}

func zone(level snapshot.Level, suffix string) snapshot.Zone {
	return snapshot.Zone{
		Suffix: suffix, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 2100,
		MName: "ns.example", RName: "hostmaster.example", SOATTL: 3600,
		Refresh: 300, Retry: 300, Expire: 604800, Minimum: 300,
		Text: "{ip} is listed, see {url}?ipr={ip}", URL: "https://bl.example/",
	}
}

// TestSizeRealAddresses holds the size of a large Level 1: at most 9 bits an
// address with everything that a lookup needs.
func TestSizeRealAddresses(t *testing.T) {
	addrs := realAddresses(t)
	in := build.Input{Zones: []snapshot.Zone{zone(snapshot.Address, "dnsbl-1.bl.example")}}
	for _, a := range addrs {
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(a, 32)})
	}
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	i := 0
	for l := range s.Listings(snapshot.Address) {
		if l.Prefix.Addr() != addrs[i] {
			t.Fatalf("listing %d is %v, want %v", i, l.Prefix, addrs[i])
		}
		i++
	}
	if i != len(addrs) {
		t.Errorf("image holds %d addresses, want %d", i, len(addrs))
	}
	bits := float64(len(image)) * 8 / float64(len(addrs))
	t.Logf("%d addresses: %d bytes, %.3f bits each; on the wire %d", len(addrs), len(image), bits, wireSize(t, image))
	if bits > 9 {
		t.Errorf("%.3f bits an address, want at most 9", bits)
	}
}
