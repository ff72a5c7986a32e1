package edge

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"ucedge/core"
)

// Limits of the DNS server (RFC 1035 4.2, RFC 6891 6.2.5, RFC 7766 6).
const (
	udpMin      = 512  // what a client without EDNS can take
	udpMax      = 1232 // what travels everywhere without fragments
	headerBytes = 12
	tcpMax      = 256 // connections at once; past it the one that has been idle longest is closed (RFC 7766 6.2.3)
	tcpIdle     = 10 * time.Second
	tcpQuery    = 5 * time.Second // for the rest of a query whose first byte has come, and to send its answer
)

// A DNSServer answers DNS messages over UDP and TCP, usually on the loopback
// address beside a mail server. It runs its own loops: miekg/dns parses every
// message before a handler sees it, which takes longer than the answer, and the
// core wants the bytes as they came.
type DNSServer struct {
	Engine  Engine
	Gate    *Gatekeeper      // nil lets everybody in; keys do not apply here
	Allowed []netip.Prefix   // who is answered at all; empty is everybody
	Metrics *Metrics         // nil counts nothing
	Log     *slog.Logger     // not nil
	Now     func() time.Time // nil is time.Now
}

// Serve answers on both sockets until ctx ends. It closes them.
func (s *DNSServer) Serve(ctx context.Context, udp *net.UDPConn, tcp net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
	defer stop()

	var loops sync.WaitGroup
	errs := make(chan error, runtime.GOMAXPROCS(0)+1)
	for range cap(errs) - 1 {
		loops.Go(func() { errs <- s.serveUDP(ctx, udp); cancel() })
	}
	loops.Go(func() { errs <- s.serveTCP(ctx, tcp); cancel() })
	loops.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// serveUDP answers one datagram after the other. Several of these may share a
// socket.
func (s *DNSServer) serveUDP(ctx context.Context, conn *net.UDPConn) error {
	query, answer := make([]byte, messageMax), make([]byte, 0, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(query)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // an ICMP error of an earlier answer, reported here
		}
		answer = s.answer(ctx, answer[:0], query[:n], from.Addr(), "udp")
		if len(answer) == 0 {
			continue
		}
		if room := udpRoom(query[:n]); len(answer) > room {
			answer = truncate(answer)
		}
		conn.WriteToUDPAddrPort(answer, from) // whoever is gone asks again
	}
}

// answer appends the answer to query to dst. An engine that fails is a
// SERVFAIL: never silence, which would make the mail server wait.
func (s *DNSServer) answer(ctx context.Context, dst, query []byte, from netip.Addr, transport string) []byte {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	if len(s.Allowed) > 0 && !contains(s.Allowed, from.Unmap()) {
		s.count(transport, "not allowed", nil)
		return dst
	}
	gate := core.Open
	if s.Gate != nil {
		gate = s.Gate.DNS(from, now())
	}
	answer, err := s.Engine.Answer(ctx, dst, query, now().Unix(), gate)
	outcome := "answered"
	switch {
	case err != nil:
		s.Log.Debug("no answer from the engine", "err", err)
		outcome, answer = "failed", servfail(dst, query)
	case len(answer) == len(dst):
		outcome = "dropped"
	}
	s.count(transport, outcome, answer[len(dst):])
	return answer
}

func (s *DNSServer) count(transport, outcome string, answer []byte) {
	if s.Metrics == nil {
		return
	}
	s.Metrics.query(transport, outcome)
	if len(answer) >= headerBytes {
		s.Metrics.answer(rcodeOf(answer))
	}
}

// servfail appends a SERVFAIL to dst, or nothing if query is not one that may be
// answered. It repeats the question, without which the C library of a mail
// server takes an answer for somebody else's and waits on, and has an OPT record
// if the query has (RFC 6891 7).
func servfail(dst, query []byte) []byte {
	if len(query) < headerBytes || query[2]&0x80 != 0 {
		return dst
	}
	end := skipQuestions(query)
	dst = append(dst, query[0], query[1], 0x80|query[2]&0x79, 2) // QR; opcode and RD as asked
	dst = append(dst, make([]byte, headerBytes-4)...)
	if end == 0 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return dst
	}
	header := dst[len(dst)-headerBytes:]
	header[5] = 1
	if findOPT(query) == nil {
		return append(dst, query[headerBytes:end]...)
	}
	header[11] = 1
	return append(append(dst, query[headerBytes:end]...), 0, 0, 41, udpMax>>8, udpMax&0xff, 0, 0, 0, 0, 0, 0)
}

// udpRoom returns how many bytes an answer to query may have over UDP: what its
// OPT record offers, no less than udpMin and no more than udpMax.
func udpRoom(query []byte) int {
	opt := findOPT(query)
	if opt == nil {
		return udpMin
	}
	return min(max(int(binary.BigEndian.Uint16(opt[3:])), udpMin), udpMax)
}

