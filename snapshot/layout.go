package snapshot

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Constants of the image format; FORMAT.md explains them.
const (
	Magic   = "ucesnap\n" // first eight bytes of an image
	Version = 2           // of the format; a reader knows exactly one

	HeaderSize  = 32      // bytes before the section table
	SectionSize = 24      // bytes of one row of the section table
	Alignment   = 8       // sections start at multiples of it, filled with zeros
	MaxSections = 64      // rows of the section table; the format has 29 possible ones
	MaxImage    = 1 << 30 // bytes of an image: a guest has 4 GiB of memory for two of them

	BlockSize = 64  // points of a block: of 32, 64, 128 the best size within 300 ns a lookup
	GroupSize = 128 // blocks whose payload offsets fit into 16 bits relative to the first

	// Bits that tell where a payload is split: more than the codes of 32 keys
	// take, however far apart they are.
	SplitBits4 = 10
	SplitBits6 = 11
)

// A Kind says what a section holds.
type Kind uint8

// The kinds of sections, in the order in which they stand in an image.
const (
	KindZones      Kind = 1 + iota // settings of the zones
	KindProfile                    // name and text of the profile
	KindCollateral                 // what each level covers
	KindSystems                    // AS numbers and names
	KindTexts                      // TXT templates of single listings
	KindRows                       // facts of nets, each combination once
	KindNets                       // prefixes and exclusions
	KindPoints                     // addresses and /64s of Level 1
	KindTerms                      // last and end hour of each point
	KindFirsts                     // first hour of each point
	KindCounts                     // count of each point
	KindKinds                      // kinds of evidence of each point
)

var sectionNames = [...]string{"", "zones", "profile", "collateral", "systems", "texts", "rows", "nets",
	"points", "terms", "firsts", "counts", "kinds"}

// String returns the name of the kind, as FORMAT.md has it.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(sectionNames) {
		return "kind " + strconv.Itoa(int(k))
	}
	return sectionNames[k]
}

// A Section is one row of the section table.
type Section struct {
	Kind   Kind
	Level  Level // 0 where the kind is not split by level
	Family uint8 // 4, 6, or 0 where the kind is not split by family
	Count  int   // items: prefixes, points, rows of a table, values of a dictionary
	Offset int64 // bytes from the start of the image
	Length int64 // bytes, padding left out
	Sum    uint64
}

// String names the section for errors and for people.
func (x Section) String() string {
	s := x.Kind.String()
	if x.Level != 0 {
		s += " level " + strconv.Itoa(int(x.Level))
	}
	if x.Family != 0 {
		s += " ipv" + strconv.Itoa(int(x.Family))
	}
	return s
}

// order is the rank of the section in the table; rows are in strictly rising order.
func (x Section) order() uint32 {
	return uint32(x.Kind)<<16 | uint32(x.Level)<<8 | uint32(x.Family)
}

// wellPlaced says whether a section of that kind may carry that level and family.
func (x Section) wellPlaced() bool {
	family := x.Family == 4 || x.Family == 6
	switch {
	case x.Kind == KindNets:
		return family && x.Level >= Address && x.Level <= System
	case x.Kind >= KindPoints && x.Kind <= KindKinds:
		return family && x.Level == Address
	}
	return x.Kind >= KindZones && x.Kind < KindNets && x.Level == 0 && x.Family == 0
}

// A FormatError says where an image or a filter breaks the format.
type FormatError struct {
	Section string // "header", or a section as Section.String names it
	Offset  int64  // bytes into that section
	Problem string
}

func (e *FormatError) Error() string {
	return "snapshot: " + e.Section + " at byte " + strconv.FormatInt(e.Offset, 10) + ": " + e.Problem
}

func headerError(offset int, problem string) error {
	return &FormatError{"header", int64(offset), problem}
}

// Checksum is the checksum of the format over b: XXH64 with seed 0.
func Checksum(b []byte) uint64 { return xxhash.Sum64(b) }

// HeaderSum is the checksum over all of the header but itself, and the section
// table. As the table holds the checksums of all sections, it names the image.
func HeaderSum(image []byte, n int) uint64 {
	d := xxhash.New()
	d.Write(image[:HeaderSize-8])
	d.Write(image[HeaderSize : HeaderSize+n*SectionSize])
	return d.Sum64()
}

