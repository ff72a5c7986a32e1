package h2

// A header is a header that is being read: the block of a HEADERS frame and its
// CONTINUATION frames, and then the fields in it.
type header struct {
	open   bool   // only CONTINUATION may come
	frames int    // of CONTINUATION
	block  []byte // so far
	id     uint32
	ended  bool // END_STREAM: there is no body, or no more of it

	stream    *stream // whose fields these are; nil if they are of no interest
	trailers  bool
	regular   bool // a field that is no pseudo-header came
	size      int  // without the target, as RFC 9113 6.5.2 counts
	seen      int  // pseudo-headers, one bit each
	malformed bool
	expect    bool // 100-continue
}

// Pseudo-headers of a request (RFC 9113 8.3.1).
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
)

// headers takes a HEADERS frame (RFC 9113 6.2).
func (c *conn) headers(f *frame) error {
	if f.id%2 == 0 {
		return &connError{codeProtocol, "a header on a stream that clients do not open"}
	}
	if _, err := f.unpad(); err != nil {
		return err
	}
	if f.has(flagPriority) {
		if len(f.payload) < 5 {
			return &connError{codeFrameSize, "a header without its priority"}
		}
		if dependency(f.payload) == f.id {
			return &connError{codeProtocol, "a stream that depends on itself"} // RFC 7540 5.3.1
		}
		f.payload = f.payload[5:]
	}
	block := c.header.block[:0]
	c.header = header{id: f.id, ended: f.has(flagEndStream), block: block}
	if f.has(flagEndHeaders) {
		return c.fields(f.payload)
	}
	c.header.open = true
	c.header.block = append(block, f.payload...)
	return nil
}

// continuation takes a CONTINUATION frame (RFC 9113 6.10).
func (c *conn) continuation(f *frame) error {
	h := &c.header
	if !h.open || f.id != h.id {
		return &connError{codeProtocol, "a continuation of nothing"}
	}
	h.frames++
	h.block = append(h.block, f.payload...)
	if h.frames > continuationsMax || len(h.block) > c.server.HeaderMax+fieldsMax {
		return &connError{codeCalm, "a header without end"}
	}
	if !f.has(flagEndHeaders) {
		return nil
	}
	h.open = false
	err := c.fields(h.block)
	if cap(h.block) > keepMax {
		h.block = nil
	}
	return err
}

// fields takes a whole header block. Every block is decoded, whatever becomes
// of its stream, because the decoder's table depends on all of them (RFC 9113
// 4.3).
func (c *conn) fields(block []byte) error {
	h := &c.header
	s := c.find(h.id)
	fresh := s == nil && h.id > c.last
	h.trailers = s != nil
	if fresh {
		c.last = h.id
		s = c.newStream(h.id)
	}
	h.stream = s
	if err := c.decode(block); err != nil {
		return err
	}
	switch {
	case fresh && c.gone:
		return c.refuse(s)
	case fresh:
		return c.request(s)
	case s != nil:
		return c.trailer(s)
	case c.wasReset(h.id):
		return c.spend(1)
	}
	return &connError{codeStreamClosed, "a header on a closed stream"}
}

// decode reads the fields of a block into the header's stream, if it has one.
func (c *conn) decode(block []byte) error {
	d := &c.decoder
	d.begin()
	for len(block) > 0 {
		f, rest, ok := d.next(block)
		if !ok {
			return &connError{codeCompression, "a header that cannot be decoded"}
		}
		if !d.fresh {
			c.header.field(f, c.server.HeaderMax)
		}
		block = rest
	}
	if cap(d.scratch) > keepMax {
		d.scratch = nil
	}
	return nil
}

// field takes one field. A target has targetMax bytes at most.
func (h *header) field(f Field, targetMax int) {
	if h.stream == nil || h.malformed || h.stream.Trouble != 0 {
		return
	}
	target := string(f.Name) == ":path"
	if !target {
		h.size += len(f.Name) + len(f.Value) + 32
	}
	switch {
	case h.size > fieldsMax || target && len(f.Value) > targetMax:
		h.stream.Trouble = 431
	case len(f.Name) > 0 && f.Name[0] == ':':
		h.malformed = !h.pseudo(f)
	default:
		h.regular = true
		h.malformed = !validName(f.Name) || !validValue(f.Value) || !h.special(f)
		if !h.trailers && !h.malformed {
			h.stream.Fields = append(h.stream.Fields, Field{h.stream.keep(f.Name), h.stream.keep(f.Value)})
		}
	}
}

