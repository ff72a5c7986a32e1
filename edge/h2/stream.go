package h2

import "time"

// A stream is one request and its answer (RFC 9113 5). It is among the open
// ones of its connection while its body is missing, and while the body of its
// answer waits for the client's window.
type stream struct {
	Request
	text []byte // the bytes of the request's header, one field after the other

	id         uint32
	arriving   bool  // the client has not ended its side
	answered   bool  // what is left is to send rest
	expects    int64 // bytes of body, as content-length says, or -1
	received   int64 // bytes of body
	recvWindow int64
	sendWindow int64
	rest       []byte // of the answer's body
	held       int    // bytes counted in conn.held
	deadline   time.Time
}

// newStream returns a stream for a header that is about to be read.
func (c *conn) newStream(id uint32) *stream {
	var s *stream
	if n := len(c.spare); n > 0 {
		s, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		s = new(stream)
	}
	s.id, s.expects = id, -1
	s.recvWindow, s.sendWindow = int64(c.server.BodyMax), c.initialWindow
	s.Peer, s.Begun = c.peer, c.now
	return s
}

// free keeps s for use again, without what was unusually large.
func (c *conn) free(s *stream) {
	c.held -= s.held
	if len(c.spare) == spareMax {
		return
	}
	fields, body, text := s.Fields[:0], s.Body[:0], s.text[:0]
	if cap(body) > keepMax {
		body = nil
	}
	if cap(text) > keepMax || cap(fields) > keepMax/fieldBytes {
		text, fields = nil, nil // the fields point into the text
	}
	*s = stream{text: text, Request: Request{Fields: fields, Body: body}}
	c.spare = append(c.spare, s)
}

// fieldBytes is the size of a Field without its text.
const fieldBytes = 48

// find returns the open stream with that identifier, or nil.
func (c *conn) find(id uint32) *stream {
	for i := len(c.streams) - 1; i >= 0; i-- {
		if c.streams[i].id == id {
			return c.streams[i]
		}
	}
	return nil
}

// hold counts n more bytes for s, if there is room for them.
func (c *conn) hold(s *stream, n int) bool {
	if c.held+n > heldMax {
		return false
	}
	s.held += n
	c.held += n
	return true
}

// close takes s from the open streams, if it is one of them.
func (c *conn) close(s *stream) {
	for i := range c.streams {
		if c.streams[i] == s {
			c.streams = append(c.streams[:i], c.streams[i+1:]...)
			break
		}
	}
	c.active = c.now
	c.free(s)
}

// resetStream ends s with a RST_STREAM (RFC 9113 6.4).
func (c *conn) resetStream(s *stream, why code) {
	c.sendReset(s.id, why)
	c.close(s)
}

// sendReset sends a RST_STREAM and remembers it, since what the client had
// already sent will come.
func (c *conn) sendReset(id uint32, why code) {
	c.out = appendNumber(c.out, kindReset, id, uint32(why))
	c.reset[c.resets%resetsKept] = id
	c.resets++
}

// refuse ends a stream of whose request nothing has been done (RFC 9113 8.7).
func (c *conn) refuse(s *stream) error {
	c.resetStream(s, codeRefused)
	return c.spend(1)
}

// wasReset reports whether the stream was reset while its client still sent.
func (c *conn) wasReset(id uint32) bool {
	for _, r := range c.reset {
		if r == id {
			return true
		}
	}
	return false
}

// data takes a DATA frame (RFC 9113 6.1).
func (c *conn) data(f *frame) error {
	size := int64(len(f.payload))
	if c.recvWindow -= size; c.recvWindow < 0 {
		return &connError{codeFlowControl, "more data than the connection's window"}
	}
	c.credit += size
	s := c.find(f.id)
	switch {
	case f.id == 0 || f.id > c.last:
		return &connError{codeProtocol, "data on a stream that is not open"}
	case s == nil && c.wasReset(f.id):
		return c.spend(1)
	case s == nil:
		return &connError{codeStreamClosed, "data on a closed stream"}
	case !s.arriving:
		c.resetStream(s, codeStreamClosed)
		return c.spend(1)
	}
	padding, err := f.unpad()
	if err != nil {
		return err
	}
	if len(f.payload) == 0 && !f.has(flagEndStream) {
		if err := c.spend(1); err != nil {
			return err
		}
	}
	return c.body(s, f, size, padding)
}

