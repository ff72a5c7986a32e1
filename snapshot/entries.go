package snapshot

import (
	"iter"
	"net/netip"
)

// Points returns the keys of the points of a family, 4 or 6, in rising order:
// addresses of IPv4, or the high halves of /64s. They come in runs of up to
// BlockSize, each valid until the next.
func (s *Snapshot) Points(family uint8) iter.Seq[[]uint64] {
	return func(yield func([]uint64) bool) {
		f := s.family(Address, family)
		if f == nil {
			return
		}
		var room block
		for b := range f.points.blocks() {
			if keys, _ := f.points.decode(b, &room); !yield(keys) {
				return
			}
		}
	}
}

// Nets returns what a level lists or excludes of a family besides points, in
// canonical order, and whether it is an exclusion.
func (s *Snapshot) Nets(level Level, family uint8) iter.Seq2[netip.Prefix, bool] {
	return func(yield func(netip.Prefix, bool) bool) {
		f := s.family(level, family)
		if f == nil {
			return
		}
		for i := range f.nets.len() {
			if !yield(f.entry(place{i, -1}, f.nets.addr(i))) {
				return
			}
		}
	}
}

// Entries returns the prefixes of Listings, in the same order, and whether each
// is an exclusion. It takes a fraction of the time.
func (s *Snapshot) Entries(level Level) iter.Seq2[netip.Prefix, bool] {
	return func(yield func(netip.Prefix, bool) bool) {
		for _, family := range []uint8{4, 6} {
			f := s.family(level, family)
			if f == nil || !f.walk(func(at place, a addr) bool { return yield(f.entry(at, a)) }) {
				return
			}
		}
	}
}

// entry returns the prefix at a place, which starts at a, and whether it is an
// exclusion.
func (f *family) entry(at place, a addr) (netip.Prefix, bool) {
	if at.point >= 0 {
		return f.prefix(a, f.bits), false
	}
	return f.prefix(a, f.nets.bits(at.net)), f.nets.row(at.net) == 0
}
