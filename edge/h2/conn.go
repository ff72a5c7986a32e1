package h2

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// A conn is one connection. Everything in it belongs to the goroutine that
// serves it, except what drain touches.
type conn struct {
	server *Server
	net    net.Conn
	peer   netip.Addr
	leave  atomic.Bool // drain was called

	preface string // what is still to come of it
	in      []byte // in[at:] has been read and not yet looked at
	at      int
	out     []byte // is to be written
	writer  Writer
	encoder encoder

	date       []byte // as the field has it, at dateSecond
	dateSecond int64

	now     time.Time // when the last bytes came
	begun   time.Time // of the connection
	active  time.Time // when the last answer was made or the last stream ended
	partial time.Time // when the frame or header that is not yet whole began, or zero
	settled bool      // the client's first SETTINGS came

	streams  []*stream // those that are open: they wait for a body, or with one
	turn     int       // of the stream that sends first
	unseen   int       // writes since the last look for input
	spare    []*stream
	last     uint32 // highest stream that the client has opened
	held     int    // bytes of heldMax in use
	patience int    // of patienceMax left

	decoder decoder
	header  header // that is being read

	sendWindow    int64 // of the connection
	initialWindow int64 // of the client's streams
	recvWindow    int64
	credit        int64 // of recvWindow, not yet told the client

	reset  [resetsKept]uint32
	resets int

	leaving time.Time // when the client was asked to go, or zero
	gone    bool      // it was told the last stream that will be answered
}

func newConn(s *Server, nc net.Conn) *conn {
	now := time.Now()
	c := &conn{
		server: s, net: nc, peer: peerOf(nc), in: make([]byte, 0, inMin),
		now: now, begun: now, active: now, patience: patienceMax,
		sendWindow: windowDefault, initialWindow: windowDefault, recvWindow: connWindow,
	}
	c.encoder.limit, c.decoder.limit = tableMax, tableMax
	return c
}

// peerOf returns the address at the other end, or the zero Addr if that is none.
func peerOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	peer, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
	return peer.Addr()
}

// errDone ends a connection that has nothing more to do.
var errDone = errors.New("done")

// serve runs the connection, and tells the client why it ends.
func (c *conn) serve() {
	err := c.run()
	why := &connError{code: codeNone}
	if err != errDone && !errors.As(err, &why) {
		return // there is nobody to tell
	}
	if !c.gone || why.code != codeNone {
		c.out = appendGoAway(c.out, c.last, why.code)
	}
	if c.flush() == nil {
		c.linger()
	}
}

// linger reads what the client still sends, for a moment, because a connection
// closed with unread input may cost the client what was sent last.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	c.net.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, io.LimitReader(c.net, lingerMax)) // until the end or the deadline; neither is news
}

// run reads and handles frames until an error ends the connection.
func (c *conn) run() error {
	if t, ok := c.net.(*tls.Conn); ok && !adequate(t.ConnectionState()) {
		return &connError{codeInadequate, "a cipher suite that HTTP/2 prohibits"}
	}
	c.greet()
	for {
		f, whole, err := c.next()
		if err == nil && whole {
			err = c.handle(&f)
		}
		if err == nil && (!whole || len(c.out) >= outMax) {
			err = c.exchange(whole)
		}
		if err != nil {
			return err
		}
	}
}

// greet sends the server's preface (RFC 9113 3.4).
func (c *conn) greet() {
	c.out = appendFrameHeader(c.out, kindSettings, 0, 0, 4*6)
	c.out = appendSetting(c.out, settingStreams, c.server.Streams)
	c.out = appendSetting(c.out, settingWindow, c.server.BodyMax)
	c.out = appendSetting(c.out, settingFrame, frameMax)
	c.out = appendSetting(c.out, settingHeader, c.server.HeaderMax+fieldsMax)
	c.out = appendNumber(c.out, kindWindowUpdate, 0, connWindow-windowDefault)
}

// next returns the next frame, if it is whole.
func (c *conn) next() (f frame, whole bool, err error) {
	in := c.in[c.at:]
	if c.preface != "" {
		n := min(len(in), len(c.preface))
		if string(in[:n]) != c.preface[:n] {
			return f, false, &connError{codeProtocol, "not the preface"}
		}
		c.preface, c.at = c.preface[n:], c.at+n
		in = in[n:]
	}
	if len(in) < frameHeaderBytes {
		return f, false, nil
	}
	f, length := parseFrameHeader(in)
	if length > frameMax {
		return f, false, &connError{codeFrameSize, "a frame that is too large"}
	}
	if len(in) < frameHeaderBytes+length {
		return f, false, nil
	}
	c.at += frameHeaderBytes + length
	if !c.header.open {
		c.partial = time.Time{}
	}
	f.payload = in[frameHeaderBytes : frameHeaderBytes+length]
	return f, true, nil
}

// exchange sends what there is to send, and then reads what has come, unless
// frames of it are left to handle.
func (c *conn) exchange(whole bool) error {
	if c.leave.Load() && c.leaving.IsZero() {
		c.askToLeave()
	}
	more := c.pump()
	if err := c.flush(); err != nil || whole {
		return err
	}
	if c.gone && len(c.streams) == 0 {
		return errDone
	}
	return c.read(more)
}

// flush writes what has been collected.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.net.SetWriteDeadline(time.Now().Add(c.server.WriteTimeout + atSlowest(len(c.out))))
	_, err := c.net.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > outKeep && len(c.streams) == 0 {
		c.out = nil
	}
	return err
}

// atSlowest is how long the slowest client that is tolerated takes for n bytes
// that are more than a request's answer usually has.
func atSlowest(n int) time.Duration {
	if n <= 1<<16 {
		return 0
	}
	return time.Duration(n) * time.Second / slowest
}

// read reads what has come, or waits for it. With more to send it waits for a
// moment only, and not every time.
func (c *conn) read(more bool) error {
	c.makeRoom()
	c.notePartial()
	deadline := c.deadline()
	if more {
		if c.unseen++; c.unseen < unseenMax {
			return nil
		}
		deadline = time.Now().Add(glance)
	}
	c.unseen = 0
	c.net.SetReadDeadline(deadline)
	if c.leave.Load() && c.leaving.IsZero() {
		return nil // drain came before the deadline was set, which it had set to wake us
	}
	n, err := c.net.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	c.now = time.Now()
	switch {
	case n > 0:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.expire()
	case err == nil:
		return nil
	}
	return err
}

// makeRoom sees to it that the frame that has begun fits into c.in.
func (c *conn) makeRoom() {
	rest := c.in[c.at:]
	want := inMin
	if len(rest) >= frameHeaderBytes && c.preface == "" {
		_, length := parseFrameHeader(rest)
		want = max(want, frameHeaderBytes+length)
	}
	if want <= cap(c.in) {
		c.in = c.in[:copy(c.in[:cap(c.in)], rest)]
	} else {
		c.in = append(make([]byte, 0, frameHeaderBytes+frameMax), rest...)
	}
	c.at = 0
}

// drain makes the connection's goroutine ask its client to leave. Any goroutine
// may call it.
func (c *conn) drain() {
	c.leave.Store(true)
	c.net.SetReadDeadline(time.Unix(1, 0)) // wakes it if it reads
}
