package edgetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dnsTimeout is how long a DNS server on the same machine may take.
const dnsTimeout = 5 * time.Second

// RunDNS runs the cases that are a query and its answer against a DNS server in
// state Ready: network is "udp" or "tcp". An answer over UDP that is truncated
// is asked for again over TCP, as a client would.
func RunDNS(t *testing.T, network, address string) {
	t.Helper()
	cases, err := Cases(Ready)
	if err != nil {
		t.Fatal(err)
	}
	query, err := newQuery(zones()[0].Suffix + ". SOA")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := exchangeDNS(network, address, query)
	if err != nil {
		t.Fatal(err)
	}
	now, err := serialOf(answer)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Dialogue() {
			t.Run(c.Name, func(t *testing.T) {
				if err := c.askDNS(network, address, newVars(now)); err != nil {
					t.Errorf("%s:%d\n%v", c.File, c.Line, err)
				}
			})
		}
	}
}

// askDNS asks one dialogue and compares. What HTTP pads is not padded here:
// these transports are not encrypted (RFC 7830 6).
func (c Case) askDNS(network, address string, v vars) error {
	x := c.exchanges[0]
	want := slices.DeleteFunc(slices.Clone(x.want), func(line string) bool { return line == paddingLine })
	for _, query := range [][]byte{x.query, mixCase(x.query)} {
		answer, err := exchangeDNS(network, address, query)
		if err != nil {
			return err
		}
		var m dns.Msg
		if err := m.Unpack(answer); err != nil {
			return err
		}
		wrong := brokenEcho(query, answer, &m)
		if _, problem := checkAnswer(want, answer, v); problem != "" {
			wrong = append(wrong, problem)
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%s", strings.Join(wrong, "\n"))
		}
	}
	return nil
}

// serialOf returns the serial of the SOA record in an answer.
func serialOf(answer []byte) (int64, error) {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		return 0, fmt.Errorf("the serial cannot be read: %w in %q", err, answer)
	}
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return int64(soa.Serial), nil
		}
	}
	return 0, fmt.Errorf("the serial cannot be read: no SOA in\n%v", &m)
}

// exchangeDNS sends one message and returns its answer.
func exchangeDNS(network, address string, query []byte) ([]byte, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if network == "tcp" {
		return exchangeTCP(conn, query)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	answer := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(answer)
	if err != nil {
		return nil, err
	}
	if room := udpRoom(query); n > room {
		return nil, fmt.Errorf("%d bytes over UDP, where the client has room for %d (RFC 6891 6.2.5)", n, room)
	}
	const truncated = 2 // TC in the third byte
	if n > 2 && answer[2]&truncated != 0 {
		return exchangeDNS("tcp", address, query)
	}
	return answer[:n], nil
}

// udpRoom returns how long an answer to query may be over UDP.
func udpRoom(query []byte) int {
	var m dns.Msg
	if m.Unpack(query) == nil && m.IsEdns0() != nil {
		return max(dns.MinMsgSize, int(m.IsEdns0().UDPSize()))
	}
	return dns.MinMsgSize
}

// exchangeTCP puts the length before the message (RFC 1035 4.2.2).
func exchangeTCP(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}
