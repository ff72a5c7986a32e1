// Package snapshot reads the file that holds all listings of one moment.
//
// Most callers use Open on the bytes of an image, then Lookup. A Snapshot is a
// view: the bytes are searched where they lie, must not change as long as it
// is in use, and any number of goroutines may read it at once. Promised: bytes
// that break the format are an error and never a panic, what Open allocates is
// a small multiple of the length of the image, and Lookup allocates nothing.
// Not promised: that the image is the one encoding of its listings, which is
// Check's to say, and that it is authentic or fresh, which is the manifest's.
package snapshot

// Limits of what an image may hold.
const (
	ZonesMax    = 8       // zones of an image
	NSMax       = 16      // name servers of a zone
	NameMax     = 189     // bytes of a zone suffix: 64 of an IPv6 name's nibbles and dots come before it
	TemplateMax = 1024    // bytes of a template before expansion
	ASNameMax   = 255     // bytes of the name of an AS
	ProfileMax  = 1 << 16 // bytes of the text of a profile
)

// A Snapshot is an immutable view of an image.
type Snapshot struct {
	sum        uint64 // names the image
	size       int64  // bytes of the image
	sections   []Section
	zones      []Zone
	profile    Profile
	collateral []Collateral
	texts      [System + 1][]byte // default template of each level
	tables     [System + 1]table  // by level; Combined is empty
	facts      facts
	filtered   bool // a view behind a filter
}

// A table is what one level lists.
type table struct {
	v4, v6 family
}

// A family is what one level lists of one address family. Points are listings
// of the length of bits, nets are everything else.
type family struct {
	points  points
	columns columns
	nets    nets
	bits    int    // of a point's prefix: 32 or 64
	gate    *Bloom // of the points, or nil
}

// Open checks the image and returns a view of it. It reads every byte once for
// the checksums, and decodes the settings and the directories of points alone.
func Open(image []byte) (*Snapshot, error) { return open(image, true) }

// OpenVerified opens an image, and its filter unless that is empty, of which
// the caller has verified every byte against the hashes of a signed manifest.
// It computes no checksums, which would take most of its time, and is otherwise
// Open, OpenFilter and WithFilter.
func OpenVerified(image, filter []byte) (*Snapshot, error) {
	s, err := open(image, false)
	if err != nil || len(filter) == 0 {
		return s, err
	}
	f, err := openFilter(filter, false)
	if err != nil {
		return nil, err
	}
	return s.WithFilter(f)
}

func open(image []byte, summed bool) (*Snapshot, error) {
	sections, sum, err := parseHeader(image, summed)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{sum: sum, size: int64(len(image)), sections: sections}
	for l := range s.tables {
		s.tables[l].v4.bits, s.tables[l].v6.bits = 32, 64
	}
	for _, x := range sections {
		if err := s.read(x, image[x.Offset:x.Offset+x.Length]); err != nil {
			return nil, err
		}
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	return s, nil
}

// read reads one section. Sections come in the order of their kinds, so what
// one refers to is there before it.
func (s *Snapshot) read(x Section, b []byte) (err error) {
	f := s.family(x.Level, x.Family)
	switch x.Kind {
	case KindZones:
		s.zones, err = openZones(x, b)
	case KindProfile:
		s.profile, err = openProfile(x, b)
	case KindCollateral:
		s.collateral, err = openCollateral(x, b)
	case KindSystems:
		err = s.facts.openSystems(x, b)
	case KindTexts:
		err = s.facts.openTexts(x, b)
	case KindRows:
		err = s.facts.openRows(x, b)
	case KindNets:
		f.nets, err = openNets(x, b, s.facts.rows)
	case KindPoints:
		f.points, err = openPoints(x, b)
	default:
		f.columns[x.Kind-KindTerms], err = openColumn(x, b, f.points.n)
	}
	return err
}

// complete checks what only the whole image shows.
func (s *Snapshot) complete() error {
	if len(s.zones) == 0 || len(s.collateral) == 0 || !s.has(KindProfile) {
		return headerError(HeaderSize, "zones, profile or collateral missing")
	}
	for l := range s.texts {
		s.texts[l] = []byte(defaultText(s.zones, Level(l)))
	}
	return nil
}

func (s *Snapshot) has(k Kind) bool {
	for _, x := range s.sections {
		if x.Kind == k {
			return true
		}
	}
	return false
}

// defaultText returns the template for listings of a level without their own:
// that of the level's zone, or of the combined zone, or of the first.
func defaultText(zones []Zone, level Level) string {
	for _, want := range []Level{level, Combined} {
		for _, z := range zones {
			if z.Level == want {
				return z.Text
			}
		}
	}
	return zones[0].Text
}

// family returns what a level lists of a family, or nil for levels and
// families that list nothing.
func (s *Snapshot) family(level Level, family uint8) *family {
	switch {
	case level < Address || level > System:
		return nil
	case family == 4:
		return &s.tables[level].v4
	case family == 6:
		return &s.tables[level].v6
	}
	return nil
}

// Sum names the image: two images with the same sum are the same, unless
// someone made them so on purpose (it is no cryptographic hash).
func (s *Snapshot) Sum() uint64 { return s.sum }

// Size returns the length of the image in bytes.
func (s *Snapshot) Size() int64 { return s.size }

// Zones returns the zones that the snapshot answers for, in the order of the
// image. The caller must not change them.
func (s *Snapshot) Zones() []Zone { return s.zones }

// Profile returns the rule by which the listings were decided.
func (s *Snapshot) Profile() Profile { return s.profile }

// Collateral returns what the levels cover, Levels 1 to 3 in order. The caller
// must not change it.
func (s *Snapshot) Collateral() []Collateral { return s.collateral }

// Sections returns the section table, for people who want to see what takes
// the space. The caller must not change it.
func (s *Snapshot) Sections() []Section { return s.sections }
