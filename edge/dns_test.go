package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"ucedge/core"
)

// texts is an engine whose answer to a query is as many TXT records as the
// first label of its name says, with an OPT record if the query has one. The
// label "fail" is an error, and "none" no answer.
type texts struct{ Engine }

func (texts) Answer(_ context.Context, dst, query []byte, _ int64, gate core.Gate) ([]byte, error) {
	var q, a dns.Msg
	if q.Unpack(query) != nil || len(q.Question) != 1 {
		return dst, nil
	}
	a.SetReply(&q)
	label, _, _ := strings.Cut(q.Question[0].Name, ".")
	n := 0
	switch label {
	case "fail":
		return dst, errors.New("as asked")
	case "none":
		return dst, nil
	default:
		fmt.Sscan(label, &n)
	}
	if gate != core.Open {
		a.Rcode = dns.RcodeRefused
		n = 0
	}
	for range n {
		a.Answer = append(a.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1},
			Txt: []string{strings.Repeat("x", 79)},
		})
	}
	if q.IsEdns0() != nil {
		a.SetEdns0(1232, false)
	}
	packed, err := a.Pack()
	return append(dst, packed...), err
}

// startDNS runs s until the test ends.
func startDNS(t *testing.T, s *DNSServer) (address string) {
	t.Helper()
	l := new(listeners)
	if err := l.listenDNS("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l.udp, l.tcp) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return l.tcp.Addr().String()
}

func TestDNSServer(t *testing.T) {
	at := startDNS(t, &DNSServer{Engine: texts{}})
	for _, row := range []struct {
		name    string
		net     string
		label   string
		size    uint16 // of EDNS; 0 is no EDNS
		records int
		tc      bool
		rcode   int
	}{
		{"one record", "udp", "1", 0, 1, false, 0},
		{"512 bytes are the end", "udp", "6", 0, 0, true, 0},
		{"with EDNS there is more room", "udp", "6", 4096, 6, false, 0},
		{"EDNS of 512 is 512", "udp", "6", 512, 0, true, 0},
		{"EDNS below 512 is 512", "udp", "4", 0, 4, false, 0},
		{"EDNS of 4096 is 1232", "udp", "20", 4096, 0, true, 0},
		{"TCP has all the room", "tcp", "200", 0, 200, false, 0},
		{"TCP with EDNS", "tcp", "200", 512, 200, false, 0},
		{"an engine that fails", "udp", "fail", 0, 0, false, dns.RcodeServerFailure},
		{"an engine that fails, TCP", "tcp", "fail", 1232, 0, false, dns.RcodeServerFailure},
	} {
		q := new(dns.Msg).SetQuestion(row.label+".example.", dns.TypeTXT)
		if row.size != 0 {
			q.SetEdns0(row.size, false)
		}
		client := &dns.Client{Net: row.net, UDPSize: dns.MaxMsgSize, Timeout: 5 * time.Second}
		a, _, err := client.Exchange(q, at)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if len(a.Answer) != row.records || a.Truncated != row.tc || a.Rcode != row.rcode {
			t.Errorf("%s: got %d records, TC %v, RCODE %d, want %d, %v, %d", row.name, len(a.Answer), a.Truncated, a.Rcode, row.records, row.tc, row.rcode)
		}
		if hasOPT := a.IsEdns0() != nil; hasOPT != (row.size != 0) {
			t.Errorf("%s: answer has OPT: %v", row.name, hasOPT)
		}
		if len(a.Question) != 1 || a.Question[0] != q.Question[0] {
			t.Errorf("%s: answer to %v, want to %v", row.name, a.Question, q.Question)
		}
	}
}

// TestDNSServerAnswersManyAtOnce asks over both transports from many places,
// several queries to a connection, and compares each answer with its question.
func TestDNSServerAnswersManyAtOnce(t *testing.T) {
	at := startDNS(t, &DNSServer{Engine: texts{}})
	var clients sync.WaitGroup
	for n := range 20 {
		clients.Go(func() {
			client := &dns.Client{Net: []string{"udp", "tcp"}[n%2], Timeout: 5 * time.Second}
			conn, err := client.Dial(at)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range 50 {
				q := new(dns.Msg).SetQuestion(fmt.Sprintf("%d.%d.example.", i%4, n), dns.TypeTXT)
				a, _, err := client.ExchangeWithConn(q, conn)
				if err != nil || len(a.Answer) != i%4 || a.Question[0] != q.Question[0] {
					t.Errorf("client %d, query %d: got %v, error %v", n, i, a, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

func TestDNSServerPipelines(t *testing.T) {
	conn, err := net.Dial("tcp", startDNS(t, &DNSServer{Engine: texts{}}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var sent []byte
	for id := range uint16(10) {
		q := new(dns.Msg).SetQuestion("1.example.", dns.TypeTXT)
		q.Id = id
		packed, _ := q.Pack()
		sent = append(binary.BigEndian.AppendUint16(sent, uint16(len(packed))), packed...)
	}
	conn.Write(sent)
	c := &dns.Conn{Conn: conn}
	for id := range uint16(10) {
		a, err := c.ReadMsg()
		if err != nil || a.Id != id {
			t.Fatalf("answer %d: got %v, error %v", id, a, err)
		}
	}
}

func TestDNSServerIsSilent(t *testing.T) {
	pack := func(m *dns.Msg) []byte { b, _ := m.Pack(); return b }
	response := new(dns.Msg).SetQuestion("fail.example.", dns.TypeTXT)
	response.Response = true
	for name, row := range map[string]struct {
		server *DNSServer
		query  []byte
	}{
		"none":                {&DNSServer{Engine: texts{}}, pack(new(dns.Msg).SetQuestion("none.example.", dns.TypeTXT))},
		"garbage":             {&DNSServer{Engine: texts{}}, []byte("garbage")},
		"failed on garbage":   {&DNSServer{Engine: broken{}}, []byte("garbage")},
		"failed on an answer": {&DNSServer{Engine: broken{}}, pack(response)},
		"not allowed": {
			&DNSServer{Engine: texts{}, Allowed: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			pack(new(dns.Msg).SetQuestion("1.example.", dns.TypeTXT)),
		},
	} {
		row.server.Log = slog.New(slog.DiscardHandler)
		for _, transport := range []string{"udp", "tcp"} {
			got := row.server.answer(t.Context(), []byte("before"), row.query, netip.MustParseAddr("127.0.0.1"), transport)
			if string(got) != "before" {
				t.Errorf("%s: answered %q", name, got)
			}
		}
	}
}

// broken is an engine that always fails.
type broken struct{ Engine }

func (broken) Answer(_ context.Context, dst, _ []byte, _ int64, _ core.Gate) ([]byte, error) {
	return dst, ErrClosed
}

func TestDNSServerAllowsAndLimits(t *testing.T) {
	e := &DNSServer{
		Engine: texts{}, Log: slog.New(slog.DiscardHandler),
		Gate:    &Gatekeeper{Limits: NewLimits(0.2)},
		Allowed: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Now:     func() time.Time { return time.Unix(1763827200, 0) },
	}
	query, _ := new(dns.Msg).SetQuestion("1.example.", dns.TypeTXT).Pack()
	for i, want := range []int{dns.RcodeSuccess, dns.RcodeSuccess, dns.RcodeRefused} {
		answer := e.answer(t.Context(), nil, query, netip.MustParseAddr("::ffff:192.0.2.1"), "udp")
		var m dns.Msg
		if err := m.Unpack(answer); err != nil || m.Rcode != want {
			t.Errorf("query %d: got %v, error %v, want RCODE %d", i, &m, err, want)
		}
	}
}

func TestTruncate(t *testing.T) {
	withOPT := func(m *dns.Msg) *dns.Msg { return m.SetEdns0(1232, true) }
	question := func() *dns.Msg { return new(dns.Msg).SetQuestion("1.2.0.192.dnsbl-1.bl.example.", dns.TypeTXT) }
	answers := func(m *dns.Msg) *dns.Msg {
		for range 3 {
			rr, err := dns.NewRR(`1.2.0.192.dnsbl-1.bl.example. 60 IN TXT "text"`)
			if err != nil {
				t.Fatal(err)
			}
			m.Answer, m.Ns = append(m.Answer, rr), append(m.Ns, rr)
		}
		m.Response, m.Authoritative, m.Compress = true, true, true
		return m
	}
	for name, row := range map[string]struct{ whole, want *dns.Msg }{
		"without OPT": {answers(question()), question()},
		"with OPT":    {withOPT(answers(question())), withOPT(question())},
	} {
		row.want.Id, row.want.Response, row.want.Authoritative, row.want.Truncated = row.whole.Id, true, true, true
		whole, err := row.whole.Pack()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := row.want.Pack()
		if got := truncate(whole); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
	}
}

// FuzzWalk walks what may be no message. An OPT record that is found must be
// the one that another parser finds.
func FuzzWalk(f *testing.F) {
	m := new(dns.Msg).SetQuestion("1.2.0.192.dnsbl-1.bl.example.", dns.TypeTXT)
	plain, _ := m.Pack()
	f.Add(plain)
	edns, _ := m.SetEdns0(1232, true).Pack()
	f.Add(edns)
	f.Add([]byte("00000\x01\x00\x01\x00\x00\x00\x00\x000000\x00\x00)000000\x00\x00")) // an OPT record among the answers
	f.Add(append(bytes.Repeat([]byte{0xff}, 12), 0xc0))
	f.Fuzz(func(t *testing.T, message []byte) {
		opt := findOPT(message)
		if room := udpRoom(message); room < udpMin || room > udpMax {
			t.Errorf("room for %d bytes", room)
		}
		var other dns.Msg
		if other.Unpack(message) == nil && (other.IsEdns0() != nil) != (opt != nil) {
			t.Errorf("found OPT %x in %v", opt, &other)
		}
		whole := len(message)
		if cut := truncate(bytes.Clone(message)); len(cut) > whole {
			t.Errorf("truncated from %d to %d bytes", whole, len(cut))
		}
	})
}

// TestDNSServerLeavesSlowClients holds how long a TCP client may take.
func TestDNSServerLeavesSlowClients(t *testing.T) {
	query, _ := new(dns.Msg).SetQuestion("200.example.", dns.TypeTXT).Pack()
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	for _, row := range []struct {
		name string
		sent []byte
		took time.Duration
	}{
		{"nothing", nil, tcpIdle},
		{"half a length", framed[:1], tcpIdle},
		{"half a query", framed[:9], tcpQuery},
		{"takes no answer", framed, tcpQuery},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &DNSServer{Engine: texts{}, Log: slog.New(slog.DiscardHandler)}
				client, server := net.Pipe()
				begun := time.Now()
				done := make(chan time.Duration)
				go func() { s.serveConn(t.Context(), server, func() {}); done <- time.Since(begun) }()
				client.Write(row.sent)
				if took := <-done; took != row.took {
					t.Errorf("the connection was closed after %v, want %v", took, row.took)
				}
				if _, err := io.ReadAll(client); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDNSServerHasRoomForSome holds that silent connections, which take all
// places twice over, take them neither from who asks now and then nor from who
// comes anew.
func TestDNSServerHasRoomForSome(t *testing.T) {
	at := startDNS(t, &DNSServer{Engine: texts{}})
	query, _ := new(dns.Msg).SetQuestion("1.example.", dns.TypeTXT).Pack()
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ask := func(conn net.Conn) error {
		conn.Write(framed) // a connection without room is closed, perhaps before this
		_, err := (&dns.Conn{Conn: conn}).ReadMsg()
		return err
	}
	first, busy := dial(), dial()
	first.Write(framed[:9]) // and never the rest
	for n := range 2 * tcpMax {
		if conn := dial(); n%(tcpMax/2) == 0 {
			if err := errors.Join(ask(conn), ask(busy)); err != nil { // the new one first: with it all before it were accepted
				t.Fatalf("a new connection, or one that is in use, after %d others: %v", n, err)
			}
		}
	}
	if err := ask(dial()); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if err := ask(busy); err != nil {
		t.Errorf("a connection that is in use: %v", err)
	}
	first.SetReadDeadline(time.Now().Add(tcpQuery / 2))
	if _, err := first.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest is still open")
	}
}
