package core

import "bytes"

// Limits of one exchange.
const (
	// bodyMax is the largest body that is read: a DNS message (RFC 8484 6). A
	// thousand addresses for /v1/check fit too.
	bodyMax = messageMax
	// encodedMax is the longest value of ?dns=: bodyMax in base64url.
	encodedMax = (bodyMax*8 + 5) / 6
)

const (
	retrySeconds     = "10"    // after 429 and 503: the shortest period that rate limits of the hosts know
	preflightSeconds = "86400" // how long a browser may remember what OPTIONS said
	filterSeconds    = 300     // a client that has the filter asks again after this, with its ETag
)

// A route is one path, what may be done there, and what answers.
type route struct {
	path  string
	allow string // methods, as in the Allow field (RFC 9110 10.2.1)
	// anyone says that the path is open to clients without a key.
	anyone bool
	serve  func(c *Core, e exchange)
}

const (
	allowGet     = "GET, HEAD, OPTIONS"
	allowGetPost = "GET, HEAD, POST, OPTIONS"
)

// routes is every path that the core serves.
var routes = [...]route{
	{"/dns-query", allowGetPost, false, (*Core).serveQuery},
	{"/resolve", allowGet, false, (*Core).serveResolve},
	{"/v1/check", allowGetPost, false, (*Core).serveCheck},
	{"/v1/status", allowGet, false, (*Core).serveStatus},
	{"/v1/filter", allowGet, false, (*Core).serveFilter},
	{"/", allowGet, true, (*Core).servePage},
	{"/healthz", allowGet, true, (*Core).serveHealth},
	{"/readyz", allowGet, true, (*Core).serveReady},
}

// An exchange is one HTTP request with the response being written. It goes from
// hand to hand by value, so that it stays on the stack.
type exchange struct {
	*Response
	request *Request
	params  []byte // the query of the target
	post    bool
}

// Serve answers one HTTP request. It fills resp from the start, and uses the
// memory that resp has. A HEAD is answered like a GET: the host leaves the
// body out.
func (c *Core) Serve(req *Request, resp *Response) {
	resp.Status, resp.Ref = 0, Body
	resp.Fields, resp.Body, resp.scratch = resp.Fields[:0], resp.Body[:0], resp.scratch[:0]
	path, params, _ := bytes.Cut(req.Target, question)
	e := exchange{Response: resp, request: req, params: params}
	for i := range routes {
		if string(path) == routes[i].path {
			c.enter(&routes[i], e)
			return
		}
	}
	e.fail(404, "there is nothing at this path")
}

var question = []byte("?")

// enter serves the request if the route allows its method and the gate is open.
func (c *Core) enter(r *route, e exchange) {
	e.post = string(e.request.Method) == "POST"
	switch {
	case string(e.request.Method) == "OPTIONS":
		e.preflight(r)
		return
	case string(e.request.Method) == "GET", string(e.request.Method) == "HEAD":
	case e.post && r.allow == allowGetPost:
	default:
		e.fail(405, "this method is not allowed here")
		e.field(nameAllow, r.allow)
		return
	}
	switch {
	case e.request.Gate.lets(), r.anyone && e.request.Gate != OverRate, r.path == "/healthz", r.path == "/readyz":
		r.serve(c, e)
	case e.request.Gate == NoKey:
		e.fail(401, "a key is needed: /k/{key}/… or Authorization: Bearer")
		e.field(nameAuthenticate, "Bearer")
	case e.request.Gate == BadKey:
		e.fail(403, "this key is not valid")
	default:
		e.fail(429, "too many requests")
		e.field(nameRetryAfter, retrySeconds)
	}
}

// Names of header fields.
var (
	nameAllow        = []byte("allow")
	nameAllowHeaders = []byte("access-control-allow-headers")
	nameAllowMethods = []byte("access-control-allow-methods")
	nameAllowOrigin  = []byte("access-control-allow-origin")
	nameAuthenticate = []byte("www-authenticate")
	nameCache        = []byte("cache-control")
	nameCacheTag     = []byte("cache-tag")
	nameETag         = []byte("etag")
	nameExpose       = []byte("access-control-expose-headers")
	nameMaxAge       = []byte("access-control-max-age")
	nameNosniff      = []byte("x-content-type-options")
	namePolicy       = []byte("content-security-policy")
	nameReferrer     = []byte("referrer-policy")
	nameRetryAfter   = []byte("retry-after")
	nameType         = []byte("content-type")
	nameVary         = []byte("vary")
)

// Values of header fields that every response may share. Nothing writes to them.
var (
	valueAny     = []byte("*")
	valueNoStore = []byte("no-store")
	valueNosniff = []byte("nosniff")
	valueAccept  = []byte("accept")
	mediaMessage = []byte("application/dns-message")
	mediaDNSJSON = []byte("application/dns-json")
	mediaJSON    = []byte("application/json")
	mediaNDJSON  = []byte("application/x-ndjson")
	mediaPlain   = []byte("text/plain")
	mediaText    = []byte("text/plain; charset=utf-8")
	mediaHTML    = []byte("text/html; charset=utf-8")
	mediaOctets  = []byte("application/octet-stream")
)

