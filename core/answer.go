package core

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Response codes (RFC 1035 4.1.1, RFC 6891 9).
const (
	rcodeSuccess  = 0
	rcodeFormat   = 1
	rcodeServer   = 2
	rcodeName     = 3
	rcodeNotImpl  = 4
	rcodeRefused  = 5
	rcodeBadVers  = 16
	rcodeLowBits  = 0xf
	payloadBytes  = 1232 // what our OPT record offers: fits every path's MTU; no answer of ours depends on it
	padBlockBytes = 468  // RFC 8467 4.1
)

// Extended errors (RFC 8914 4).
const (
	edeNone          = -1
	edeStale         = 3
	edeNotReady      = 14
	edeProhibited    = 18
	edeStaleNX       = 19
	edeNotAuthority  = 20
	edeNoneReachable = 22
)

// errorSeconds is how long a cache may keep an answer that is an error: as
// short as RFC 9520 allows, since a snapshot may arrive at any moment.
const errorSeconds = 1

// AppendAnswer appends the answer to one DNS message to dst, which must not
// overlap it, and returns the extended buffer. It appends nothing if the
// message deserves no answer: too short for a header, or a response itself.
// Now is in seconds since the Unix epoch; gate is what the host decided about
// the client. Nothing is padded, since a transport that is not encrypted gains
// nothing from it but amplification (RFC 7830 6): Serve does that.
func (c *Core) AppendAnswer(dst, msg []byte, now int64, gate Gate) []byte {
	a := noAnswer
	read := a.query.parse(msg)
	if read == noQuery {
		return dst
	}
	a.query.padding = false
	dst, _ = a.append(dst, c, read, now, gate)
	return dst
}

// An answer is one DNS message being written. It holds the query by value: a
// pointer to it would make every query a thing of the heap.
type answer struct {
	core  *Core
	query query
	now   int64

	buf     []byte
	start   int    // where the message begins in buf
	rcode   int    // with the bits that go into the OPT record
	aa      bool   // the answer is authoritative
	ede     int    // extended error, or edeNone
	seconds uint32 // the smallest TTL that a cache must respect
	answers uint16 // records in the answer section
	auth    uint16 // records in the authority section
}

// Zero values to copy, where a large variable begins on a hot path. The runtime
// of a guest (wazero) clears memory by copying it on to itself, one byte, then
// two, then four: many calls, where a copy is one.
var (
	noAnswer  answer
	noOwner   owner
	noVerdict verdict
)

// append appends the answer to a's query, and returns for how many seconds a
// cache may keep it.
func (a *answer) append(dst []byte, c *Core, read parsing, now int64, gate Gate) ([]byte, uint32) {
	a.core, a.now = c, now
	a.buf, a.start = dst, len(dst)
	a.ede, a.seconds = edeNone, errorSeconds
	a.begin(read)
	a.resolve(read, gate)
	a.end()
	return a.buf, c.lifetime(a.seconds, now)
}

