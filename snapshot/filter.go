package snapshot

import (
	"math/bits"
	"net/netip"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Constants of the filter format; FORMAT.md explains them.
const (
	FilterMagic   = "ucefilt\n" // first eight bytes of a filter object
	FilterVersion = 1

	FilterHeaderSize = 40
	BloomSize        = 24 // bytes of one row of the table of blooms
	BloomsMax        = 8  // nets of three levels and points of one, in two families
	HashesMax        = 32 // bits a key; 1 % false positives take 7
)

// A Filter holds bloom filters over the listings of one image: of addresses
// and /64s by themselves, and of everything else by the /16 (IPv4) or /32
// (IPv6) around it. It says "not listed" for sure and "listed" with 1 % of
// error. It is a view like a Snapshot.
type Filter struct {
	image  uint64 // Snapshot.Sum of the image
	blooms []Bloom
}

// A Bloom is one bloom filter, laid out and hashed as by
// github.com/bits-and-blooms/bloom/v3. Keys are the leading bits of addresses
// in network byte order: 4 or 8 bytes for points, 2 or 4 for nets.
type Bloom struct {
	Kind   Kind  // KindPoints or KindNets
	Level  Level // 1 to 3
	Family uint8 // 4 or 6
	Hashes int   // bits a key; 0 if every key passes, and then there are no bits
	Count  int   // distinct keys
	Bits   uint64
	words  []byte
}

// order is the rank of the bloom in the table.
func (b *Bloom) order() uint32 { return Section{b.Kind, b.Level, b.Family, 0, 0, 0, 0}.order() }

// OpenFilter checks the object, which is what build.Filter made, and returns a
// view of it.
func OpenFilter(b []byte) (*Filter, error) { return openFilter(b, true) }

func openFilter(b []byte, summed bool) (*Filter, error) {
	fault := func(at int, problem string) error {
		return &FormatError{"filter", int64(at), problem}
	}
	switch {
	case len(b) < FilterHeaderSize:
		return nil, fault(len(b), "shorter than its header")
	case string(b[:8]) != FilterMagic:
		return nil, fault(0, "not a ucedge filter")
	case le32(b[8:]) != FilterVersion:
		return nil, fault(8, "unknown version "+strconv.FormatUint(uint64(le32(b[8:])), 10))
	case le64(b[16:]) != uint64(len(b)):
		return nil, fault(16, "length does not match the object")
	case summed && le64(b[32:]) != FilterSum(b):
		return nil, fault(32, "checksum does not match")
	}
	n := le32(b[12:])
	if n > BloomsMax || len(b) < FilterHeaderSize+int(n)*BloomSize {
		return nil, fault(12, "too many blooms")
	}
	f := &Filter{image: le64(b[24:]), blooms: make([]Bloom, n)}
	rest := b[FilterHeaderSize+int(n)*BloomSize:]
	for i := range f.blooms {
		x := &f.blooms[i]
		at := FilterHeaderSize + i*BloomSize
		if !x.read(b[at:]) || i > 0 && x.order() <= f.blooms[i-1].order() {
			return nil, fault(at, "unknown or misplaced bloom")
		}
		length := (x.Bits + 63) / 64 * 8
		if length > uint64(len(rest)) {
			return nil, fault(at, "bloom ends past the object")
		}
		x.words, rest = rest[:length:length], rest[length:]
	}
	if len(rest) != 0 {
		return nil, fault(len(b)-len(rest), "bytes after the last bloom")
	}
	return f, nil
}

// FilterSum is the checksum over all of the object but itself.
func FilterSum(b []byte) uint64 {
	d := xxhash.New()
	d.Write(b[:FilterHeaderSize-8])
	d.Write(b[FilterHeaderSize:])
	return d.Sum64()
}

// read reads a row of the table, and says whether it makes sense.
func (x *Bloom) read(row []byte) bool {
	*x = Bloom{
		Kind: Kind(row[0]), Level: Level(row[1]), Family: row[2], Hashes: int(row[3]),
		Count: int(le32(row[4:])), Bits: le64(row[8:]),
	}
	section := Section{Kind: x.Kind, Level: x.Level, Family: x.Family}
	return section.wellPlaced() && (x.Kind == KindNets || x.Kind == KindPoints) &&
		x.Hashes <= HashesMax && (x.Hashes == 0) == (x.Bits == 0) && x.Bits <= 8*MaxImage &&
		le64(row[16:]) == 0
}

// Image returns the Snapshot.Sum of the image that the filter was made from.
func (f *Filter) Image() uint64 { return f.image }

// Blooms returns the blooms in the order of the object. The caller must not
// change them.
func (f *Filter) Blooms() []Bloom { return f.blooms }

// WithFilter returns a view of s that asks f first, and so is faster on
// addresses that are not listed. It answers exactly as s does. It is an error
// if f was not made from the image of s.
func (s *Snapshot) WithFilter(f *Filter) (*Snapshot, error) {
	if f == nil || f.image != s.sum {
		return nil, &FormatError{"filter", 24, "made from another image"}
	}
	gated := *s
	gated.filtered = true
	for i := range f.blooms {
		if b := &f.blooms[i]; b.Kind == KindPoints { // finding a net takes less time than asking a bloom
			gated.family(b.Level, b.Family).gate = b
		}
	}
	return &gated, nil
}

// Filtered says whether s is a view that WithFilter gave.
func (s *Snapshot) Filtered() bool { return s.filtered }

// May says whether the level may list or exclude the address; false is certain.
func (f *Filter) May(level Level, a netip.Addr) bool {
	for i := range f.blooms {
		if b := &f.blooms[i]; b.Level == level && b.May(a) {
			return true
		}
	}
	return false
}

// May says whether the key of the address may be one of the bloom; false is
// certain, also for an address of the other family.
func (b *Bloom) May(a netip.Addr) bool {
	return a.IsValid() && a.Is4() == (b.Family == 4) && b.may(number(a))
}

// KeyBits returns how many leading bits of an address are a key.
func (b *Bloom) KeyBits() int {
	bits := 16
	if b.Kind == KindPoints {
		bits = 32
	}
	if b.Family == 6 {
		bits *= 2
	}
	return bits
}

// may says whether the leading bits of a may be a key.
func (b *Bloom) may(a addr) bool {
	return b.Hashes == 0 || b.test(a.hi>>(64-b.KeyBits()), b.KeyBits()/8)
}

// test probes the bits for a key of size bytes, 2, 4 or 8. Four hashes, of the
// key and of the key with a byte 1 after it, give all others. The first probe
// needs but one, and answers for half of the keys that are not there.
func (b *Bloom) test(key uint64, size int) bool {
	k := bits.ReverseBytes64(key) >> (64 - 8*size) // the first byte is the lowest
	h0, h1 := murmur(k, 0, uint64(size))
	if !b.has(h0) {
		return false
	}
	k2 := uint64(1)
	if size < 8 {
		k, k2 = k|1<<(8*size), 0
	}
	h2, h3 := murmur(k, k2, uint64(size)+1)
	even, odd := [2]uint64{h2, h3}, [2]uint64{h3, h2} // what the probes add, in turn
	for i := uint64(1); i < uint64(b.Hashes); i++ {
		at := h0 + i*even[i/2&1]
		if i&1 == 1 {
			at = h1 + i*odd[i/2&1]
		}
		if !b.has(at) {
			return false
		}
	}
	return true
}

// has says whether the bit of a hash is set.
func (b *Bloom) has(hash uint64) bool {
	at := hash % b.Bits
	return b.words[at>>3]>>(at&7)&1 != 0
}

// murmur is MurmurHash3 x64 128, seed 0, of fewer than 16 bytes: k1 and k2 are
// their little-endian halves.
func murmur(k1, k2, length uint64) (uint64, uint64) {
	const c1, c2 = 0x87c37b91114253d5, 0x4cf5ad432745937f
	h2 := bits.RotateLeft64(k2*c2, 33) * c1 // 0 if k2 is
	h1 := bits.RotateLeft64(k1*c1, 31) * c2
	h1 ^= length
	h2 ^= length
	h1 += h2
	h2 += h1
	h1, h2 = mix(h1), mix(h2)
	h1 += h2
	return h1, h2 + h1
}

func mix(k uint64) uint64 {
	k = (k ^ k>>33) * 0xff51afd7ed558ccd
	k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
