package edgetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// paddingBlock is the multiple to which answers are padded (RFC 8467 4.1).
const paddingBlock = 468

var maxAge = regexp.MustCompile(`max-age=(\d+)`)

// brokenRules reports what breaks the rules that need no case, because they
// hold for every reply: those of DESIGN §5 on headers and freshness, and what
// a DNS answer repeats of its query.
func brokenRules(x exchange, r *reply) []string {
	var wrong []string
	must := func(holds bool, format string, args ...any) {
		if !holds {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	h := r.header
	must(h.Get("x-content-type-options") == "nosniff", "header x-content-type-options: got %q, want nosniff", h.Get("x-content-type-options"))
	must(h.Get("access-control-allow-origin") == "*", "header access-control-allow-origin: got %q, want *", h.Get("access-control-allow-origin"))
	must(x.method != "HEAD" || len(r.body) == 0, "HEAD: got a body of %d bytes", len(r.body))
	if r.status >= "400" {
		must(strings.Contains(h.Get("cache-control"), "no-store"), "header cache-control of an error: got %q, want no-store", h.Get("cache-control"))
	}
	if h.Get("content-type") == "application/dns-message" && len(r.body) > 0 {
		must(r.status == "200", "a DNS message with status %s (RFC 8484 4.2.1)", r.status)
		wrong = append(wrong, brokenDNSRules(x.query, r)...)
	}
	return wrong
}

// brokenDNSRules reports where a DNS answer does not repeat its query as it
// must, and where HTTP would keep it too long.
func brokenDNSRules(query []byte, r *reply) []string {
	var m dns.Msg
	if err := m.Unpack(r.body); err != nil {
		return []string{err.Error()}
	}
	if len(query) < 12 {
		return []string{"a DNS message answers what is none"}
	}
	wrong := brokenEcho(query, r.body, &m)
	seconds, limit := -1, freshness(&m)
	if found := maxAge.FindStringSubmatch(r.header.Get("cache-control")); found != nil {
		seconds, _ = strconv.Atoi(found[1])
	}
	if seconds < 0 || seconds > limit {
		wrong = append(wrong, fmt.Sprintf("header cache-control: got %q, want max-age of at most %d: %s",
			r.header.Get("cache-control"), limit, "RFC 8484 5.1"))
	}
	return wrong
}

// brokenEcho compares header and question of an answer with its query.
func brokenEcho(query, answer []byte, m *dns.Msg) []string {
	var wrong []string
	must := func(holds bool, format string, args ...any) {
		if !holds {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	must(m.Response, "QR is not set")
	must(m.Id == binary.BigEndian.Uint16(query), "ID: got %d, want %d", m.Id, binary.BigEndian.Uint16(query))
	must(byte(m.Opcode) == query[2]>>3&15, "opcode: got %d, want %d", m.Opcode, query[2]>>3&15)
	if end := questionEnd(query); end > 0 && len(m.Question) > 0 {
		must(len(answer) >= end && bytes.Equal(query[12:end], answer[12:end]), "question: got %v, not byte for byte as asked", m.Question)
	}
	for _, rr := range m.Answer {
		must(rr.Header().Ttl == m.Answer[0].Header().Ttl, "records of one set with different TTLs (RFC 2181 5.2): %v", m.Answer)
		if txt, ok := rr.(*dns.TXT); ok {
			must(rr.Header().Rdlength <= 256, "TXT of %d bytes, more than one string: %v", rr.Header().Rdlength, txt)
		}
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			must(o.Option() != dns.EDNS0PADDING || len(answer)%paddingBlock == 0, "padded to %d bytes, want a multiple of %d", len(answer), paddingBlock)
		}
	}
	return wrong
}

// freshness returns for how many seconds HTTP may keep an answer.
func freshness(m *dns.Msg) int {
	const failureMost = 5 // seconds; DESIGN §5
	if m.Rcode == dns.RcodeServerFailure {
		return failureMost
	}
	limit := 1 << 31
	for _, rr := range m.Answer {
		limit = min(limit, int(rr.Header().Ttl))
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(m.Answer) == 0 {
			limit = min(limit, int(soa.Header().Ttl), int(soa.Minttl))
		}
	}
	return limit
}