// begin writes the header and the question as they came, or a header alone if
// there is no question to repeat. End sets the header right.
func (a *answer) begin(read parsing) {
	if q := &a.query; read == parsed && len(q.name) > 0 {
		a.buf = append(a.buf, q.head...)
		return
	}
	a.query.name = nil
	a.buf = append(a.buf, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
}

// resolve decides what the answer is and writes its records. The order of the
// rules is the order in which they win.
func (a *answer) resolve(read parsing, gate Gate) {
	q := &a.query
	switch {
	case q.opcode() != opcodeQuery:
		a.rcode = rcodeNotImpl
	case read == unusable || q.formerr:
		a.rcode = rcodeFormat
	case q.opt && q.version > 0:
		a.rcode = rcodeBadVers
	case !gate.lets():
		a.fail(rcodeRefused, edeProhibited)
	case q.class != classIN, q.qtype == typeAXFR, q.qtype == typeIXFR:
		a.rcode = rcodeRefused
	default:
		a.fromSnapshot()
	}
}

// fail makes the answer an error with an extended one.
func (a *answer) fail(rcode, ede int) { a.rcode, a.ede = rcode, ede }

// fromSnapshot answers a question that is in order.
func (a *answer) fromSnapshot() {
	condition := a.core.condition(a.now)
	switch condition {
	case notReady:
		a.fail(rcodeServer, edeNotReady)
		return
	case expired:
		a.fail(rcodeServer, edeNoneReachable)
		return
	}
	z := a.core.zoneOf(&a.query)
	if z == nil {
		if a.query.under(resolverArpa, resolverArpaLabels) {
			a.discovery()
			return
		}
		a.fail(rcodeRefused, edeNotAuthority)
		return
	}
	a.aa = true
	a.fromZone(z)
	if condition == stale {
		a.ede = edeStale
		if a.rcode == rcodeName {
			a.ede = edeStaleNX
		}
	}
}

// fromZone answers a question about a name in the zone.
func (a *answer) fromZone(z *zone) {
	o := noOwner
	if z.owner(&o, &a.query); o.apex {
		a.apex(z)
	} else {
		v := noVerdict
		a.core.judge(&v, z, &o, a.now)
		if !v.exists && !z.isBetween(&a.query) {
			a.rcode = rcodeName
		}
		a.listed(&v, o.address)
	}
	if a.answers == 0 {
		a.negative(z)
	}
}

// apex answers a question about the zone itself. To ANY it gives the SOA alone
// (RFC 8482).
func (a *answer) apex(z *zone) {
	switch a.query.qtype {
	case typeSOA, typeANY:
		a.seconds = z.soa.ttl
		a.apexRecord(z, &z.soa)
		a.answers++
	case typeNS:
		a.seconds = z.NSTTL
		for i := range z.ns {
			a.apexRecord(z, &z.ns[i])
			a.answers++
		}
	}
}

// apexRecord writes a record of the zone's apex. The zone's suffix stands at
// the end of the question's name.
func (a *answer) apexRecord(z *zone, r *record) {
	suffix := headerBytes + len(a.query.name) - len(z.suffix)
	at := len(a.buf)
	a.buf = append(a.buf, r.wire...)
	made := a.buf[at:]
	for _, p := range r.pointers {
		binary.BigEndian.PutUint16(made[p.at:], 0xc000|uint16(suffix+p.to))
	}
}

// listed answers a question about an address with one record for each level
// that lists it. To ANY it gives the A records alone (RFC 8482).
func (a *answer) listed(v *verdict, address netip.Addr) {
	qtype := a.query.qtype
	if qtype != typeA && qtype != typeTXT && qtype != typeANY {
		return
	}
	ttl := v.ttl()
	a.seconds = ttl // of no hit it is no matter: the SOA's takes its place
	for i := range v.hits[:v.count] {
		h := &v.hits[i]
		if qtype == typeTXT {
			a.owned(typeTXT, ttl)
			a.buf = append(a.buf, 0, 0, 0)
			at := len(a.buf)
			a.buf = appendText(a.buf, h, address)
			a.buf[at-1] = byte(len(a.buf) - at)
			a.setLength(at - 1)
		} else {
			a.owned(typeA, ttl)
			a.buf = append(a.buf, 0, 4, h.code[0], h.code[1], h.code[2], h.code[3])
		}
		a.answers++
	}
}

// negative writes the SOA that says how long to remember that there is
// nothing (RFC 2308 3).
func (a *answer) negative(z *zone) {
	a.seconds = z.negative.ttl
	a.apexRecord(z, &z.negative)
	a.auth++
}

// owned writes the head of a record of the question's name, up to its data
// length.
func (a *answer) owned(rtype uint16, ttl uint32) {
	a.buf = append(a.buf, 0xc0, headerBytes, byte(rtype>>8), byte(rtype), 0, classIN,
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl))
}

// setLength sets the data length of the record whose data began at at.
func (a *answer) setLength(at int) {
	binary.BigEndian.PutUint16(a.buf[at-2:], uint16(len(a.buf)-at))
}

// end writes the OPT record if the query had one, and the header.
func (a *answer) end() {
	q := &a.query
	header := (*[headerBytes]byte)(a.buf[a.start:])
	binary.BigEndian.PutUint16(header[:], q.id)
	flags := flagQR | q.flags&(15<<11|flagRD|flagCD) | uint16(a.rcode&rcodeLowBits)
	if a.aa {
		flags |= flagAA
	}
	binary.BigEndian.PutUint16(header[2:], flags)
	binary.BigEndian.PutUint16(header[6:], a.answers)
	binary.BigEndian.PutUint16(header[8:], a.auth)
	header[10], header[11] = 0, 0
	if q.opt {
		header[11] = 1
		a.opt()
	}
}

