// Package h2 serves HTTP/2 (RFC 9113) to clients whose requests are small and
// whose answers are ready at once. One goroutine a connection reads frames,
// has each whole request answered on the spot, and writes all answers together
// when no more input is at hand.
//
// Most callers make one Server, give it each connection through Server.Serve,
// and call Server.Drain before they stop. Promised: what one client can make a
// connection hold, do and wait for is bounded (limits.go), whatever it sends;
// a large body waits for its client's windows without holding up the other
// streams; and a request that was refused was not acted upon. Not promised, and
// never offered to a client: push, priorities, CONNECT tunnels, extended
// CONNECT, upgrades from HTTP/1.1, and handlers that take their time: while one
// runs, its connection waits.
package h2

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Handler answers requests.
type Handler interface {
	// Answer answers req on w. Both are the handler's until it returns, and so
	// are the bytes in req. It is called from many goroutines at once.
	Answer(req *Request, w *Writer)
}

// A Request is one request that has arrived as a whole, or to which Trouble
// has come. A CONNECT, which is never a tunnel here, has the target "/".
type Request struct {
	Method []byte
	Target []byte  // path and query (RFC 9113 8.3.1)
	Fields []Field // in the order in which they came, names in lower case
	Body   []byte  // at most Server.BodyMax bytes, even if there was more
	Peer   netip.Addr
	Begun  time.Time // when its header arrived

	// Trouble is the HTTP status that the request has earned by not arriving:
	// 408 if its body took too long, 431 if its header is too large. 0 is none.
	Trouble int
}

// A Field is one header field.
type Field struct{ Name, Value []byte }

// A Server holds what its connections share. Its fields must not change once
// it serves.
type Server struct {
	Handler   Handler
	BodyMax   int // bytes of a body that are read; more than those are not waited for
	HeaderMax int // bytes of a target, and so about those of a header
	Streams   int // requests that may be under way at once on one connection

	HeaderTimeout time.Duration // for a connection's first frame
	ReadTimeout   time.Duration // for a frame, a header or a body, from its beginning on
	WriteTimeout  time.Duration // for what is sent, and longer where that is much
	IdleTimeout   time.Duration // for the next request

	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining bool
}

// Serve serves one connection until it ends. The preface is the client's first
// 24 bytes (RFC 9113 3.4), which a caller may have read already. The caller
// closes the connection after Serve has returned.
func (s *Server) Serve(nc net.Conn, prefaceRead bool) {
	c := newConn(s, nc)
	if !prefaceRead {
		c.preface = clientPreface
	}
	s.add(c)
	defer s.remove(c)
	c.serve()
}

// Drain asks every client to send no more requests on its connection, and ends
// each connection when its last answer has been sent. It does not wait.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.conns {
		c.drain()
	}
}

func (s *Server) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}
	if s.draining {
		c.drain()
	}
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// adequate reports whether HTTP/2 may run on such a connection: the cipher
// suites of TLS 1.2 that RFC 9113 A does not prohibit and that Go has.
func adequate(state tls.ConnectionState) bool {
	if state.Version != tls.VersionTLS12 {
		return state.Version > tls.VersionTLS12
	}
	switch state.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}
