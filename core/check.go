package core

import (
	"bytes"
	"net/netip"

	"ucedge/snapshot"
)

const (
	// checksMax is how many addresses or prefixes one request may ask about.
	checksMax = 1000
	// checkSeconds is how long caches may keep an answer at most: a person who
	// has just been delisted looks again.
	checkSeconds = 60
	// checkBytesMax bounds an answer, in bytes. An address that is on all levels
	// takes some three kilobytes, but an image may nest a hundred prefixes around it.
	checkBytesMax = 16 << 20
	// subjectMax is how much of a bad address an error repeats, in bytes. An
	// IPv6 prefix needs 43.
	subjectMax = 64
)

// serveCheck tells people everything about one or many addresses or prefixes.
func (c *Core) serveCheck(e exchange) {
	subjects, ok := e.subjects()
	if !ok {
		return
	}
	switch {
	case len(subjects) == 0:
		e.fail(400, "no address given")
		return
	case len(subjects) > checksMax:
		e.fail(413, "more than 1000 addresses")
		return
	}
	condition := c.condition(e.request.Now)
	if !e.answerable(condition) {
		return
	}
	k := check{core: c, now: e.request.Now, seconds: checkSeconds}
	if e.Body = k.append(e.Body[:0], subjects, condition); len(e.Body) > checkBytesMax {
		e.fail(413, "the answer would be larger than 16 MiB: ask for fewer addresses at once")
		return
	}
	e.begin(200, mediaJSON)
	if e.post {
		e.add(nameCache, valueNoStore)
	} else {
		e.keep(c.lifetime(k.seconds, k.now))
		c.tag(e)
	}
}

// answerable fails the exchange if there is no snapshot to answer from.
func (e *exchange) answerable(condition condition) bool {
	switch condition {
	case notReady:
		e.fail(503, "no snapshot loaded yet")
	case expired:
		e.fail(503, "the snapshot has expired")
	default:
		return true
	}
	e.field(nameRetryAfter, retrySeconds)
	return false
}

// subjects returns what the request asks about, or fails the exchange.
func (e *exchange) subjects() (subjects [][]byte, ok bool) {
	if !e.post {
		return checkParams(e.params), true
	}
	if len(e.request.Body) > bodyMax {
		e.fail(413, "the body is larger than 65535 bytes")
		return nil, false
	}
	var message string
	switch {
	case isMedia(e.request.ContentType, mediaJSON):
		subjects, message = scanJSON(e.request.Body)
	case isMedia(e.request.ContentType, mediaNDJSON):
		subjects, message = scanLines(e.request.Body)
	case isMedia(e.request.ContentType, mediaPlain):
		subjects = scanPlain(e.request.Body)
	default:
		e.fail(415, "the body must be application/json, application/x-ndjson or text/plain")
		return nil, false
	}
	if message != "" {
		e.fail(400, message)
		return nil, false
	}
	return subjects, true
}

// checkParams returns the values of every ip parameter, each of them one
// subject or several with commas between.
func checkParams(params []byte) (subjects [][]byte) {
	for len(params) > 0 && len(subjects) <= checksMax {
		var pair []byte
		pair, params, _ = bytes.Cut(params, ampersand)
		if key, value, _ := bytes.Cut(pair, equals); string(key) == "ip" {
			subjects = appendPlain(subjects, appendUnescaped(nil, value))
		}
	}
	return subjects
}

// scanPlain reads a list: subjects apart by white space or commas; a # begins
// a comment that ends with the line.
func scanPlain(text []byte) (subjects [][]byte) {
	for len(text) > 0 && len(subjects) <= checksMax {
		var line []byte
		line, text, _ = bytes.Cut(text, newline)
		line, _, _ = bytes.Cut(line, hash)
		subjects = appendPlain(subjects, line)
	}
	return subjects
}

var newline, hash = []byte("\n"), []byte("#")