// opt writes the OPT record (RFC 6891 6.1). Padding comes last: it needs to
// know the length of all the rest.
func (a *answer) opt() {
	q := &a.query
	do := byte(0)
	if q.do {
		do = 0x80
	}
	a.buf = append(a.buf, 0, 0, typeOPT, payloadBytes>>8, payloadBytes&0xff, byte(a.rcode>>4), 0, do, 0, 0, 0)
	at := len(a.buf)
	if q.ecs != nil && !q.formerr {
		a.option(optionECS, len(q.ecs))
		a.buf = append(a.buf, q.ecs...)
	}
	if a.ede != edeNone {
		a.option(optionEDE, 0)
		value := len(a.buf)
		a.buf = append(a.buf, byte(a.ede>>8), byte(a.ede))
		a.extraText()
		a.setLength(value)
	}
	if q.padding {
		const optionHead = 4
		length := len(a.buf) - a.start + optionHead
		pad := (padBlockBytes - length%padBlockBytes) % padBlockBytes
		a.option(optionPadding, pad)
		a.buf = append(a.buf, padding[:pad]...)
	}
	a.setLength(at)
}

var padding [padBlockBytes]byte

// option writes the head of an EDNS option.
func (a *answer) option(code uint16, length int) {
	a.buf = append(a.buf, byte(code>>8), byte(code), byte(length>>8), byte(length))
}

// extraText writes the text of an extended error (RFC 8914 2): how old the
// data are, where that is the trouble.
func (a *answer) extraText() {
	switch a.ede {
	case edeStale, edeStaleNX, edeNoneReachable:
		a.buf = append(a.buf, "serial="...)
		a.buf = appendUint(a.buf, uint64(a.core.manifest.Serial))
		a.buf = append(a.buf, " age="...)
		a.buf = appendUint(a.buf, a.core.age(a.now))
	case edeNotReady:
		a.buf = append(a.buf, "no snapshot loaded yet"...)
	}
}

// Names of the discovery of designated resolvers (RFC 9462).
var (
	resolverArpa, resolverArpaLabels, _ = wireName("resolver.arpa")
	ddrName, _, _                       = wireName("_dns.resolver.arpa")
)

// discoverySeconds is the TTL of what an edge tells about itself. It changes
// only with the edge's own settings.
const discoverySeconds = 300

// discovery answers for resolver.arpa, which every resolver answers for itself:
// _dns.resolver.arpa SVCB names this edge (RFC 9461, RFC 9462), resolver.arpa
// RESINFO says which errors it explains (RFC 9606). Without a host name, and
// for every other name and type, there is nothing (RFC 9462 4 asks for that).
func (a *answer) discovery() {
	a.aa = true
	a.seconds = discoverySeconds
	q := &a.query
	switch {
	case a.core.endpoint == nil:
	case q.qtype == typeSVCB && equalFold(q.name, ddrName):
		a.owned(typeSVCB, discoverySeconds)
		a.buf = append(a.buf, byte(len(a.core.endpoint)>>8), byte(len(a.core.endpoint)))
		a.buf = append(a.buf, a.core.endpoint...)
		a.answers++
	case q.qtype == typeRESINFO && equalFold(q.name, resolverArpa):
		a.owned(typeRESINFO, discoverySeconds)
		a.buf = append(a.buf, 0, byte(1+len(resolverInfo)), byte(len(resolverInfo)))
		a.buf = append(a.buf, resolverInfo...)
		a.answers++
	}
}

const resolverInfo = "exterr=3,14,18-20,22"

// httpsPort is where DNS over HTTPS is unless something else is said (RFC 9461).
const httpsPort = 443

// endpoint returns the data of the SVCB record for a host (Manifest.Host), or
// nil if it is none: alpn=h2, which every host of the core speaks, its port and
// dohpath=/dns-query{?dns}, by ascending key (RFC 9460 2.2, RFC 9461 5).
func endpoint(host string) []byte {
	text, digits, found := strings.Cut(host, ":")
	port := uint16(httpsPort)
	if found {
		port = parseNumber([]byte(digits))
	}
	name, labels, ok := wireName(text)
	if !ok || labels == 0 || port == 0 {
		return nil
	}
	data := append([]byte{0, 1}, name...) // priority, target
	data = append(data, "\x00\x01\x00\x03\x02h2\x00\x03\x00\x02"...)
	data = binary.BigEndian.AppendUint16(data, port)
	return append(data, "\x00\x07\x00\x10/dns-query{?dns}"...)
}
