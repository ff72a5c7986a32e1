package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"

	"ucedge/core"
	"ucedge/origin/zonefile"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// now is when all questions are asked, in seconds since the Unix epoch. No
// listing of a zone file ends, so any time does.
const now = 1_800_000_000

// A world is zones that both sides answer for.
type world struct {
	core     *core.Core
	zones    []snapshot.Zone
	listings []snapshot.Listing
	files    []zoneSpec
	bytes    int // of image and filter
	problems int // lines that the import reported
}

// A zoneSpec is a zone as rbldnsd takes it on its command line.
type zoneSpec struct {
	suffix string
	kind   zonefile.Kind
	file   string
}

// A maker makes a world whose zone files lie in dir.
type maker struct {
	name string
	make func(dir string) (*world, error)
}

var worlds = []maker{
	{"made world", func(dir string) (*world, error) { return madeWorld(dir, madeCount) }},
	{"public lists", publicWorld},
}

// madeCount is the listings of one level of the made world.
const madeCount = 8000

// publicWorld is the three public lists. That of Level 3 is bare prefixes: it
// gets the settings that the others have.
func publicWorld(dir string) (*world, error) {
	const soa = "$SOA 3600 ns.example hostmaster.example 1 3600 3600 86400 120\n"
	var w world
	for _, z := range []struct {
		file, head, suffix string
		level              snapshot.Level
		kind               zonefile.Kind
	}{
		{"dnsbl-1.uceprotect.net", "", "dnsbl-1.uceprotect.net", snapshot.Address, zonefile.IP4Set},
		{"dnsbl-2.uceprotect.net", "", "dnsbl-2.uceprotect.net", snapshot.Allocation, zonefile.IP4Trie},
		{"level3-prefixes.txt", soa + ":127.0.0.2:The AS of $ is listed\n127.0.0.2 Test entry\n!127.0.0.1\n", "dnsbl-3.uceprotect.net", snapshot.System, zonefile.IP4Trie},
	} {
		text, err := readPublic(z.file)
		if err != nil {
			return nil, err
		}
		text = append([]byte(z.head), text...)
		spec := zoneSpec{z.suffix, z.kind, z.suffix}
		if err := w.add(dir, spec, text, snapshot.Zone{Suffix: z.suffix, Level: z.level}); err != nil {
			return nil, err
		}
	}
	return &w, w.build()
}

// add writes one zone file for rbldnsd and imports it for us.
func (w *world) add(dir string, spec zoneSpec, text []byte, zone snapshot.Zone) error {
	if err := os.WriteFile(filepath.Join(dir, spec.file), text, 0o644); err != nil {
		return err
	}
	r, err := zonefile.Parse(zonefile.Options{Zone: zone, Kind: spec.kind}, zonefile.Source{Name: spec.suffix, Reader: bytes.NewReader(text)})
	if err != nil {
		return err
	}
	w.zones = append(w.zones, r.Zones...)
	w.listings = append(w.listings, r.Listings...)
	w.files = append(w.files, spec)
	w.problems += r.ProblemCount
	return nil
}

// build makes the core that answers, behind its filter as on an edge.
func (w *world) build() error {
	image, err := build.Image(build.Input{Zones: w.zones, Listings: w.listings, Profile: snapshot.Profile{Name: "imported"}})
	if err != nil {
		return err
	}
	filter, err := build.Filter(image)
	if err != nil {
		return err
	}
	s, err := snapshot.Open(image)
	if err != nil {
		return err
	}
	f, err := snapshot.OpenFilter(filter)
	if err != nil {
		return err
	}
	if s, err = s.WithFilter(f); err != nil {
		return err
	}
	w.bytes = len(image) + len(filter)
	w.core = core.New(s, core.Manifest{List: "compare", Serial: 1, Built: now})
	return nil
}

