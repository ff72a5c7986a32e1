// Package build writes snapshot images and filters.
//
// Most callers use Image on listings in any order, then Filter on what it
// returned. Promised: the same listings, zones and profile give the same bytes,
// whatever their order, and snapshot.Open and Check accept them. Not promised:
// that the listings are wise; Snapshot.Sane and the policy judge that.
package build

import (
	"encoding/binary"
	"fmt"
	"iter"

	"ucedge/snapshot"
)

// Input is everything that an image holds.
type Input struct {
	Zones    []snapshot.Zone    // one to eight, see snapshot.CheckZones
	Listings []snapshot.Listing // in any order; see Canonical
	Profile  snapshot.Profile

	// Ordered stands in for Listings where a caller makes them one by one: by
	// level, and then in the order of Snapshot.Listings. Image goes through it
	// once, and of points keeps a fifth of what a slice of them takes.
	Ordered iter.Seq[snapshot.Listing]
}

// Image returns the image of in. An error names the listing or zone that an
// image cannot hold. The caller keeps in and may change it afterwards.
func Image(in Input) ([]byte, error) {
	if err := snapshot.CheckZones(in.Zones); err != nil {
		return nil, err
	}
	if len(in.Profile.Name) > snapshot.NameMax || len(in.Profile.Text) > snapshot.ProfileMax {
		return nil, fmt.Errorf("profile %q: name or text too long", in.Profile.Name)
	}
	listings, err := in.ordered()
	if err != nil {
		return nil, err
	}
	parts, err := newParts(listings)
	if err != nil {
		return nil, err
	}
	sections := encode(in.Zones, in.Profile, parts)
	sections[2].body = collateral(make([]snapshot.Collateral, snapshot.System))
	draft, err := assemble(sections)
	if err != nil {
		return nil, err
	}
	s, err := snapshot.Open(draft)
	if err != nil {
		return nil, fmt.Errorf("own image: %w", err)
	}
	sections[2].body = collateral(s.Measure())
	return assemble(sections)
}

// A section is a row of the section table with its bytes.
type section struct {
	kind   snapshot.Kind
	level  snapshot.Level
	family uint8
	count  int
	body   []byte
}

// assemble puts the sections, which are in canonical order, into an image.
func assemble(sections []section) ([]byte, error) {
	size := snapshot.HeaderSize + len(sections)*snapshot.SectionSize
	for _, x := range sections {
		size = pad(size) + len(x.body)
	}
	size = pad(size)
	if size > snapshot.MaxImage {
		return nil, fmt.Errorf("image of %d bytes: more than %d", size, snapshot.MaxImage)
	}
	image := make([]byte, 0, size)
	image = append(image, snapshot.Magic...)
	image = le.AppendUint32(image, snapshot.Version)
	image = le.AppendUint32(image, uint32(len(sections)))
	image = le.AppendUint64(image, uint64(size))
	image = le.AppendUint64(image, 0)
	at := snapshot.HeaderSize + len(sections)*snapshot.SectionSize
	for _, x := range sections {
		at = pad(at)
		image = append(image, byte(x.kind), byte(x.level), x.family, 0)
		image = le.AppendUint32(image, uint32(x.count))
		image = le.AppendUint32(image, uint32(at))
		image = le.AppendUint32(image, uint32(len(x.body)))
		image = le.AppendUint64(image, snapshot.Checksum(x.body))
		at += len(x.body)
	}
	sum := snapshot.HeaderSum(image, len(sections))
	le.PutUint64(image[snapshot.HeaderSize-8:], sum)
	for _, x := range sections {
		image = append(image[:len(image):size], make([]byte, pad(len(image))-len(image))...)
		image = append(image, x.body...)
	}
	return append(image, make([]byte, size-len(image))...), nil
}

var le = binary.LittleEndian

func pad(n int) int { return (n + snapshot.Alignment - 1) &^ (snapshot.Alignment - 1) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
