package snapshot_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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

// zoneLines returns the lines of a packed zone file as UTF-8 or Latin-1 bytes.
func zoneLines(t testing.TB, name string) []string {
	t.Helper()
	path := dataFile(t, "uceprotect-2026-07/"+name+".xz")
	out, err := exec.Command("xz", "-dc", path).Output()
	if err != nil {
		t.Skipf("xz is needed to read the real zones: %v", err)
	}
	return strings.Split(string(out), "\n")
}

var level2Text = regexp.MustCompile(`^(NET|Net) \S+ is UCEPROTECT-Level2 listed because (\d+) impacts are seen from (.*)/AS(\d+) there\.`)

const (
	upperNet = "NET {net} is UCEPROTECT-Level2 listed because {count} impacts are seen from {as_name}/AS{asn} there. See: {url}?ipr={ip}"
	lowerNet = "Net {net} is UCEPROTECT-Level2 listed because {count} impacts are seen from {as_name}/AS{asn} there. See: {url}?ipr={ip}"
)

// realZones are the three public zones as an importer would give them: texts
// that differ only in facts are one template.
func realZones(t testing.TB) build.Input {
	t.Helper()
	in := build.Input{Zones: threeZones()[:3], Profile: snapshot.Profile{Name: "imported"}}
	in.Zones[1].Text = upperNet
	for level, name := range []string{"dnsbl-1.uceprotect.net", "dnsbl-2.uceprotect.net", "level3-prefixes.txt"} {
		for _, line := range zoneLines(t, name) {
			if l, ok := realListing(line); ok {
				l.Level = snapshot.Level(level + 1)
				in.Listings = append(in.Listings, l)
			}
		}
	}
	return in
}

func realListing(line string) (l snapshot.Listing, ok bool) {
	text, excluded := strings.CutPrefix(line, "!")
	subject, text, _ := strings.Cut(text, " ")
	if !strings.Contains(subject, "/") {
		subject += "/32"
	}
	p, err := netip.ParsePrefix(subject)
	if err != nil || p.Addr().IsLoopback() {
		return l, false
	}
	l = snapshot.Listing{Prefix: p.Masked(), Excluded: excluded}
	if m := level2Text.FindStringSubmatch(text); m != nil {
		count, _ := strconv.ParseUint(m[2], 10, 32)
		asn, _ := strconv.ParseUint(m[4], 10, 32)
		l.Count, l.ASN, l.ASName = uint32(count), snapshot.ASN(asn), m[3]
		if m[1] == "Net" {
			l.Text = lowerNet
		}
	} else if text != "" && !excluded {
		l.Text = strings.ReplaceAll(strings.ReplaceAll(text, subject, "{net}"), "$", "{ip}")
	}
	return l, true
}

// TestSizeRealZones holds what the three public zones take on the wire, filter
// and all.
func TestSizeRealZones(t *testing.T) {
	image, s := mustImage(t, realZones(t))
	filter, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Collateral() {
		t.Logf("level %d: %+v", c.Level, c)
	}
	for _, x := range s.Sections() {
		body := image[x.Offset : x.Offset+x.Length]
		t.Logf("%-22s %7d items %8d bytes %8d on the wire", x, x.Count, x.Length, wireSize(t, body))
	}
	wire, filterWire := wireSize(t, image), wireSize(t, filter)
	t.Logf("image %d bytes, %d on the wire; filter %d, %d on the wire", len(image), wire, len(filter), filterWire)
	if total := wire + filterWire; total > 420_000 {
		t.Errorf("%d bytes on the wire, want at most 420000", total)
	}
	if err := s.Sane(snapshot.DefaultLimits()); err != nil {
		t.Errorf("real zones refused: %v", err)
	}
}
