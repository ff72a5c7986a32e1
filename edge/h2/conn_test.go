package h2

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A script is a connection whose client has already said all that it says, and
// of which each read gives some bytes more.
type script struct {
	net.Conn
	in      []byte
	reads   int
	written []byte
}

func (s *script) Read(b []byte) (int, error) {
	s.reads++
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in[:min(len(s.in), 1+s.reads*7%200)])
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.written = append(s.written, b...)
	return len(b), nil
}
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// FuzzConn sends bytes after the preface and empty SETTINGS. Whatever they are,
// the connection ends, what it says is frames, and it has kept to its limits.
func FuzzConn(f *testing.F) {
	block := "\x82\x87\x84\x00\x01a\x01b"
	headers := func(flags byte, id uint32, block string) []byte {
		return append(appendFrameHeader(nil, kindHeaders, flags, id, len(block)), block...)
	}
	f.Add(headers(flagEndHeaders|flagEndStream, 1, block))
	f.Add(append(headers(flagEndHeaders, 1, "\x83\x87\x84"), appendFrameHeader(nil, kindData, flagEndStream|flagPadded, 1, 1)...))
	f.Add(append(headers(0, 1, block), append(appendFrameHeader(nil, kindContinuation, flagEndHeaders, 1, 4), "\x00\x01c\x00"...)...))
	f.Add(append(headers(flagEndHeaders|flagEndStream, 1, "\x82\x87\x04\x0d/copied/70000"), appendNumber(nil, kindWindowUpdate, 1, 70000)...))
	f.Add(append(appendSetting(appendFrameHeader(nil, kindSettings, 0, 0, 6), settingWindow, 5), headers(flagEndHeaders|flagEndStream, 1, "\x82\x87\x04\x0a/copied/10")...))
	f.Add(append(appendNumber(nil, kindReset, 1, 8), appendGoAway(nil, 0, codeNone)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &script{in: append(appendFrameHeader([]byte(clientPreface), kindSettings, 0, 0, 0), in...)}
		c := newConn(testServer(limited{}), s)
		c.preface = clientPreface
		c.serve()
		if c.held > heldMax+1<<20 || len(c.streams) > c.server.Streams || cap(c.in) > 2*frameMax || cap(c.out) > 4*outMax || len(c.decoder.text) > 2*tableMax {
			t.Fatalf("%d bytes held by %d streams, buffers of %d and %d bytes", c.held, len(c.streams), cap(c.in), cap(c.out))
		}
		if most := 1<<16 + 200*len(in) + 100000*bytes.Count(in, []byte("/copied/")); len(s.written) > most {
			t.Fatalf("%d bytes were sent for %d bytes", len(s.written), len(in))
		}
		for out := s.written; len(out) > 0; {
			_, length := parseFrameHeader(append(out, make([]byte, frameHeaderBytes)...))
			if len(out) < frameHeaderBytes+length || length > frameMax {
				t.Fatalf("what was sent ends in the middle of a frame, or one is too large: %x", out[:min(len(out), 50)])
			}
			out = out[frameHeaderBytes+length:]
		}
	})
}

// limited is a talker whose bodies are not too large for a fuzzer.
type limited struct{}

func (limited) Answer(r *Request, w *Writer) {
	if len(r.Target) > len("/copied/70000") {
		r.Target = []byte("/x")
	}
	talker{}.Answer(r, w)
}

// serveTCP serves connections on a loopback address until the test ends.
func serveTCP(t *testing.T, s *Server) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer nc.Close()
				s.Serve(nc, false)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.Drain()
		conns.Wait()
	})
	return ln.Addr().String()
}

// TestClientOfOthers asks with the client of net/http, many requests at once, small and large, up and down.
func TestClientOfOthers(t *testing.T) {
	address := serveTCP(t, testServer(talker{}))
	transport := plainTransport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var askers sync.WaitGroup
	for n := range 40 {
		askers.Go(func() {
			for i := range 8 {
				target, body := "/x", ""
				switch (n + i) % 4 {
				case 0:
					target = "/copied/300000"
				case 1:
					target = "/lasting/1000000"
				case 2:
					body = strings.Repeat("x", 1000*n)
				}
				resp, err := client.Post("http://"+address+target, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || resp.ContentLength >= 0 && resp.ContentLength != int64(len(got)) {
					t.Errorf("%s: status %d, %d of %d bytes, error %v", target, resp.StatusCode, len(got), resp.ContentLength, err)
				}
			}
		})
	}
	askers.Wait()
}

// plainTransport speaks HTTP/2 with prior knowledge, and nothing else.
func plainTransport() *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return transport
}

// TestDrainLosesNothing drains while a client asks: each request is answered,
// or has not been acted upon.
func TestDrainLosesNothing(t *testing.T) {
	h := new(counted)
	s := testServer(h)
	address := serveTCP(t, s)
	conn, err := plainTransport().NewClientConn(t.Context(), "http", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answered := 0
	for i := 0; ; i++ {
		if i == 100 {
			go s.Drain()
		}
		r, err := http.NewRequest("GET", "http://"+address+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := conn.RoundTrip(r)
		if err != nil {
			break // the connection takes no more
		}
		resp.Body.Close()
		answered++
	}
	if answered < 100 || answered != h.count() {
		t.Errorf("%d requests were answered, %d acted upon, want the same and at least 100", answered, h.count())
	}
}

// counted counts its requests.
type counted struct {
	mu sync.Mutex
	n  int
}

func (h *counted) Answer(_ *Request, w *Writer) {
	h.mu.Lock()
	h.n++
	h.mu.Unlock()
	w.Status(204)
}

func (h *counted) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// TestFrameHeader holds that what is written is read back.
func TestFrameHeader(t *testing.T) {
	for _, id := range []uint32{0, 1, windowMax} {
		b := appendFrameHeader(nil, kindGoAway, 0x25, id, 0x123456)
		f, length := parseFrameHeader(b)
		if f.kind != kindGoAway || f.flags != 0x25 || f.id != id || length != 0x123456 {
			t.Errorf("got %+v and length %#x from %x", f, length, b)
		}
		binary.BigEndian.PutUint32(b[5:], id|1<<31) // reserved, and ignored (RFC 9113 4.1)
		if f, _ := parseFrameHeader(b); f.id != id {
			t.Errorf("with the reserved bit: got stream %d, want %d", f.id, id)
		}
	}
}

// TestNoAllocation holds that a connection that is at work allocates nothing.
func TestNoAllocation(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: under the race detector pools forget on purpose")
	}
	for name, body := range map[string][]byte{"get": nil, "post": make([]byte, 43)} {
		count := func(requests int) float64 {
			return testing.AllocsPerRun(5, func() {
				c := newCrowd(requests, body)
				c.buffer = make([]byte, 0, 8<<10)
				testServer(new(fixed)).Serve(c, false)
			})
		}
		few, many := count(1000), count(21000)
		if many > few+20 { // the collector may take what is pooled
			t.Errorf("%s: %v allocations for 1000 requests, %v for 21000", name, few, many)
		}
	}
}

// TestAdequate holds which versions and cipher suites of TLS will do.
func TestAdequate(t *testing.T) {
	for _, row := range []struct {
		version, suite uint16
		want           bool
	}{
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false},
		{tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
	} {
		if got := adequate(tls.ConnectionState{Version: row.version, CipherSuite: row.suite}); got != row.want {
			t.Errorf("%s with %s: got %v, want %v", tls.VersionName(row.version), tls.CipherSuiteName(row.suite), got, row.want)
		}
	}
}