// appendPlain appends the subjects of one line, at most as many as prove that
// there are too many.
func appendPlain(subjects [][]byte, line []byte) [][]byte {
	for len(subjects) <= checksMax {
		line = bytes.TrimLeft(line, ", \t\r\n")
		if len(line) == 0 {
			break
		}
		end := bytes.IndexAny(line, ", \t\r\n")
		if end < 0 {
			end = len(line)
		}
		subjects = append(subjects, line[:end])
		line = line[end:]
	}
	return subjects
}

// A check is one answer of /v1/check being written.
type check struct {
	core    *Core
	now     int64
	seconds uint32 // how long the facts in it stay as they are
}

// append appends the whole answer, or the beginning of one that is too large.
func (k *check) append(dst []byte, subjects [][]byte, condition condition) []byte {
	m := &k.core.manifest
	dst = append(dst, `{"list":`...)
	dst = appendString(dst, m.List)
	dst = append(dst, `,"serial":`...)
	dst = appendUint(dst, uint64(m.Serial))
	dst = append(dst, `,"built":`...)
	dst = appendTime(dst, m.Built)
	dst = append(dst, `,"fresh":`...)
	dst = appendTime(dst, m.Next)
	dst = append(dst, `,"stale":`...)
	dst = appendBool(dst, condition == stale)
	dst = append(dst, `,"results":[`...)
	for i, subject := range subjects {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst = k.appendResult(dst, subject); len(dst) > checkBytesMax {
			return dst
		}
	}
	return append(dst, "]}\n"...)
}

// appendResult appends what there is to say of one subject, or why it is none.
func (k *check) appendResult(dst, subject []byte) []byte {
	address, prefix, problem := parseSubject(subject)
	dst = append(dst, `{"query":`...)
	dst = appendString(dst, subject[:min(len(subject), subjectMax)])
	switch {
	case problem != "":
		dst = append(dst, `,"error":`...)
		dst = appendString(dst, problem)
	case address.IsValid():
		dst = append(dst, `,"address":"`...)
		dst = append(address.AppendTo(dst), '"')
		dst = k.appendAddress(dst, address)
	default:
		dst = append(dst, `,"prefix":"`...)
		dst = append(prefix.AppendTo(dst), '"')
		dst = k.appendPrefix(dst, prefix)
	}
	return append(dst, '}')
}

// parseSubject reads an address or a prefix; a prefix of full length is the
// address, and what is IPv4-mapped is IPv4. Bits past the length are cleared.
func parseSubject(subject []byte) (address netip.Addr, prefix netip.Prefix, problem string) {
	if len(subject) > subjectMax {
		return address, prefix, "too long for an IP address or prefix"
	}
	text := string(subject)
	if bytes.IndexByte(subject, '/') < 0 {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Addr{}, prefix, "not an IP address or prefix"
		}
		if address.Zone() != "" {
			return netip.Addr{}, prefix, "an address with a zone is of one link only, and never listed"
		}
		return address.Unmap(), prefix, ""
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return address, netip.Prefix{}, "not an IP address or prefix"
	}
	if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= mapped.Bits() {
		prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-mapped.Bits())
	}
	prefix = prefix.Masked()
	if prefix.IsSingleIP() {
		return prefix.Addr(), netip.Prefix{}, ""
	}
	return address, prefix, ""
}

// A part is what one level says of a subject.
type part struct {
	finding finding
	below   bool // something inside the prefix is listed; only for prefixes
	hit     hit
}

// appendAddress appends the verdict of every level on the address.
func (k *check) appendAddress(dst []byte, address netip.Addr) []byte {
	var parts [snapshot.System]part
	for i := range parts {
		level := snapshot.Address + snapshot.Level(i)
		if z := k.core.levels[level]; z != nil {
			parts[i].finding = k.core.look(&parts[i].hit, z, level, address, k.now)
		}
	}
	return k.appendParts(dst, parts[:], address, false)
}

