package snapshot_test

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// randomLevels returns listings of one world at all levels.
func randomLevels(seed uint64) []snapshot.Listing {
	r := rand.New(rand.NewPCG(seed, 5))
	list, _ := randomListings(r)
	for i := range list {
		list[i].Level = snapshot.Level(1 + r.IntN(3))
	}
	return list
}

// TestEntries holds the ways to read a snapshot without facts to the one with
// them, and its figures to a slow count, in small worlds.
func TestEntries(t *testing.T) {
	for seed := range uint64(1000) {
		list := randomLevels(seed)
		_, s := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
		for level := snapshot.Combined; level <= snapshot.System+1; level++ {
			checkEntries(t, s, level)
		}
		if got, want := s.Measure(), slowMeasure(s); !reflect.DeepEqual(got, want) {
			t.Errorf("measured\n     %+v\nwant %+v", got, want)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, list)
		}
	}
}

func checkEntries(t *testing.T, s *snapshot.Snapshot, level snapshot.Level) {
	t.Helper()
	type entry struct {
		prefix   netip.Prefix
		excluded bool
	}
	var want, got, parts []entry
	for l := range s.Listings(level) {
		want = append(want, entry{l.Prefix, l.Excluded})
	}
	for p, excluded := range s.Entries(level) {
		got = append(got, entry{p, excluded})
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries of level %d: %v, want %v", level, got, want)
	}
	for _, family := range []uint8{4, 6} {
		for p, excluded := range s.Nets(level, family) {
			parts = append(parts, entry{p, excluded})
		}
		if level != snapshot.Address {
			continue
		}
		for run := range s.Points(family) {
			for _, key := range run {
				parts = append(parts, entry{pointOf(family, key), false})
			}
		}
	}
	order := func(a, b entry) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	}
	if slices.SortFunc(parts, order); !slices.Equal(parts, want) {
		t.Errorf("points and nets of level %d: %v, want %v", level, parts, want)
	}
}

func pointOf(family uint8, key uint64) netip.Prefix {
	b := binary.BigEndian.AppendUint64(nil, key)
	if family == 4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[4:])), 32)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(append(b, make([]byte, 8)...))), 64)
}

// slowMeasure counts what Measure does by the definition of each figure: for
// every listing the innermost prefix around it decides.
func slowMeasure(s *snapshot.Snapshot) []snapshot.Collateral {
	var rows []snapshot.Collateral
	for level := snapshot.Address; level <= snapshot.System; level++ {
		c := snapshot.Collateral{Level: level}
		list := slices.Collect(s.Listings(level))
		sixtyFours := new(big.Int)
		parts := map[netip.Prefix]bool{} // /64s of which a part is listed and not the whole
		for _, l := range list {
			if l.Excluded {
				c.Excluded++
			} else {
				c.Entries++
			}
			if l.Prefix.Addr().Is4() {
				if up := around(list, l.Prefix, 32); up != nil && !up.Excluded != l.Excluded || up == nil && l.Excluded {
					continue
				}
				size := uint64(1) << (32 - l.Prefix.Bits())
				if l.Excluded {
					size = -size
				}
				c.Addresses += size
				continue
			}
			up := around(list, l.Prefix, 64)
			inside := up != nil && !up.Excluded
			switch {
			case inside != l.Excluded:
			case l.Prefix.Bits() > 64:
				whole, _ := l.Prefix.Addr().Prefix(64)
				parts[whole] = parts[whole] || !l.Excluded
			default:
				size := new(big.Int).Lsh(big.NewInt(1), uint(64-l.Prefix.Bits()))
				if l.Excluded {
					size.Neg(size)
				}
				sixtyFours.Add(sixtyFours, size)
			}
		}
		for _, listed := range parts {
			if listed {
				sixtyFours.Add(sixtyFours, big.NewInt(1))
			}
		}
		c.Slash64s = ^uint64(0)
		if sixtyFours.IsUint64() {
			c.Slash64s = sixtyFours.Uint64()
		}
		for l := range s.Listings(snapshot.Address) {
			if !l.Excluded && (level == snapshot.Address || s.Lookup(level, l.Prefix.Addr(), 0).Listed) {
				c.Abusers++
			}
		}
		rows = append(rows, c)
	}
	return rows
}

// around returns the longest prefix around p of at most n bits, or nil.
func around(list []snapshot.Listing, p netip.Prefix, n int) (up *snapshot.Listing) {
	for i := range list {
		q := list[i].Prefix
		if q.Bits() < p.Bits() && q.Bits() <= n && q.Overlaps(p) && (up == nil || q.Bits() > up.Prefix.Bits()) {
			up = &list[i]
		}
	}
	return up
}

// TestOrdered builds the same bytes from listings in order, one by one, as
// from all of them in any order.
func TestOrdered(t *testing.T) {
	for seed := range uint64(300) {
		list := randomLevels(seed)
		want, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
		ordered, err := build.Canonical(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := mustImage(t, build.Input{Zones: threeZones(), Ordered: slices.Values(ordered)}); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: another image in order", seed)
		}
		if got, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: ordered}); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: another image of a sorted list", seed)
		}
		if len(ordered) < 2 {
			continue
		}
		ordered[0], ordered[1] = ordered[1], ordered[0]
		_, err = build.Image(build.Input{Zones: threeZones(), Ordered: slices.Values(ordered)})
		if err == nil || !strings.Contains(err.Error(), "out of order") || !strings.Contains(err.Error(), ordered[1].Prefix.String()) {
			t.Fatalf("seed %d: out of order: %v", seed, err)
		}
	}
	one := []snapshot.Listing{{Level: snapshot.Address, Prefix: netip.MustParsePrefix("192.0.2.1/32")}}
	in := build.Input{Zones: threeZones(), Listings: one, Ordered: slices.Values(one)}
	if _, err := build.Image(in); err == nil {
		t.Error("listings both in order and in any order: no error")
	}
	_, err := build.Image(build.Input{Zones: threeZones(), Ordered: slices.Values([]snapshot.Listing{{Level: 4}})})
	if err == nil || !strings.Contains(err.Error(), "unknown level") {
		t.Errorf("bad listing in order: %v", err)
	}
}

// TestGroups builds an image of several groups of blocks in both families,
// with columns of every width, and reads all of it back.
func TestGroups(t *testing.T) {
	const group = snapshot.BlockSize * snapshot.GroupSize
	for _, n := range []int{group - 1, group, group + 1, 8*group + 17} {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		var list []snapshot.Listing
		for i := range n {
			four, six := addressListing(r, v4(uint32(i)*11+r.Uint32N(11)), 32), addressListing(r, v6(r.Uint64()), 64)
			four.Count, four.Kinds, six.First = r.Uint32(), snapshot.Kinds(r.IntN(3)), snapshot.Hour(r.IntN(300))
			list = append(list, four, six)
		}
		image, s := mustImage(t, build.Input{Zones: threeZones(), Listings: list})
		want, err := build.Canonical(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := all(s); !slices.Equal(got, want) {
			t.Errorf("%d points of each family: %d of %d listings came back, or others", n, len(got), len(want))
		}
		filter, _ := mustFilter(t, image, s)
		for _, l := range want {
			if !filter.May(l.Level, l.Prefix.Addr()) {
				t.Fatalf("%d points: the filter denies %v", n, l.Prefix)
			}
		}
	}
}
