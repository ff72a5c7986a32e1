package core

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// zonesMax is how many zones one ?ip= asks; a snapshot has no more.
const zonesMax = 8

// A jsonQuery is what the parameters of a dns-json request ask.
type jsonQuery struct {
	name   []byte     // text of the name, unless address is valid
	ip     netip.Addr // asks for the address in every zone
	qtype  uint16
	cd     bool         // checking disabled, copied
	do     bool         // DNSSEC OK, copied
	subnet netip.Prefix // client subnet, if valid
	media  []byte       // of the response
	asked  bool         // ct named the media type, not Accept
}

// serveResolve is DNS in JSON, as Google and Cloudflare serve it: the question
// becomes a DNS query, and the text is that query's answer, so that both
// always agree.
func (c *Core) serveResolve(e exchange) {
	var q jsonQuery
	if !e.readQuery(&q) {
		return
	}
	var r resolution
	if !c.ask(e, &q, &r) {
		e.fail(400, "name is not a domain name")
		return
	}
	buf := e.Body
	at := r.answers[0].from
	if string(q.media) == string(mediaMessage) {
		buf = buf[:r.answers[0].to]
	} else {
		at = len(buf)
		buf = r.appendJSON(buf)
	}
	e.Body = buf[:copy(buf, buf[at:])]
	e.begin(200, q.media)
	e.keep(r.seconds)
	c.tag(e)
	if !q.asked {
		e.add(nameVary, valueAccept)
	}
}

// readQuery reads the parameters into q, or fails the exchange.
func (e *exchange) readQuery(q *jsonQuery) bool {
	if message := q.read(e.params); message != "" {
		e.fail(400, message)
		return false
	}
	if q.media == nil {
		if q.media = jsonMedia(e.request.Accept); q.media == nil {
			e.fail(406, "?name= gives application/dns-json and application/json, and with ct=application/dns-message that")
			return false
		}
	}
	return true
}

// jsonMedia returns the media type for JSON that the client likes best, or nil
// if it takes none: application/dns-json for who names it, and
// application/json, which browsers can show, for everybody else.
func jsonMedia(accept []byte) []byte {
	switch {
	case acceptRank(accept, mediaDNSJSON) == rankExact:
		return mediaDNSJSON
	case acceptRank(accept, mediaJSON) > 0:
		return mediaJSON
	case acceptRank(accept, mediaDNSJSON) > 0:
		return mediaDNSJSON
	}
	return nil
}

// read reads the parameters. It returns what is wrong with them, or nothing.
// Of a parameter that is there twice the first counts; those that it does not
// know, random_padding among them, do not.
func (q *jsonQuery) read(params []byte) (message string) {
	name, named := param(params, "name")
	ip, addressed := param(params, "ip")
	switch {
	case named && addressed:
		return "name and ip exclude each other"
	case addressed:
		address, err := netip.ParseAddr(unescaped(ip))
		if err != nil || address.Zone() != "" {
			return "ip is not an IP address"
		}
		q.ip = address.Unmap()
	case len(name) == 0:
		return "name is missing"
	case len(name) > 12*nameBytesMax: // every octet as %5C and three digits
		return "name is too long"
	}
	q.name = name
	q.qtype = typeA
	if value, found := param(params, "type"); found {
		if q.qtype = parseType(value); q.qtype == 0 {
			return "type is neither a number from 1 to 65535 nor the name of a type"
		}
	}
	var ok bool
	if q.cd, ok = parseFlag(params, "cd"); !ok {
		return "cd is none of 0, 1, true, false"
	}
	if q.do, ok = parseFlag(params, "do"); !ok {
		return "do is none of 0, 1, true, false"
	}
	if value, found := param(params, "edns_client_subnet"); found && len(value) > 0 {
		if q.subnet, ok = parseSubnet(unescaped(value)); !ok {
			return "edns_client_subnet is neither an address nor a prefix"
		}
	}
	return q.readMedia(params)
}