// madeWorld is made from a seed: all three levels, both families, listings and
// exclusions nested in each other, own texts. rbldnsd gets it as the files that
// the exporter writes.
func madeWorld(dir string, count int) (*world, error) {
	random := rand.New(rand.NewPCG(2, 2026))
	var w world
	for level := snapshot.Address; level <= snapshot.System; level++ {
		zone := snapshot.Zone{
			Suffix: fmt.Sprintf("dnsbl-%d.bl.example", level), Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 600,
			MName: "ns.bl.example", RName: "hostmaster.bl.example", SOATTL: 600, Refresh: 3600, Retry: 600, Expire: 86400, Minimum: 120,
			Text: "{net} of {ip} is listed. See {url}?ipr={ip}", TestText: "Test entry for {ip}", URL: "https://bl.example/check",
		}
		var file bytes.Buffer
		kind, err := zonefile.Export(&file, zone, 1, madeListings(random, level, count))
		if err != nil {
			return nil, err
		}
		spec := zoneSpec{zone.Suffix, kind, zone.Suffix}
		if err := w.add(dir, spec, file.Bytes(), snapshot.Zone{Suffix: zone.Suffix, Level: level}); err != nil {
			return nil, err
		}
	}
	return &w, w.build()
}

// madeListings returns prefixes of which many lie in others.
func madeListings(random *rand.Rand, level snapshot.Level, count int) []snapshot.Listing {
	seen := map[netip.Prefix]bool{}
	var listings []snapshot.Listing
	for len(listings) < count {
		p := madePrefix(random, level)
		if n := len(listings); n > 0 && random.IntN(3) == 0 {
			p = within(random, listings[random.IntN(n)].Prefix)
		}
		if seen[p] {
			continue
		}
		seen[p] = true
		listings = append(listings, snapshot.Listing{Level: level, Prefix: p, Excluded: random.IntN(5) == 0, Facts: madeFacts(random)})
	}
	return listings
}

// madePrefix returns a prefix out of a few /8s and a few /32s, so that they are
// dense.
func madePrefix(random *rand.Rand, level snapshot.Level) netip.Prefix {
	var a netip.Addr
	length := 0
	if random.IntN(4) == 0 {
		b := [16]byte{0x26, 0, 0, byte(random.IntN(8))}
		for i := 4; i < len(b); i++ {
			b[i] = byte(random.Uint32())
		}
		a, length = netip.AddrFrom16(b), 64
		if level != snapshot.Address || random.IntN(4) == 0 {
			length = 36 + random.IntN(93)
		}
	} else {
		a, length = netip.AddrFrom4([4]byte{byte(20 + random.IntN(3)), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}), 32
		if level != snapshot.Address || random.IntN(8) == 0 {
			length = 12 + random.IntN(21)
		}
	}
	return netip.PrefixFrom(a, length).Masked()
}

// within returns a prefix that lies in p, often at one of its ends.
func within(random *rand.Rand, p netip.Prefix) netip.Prefix {
	length := p.Bits() + random.IntN(p.Addr().BitLen()-p.Bits()+1)
	switch random.IntN(3) {
	case 0:
		return netip.PrefixFrom(p.Addr(), length)
	case 1:
		return netip.PrefixFrom(last(p), length).Masked()
	}
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < length; i++ {
		b[i/8] |= byte(random.IntN(2)) << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, length)
}

func madeFacts(random *rand.Rand) snapshot.Facts {
	switch random.IntN(4) {
	case 0:
		return snapshot.Facts{Count: 1 + random.Uint32N(500), ASN: snapshot.ASN(64496 + random.Uint32N(16)), ASName: fmt.Sprintf("EXAMPLE-%d, XX", random.IntN(16)),
			Text: "Net {net} is listed because {count} impacts are seen from {as_name}/AS{asn} there. See: {url}?ipr={ip}"}
	case 1:
		return snapshot.Facts{Text: fmt.Sprintf("{ip} costs $%d of {{%d}} \xa9", random.IntN(9), random.IntN(9))}
	}
	return snapshot.Facts{}
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// describeWorld prints what is compared.
func describeWorld(out io.Writer, name string, w *world) {
	fmt.Fprintf(out, "%s\n", name)
	for _, z := range w.zones {
		listed, excluded := 0, 0
		for _, l := range w.listings {
			switch {
			case l.Level != z.Level:
			case l.Excluded:
				excluded++
			default:
				listed++
			}
		}
		fmt.Fprintf(out, "  %s: %d listings, %d exclusions\n", z.Suffix, listed, excluded)
	}
	fmt.Fprintf(out, "  lines with problems: %d\n", w.problems)
}
