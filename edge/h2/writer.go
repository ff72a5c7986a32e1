package h2

import (
	"net/http"
	"strconv"
)

// A Writer takes the answer to one request: a status, then fields, then the
// body, which ends it. An answer without a status is 500. A Handler must not use
// its Writer after it has returned.
type Writer struct {
	conn    *conn
	stream  *stream
	at      int // where the HEADERS frame begins in conn.out
	begun   bool
	ended   bool
	lasting bool // the body is
}

func (w *Writer) begin(c *conn, s *stream) {
	*w = Writer{conn: c, stream: s, at: len(c.out)}
	c.out = appendFrameHeader(c.out, kindHeaders, 0, s.id, 0)
	c.out = c.encoder.begin(c.out)
}

// Status sets the status, of three digits, and the field date.
func (w *Writer) Status(status int) {
	w.begun = true
	w.conn.out = appendStatus(w.conn.out, status)
	w.Field(nameDate, w.conn.today())
}

var nameDate = []byte("date")

// today returns the value of the field date (RFC 9110 6.6.1).
func (c *conn) today() []byte {
	if second := c.now.Unix(); second != c.dateSecond || len(c.date) == 0 {
		c.dateSecond = second
		c.date = c.now.UTC().AppendFormat(c.date[:0], http.TimeFormat)
	}
	return c.date
}

// Field adds a field. Its name must be in lower case.
func (w *Writer) Field(name, value []byte) {
	w.conn.out = w.conn.encoder.field(w.conn.out, name, value)
}

// Length adds the field content-length.
func (w *Writer) Length(n int) {
	var digits [20]byte
	w.conn.out = appendLiteral(w.conn.out, 0, 4, nameLength, strconv.AppendInt(digits[:0], int64(n), 10))
}

var nameLength = []byte("content-length")

// End ends the answer with a body, which may be empty. What cannot be sent at
// once is copied, unless the body is a lasting one that never changes.
func (w *Writer) End(body []byte, lasting bool) {
	if !w.begun {
		w.Status(http.StatusInternalServerError)
	}
	w.ended, w.lasting = true, lasting
	if len(body) == 0 {
		w.frame(flagEndHeaders | flagEndStream)
		return
	}
	w.frame(flagEndHeaders)
	c, s := w.conn, w.stream
	s.rest = body
	switch n := int64(len(body)); {
	case n <= min(frameMax, c.sendWindow, s.sendWindow):
		c.sendData(s, len(body))
	case !lasting:
		s.rest = append([]byte(nil), body...)
	}
}

// frame writes the frame header of the block at w.at, and divides the block if
// it is too large for one frame (RFC 9113 6.10).
func (w *Writer) frame(flags byte) {
	c := w.conn
	block := c.out[w.at+frameHeaderBytes:]
	if len(block) <= frameMax {
		appendFrameHeader(c.out[:w.at], kindHeaders, flags, w.stream.id, len(block))
		return
	}
	block = append([]byte(nil), block...)
	c.out = c.out[:w.at]
	for k := kindHeaders; len(block) > 0; k = kindContinuation {
		n := min(len(block), frameMax)
		if n < len(block) {
			c.out = appendFrameHeader(c.out, k, flags&^flagEndHeaders, w.stream.id, n)
		} else {
			c.out = appendFrameHeader(c.out, k, flags, w.stream.id, n)
		}
		c.out = append(c.out, block[:n]...)
		block = block[n:]
		flags &^= flagEndStream
	}
}