// appendPrefix appends for every level what covers the whole prefix, and
// whether anything inside it is listed.
func (k *check) appendPrefix(dst []byte, prefix netip.Prefix) []byte {
	var parts [snapshot.System]part
	for i := range parts {
		level := snapshot.Address + snapshot.Level(i)
		z := k.core.levels[level]
		if z == nil {
			continue
		}
		p := &parts[i]
		p.hit = hit{level: level, zone: z, match: k.core.cover(level, prefix, k.now)}
		switch {
		case p.hit.match.Listed:
			p.finding = listed
		case p.hit.match.Excluded:
			p.finding = excluded
		}
		p.below = k.core.snap.AnyBelow(level, prefix, k.now) || z.testsBelow(level, prefix)
	}
	return k.appendParts(dst, parts[:], prefix.Addr(), true)
}

// cover returns the most specific entry of the level that covers the whole
// prefix.
func (c *Core) cover(level snapshot.Level, prefix netip.Prefix, now int64) snapshot.Match {
	m := c.snap.Lookup(level, prefix.Addr(), now)
	for (m.Listed || m.Excluded) && m.Prefix.Bits() > prefix.Bits() {
		m, _ = c.snap.Parent(m, now)
	}
	return m
}

// testsBelow reports whether a test point of the level is in the prefix.
func (z *zone) testsBelow(level snapshot.Level, prefix netip.Prefix) bool {
	point := testListed.As4()
	if z.Level == snapshot.Combined {
		point[3] += byte(level - snapshot.Address)
	}
	return prefix.Contains(netip.AddrFrom4(point))
}

// appendParts appends the sums of the levels, then the levels that have
// something to tell.
func (k *check) appendParts(dst []byte, parts []part, address netip.Addr, isPrefix bool) []byte {
	var isListed, isExempt, isBelow bool
	for i := range parts {
		isListed = isListed || parts[i].finding == listed
		isExempt = isExempt || parts[i].finding == excluded
		isBelow = isBelow || parts[i].below
	}
	dst = append(dst, `,"listed":`...)
	dst = appendBool(dst, isListed)
	dst = append(dst, `,"exempt":`...)
	dst = appendBool(dst, isExempt)
	if isPrefix {
		dst = append(dst, `,"below":`...)
		dst = appendBool(dst, isBelow)
	}
	dst = append(dst, `,"levels":[`...)
	s := unknown
	if !isPrefix {
		s = k.standingOf(parts[0].finding)
	}
	separator := ""
	for i := range parts {
		p := &parts[i]
		if p.finding == unlisted && !p.below {
			continue
		}
		dst = append(dst, separator...)
		separator = ","
		dst = k.appendPart(dst, p, snapshot.Address+snapshot.Level(i), address, isPrefix, s)
	}
	return append(dst, ']')
}

// appendPart appends what one level says.
func (k *check) appendPart(dst []byte, p *part, level snapshot.Level, address netip.Addr, isPrefix bool, s standing) []byte {
	zone := k.core.levels[level]
	dst = append(dst, `{"level":`...)
	dst = appendUint(dst, uint64(level))
	dst = append(dst, `,"zone":`...)
	dst = appendString(dst, zone.Suffix)
	dst = append(dst, `,"scope":`...)
	dst = appendString(dst, scopes[level])
	dst = append(dst, `,"listed":`...)
	dst = appendBool(dst, p.finding == listed)
	dst = append(dst, `,"exempt":`...)
	dst = appendBool(dst, p.finding == excluded)
	if isPrefix {
		dst = append(dst, `,"below":`...)
		dst = appendBool(dst, p.below)
	}
	if p.finding != unlisted {
		dst = append(dst, `,"prefix":"`...)
		dst = append(p.hit.match.Prefix.AppendTo(dst), '"')
	}
	if p.finding == listed {
		dst = k.appendListing(dst, &p.hit, level, address, s)
	}
	if p.finding != unlisted {
		dst = k.appendAlso(dst, &p.hit.match, level)
	}
	return append(dst, '}')
}

// scopes are the words for how wide each level reaches.
var scopes = [...]string{
	snapshot.Address:    "address",
	snapshot.Allocation: "allocation",
	snapshot.System:     "as",
}