// parseHeader checks header and table, and checksums if summed, and returns the
// sections and the sum that names the image. All bytes of the image lie in a
// section, in the header or the table, or are zero.
func parseHeader(image []byte, summed bool) ([]Section, uint64, error) {
	switch {
	case len(image) < HeaderSize:
		return nil, 0, headerError(len(image), "image shorter than its header")
	case string(image[:8]) != Magic:
		return nil, 0, headerError(0, "not a ucedge snapshot")
	case le32(image[8:]) != Version:
		return nil, 0, headerError(8, "unknown version "+strconv.FormatUint(uint64(le32(image[8:])), 10))
	case le64(image[16:]) != uint64(len(image)):
		return nil, 0, headerError(16, "length does not match the image")
	case len(image) > MaxImage:
		return nil, 0, headerError(16, "image too long")
	}
	n := le32(image[12:])
	if n > MaxSections || int(n)*SectionSize > len(image)-HeaderSize {
		return nil, 0, headerError(12, "too many sections")
	}
	sum := le64(image[24:])
	if summed && sum != HeaderSum(image, int(n)) {
		return nil, 0, headerError(24, "checksum does not match")
	}
	sections, err := parseTable(image, int(n), summed)
	return sections, sum, err
}

func parseTable(image []byte, n int, summed bool) ([]Section, error) {
	sections := make([]Section, n)
	end := HeaderSize + n*SectionSize
	for i := range sections {
		at := HeaderSize + i*SectionSize
		row := image[at:]
		x := Section{
			Kind: Kind(row[0]), Level: Level(row[1]), Family: row[2], Count: int(le32(row[4:])),
			Offset: int64(le32(row[8:])), Length: int64(le32(row[12:])), Sum: le64(row[16:]),
		}
		if row[3] != 0 || !x.wellPlaced() || i > 0 && x.order() <= sections[i-1].order() {
			return nil, headerError(at, "unknown or misplaced section")
		}
		start, ok := zeroPadded(image, end)
		if !ok || x.Offset != int64(start) || x.Length > int64(len(image)-start) {
			return nil, headerError(at, "section outside its place")
		}
		end = start + int(x.Length)
		if summed && Checksum(image[start:end]) != x.Sum {
			return nil, &FormatError{x.String(), 0, "checksum does not match"}
		}
		sections[i] = x
	}
	if start, ok := zeroPadded(image, end); !ok || start != len(image) {
		return nil, headerError(16, "bytes after the last section")
	}
	return sections, nil
}

// zeroPadded returns the next aligned offset and whether the bytes up to it are
// there and zero.
func zeroPadded(image []byte, end int) (int, bool) {
	start := (end + Alignment - 1) &^ (Alignment - 1)
	if start > len(image) {
		return 0, false
	}
	for _, b := range image[end:start] {
		if b != 0 {
			return 0, false
		}
	}
	return start, true
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// A cursor reads a section front to back. After the first fault it stays at it
// and gives zeros, so that callers check once, at the end.
type cursor struct {
	name string
	b    []byte
	at   int
	err  error
}

func (c *cursor) fail(problem string) {
	if c.err == nil {
		c.err = &FormatError{c.name, int64(c.at), problem}
		c.b = c.b[:min(c.at, len(c.b))] // nothing more to read
	}
}

// short reads a varint of one byte, if the next one is. It is inlined into
// loops over columns, in which nearly all are.
func (c *cursor) short() (n uint64, ok bool) {
	if c.at >= len(c.b) || c.b[c.at] >= 0x80 {
		return 0, false
	}
	c.at++
	return uint64(c.b[c.at-1]), true
}

func (c *cursor) byte() byte {
	if c.err != nil || c.at >= len(c.b) {
		c.fail("section ends too early")
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

// bytes returns a view of the next n bytes.
func (c *cursor) bytes(n uint64) []byte {
	if c.err != nil || n > uint64(len(c.b)-c.at) {
		c.fail("section ends too early")
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at : c.at]
}

// uint reads a varint of at most max: seven bits a byte, lowest first, in the
// fewest bytes.
func (c *cursor) uint(max uint64) uint64 {
	n := c.uint128()
	if n.hi != 0 || n.lo > max {
		c.fail("number out of range")
		return 0
	}
	return n.lo
}

// uint128 reads a varint of up to 128 bits.
func (c *cursor) uint128() addr {
	if n, ok := c.short(); ok {
		return addr{0, n}
	}
	return c.long()
}

// long reads a varint of any length.
func (c *cursor) long() (n addr) {
	for shift := uint(0); ; shift += 7 {
		b := c.byte()
		v := uint64(b & 0x7f)
		if shift > 121 && bits.Len64(v) > int(128-shift) || b == 0 && shift > 0 {
			c.fail("number too long")
		}
		if c.err != nil {
			return addr{}
		}
		if shift < 64 {
			n.lo |= v << shift
			n.hi |= v >> (64 - shift) // nothing while shift is 0
		} else {
			n.hi |= v << (shift - 64)
		}
		if b < 0x80 {
			return n
		}
	}
}

// string reads a length of at most max and that many bytes.
func (c *cursor) string(max uint64) string { return string(c.bytes(c.uint(max))) }

// end returns the first fault; bytes that nobody read are one.
func (c *cursor) end() error {
	if c.err == nil && c.at != len(c.b) {
		c.fail("section has more bytes than items")
	}
	return c.err
}