// truncate cuts a whole message down to its header, with TC set, its question
// and its OPT record (RFC 6891 7), in place.
func truncate(message []byte) []byte {
	question := skipQuestions(message)
	if question == 0 {
		return message[:0]
	}
	opt := findOPT(message)
	message[2] |= 2
	clear(message[6:headerBytes]) // no answer, no authority, and for now no more
	if opt != nil {
		message[11] = 1
	}
	return append(message[:question], opt...)
}

// findOPT returns the OPT record of a message, from its root name to the end of
// its data, or nil if there is none or the message cannot be walked that far.
func findOPT(message []byte) []byte {
	at := skipQuestions(message)
	if at == 0 {
		return nil
	}
	be := binary.BigEndian
	before := int(be.Uint16(message[6:])) + int(be.Uint16(message[8:])) // answers and authorities: no place for an OPT
	for n := range before + int(be.Uint16(message[10:])) {
		start := at
		if at = skipName(message, at); at == 0 || len(message)-at < 10 {
			return nil
		}
		kind, length := be.Uint16(message[at:]), int(be.Uint16(message[at+8:]))
		if at += 10 + length; at > len(message) {
			return nil
		}
		if n >= before && kind == 41 && message[start] == 0 {
			return message[start:at]
		}
	}
	return nil
}

// rcodeOf returns the RCODE of a message, which has at least a header: four
// bits there, and eight above them in an OPT record (RFC 6891 6.1.3).
func rcodeOf(message []byte) int {
	rcode := int(message[3] & 0xf)
	if binary.BigEndian.Uint16(message[10:]) == 0 { // no additional record at all
		return rcode
	}
	if opt := findOPT(message); opt != nil {
		rcode |= int(opt[5]) << 4
	}
	return rcode
}

// skipQuestions returns where the first record begins, or 0 if there is no such
// place.
func skipQuestions(message []byte) int {
	if len(message) < headerBytes {
		return 0
	}
	at := headerBytes
	for range binary.BigEndian.Uint16(message[4:]) {
		if at = skipName(message, at); at == 0 || len(message)-at < 4 {
			return 0
		}
		at += 4
	}
	return at
}

// skipName returns where the name at at ends, or 0 if it does not.
func skipName(message []byte, at int) int {
	for at < len(message) {
		switch length := int(message[at]); {
		case length == 0:
			return at + 1
		case length >= 0xc0: // a pointer is the end of a name (RFC 1035 4.1.4)
			if at+2 > len(message) {
				return 0
			}
			return at + 2
		case length >= 0x40:
			return 0
		default:
			at += 1 + length
		}
	}
	return 0
}

// serveTCP accepts connections, tcpMax at once, and waits for them at the end.
func (s *DNSServer) serveTCP(ctx context.Context, ln net.Listener) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	var open connections
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, perhaps: some of them come back
			time.Sleep(10 * time.Millisecond)
			continue
		}
		place, full := open.enter(conn)
		if full {
			s.count("tcp", "no room", nil)
		}
		loops.Go(func() {
			defer open.leave(place)
			s.serveConn(ctx, conn, func() { open.answered(place) })
		})
	}
}

// connections are the open TCP connections in the order of their last answers,
// so that who holds many in silence loses them to whoever asks.
type connections struct {
	mu   sync.Mutex
	open list.List // of net.Conn; one without an answer stands where it was opened
}

// enter gives conn a place. If there is none left, the connection that has been
// idle longest is closed for it.
func (c *connections) enter(conn net.Conn) (place *list.Element, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if full = c.open.Len() >= tcpMax; full {
		c.open.Remove(c.open.Front()).(net.Conn).Close()
	}
	return c.open.PushBack(conn), full
}

// answered notes that the connection in a place has had an answer.
func (c *connections) answered(place *list.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open.MoveToBack(place) // nothing, if it has lost the place
}

// leave gives the place back, if the connection still has it.
func (c *connections) leave(place *list.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open.Remove(place)
}

// serveConn answers the queries on one connection in their order, until it has
// been idle for tcpIdle, and calls answered for each.
func (s *DNSServer) serveConn(ctx context.Context, conn net.Conn, answered func()) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) // no further query; an answer under way is sent
	defer stop()
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	var query, answer []byte
	for ctx.Err() == nil {
		var err error
		if query, err = readMessage(ctx, conn, query); err != nil {
			return
		}
		answer = s.answer(ctx, append(answer[:0], 0, 0), query, peer.Addr(), "tcp")
		if len(answer) <= 2 {
			return
		}
		binary.BigEndian.PutUint16(answer, uint16(len(answer)-2))
		answered() // before the client can know: connections that it opens then come after
		conn.SetWriteDeadline(time.Now().Add(tcpQuery))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// readMessage reads one message with its length (RFC 1035 4.2.2) to into.
func readMessage(ctx context.Context, conn net.Conn, into []byte) ([]byte, error) {
	var length [2]byte
	conn.SetReadDeadline(time.Now().Add(tcpIdle))
	if ctx.Err() != nil { // ended before the deadline was set, which undid its own
		return nil, ctx.Err()
	}
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if cap(into) < n {
		into = make([]byte, n)
	}
	conn.SetReadDeadline(time.Now().Add(tcpQuery))
	_, err := io.ReadFull(conn, into[:n])
	return into[:n], err
}