// keep copies text to the stream's own memory.
func (s *stream) keep(text []byte) []byte {
	from := len(s.text)
	s.text = append(s.text, text...)
	return s.text[from:len(s.text):len(s.text)]
}

// pseudo takes a pseudo-header, and reports whether it is in order (RFC 9113
// 8.3).
func (h *header) pseudo(f Field) bool {
	bit := 0
	switch string(f.Name) {
	case ":method":
		bit = seenMethod
		h.stream.Method = h.stream.keep(f.Value)
	case ":scheme":
		bit = seenScheme
	case ":authority":
		bit = seenAuthority
	case ":path":
		bit = seenPath
		h.stream.Target = h.stream.keep(f.Value)
	}
	again := h.seen&bit != 0
	h.seen |= bit
	return bit != 0 && !again && !h.regular && !h.trailers && validValue(f.Value) && (len(f.Value) > 0 || bit == seenAuthority)
}

// special looks at the fields that HTTP/2 itself knows, and reports whether
// they are in order (RFC 9113 8.2.2).
func (h *header) special(f Field) bool {
	switch string(f.Name) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return false
	case "te":
		return string(f.Value) == "trailers"
	case "content-length":
		if h.trailers {
			return true
		}
		n, ok := parseLength(f.Value)
		again := h.stream.expects >= 0 && h.stream.expects != n
		h.stream.expects = n
		return ok && !again
	case "expect":
		h.expect = string(f.Value) == "100-continue"
	}
	return true
}

// request takes a request whose header is complete.
func (c *conn) request(s *stream) error {
	h := &c.header
	s.arriving = !h.ended
	if s.Trouble == 0 && (h.malformed || !c.complete(s)) || h.ended && s.expects > 0 {
		return c.malformed(s)
	}
	switch {
	case len(c.streams) >= c.server.Streams || c.held > heldMax:
		return c.refuse(s)
	case h.ended || s.Trouble != 0:
		return c.answer(s)
	case !c.hold(s, cap(s.text)+fieldBytes*cap(s.Fields)):
		return c.refuse(s)
	}
	s.deadline = s.Begun.Add(c.server.ReadTimeout)
	c.streams = append(c.streams, s)
	if h.expect {
		c.out = appendContinue(c.out, s.id)
	}
	return nil
}

// complete reports whether a request has the pseudo-headers that it must have
// (RFC 9113 8.3.1, 8.5).
func (c *conn) complete(s *stream) bool {
	if c.header.malformed || !validToken(s.Method) {
		return false
	}
	if string(s.Method) == "CONNECT" {
		s.Target = append(s.Target, '/')
		return c.header.seen == seenMethod|seenAuthority
	}
	const needed = seenMethod | seenScheme | seenPath
	return c.header.seen&needed == needed && (s.Target[0] == '/' || string(s.Target) == "*")
}

// trailer ends the body of s (RFC 9113 8.1).
func (c *conn) trailer(s *stream) error {
	h := &c.header
	if !s.arriving {
		c.resetStream(s, codeStreamClosed) // RFC 9113 5.1, half-closed (remote)
		return c.spend(1)
	}
	if h.malformed || !h.ended || s.expects >= 0 && s.received != s.expects {
		return c.malformed(s)
	}
	s.arriving = false
	if s.answered {
		return nil
	}
	return c.answer(s)
}

// malformed ends a stream whose request is (RFC 9113 8.1.1).
func (c *conn) malformed(s *stream) error {
	c.resetStream(s, codeProtocol)
	return c.spend(1)
}

// parseLength reads a content-length (RFC 9110 8.6).
func parseLength(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 18 {
		return -1, false
	}
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			return -1, false
		}
		n = n*10 + int64(digit-'0')
	}
	return n, true
}

// tokenTable has the characters of a token (RFC 9110 5.6.2).
var tokenTable = func() (table [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[b] = true
	}
	return table
}()

func validToken(text []byte) bool {
	for _, b := range text {
		if !tokenTable[b] {
			return false
		}
	}
	return len(text) > 0
}

// validName reports whether a field may have that name: a token without upper
// case (RFC 9113 8.2.1).
func validName(name []byte) bool {
	for _, b := range name {
		if !tokenTable[b] || 'A' <= b && b <= 'Z' {
			return false
		}
	}
	return len(name) > 0
}

// validValue reports whether a field may have that value (RFC 9113 8.2.1).
func validValue(value []byte) bool {
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return len(value) == 0 || !blank(value[0]) && !blank(value[len(value)-1])
}

func blank(b byte) bool { return b == ' ' || b == '\t' }