// add appends one header field whose value nobody writes to.
func (e *exchange) add(name, value []byte) {
	e.Fields = append(e.Fields, Field{Name: name, Value: value})
}

// field appends one header field.
func (e *exchange) field(name []byte, value string) {
	at := len(e.scratch)
	e.scratch = append(e.scratch, value...)
	e.add(name, e.scratch[at:len(e.scratch):len(e.scratch)])
}

// begin sets the status and the fields that every response has.
func (e *exchange) begin(status int, media []byte) {
	e.Status = status
	e.Fields = e.Fields[:0]
	if media != nil {
		e.add(nameType, media)
	}
	e.add(nameAllowOrigin, valueAny)
	e.add(nameNosniff, valueNosniff)
}

// fail makes the response an error that no cache keeps.
func (e *exchange) fail(status int, message string) {
	e.begin(status, mediaJSON)
	e.add(nameCache, valueNoStore)
	e.Body = append(e.Body[:0], `{"error":`...)
	e.Body = appendString(e.Body, message)
	e.Body = append(e.Body, "}\n"...)
}

// keep says for how many seconds caches may keep the response: only the
// client's own, if a key let it in.
func (e *exchange) keep(seconds uint32) {
	at := len(e.scratch)
	if e.request.Gate == Keyed {
		e.scratch = append(e.scratch, "private, "...)
	}
	e.scratch = append(e.scratch, "max-age="...)
	e.scratch = appendUint(e.scratch, uint64(seconds))
	e.add(nameCache, e.scratch[at:len(e.scratch):len(e.scratch)])
}

// tag marks the response as made from this snapshot, so that a cache can drop
// all of them at once.
func (c *Core) tag(e exchange) {
	if c.snap != nil {
		e.add(nameCacheTag, c.cacheTag)
	}
}

// preflight answers OPTIONS (Fetch 3.2.2).
func (e *exchange) preflight(r *route) {
	e.begin(204, nil)
	e.field(nameAllow, r.allow)
	e.field(nameAllowMethods, r.allow)
	e.field(nameAllowHeaders, "Accept, Authorization, Content-Type, If-None-Match")
	e.field(nameMaxAge, preflightSeconds)
}

// serveQuery is DNS over HTTPS (RFC 8484). A GET with ?name= and without ?dns=
// is dns-json.
func (c *Core) serveQuery(e exchange) {
	if e.post {
		c.servePosted(e)
		return
	}
	encoded, found := param(e.params, "dns")
	if !found {
		_, named := param(e.params, "name")
		_, addressed := param(e.params, "ip")
		if !named && !addressed {
			e.fail(400, "neither dns nor name nor ip is given")
			return
		}
		c.serveResolve(e)
		return
	}
	switch {
	case !accepts(e.request.Accept, mediaMessage):
		e.fail(406, "?dns= gives application/dns-message only")
		return
	case len(encoded) > encodedMax:
		e.fail(414, "the value of dns is too long")
		return
	}
	var ok bool
	e.Body, ok = appendBase64(e.Body[:0], encoded)
	if !ok || len(e.Body) == 0 {
		e.fail(400, "the value of dns is not a DNS message in base64url without padding")
		return
	}
	c.serveMessage(e, e.Body)
}

// servePosted answers the DNS message in the body.
func (c *Core) servePosted(e exchange) {
	switch {
	case !isMedia(e.request.ContentType, mediaMessage):
		e.fail(415, "the body must be application/dns-message")
	case !accepts(e.request.Accept, mediaMessage):
		e.fail(406, "a POST gives application/dns-message only")
	case len(e.request.Body) > bodyMax:
		e.fail(413, "the body is larger than a DNS message can be")
	default:
		c.serveMessage(e, e.request.Body)
	}
}

// serveMessage answers one DNS message, which may be what the response's body
// holds so far: the answer takes its place.
func (c *Core) serveMessage(e exchange, msg []byte) {
	a := noAnswer
	read := a.query.parse(msg)
	if read == noQuery || read == unusable && a.query.opcode() == opcodeQuery {
		e.fail(400, "this is not a DNS query that can be read")
		return
	}
	from := len(e.Body)
	body, seconds := a.append(e.Body, c, read, e.request.Now, e.request.Gate)
	e.Body = body[:copy(body, body[from:])]
	e.begin(200, mediaMessage)
	e.keep(seconds)
	c.tag(e)
}

