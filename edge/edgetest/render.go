package edgetest

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// render gives a DNS answer as the lines in which cases are written:
//
//	noerror aa rd                                      RCODE and flags, in the order of the header
//	1.2.0.192.dnsbl-1.bl.example. 300 IN A 127.0.0.2   records of the answer section
//	authority                                          and after such a line those of the others
//	edns do                                            OPT record of version 0, with its flag
//	ede 20 "…"                                         extended error and its text
//	ecs 203.0.113.0/24/0                               client subnet with its scope
//	padding                                            the message is padded
//	option 65001 0102                                  any other option
//
// Names are in lower case, since answers may point into the question with theirs:
// whether the question came back as it was asked is compared apart, byte for
// byte.
func render(msg []byte) ([]string, error) {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("answer cannot be read: %w\n%x", err, msg)
	}
	lines := []string{strings.Join(append([]string{rcodeName(&m)}, flagNames(&m)...), " ")}
	lines = appendRecords(lines, "", m.Answer)
	lines = appendRecords(lines, "authority", m.Ns)
	lines = appendRecords(lines, "additional", m.Extra)
	for _, rr := range m.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			lines = append(lines, optLines(opt)...)
		}
	}
	return lines, nil
}

// rcodeName gives the RCODE with its EDNS bits. miekg/dns prints 16 as BADSIG,
// which is what it means in TSIG.
func rcodeName(m *dns.Msg) string {
	if m.Rcode == dns.RcodeBadVers {
		return "badvers"
	}
	return strings.ToLower(dns.RcodeToString[m.Rcode])
}

func flagNames(m *dns.Msg) []string {
	var names []string
	for _, f := range []struct {
		set  bool
		name string
	}{
		{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"},
		{m.Zero, "z"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// appendRecords appends the records of one section, OPT left out.
func appendRecords(lines []string, title string, records []dns.RR) []string {
	var own []string
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeOPT {
			lowerNames(rr)
			own = append(own, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	if len(own) > 0 && title != "" {
		lines = append(lines, title)
	}
	return append(lines, own...)
}

// lowerNames turns the names in a record to lower case.
func lowerNames(rr dns.RR) {
	rr.Header().Name = strings.ToLower(rr.Header().Name)
	switch rr := rr.(type) {
	case *dns.SOA:
		rr.Ns, rr.Mbox = strings.ToLower(rr.Ns), strings.ToLower(rr.Mbox)
	case *dns.NS:
		rr.Ns = strings.ToLower(rr.Ns)
	}
}

// paddingLine says that a message is padded.
const paddingLine = "padding"

func optLines(opt *dns.OPT) []string {
	first := "edns"
	if opt.Version() != 0 {
		first += fmt.Sprintf(" version %d", opt.Version())
	}
	if opt.Do() {
		first += " do"
	}
	lines := []string{first}
	for _, o := range opt.Option {
		lines = append(lines, optionLine(o))
	}
	return lines
}

func optionLine(o dns.EDNS0) string {
	switch o := o.(type) {
	case *dns.EDNS0_EDE:
		return fmt.Sprintf("ede %d %q", o.InfoCode, o.ExtraText)
	case *dns.EDNS0_SUBNET:
		return fmt.Sprintf("ecs %v/%d/%d", o.Address, o.SourceNetmask, o.SourceScope)
	case *dns.EDNS0_PADDING:
		return paddingLine
	case *dns.EDNS0_LOCAL:
		return fmt.Sprintf("option %d %s", o.Code, hex.EncodeToString(o.Data))
	}
	return fmt.Sprintf("option %d %v", o.Option(), o)
}
