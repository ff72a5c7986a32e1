package core

import (
	"encoding/binary"

	"ucedge/snapshot"
)

// A zone is a zone of the snapshot, with its names and its own records in wire
// form.
type zone struct {
	*snapshot.Zone
	labels   int
	suffix   []byte // owner name of the apex, lower case, root label included
	words    []word // of suffix
	soa      record // as an answer
	negative record // the SOA as it goes with answers that there is nothing (RFC 2308 3)
	ns       []record
	between  [][]byte // names between the apex and that of a zone further down, lower case
	test     string   // template of the TXT of the test points
}

// newZone prepares z for answers from the snapshot of that serial. It reports
// false if one of its names is none.
func newZone(z *snapshot.Zone, serial snapshot.Serial) (made zone, ok bool) {
	made = zone{Zone: z, test: z.TestText}
	if made.test == "" {
		made.test = z.Text
	}
	if made.suffix, made.labels, ok = wireName(z.Suffix); !ok {
		return zone{}, false
	}
	made.words = wordsOf(made.suffix)
	if made.soa, ok = made.newSOA(z.SOATTL, serial); !ok {
		return zone{}, false
	}
	if made.negative, ok = made.newSOA(min(z.SOATTL, z.Minimum), serial); !ok {
		return zone{}, false
	}
	for _, name := range z.NS {
		var ns record
		ns.begin(typeNS, z.NSTTL)
		if !ns.name(name, made.suffix) {
			return zone{}, false
		}
		ns.end()
		made.ns = append(made.ns, ns)
	}
	return made, true
}

// noteBetween notes the names between the apex of z and that of another zone
// below it. They exist, since that one does (RFC 8020 2).
func (z *zone) noteBetween(other *zone) {
	var names [][]byte
	name := other.suffix
	for range other.labels - z.labels {
		name = name[1+int(name[0]):]
		names = append(names, name)
	}
	if len(names) > 1 && string(name) == string(z.suffix) {
		z.between = append(z.between, names[:len(names)-1]...)
	}
}

// isBetween reports whether the name of q is one of z.between.
func (z *zone) isBetween(q *query) bool {
	for _, name := range z.between {
		if equalFold(q.name, name) {
			return true
		}
	}
	return false
}

// A word is eight bytes of a zone's suffix, and the bits in which the two cases
// of its letters differ. In a guest a step of a loop takes as long for a byte
// as for eight of them.
type word struct {
	at         int
	bits, fold uint64
}

// wordsOf parts a name in lower case into words, the last of which ends with
// the name. A name shorter than a word has none.
func wordsOf(name []byte) (words []word) {
	const size = 8
	for at := 0; at < len(name) && len(name) >= size; at += size {
		w := word{at: min(at, len(name)-size)}
		for i, c := range name[w.at : w.at+size] {
			w.bits |= uint64(c) << (8 * i)
			if 'a' <= c && c <= 'z' {
				w.fold |= ('a' - 'A') << (8 * i)
			}
		}
		words = append(words, w)
	}
	return words
}

// ends reports whether name, which is as long as the zone's suffix, is it.
func (z *zone) ends(name []byte) bool {
	if len(z.words) == 0 {
		return equalFold(name, z.suffix)
	}
	for i := range z.words {
		w := &z.words[i]
		if binary.LittleEndian.Uint64(name[w.at:])|w.fold != w.bits {
			return false
		}
	}
	return true
}

// newSOA makes the zone's SOA record (RFC 1035 3.3.13).
func (z *zone) newSOA(ttl uint32, serial snapshot.Serial) (soa record, ok bool) {
	soa.begin(typeSOA, ttl)
	if !soa.name(z.MName, z.suffix) || !soa.name(z.RName, z.suffix) {
		return record{}, false
	}
	for _, n := range [...]uint32{uint32(serial), z.Refresh, z.Retry, z.Expire, z.Minimum} {
		soa.wire = binary.BigEndian.AppendUint32(soa.wire, n)
	}
	soa.end()
	return soa, true
}

// A record is a record of a zone's apex, ready but for its compression
// pointers: these depend on where the zone's suffix stands in the message.
type record struct {
	ttl      uint32
	wire     []byte
	pointers []pointer
}

// A pointer is a compression pointer to make: at this offset of the record, to
// that offset of the zone's suffix.
type pointer struct{ at, to int }

// dataOffset is where the data of a record begin whose owner is a pointer.
const dataOffset = 12

func (r *record) begin(rtype uint16, ttl uint32) {
	r.ttl = ttl
	r.point(0)
	r.wire = append(r.wire, byte(rtype>>8), byte(rtype), 0, classIN)
	r.wire = binary.BigEndian.AppendUint32(r.wire, ttl)
	r.wire = append(r.wire, 0, 0)
}

func (r *record) end() {
	binary.BigEndian.PutUint16(r.wire[dataOffset-2:], uint16(len(r.wire)-dataOffset))
}

// point appends room for a pointer.
func (r *record) point(to int) {
	r.pointers = append(r.pointers, pointer{len(r.wire), to})
	r.wire = append(r.wire, 0, 0)
}

// name appends a name: the longest part that it shares with the suffix as a
// pointer, the rest as it is.
func (r *record) name(text string, suffix []byte) bool {
	name, _, ok := wireName(text)
	if !ok {
		return false
	}
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		for to := 0; suffix[to] != 0; to += 1 + int(suffix[to]) {
			if string(name[at:]) == string(suffix[to:]) {
				r.wire = append(r.wire, name[:at]...)
				r.point(to)
				return true
			}
		}
	}
	r.wire = append(r.wire, name...)
	return true
}
