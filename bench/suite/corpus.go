package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ucedge/internal/data"
	"ucedge/origin/zonefile"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// Names of the corpora in the results, and the size of the one from a seed.
const (
	manyName    = "2.09 M addresses"
	realName    = "real, three zones"
	seededName  = "seeded, 100 000 addresses"
	seededCount = 100_000
)

// objects are an image and its filter.
type objects struct{ image, filter []byte }

// build builds an input once a run, under its name: 2.09 million addresses take
// seconds.
func (s *suite) build(name string, in build.Input) (objects, error) {
	if o, ok := s.built[name]; ok {
		return o, nil
	}
	o, err := encode(in)
	if err == nil {
		s.built[name] = o
	}
	return o, err
}

// encode builds the image of in, and its filter.
func encode(in build.Input) (o objects, err error) {
	if o.image, err = build.Image(in); err != nil {
		return objects{}, err
	}
	o.filter, err = build.Filter(o.image)
	return o, err
}

// A list is one of the public files of a zone.
type list struct {
	name   string
	file   string
	suffix string
	level  snapshot.Level
	kind   zonefile.Kind
}

var lists = []list{
	{"level 1", "uceprotect-2026-07/dnsbl-1.uceprotect.net.xz", "dnsbl-1.bl.example", snapshot.Address, zonefile.IP4Set},
	{"level 2", "uceprotect-2026-07/dnsbl-2.uceprotect.net.xz", "dnsbl-2.bl.example", snapshot.Allocation, zonefile.IP4Trie},
	{"level 3", "uceprotect-2026-07/level3-prefixes.txt.xz", "dnsbl-3.bl.example", snapshot.System, zonefile.IP4Trie},
}

// errAbsent says that a file of the public data, or what it takes to read it,
// is not there.
var errAbsent = errors.New("absent")

// read parses the public file of a list.
func (l list) read() (build.Input, error) {
	dir, err := data.Folder()
	if err != nil {
		return build.Input{}, err
	}
	text, err := unxz(filepath.Join(dir, l.file))
	if err != nil {
		return build.Input{}, err
	}
	result, err := zonefile.Parse(zonefile.Options{Zone: zone(l.suffix, l.level), Kind: l.kind},
		zonefile.Source{Name: filepath.Base(l.file), Reader: bytes.NewReader(text)})
	if err != nil {
		return build.Input{}, err
	}
	return build.Input{Zones: result.Zones, Listings: result.Listings, Profile: snapshot.Profile{Name: "imported"}}, nil
}

// publicLists reads the three public files, calls each with every one, and
// returns all of them as one.
func publicLists(each func(list, build.Input) error) (build.Input, error) {
	var all build.Input
	for _, l := range lists {
		in, err := l.read()
		if err != nil {
			return all, err
		}
		if err := each(l, in); err != nil {
			return all, err
		}
		all.Zones = append(all.Zones, in.Zones...)
		all.Listings = append(all.Listings, in.Listings...)
		all.Profile = in.Profile
	}
	return all, nil
}

// unxz returns what is in an xz file. No package of the module reads xz, so the
// command does.
func unxz(name string) ([]byte, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q: %w", name, errAbsent)
	}
	path, err := exec.LookPath("xz")
	if err != nil {
		return nil, fmt.Errorf("command xz: %w", errAbsent)
	}
	return exec.Command(path, "-dc", name).Output()
}

// manyAddresses returns the Level 1 list of 2.09 million real addresses.
func manyAddresses() (build.Input, error) {
	dir, err := data.Folder()
	if err != nil {
		return build.Input{}, err
	}
	name := filepath.Join(dir, "addresses", "real-2.09M.u32.zst")
	wire, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return build.Input{}, fmt.Errorf("%q: %w", name, errAbsent)
	}
	if err != nil {
		return build.Input{}, err
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		return build.Input{}, err
	}
	defer r.Close()
	plain, err := r.DecodeAll(wire, nil)
	if err != nil {
		return build.Input{}, fmt.Errorf("%q: %w", name, err)
	}
	addresses := make([]uint32, 0, len(plain)/4)
	for ; len(plain) >= 4; plain = plain[4:] {
		addresses = append(addresses, binary.LittleEndian.Uint32(plain))
	}
	return addressList(addresses), nil
}

// seeded returns a Level 1 list of about n addresses that needs no file: in
// clusters, as listed addresses are, from a fixed seed.
func seeded(n int) build.Input {
	random := rand.New(rand.NewPCG(5782, 8484))
	seen := map[uint32]bool{}
	var addresses []uint32
	for len(addresses) < n {
		net := random.Uint32() &^ 0xff
		if first := net >> 24; first < 1 || first == 10 || first == 127 || first >= 224 {
			continue
		}
		for range 1 + random.IntN(12) {
			if a := net | random.Uint32()&0xff; !seen[a] {
				seen[a] = true
				addresses = append(addresses, a)
			}
		}
	}
	return addressList(addresses)
}

func addressList(addresses []uint32) build.Input {
	in := build.Input{
		Zones:    []snapshot.Zone{zone("dnsbl-1.bl.example", snapshot.Address)},
		Profile:  snapshot.Profile{Name: "imported"},
		Listings: make([]snapshot.Listing, 0, len(addresses)),
	}
	special := snapshot.SpecialUse()
	for _, a := range addresses {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], a)
		address := netip.AddrFrom4(b)
		if slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(address) }) {
			continue // no list may hold it, and a guest refuses one that does
		}
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(address, 32)})
	}
	return in
}

// zone returns settings as the public lists have them.
func zone(suffix string, level snapshot.Level) snapshot.Zone {
	_, parent, _ := strings.Cut(suffix, ".")
	return snapshot.Zone{
		Suffix: suffix, Level: level, Code: [4]byte{127, 0, 0, 2}, TTL: 2100,
		MName: "ns." + parent, RName: "hostmaster." + parent,
		SOATTL: 3600, Refresh: 600, Retry: 300, Expire: 86400, Minimum: 300,
		Text: "IP {ip} is listed, see {url}?ipr={ip}", URL: "https://" + parent + "/",
	}
}