// readMedia reads ct, which wins over the Accept field.
func (q *jsonQuery) readMedia(params []byte) (message string) {
	value, found := param(params, "ct")
	if !found || len(value) == 0 {
		return ""
	}
	if bytes.IndexByte(value, '%') >= 0 {
		value = appendUnescaped(nil, value)
	}
	q.asked = true
	switch string(value) {
	case string(mediaDNSJSON):
		q.media = mediaDNSJSON
		return ""
	case string(mediaJSON), "application/x-javascript": // the second is an old name of the first
		q.media = mediaJSON
		return ""
	case string(mediaMessage):
		q.media = mediaMessage
		return ""
	}
	return "ct is none of application/dns-json, application/json and application/dns-message"
}

// unescaped returns a parameter's value. It allocates, so the hot path does
// without.
func unescaped(value []byte) string { return string(appendUnescaped(nil, value)) }

// parseFlag reads a flag: absent, empty, 0 and false are false.
func parseFlag(params []byte, name string) (set, ok bool) {
	value, _ := param(params, name)
	switch string(value) {
	case "", "0", "false":
		return false, true
	case "1", "true":
		return true, true
	}
	return false, false
}

// parseSubnet reads a client subnet. An address alone is the whole address.
func parseSubnet(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// parseType reads a type as a number, as a mnemonic in any case or as TYPE and
// a number (RFC 3597 5). 0 is none.
func parseType(text []byte) uint16 {
	if n := parseNumber(text); n != 0 {
		return n
	}
	const generic = "type"
	if len(text) > len(generic) && equalFold(text[:len(generic)], []byte(generic)) {
		return parseNumber(text[len(generic):])
	}
	for _, t := range typeNames {
		if equalFold(text, t.name) {
			return t.number
		}
	}
	return 0
}

// parseNumber reads a number from 1 to 65535. 0 is none.
func parseNumber(text []byte) uint16 {
	n := 0
	for _, c := range text {
		if !isDigit(c) {
			return 0
		}
		if n = 10*n + int(c-'0'); n > 65535 {
			return 0
		}
	}
	return uint16(n)
}

// typeNames are the mnemonics that a client may ask for. Most of them have no
// data here, but asking is not an error.
var typeNames = [...]struct {
	name   []byte
	number uint16
}{
	{[]byte("a"), typeA},
	{[]byte("txt"), typeTXT},
	{[]byte("any"), typeANY},
	{[]byte("soa"), typeSOA},
	{[]byte("ns"), typeNS},
	{[]byte("aaaa"), 28},
	{[]byte("cname"), 5},
	{[]byte("hinfo"), 13},
	{[]byte("ptr"), 12},
	{[]byte("mx"), 15},
	{[]byte("rp"), 17},
	{[]byte("loc"), 29},
	{[]byte("srv"), 33},
	{[]byte("naptr"), 35},
	{[]byte("cert"), 37},
	{[]byte("dname"), 39},
	{[]byte("ds"), 43},
	{[]byte("sshfp"), 44},
	{[]byte("rrsig"), 46},
	{[]byte("nsec"), 47},
	{[]byte("dnskey"), 48},
	{[]byte("nsec3"), 50},
	{[]byte("nsec3param"), 51},
	{[]byte("tlsa"), 52},
	{[]byte("smimea"), 53},
	{[]byte("cds"), 59},
	{[]byte("cdnskey"), 60},
	{[]byte("openpgpkey"), 61},
	{[]byte("csync"), 62},
	{[]byte("zonemd"), 63},
	{[]byte("svcb"), typeSVCB},
	{[]byte("https"), 65},
	{[]byte("spf"), 99},
	{[]byte("ixfr"), typeIXFR},
	{[]byte("axfr"), typeAXFR},
	{[]byte("uri"), 256},
	{[]byte("caa"), 257},
	{[]byte("resinfo"), typeRESINFO},
}

// A resolution is the answers to one dns-json request: one, or for ?ip= one
// for each zone.
type resolution struct {
	answers [zonesMax]message
	count   int
	seconds uint32 // how long caches may keep all of them
}

// A message is where one DNS answer stands in the response's body, until the
// text takes its place.
type message struct{ from, to int }

// ask writes the queries of q and their answers to the response's body. It
// reports false if the name is none.
func (c *Core) ask(e exchange, q *jsonQuery, r *resolution) bool {
	if !q.ip.IsValid() {
		return c.askName(e, q, nil, r)
	}
	if len(c.zones) == 0 { // not ready: the answer says so under any name
		return c.askName(e, q, &root, r)
	}
	for i := range c.zones[:min(len(c.zones), zonesMax)] {
		if !c.askName(e, q, &c.zones[i], r) {
			return false
		}
	}
	return true
}

var root = zone{suffix: []byte{0}}

// askName writes one query and its answer. With a zone the name is that of the
// address in this zone.
func (c *Core) askName(e exchange, q *jsonQuery, z *zone, r *resolution) bool {
	text := len(e.Body)
	if z == nil {
		e.Body = appendUnescaped(e.Body, q.name)
	}
	from := len(e.Body)
	e.Body = q.appendHead(e.Body)
	if z == nil {
		var ok bool
		if e.Body, _, ok = appendWireName(e.Body, e.Body[text:from]); !ok {
			return false
		}
	} else {
		e.Body = appendOwner(e.Body, q.ip)
		e.Body = append(e.Body, z.suffix...)
	}
	e.Body = q.appendRest(e.Body)
	a := noAnswer
	read := a.query.parse(e.Body[from:])
	if read != parsed { // with an address, a suffix that leaves no room for it
		return false
	}
	from = len(e.Body)
	var seconds uint32
	e.Body, seconds = a.append(e.Body, c, read, e.request.Now, e.request.Gate)
	if r.count == 0 || seconds < r.seconds {
		r.seconds = seconds
	}
	r.answers[r.count] = message{from, len(e.Body)}
	r.count++
	return true
}

// appendHead appends the header of the query that q asks: recursion desired,
// as every client of such an interface sets it.
func (q *jsonQuery) appendHead(dst []byte) []byte {
	flags := byte(0)
	if q.cd {
		flags |= flagCD
	}
	return append(dst, 0, 0, flagRD>>8, flags, 0, 1, 0, 0, 0, 0, 0, 1)
}

// appendRest appends what comes after the question's name.
func (q *jsonQuery) appendRest(dst []byte) []byte {
	do := byte(0)
	if q.do {
		do = 0x80
	}
	dst = append(dst, byte(q.qtype>>8), byte(q.qtype), 0, classIN)
	dst = append(dst, 0, 0, typeOPT, payloadBytes>>8, payloadBytes&0xff, 0, 0, do, 0, 0, 0)
	if !q.subnet.IsValid() {
		return dst
	}
	at := len(dst)
	dst = append(dst, 0, optionECS, 0, 0, 0, 1, byte(q.subnet.Bits()), 0)
	octets := (q.subnet.Bits() + 7) / 8
	if a := q.subnet.Addr(); a.Is4() {
		address := a.As4()
		dst = append(dst, address[:octets]...)
	} else {
		dst[at+5] = 2
		address := a.As16()
		dst = append(dst, address[:octets]...)
	}
	dst[at+3] = byte(4 + octets)
	dst[at-1] = byte(len(dst) - at)
	return dst
}

// appendOwner appends the labels of the address: octets or nibbles, the least
// significant one first.
func appendOwner(dst []byte, address netip.Addr) []byte {
	if address.Is4() {
		octets := address.As4()
		for i := range octets {
			at := len(dst)
			dst = appendUint(append(dst, 0), uint64(octets[len(octets)-1-i]))
			dst[at] = byte(len(dst) - at - 1)
		}
		return dst
	}
	const hex = "0123456789abcdef"
	octets := address.As16()
	for i := range octets {
		octet := octets[len(octets)-1-i]
		dst = append(dst, 1, hex[octet&15], 1, hex[octet>>4])
	}
	return dst
}

// appendJSON appends the answers, which stand in dst, as dns-json.
func (r *resolution) appendJSON(dst []byte) []byte {
	first := dst[r.answers[0].from:r.answers[0].to]
	flags := binary.BigEndian.Uint16(first[2:])
	dst = append(dst, `{"Status":`...)
	dst = appendUint(dst, uint64(r.status(dst)))
	for _, flag := range [...]struct {
		name string
		bit  uint16
	}{{`,"TC":`, flagTC}, {`,"RD":`, flagRD}, {`,"RA":`, flagRA}, {`,"AD":`, flagAD}, {`,"CD":`, flagCD}} {
		dst = append(dst, flag.name...)
		dst = appendBool(dst, flags&flag.bit != 0)
	}
	dst = r.appendSection(dst, `,"Question":[`, sectionQuestion)
	dst = r.appendSection(dst, `,"Answer":[`, sectionAnswer)
	if !r.answered(dst) {
		dst = r.appendSection(dst, `,"Authority":[`, sectionAuthority)
	}
	dst = appendOptions(dst, first)
	return append(dst, '}')
}

// status returns the response code of all answers: success if there is any.
func (r *resolution) status(buf []byte) (rcode int) {
	for i, m := range r.answers[:r.count] {
		one := fullCode(buf[m.from:m.to])
		if i == 0 || one == rcodeSuccess {
			rcode = one
		}
	}
	return rcode
}

// fullCode returns the response code of a message of ours, which has an OPT
// record.
func fullCode(msg []byte) int {
	return int(msg[3]&rcodeLowBits) | int(msg[optOffset(msg)+5])<<4
}

// answered reports whether any message has an answer.
func (r *resolution) answered(buf []byte) bool {
	for _, m := range r.answers[:r.count] {
		if section(buf[m.from:m.to], sectionAnswer) > 0 {
			return true
		}
	}
	return false
}

// Sections of a message, in the order of the counts in its header.
const (
	sectionQuestion = iota
	sectionAnswer
	sectionAuthority
)

// section returns the number of records in a section.
func section(msg []byte, which int) int {
	return int(binary.BigEndian.Uint16(msg[4+2*which:]))
}

// appendSection appends one section of all messages, or nothing if it is empty
// in all of them.
func (r *resolution) appendSection(dst []byte, head string, which int) []byte {
	start := len(dst)
	separator := head
	for _, m := range r.answers[:r.count] {
		msg := dst[m.from:m.to]
		off := headerBytes
		for before := range which + 1 {
			for range section(msg, before) {
				if before == which {
					dst = append(dst, separator...)
					separator = ","
					dst = appendRecord(dst, msg, off, which)
				}
				off = recordEnd(msg, off, before)
			}
		}
	}
	if len(dst) > start {
		dst = append(dst, ']')
	}
	return dst
}

// recordEnd returns where the question or record at off ends.
func recordEnd(msg []byte, off, which int) int {
	off, _ = skipName(msg, off)
	if which == sectionQuestion {
		return off + 4
	}
	return off + 10 + int(binary.BigEndian.Uint16(msg[off+8:]))
}

// appendRecord appends the question or record at off.
func appendRecord(dst, msg []byte, off, which int) []byte {
	dst = append(dst, `{"name":"`...)
	dst = appendNameText(dst, msg, off)
	off, _ = skipName(msg, off)
	rtype := binary.BigEndian.Uint16(msg[off:])
	dst = append(dst, `","type":`...)
	dst = appendUint(dst, uint64(rtype))
	if which != sectionQuestion {
		dst = append(dst, `,"TTL":`...)
		dst = appendUint(dst, uint64(binary.BigEndian.Uint32(msg[off+4:])))
		dst = append(dst, `,"data":"`...)
		length := int(binary.BigEndian.Uint16(msg[off+8:]))
		dst = appendData(dst, msg, off+10, length, rtype)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendData appends the data of a record as text within a JSON string.
func appendData(dst, msg []byte, off, length int, rtype uint16) []byte {
	data := msg[off : off+length]
	switch rtype {
	case typeA:
		return netip.AddrFrom4([4]byte(data)).AppendTo(dst)
	case typeNS:
		return appendNameText(dst, msg, off)
	case typeTXT:
		return appendQuoted(dst, data[1:])
	case typeSOA:
		return appendSOA(dst, msg, off)
	}
	return appendUnknown(dst, data)
}

func appendSOA(dst, msg []byte, off int) []byte {
	dst = appendNameText(dst, msg, off)
	off, _ = skipName(msg, off)
	dst = appendNameText(append(dst, ' '), msg, off)
	off, _ = skipName(msg, off)
	for range 5 {
		dst = appendUint(append(dst, ' '), uint64(binary.BigEndian.Uint32(msg[off:])))
		off += 4
	}
	return dst
}

// appendUnknown appends data of a type without a text of its own (RFC 3597 5).
func appendUnknown(dst, data []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, `\\# `...)
	dst = appendUint(dst, uint64(len(data)))
	if len(data) > 0 {
		dst = append(dst, ' ')
	}
	for _, c := range data {
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return dst
}

// appendQuoted appends a character-string as in a zone file, within a JSON
// string.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, `\"`...)
	for len(text) > 0 {
		n := plainRun(text)
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) > 0 {
			dst = appendZoneChar(dst, text[0], text[0] == '"' || text[0] == '\\')
			text = text[1:]
		}
	}
	return append(dst, `\"`...)
}

// appendNameText appends the name at off with its final dot, within a JSON
// string. It is a name of our own answers: no pointer leads astray.
func appendNameText(dst, msg []byte, off int) []byte {
	if msg[off] == 0 {
		return append(dst, '.')
	}
	for msg[off] != 0 {
		length := int(msg[off])
		if length >= 0xc0 {
			off = length&0x3f<<8 | int(msg[off+1])
			continue
		}
		for _, c := range msg[off+1 : off+1+length] {
			if 'a' <= c && c <= 'z' || isDigit(c) || c == '-' {
				dst = append(dst, c)
			} else {
				dst = appendZoneChar(dst, c, bytes.IndexByte(nameSpecials, c) >= 0)
			}
		}
		dst = append(dst, '.')
		off += 1 + length
	}
	return dst
}

// nameSpecials are the characters of a label that mean something else in a
// zone file.
var nameSpecials = []byte(` .'@;()"\`)

// appendZoneChar appends one octet as in a zone file (RFC 1035 5.1), within a
// JSON string.
func appendZoneChar(dst []byte, c byte, special bool) []byte {
	switch {
	case c < ' ' || c > '~':
		return append(dst, '\\', '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	case special:
		dst = append(dst, '\\', '\\')
	}
	return appendASCII(dst, c)
}

// optOffset returns where the OPT record of a message of ours begins.
func optOffset(msg []byte) int {
	off := headerBytes
	for which := range sectionAuthority + 1 {
		for range section(msg, which) {
			off = recordEnd(msg, off, which)
		}
	}
	return off
}

// appendOptions appends what the OPT record of the answer says: the extended
// error as the comment, and the client subnet with its scope.
func appendOptions(dst, msg []byte) []byte {
	opt := optOffset(msg)
	options := msg[opt+11 : opt+11+int(binary.BigEndian.Uint16(msg[opt+9:]))]
	var subnet, extended []byte
	for len(options) > 0 {
		length := 4 + int(binary.BigEndian.Uint16(options[2:]))
		switch binary.BigEndian.Uint16(options) {
		case optionECS:
			subnet = options[4:length]
		case optionEDE:
			extended = options[4:length]
		}
		options = options[length:]
	}
	if extended != nil {
		dst = appendComment(dst, int(binary.BigEndian.Uint16(extended)), extended[2:])
	}
	if subnet != nil {
		dst = append(dst, `,"edns_client_subnet":"`...)
		dst = appendSubnet(dst, subnet)
		dst = append(dst, '"')
	}
	return dst
}

// appendComment appends an extended error as text.
func appendComment(dst []byte, code int, extra []byte) []byte {
	dst = append(dst, `,"Comment":"`...)
	dst = append(dst, edeNames[code]...)
	if len(extra) > 0 {
		dst = append(dst, ": "...)
		dst = append(dst, extra...)
	}
	return append(dst, '"')
}

// edeNames are the names of the extended errors in RFC 8914 4.
var edeNames = [...]string{
	edeStale:         "Stale Answer",
	edeNotReady:      "Not Ready",
	edeProhibited:    "Prohibited",
	edeStaleNX:       "Stale NXDOMAIN Answer",
	edeNotAuthority:  "Not Authoritative",
	edeNoneReachable: "No Reachable Authority",
}

// appendSubnet appends a client subnet option as address and scope.
func appendSubnet(dst, option []byte) []byte {
	var address [16]byte
	copy(address[:], option[4:])
	a := netip.AddrFrom16(address)
	if option[1] == 1 {
		a = netip.AddrFrom4([4]byte(address[:4]))
	}
	dst = a.AppendTo(dst)
	return appendUint(append(dst, '/'), uint64(option[3]))
}