// appendBase64 decodes base64url without padding (RFC 8484 6). A client may
// have percent-encoded any character of it (RFC 3986 2.4).
func appendBase64(dst, encoded []byte) ([]byte, bool) {
	made, ok := appendBase64Plain(dst, encoded)
	if ok || bytes.IndexByte(encoded, '%') < 0 {
		return made, ok
	}
	from := len(dst)
	dst = appendUnescaped(dst, encoded)
	plain := dst[from:]
	made, ok = appendBase64Plain(dst, plain)
	return made[:from+copy(made[from:], made[from+len(plain):])], ok
}

// appendBase64Plain decodes what is not escaped. It gives dst as it was if the
// text is none, or if bits are set that no octet takes. It is a quarter of the
// time of encoding/base64 in a guest.
func appendBase64Plain(dst, encoded []byte) ([]byte, bool) {
	made := dst
	for ; len(encoded) >= 4; encoded = encoded[4:] {
		a, b, c, d := sextet[encoded[0]], sextet[encoded[1]], sextet[encoded[2]], sextet[encoded[3]]
		if a|b|c|d > 63 {
			return dst, false
		}
		made = append(made, a<<2|b>>4, b<<4|c>>2, c<<6|d)
	}
	switch len(encoded) {
	case 1:
		return dst, false
	case 2:
		a, b := sextet[encoded[0]], sextet[encoded[1]]
		if a|b > 63 || b<<4 != 0 {
			return dst, false
		}
		made = append(made, a<<2|b>>4)
	case 3:
		a, b, c := sextet[encoded[0]], sextet[encoded[1]], sextet[encoded[2]]
		if a|b|c > 63 || c<<6 != 0 {
			return dst, false
		}
		made = append(made, a<<2|b>>4, b<<4|c>>2)
	}
	return made, true
}

// sextet is the value of a character of base64url (RFC 4648 5), or 255.
var sextet = func() (table [256]byte) {
	for i := range table {
		table[i] = 255
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = byte(i)
	}
	return table
}()

// param returns the value of the first parameter of that name, still escaped.
// The name itself is looked for as it is written.
func param(params []byte, name string) (value []byte, found bool) {
	for len(params) > 0 {
		var pair []byte
		pair, params, _ = bytes.Cut(params, ampersand)
		key, value, _ := bytes.Cut(pair, equals)
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

var ampersand, equals = []byte("&"), []byte("=")

// appendUnescaped appends a parameter's value with %XX and + resolved. What is
// no escape stays as it is.
func appendUnescaped(dst, value []byte) []byte {
	if bytes.IndexByte(value, '%') < 0 && bytes.IndexByte(value, '+') < 0 {
		return append(dst, value...)
	}
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(value) && hexDigit[value[i+1]] < 16 && hexDigit[value[i+2]] < 16:
			c = hexDigit[value[i+1]]<<4 | hexDigit[value[i+2]]
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// isMedia reports whether the field's value names the media type, parameters
// aside (RFC 9110 8.3.1).
func isMedia(value, media []byte) bool {
	value, _, _ = bytes.Cut(value, semicolon)
	return equalFold(bytes.TrimSpace(value), media)
}

var semicolon, comma = []byte(";"), []byte(",")

// accepts reports whether a client with this Accept field takes the media type.
func accepts(accept, media []byte) bool { return acceptRank(accept, media) > 0 }

// Ranks of a media range, by how specifically it names a type.
const (
	rankAny   = 1 // */*
	rankKind  = 2 // application/*
	rankExact = 3
)

// acceptRank returns how specifically the Accept field names the media type, 0
// if it refuses it (RFC 9110 12.5.1): the most specific range that matches
// decides, and one with a weight of zero refuses. No field at all accepts
// everything.
func acceptRank(accept, media []byte) int {
	if len(accept) == 0 {
		return rankAny
	}
	best, taken := 0, 0
	for len(accept) > 0 {
		var one []byte
		one, accept, _ = bytes.Cut(accept, comma)
		kind, weight, _ := bytes.Cut(one, semicolon)
		if rank := rangeRank(bytes.TrimSpace(kind), media); rank > best {
			best, taken = rank, rank
			if refuses(weight) {
				taken = 0
			}
		}
	}
	return taken
}

// rangeRank is how specifically a media range names the media type; 0 is not
// at all.
func rangeRank(kind, media []byte) int {
	slash := bytes.IndexByte(media, '/')
	switch {
	case equalFold(kind, media):
		return rankExact
	case len(kind) == slash+2 && kind[slash+1] == '*' && equalFold(kind[:slash+1], media[:slash+1]):
		return rankKind
	case string(kind) == "*/*":
		return rankAny
	}
	return 0
}

// refuses reports whether the parameters of a media range hold a weight of
// zero.
func refuses(params []byte) bool {
	for len(params) > 0 {
		var one []byte
		one, params, _ = bytes.Cut(params, semicolon)
		one = bytes.TrimSpace(one)
		if len(one) < 3 || lower[one[0]] != 'q' || one[1] != '=' {
			continue
		}
		return len(bytes.Trim(one[2:], "0.")) == 0
	}
	return false
}
