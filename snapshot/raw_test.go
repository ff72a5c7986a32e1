package snapshot_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

var le = binary.LittleEndian

// A raw section is what a hostile file may hold.
type raw struct {
	kind   snapshot.Kind
	level  snapshot.Level
	family uint8
	count  int
	body   []byte
}

// assemble makes an image of raw sections with right places and checksums.
func assemble(sections []raw) []byte {
	at := snapshot.HeaderSize + len(sections)*snapshot.SectionSize
	image := make([]byte, at)
	copy(image, snapshot.Magic)
	le.PutUint32(image[8:], snapshot.Version)
	le.PutUint32(image[12:], uint32(len(sections)))
	for i, x := range sections {
		row := image[snapshot.HeaderSize+i*snapshot.SectionSize:]
		row[0], row[1], row[2] = byte(x.kind), byte(x.level), x.family
		le.PutUint32(row[4:], uint32(x.count))
		le.PutUint32(row[8:], uint32(len(image)))
		le.PutUint32(row[12:], uint32(len(x.body)))
		image = append(image, x.body...)
		image = append(image, make([]byte, -len(image)&7)...)
	}
	return fixed(image)
}

// fixed sets length and checksums right in a copy of an image that may be
// damaged, so that a reader gets past them.
func fixed(image []byte) []byte {
	image = append([]byte(nil), image...)
	if len(image) < snapshot.HeaderSize {
		return image
	}
	le.PutUint64(image[16:], uint64(len(image)))
	n := int(le.Uint32(image[12:]))
	if n > snapshot.MaxSections || snapshot.HeaderSize+n*snapshot.SectionSize > len(image) {
		return image
	}
	for i := range n {
		row := image[snapshot.HeaderSize+i*snapshot.SectionSize:]
		from, size := uint64(le.Uint32(row[8:])), uint64(le.Uint32(row[12:]))
		if from+size <= uint64(len(image)) {
			le.PutUint64(row[16:], snapshot.Checksum(image[from:from+size]))
		}
	}
	le.PutUint64(image[24:], snapshot.HeaderSum(image, n))
	return image
}

// parts returns the sections of a good image, to be damaged one by one.
func parts(t testing.TB, image []byte) (out []raw) {
	t.Helper()
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range s.Sections() {
		body := append([]byte(nil), image[x.Offset:x.Offset+x.Length]...)
		out = append(out, raw{x.Kind, x.Level, x.Family, x.Count, body})
	}
	return out
}

// smallInput has every kind of section, on documentation addresses.
func smallInput() build.Input {
	listing := func(level snapshot.Level, prefix string, f snapshot.Facts) snapshot.Listing {
		return snapshot.Listing{Level: level, Prefix: netip.MustParsePrefix(prefix), Facts: f}
	}
	point := snapshot.Facts{Count: 3, First: 489_900, Last: 490_000 - 168, End: 490_000, Kinds: snapshot.Spamtrap}
	net := snapshot.Facts{Count: 7, Threshold: 5, ASN: 64496, ASName: "EXAMPLE-AS, ZZ", Last: 489_990, Kinds: snapshot.Scan}
	own := net
	own.Text = "Net {net} is listed by hand, see {url}"
	system := snapshot.Facts{Count: 120, Threshold: 100, ASN: 64497, ASName: "TEST-AS, ZZ"}
	return build.Input{
		Zones:   threeZones(),
		Profile: snapshot.Profile{Name: "classic", Text: "t24 = 5\n"},
		Listings: []snapshot.Listing{
			listing(1, "192.0.2.1/32", point), listing(1, "192.0.2.9/32", point),
			listing(1, "198.51.100.255/32", snapshot.Facts{End: 490_010}),
			listing(1, "198.51.100.7/32", own),
			listing(1, "2001:db8:1:2::/64", point), listing(1, "2001:db8:1:2::1/128", snapshot.Facts{Count: 1}),
			listing(2, "192.0.2.0/24", net), listing(2, "192.0.2.64/26", own),
			{Level: 2, Prefix: netip.MustParsePrefix("192.0.2.80/32"), Excluded: true},
			listing(2, "2001:db8::/32", net), listing(2, "2001:db8:8000::/33", net),
			listing(3, "192.0.2.0/23", system), listing(3, "198.51.100.0/24", system), listing(3, "2001:db8::/32", system),
		},
	}
}
