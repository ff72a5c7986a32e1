package h2

import (
	"bytes"
	"encoding/base64"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// A crowd is a connection whose client asks twenty questions at a time, all
// alike, and forgets the answers.
type crowd struct {
	net.Conn        // nil: nothing else of it is called
	first    []byte // what is read first
	header   []byte
	body     []byte
	buffer   []byte
	next     uint32 // stream
	left     int    // requests
	written  int
}

// newCrowd returns a crowd that asks n times, with header blocks as h2load
// sends them: everything but the path is in its table.
func newCrowd(n int, body []byte) *crowd {
	c := &crowd{next: 1, left: n, body: body, first: appendFrameHeader([]byte(clientPreface), kindSettings, 0, 0, 0)}
	var out bytes.Buffer
	encoder := hpack.NewEncoder(&out)
	method, path := "POST", "/dns-query"
	if body == nil {
		method, path = "GET", "/dns-query?dns="+base64.RawURLEncoding.EncodeToString(make([]byte, 43))
	}
	for range 2 {
		out.Reset()
		for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "edge.example"}, {"user-agent", "crowd"}, {"content-type", "application/dns-message"}} {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		huffman := hpack.AppendHuffmanString(nil, path)
		literal := append(appendInteger([]byte{0x04}, 0x80, 7, len(huffman)), huffman...)
		c.header = append(literal, out.Bytes()...)
		if c.next == 1 {
			c.request()
			c.first = append(c.first, c.buffer...)
			c.buffer = nil
		}
	}
	return c
}

// request appends one request to the buffer.
func (c *crowd) request() {
	flags := byte(flagEndHeaders)
	if c.body == nil {
		flags |= flagEndStream
	}
	c.buffer = append(appendFrameHeader(c.buffer, kindHeaders, flags, c.next, len(c.header)), c.header...)
	if c.body != nil {
		c.buffer = append(appendFrameHeader(c.buffer, kindData, flagEndStream, c.next, len(c.body)), c.body...)
	}
	c.next += 2
}

func (c *crowd) Read(b []byte) (int, error) {
	if n := copy(b, c.first); n > 0 {
		c.first = c.first[n:]
		return n, nil
	}
	if len(c.buffer) == 0 {
		if c.left <= 0 {
			return 0, io.EOF
		}
		for range 20 {
			c.request()
		}
		c.buffer = appendNumber(c.buffer, kindWindowUpdate, 0, uint32(20*len(fixedBody)))
		c.left -= 20
	}
	n := copy(b, c.buffer)
	c.buffer = c.buffer[:copy(c.buffer, c.buffer[n:])]
	return n, nil
}

func (c *crowd) Write(b []byte) (int, error)      { c.written += len(b); return len(b), nil }
func (c *crowd) SetReadDeadline(time.Time) error  { return nil }
func (c *crowd) SetWriteDeadline(time.Time) error { return nil }
func (c *crowd) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// A fixed handler says the same to everybody, like a DNS answer.
type fixed struct{ answered int }

func (h *fixed) Answer(r *Request, w *Writer) {
	h.answered++
	w.Status(200)
	for i := range fixedFields {
		w.Field(fixedFields[i].Name, fixedFields[i].Value)
	}
	w.Length(len(fixedBody))
	w.End(fixedBody, false)
}

var (
	fixedBody   = make([]byte, 59)
	fixedFields = []Field{
		{[]byte("content-type"), []byte("application/dns-message")}, {[]byte("access-control-allow-origin"), []byte("*")},
		{[]byte("x-content-type-options"), []byte("nosniff")}, {[]byte("cache-control"), []byte("max-age=2100")},
		{[]byte("cache-tag"), []byte("serial-1763827200")},
	}
)

// testServer returns a server with the limits of an edge.
func testServer(h Handler) *Server {
	return &Server{
		Handler: h, BodyMax: 65536, HeaderMax: 128 << 10, Streams: 250, HeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
	}
}

// BenchmarkServe is one request and its answer, without a socket.
func BenchmarkServe(b *testing.B) {
	for name, body := range map[string][]byte{"get": nil, "post": make([]byte, 43)} {
		b.Run(name, func(b *testing.B) {
			h := new(fixed)
			crowd := newCrowd(b.N, body)
			b.ReportAllocs()
			b.ResetTimer()
			testServer(h).Serve(crowd, false)
			if h.answered < b.N {
				b.Fatalf("%d of %d requests were answered", h.answered, b.N)
			}
			b.ReportMetric(float64(crowd.written)/float64(h.answered), "B/answer")
		})
	}
}