// appendListing appends the facts of a listing, and what they mean to whoever
// is listed.
func (k *check) appendListing(dst []byte, h *hit, level snapshot.Level, address netip.Addr, s standing) []byte {
	if h.test {
		dst = append(dst, `,"test":true`...)
	} else {
		dst = k.appendFacts(dst, &h.match, level)
	}
	var room [2 * snapshot.MaxText]byte
	dst = append(dst, `,"text":`...)
	dst = appendString(dst, appendText(room[:0], h, address))
	if url := k.core.levels[level].URL; url != "" {
		dst = append(dst, `,"url":`...)
		dst = appendString(dst, url)
	}
	dst = append(dst, `,"next":`...)
	return k.appendAdvice(dst, h, level, address, s)
}

// appendFacts appends what is known of a listing; what is not known is absent.
func (k *check) appendFacts(dst []byte, m *snapshot.Match, level snapshot.Level) []byte {
	facts := &m.Facts
	dst = appendNumber(dst, `,"count":`, facts.Count)
	dst = appendNumber(dst, `,"threshold":`, facts.Threshold)
	if facts.Count != 0 || facts.Threshold != 0 {
		dst = append(dst, `,"counts":`...)
		dst = appendString(dst, k.core.counts[level])
	}
	dst = append(dst, `,"profile":`...)
	dst = appendString(dst, k.core.snap.Profile().Name)
	dst = appendNumber(dst, `,"asn":`, uint32(facts.ASN))
	if len(facts.ASName) > 0 {
		dst = append(dst, `,"name":`...)
		dst = appendString(dst, facts.ASName)
	}
	dst = appendKinds(dst, facts.Kinds)
	dst = appendHour(dst, `,"first_seen":`, facts.First)
	dst = appendHour(dst, `,"last_seen":`, facts.Last)
	dst = appendHour(dst, `,"expires":`, facts.End)
	if facts.End != 0 {
		k.seconds = uint32(min(int64(k.seconds), max(1, facts.End.Seconds()-k.now)))
	}
	if level != snapshot.Address && facts.Threshold > 0 {
		dst = append(dst, `,"leaves_when":"`...)
		dst = append(k.appendRemaining(dst, facts, level), '"')
		dst = appendHour(dst, `,"leaves_by":`, k.latest(facts))
	}
	return dst
}

func appendNumber(dst []byte, name string, n uint32) []byte {
	if n == 0 {
		return dst
	}
	return appendUint(append(dst, name...), uint64(n))
}

func appendHour(dst []byte, name string, h snapshot.Hour) []byte {
	if h == 0 {
		return dst
	}
	return appendTime(append(dst, name...), h.Seconds())
}

func appendKinds(dst []byte, kinds snapshot.Kinds) []byte {
	if kinds == 0 {
		return dst
	}
	separator := `,"kinds":[`
	for _, name := range kinds.Names() {
		dst = append(dst, separator...)
		dst = appendString(dst, name)
		separator = ","
	}
	if separator != "," {
		return dst
	}
	return append(dst, ']')
}

// appendAlso appends the wider entries of the same level that hold the prefix
// as well: the most specific one decides, the others are told.
func (k *check) appendAlso(dst []byte, m *snapshot.Match, level snapshot.Level) []byte {
	separator := `,"also":[`
	at := len(dst)
	for up, ok := k.core.snap.Parent(*m, k.now); ok; up, ok = k.core.snap.Parent(up, k.now) {
		dst = append(dst, separator...)
		separator = ","
		dst = append(dst, `{"prefix":"`...)
		dst = append(up.Prefix.AppendTo(dst), `","exempt":`...)
		dst = appendBool(dst, up.Excluded)
		if up.Listed {
			dst = k.appendFacts(dst, &up, level)
		}
		dst = append(dst, '}')
	}
	if len(dst) == at {
		return dst
	}
	return append(dst, ']')
}
