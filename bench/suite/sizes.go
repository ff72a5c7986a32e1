package main

import (
	"errors"
	"fmt"

	"ucedge/edge/edgetest"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
)

// sizes measures images and their objects on the wire: each public list, all
// three as one, and 2.09 million addresses.
func (s *suite) sizes() error {
	all, err := publicLists(func(l list, in build.Input) error { return s.size("real, "+l.name, in, 0) })
	if errors.Is(err, errAbsent) {
		s.results.skip("the public lists, since %v", err)
	} else if err != nil {
		return err
	} else if err := s.size(realName, all, 420_000); err != nil {
		return err
	}
	many, err := manyAddresses()
	if errors.Is(err, errAbsent) {
		s.results.skip("2.09 M addresses, since %v", err)
	} else if err != nil {
		return err
	} else if err := s.size(manyName, many, 0); err != nil {
		return err
	}
	return s.size(seededName, seeded(seededCount), 0)
}

// size measures one image. A wire size above aim, if there is one, is shown
// beside it.
func (s *suite) size(name string, in build.Input, aim int) error {
	o, err := s.build(name, in)
	if err != nil {
		return err
	}
	opened, err := snapshot.Open(o.image)
	if err != nil {
		return err
	}
	wire, filterWire, err := onTheWire(o)
	if err != nil {
		return err
	}
	words := ""
	if aim > 0 {
		words = fmt.Sprintf("at most %d", aim)
	}
	s.results.add(name+": entries", float64(entries(opened)), "")
	s.results.add(name+": image", float64(len(o.image)), "bytes")
	s.results.aimed(name+": image on the wire", float64(wire), "bytes", words)
	s.results.add(name+": filter", float64(len(o.filter)), "bytes")
	s.results.add(name+": filter on the wire", float64(filterWire), "bytes")
	s.bits(name, opened)
	return nil
}

func onTheWire(o objects) (imageBytes, filterBytes int, err error) {
	a, err := edgetest.Encode(manifest.Zstd, o.image)
	if err != nil {
		return 0, 0, err
	}
	b, err := edgetest.Encode(manifest.Zstd, o.filter)
	return len(a), len(b), err
}

// entries counts listings and exclusions.
func entries(s *snapshot.Snapshot) (n uint64) {
	for _, c := range s.Collateral() {
		n += c.Entries + c.Excluded
	}
	return n
}

// bits measures what an entry costs in its own section, before the wire.
func (s *suite) bits(name string, opened *snapshot.Snapshot) {
	for _, x := range opened.Sections() {
		if x.Count < 1000 {
			continue
		}
		each := float64(x.Length) * 8 / float64(x.Count)
		switch x.Kind {
		case snapshot.KindPoints:
			s.results.aimed(name+": bits per address", each, "bits", "at most 9.0 at 2.09 M")
		case snapshot.KindNets:
			s.results.add(fmt.Sprintf("%s: bits per net, level %d", name, x.Level), each, "bits")
		}
	}
}