// body adds the payload of a frame to the body of s.
func (c *conn) body(s *stream, f *frame, size int64, padding int) error {
	if s.recvWindow -= size; s.recvWindow < 0 {
		c.resetStream(s, codeFlowControl)
		return c.spend(1)
	}
	if s.answered { // and what comes is not waited for
		if f.has(flagEndStream) {
			s.arriving = false
		}
		return nil
	}
	s.received += int64(len(f.payload))
	s.arriving = !f.has(flagEndStream)
	if s.expects >= 0 && (s.received > s.expects || !s.arriving && s.received != s.expects) {
		return c.malformed(s) // RFC 9113 8.1.1
	}
	part := f.payload[:min(len(f.payload), c.server.BodyMax-len(s.Body))]
	if !c.hold(s, len(part)) {
		return c.refuse(s)
	}
	s.Body = append(s.Body, part...)
	if !s.arriving || len(s.Body) == c.server.BodyMax {
		return c.answer(s)
	}
	if padding > 0 { // the window is as large as a body, which padding must not keep out
		s.recvWindow += int64(padding)
		c.out = appendNumber(c.out, kindWindowUpdate, s.id, uint32(padding))
	}
	return nil
}

// giveCredit widens the connection's window again, half of it at a time.
func (c *conn) giveCredit() {
	if c.credit >= connWindow/2 {
		c.out = appendNumber(c.out, kindWindowUpdate, 0, uint32(c.credit))
		c.recvWindow += c.credit
		c.credit = 0
	}
}

// answer has the request of s answered, and ends s unless its answer's body has
// to wait.
func (c *conn) answer(s *stream) error {
	w := &c.writer
	w.begin(c, s)
	c.server.Handler.Answer(&s.Request, w)
	if !w.ended {
		w.End(nil, false)
	}
	if len(s.rest) > 0 {
		return c.wait(s)
	}
	c.ended(s)
	return nil
}

// earn gives n frames of the connection's patience back.
func (c *conn) earn(n int) { c.patience = min(c.patience+n, patienceMax) }

// wait keeps s open until the rest of its answer has been sent. When much
// waits, it is sent now as far as the windows allow, so that only a client that
// keeps them shut is ever refused.
func (c *conn) wait(s *stream) error {
	c.held -= s.held // the request is of no more interest
	s.held, s.Body, s.text, s.Fields = 0, nil, nil, nil
	if !c.writer.lasting {
		s.held = len(s.rest)
		c.held += s.held
	}
	s.answered = true
	s.deadline = c.now.Add(c.server.WriteTimeout + atSlowest(len(s.rest)))
	if c.find(s.id) == nil {
		c.streams = append(c.streams, s)
	}
	for c.held > heldMax/2 {
		more := c.pump()
		if err := c.flush(); err != nil || !more {
			return err
		}
	}
	return nil
}

// ended closes s after the whole of its answer. A client that still sends is
// told that there is no need to (RFC 9113 8.1).
func (c *conn) ended(s *stream) {
	if s.arriving {
		c.sendReset(s.id, codeNone)
	}
	c.earn(answerEarns)
	c.close(s)
}

// pump sends what the windows allow of the bodies that wait, a frame of each in
// turn, until there is enough to write. It reports whether more could be sent.
func (c *conn) pump() bool {
	c.giveCredit()
	idle := 0 // streams in a row that could send nothing
	for len(c.streams) > 0 && idle < len(c.streams) {
		c.turn %= len(c.streams)
		s := c.streams[c.turn]
		n := int(min(int64(len(s.rest)), c.sendWindow, s.sendWindow, frameMax))
		if !s.answered || n <= 0 {
			c.turn++
			idle++
			continue
		}
		if len(c.out) >= outMax {
			return true
		}
		idle = 0
		c.sendData(s, n)
		if n >= windowStep {
			c.earn(1)
		}
		if len(s.rest) > 0 {
			c.turn++
		} else {
			c.ended(s) // and the next one has taken its turn
		}
	}
	return false
}

// sendData sends the next n bytes that s has left.
func (c *conn) sendData(s *stream, n int) {
	var flags byte
	if n == len(s.rest) {
		flags = flagEndStream
	}
	c.out = append(appendFrameHeader(c.out, kindData, flags, s.id, n), s.rest[:n]...)
	s.rest = s.rest[n:]
	s.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
}
