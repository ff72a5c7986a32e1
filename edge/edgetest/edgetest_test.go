package edgetest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// casesLeast is how many cases there are at least: a folder that is no longer
// found must not look like a suite that passes.
const casesLeast = 300

func TestCasesCanBeRead(t *testing.T) {
	total := 0
	for _, state := range []State{Ready, Empty, Stale, Expired, Keyed, Limited} {
		cases, err := Cases(state)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d cases", state, len(cases))
		total += len(cases)
	}
	if total < casesLeast {
		t.Errorf("got %d cases, want at least %d", total, casesLeast)
	}
}

func TestCaseErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"-- a --\n", "expects nothing"},
		{"-- a --\nanswer noerror\n", "asks nothing"},
		{"-- a --\n> GET\n", "has no target"},
		{"-- a --\n> GET /\n< ok\n", "not a number"},
		{"-- a --\n> GET /\n< 200\n< etag\n", "no colon"},
		{"-- a --\nasks 1\n", "unknown word"},
		{"-- a --\nquery example.\n", "no type"},
		{"-- a --\nquery example. NONE\n", "unknown type"},
		{"-- a --\nquery example. A what\n", "not a number"},
		{"-- a --\nquery example. A what=1\n", "unknown word"},
		{"-- a --\n> GET /\n< 200\n-- a --\n> GET /\n< 200\n", "second case"},
	} {
		_, err := parseCases("f.txt", "f", tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("case %q: got error %v, want one with %q", tt.text, err, tt.want)
		}
	}
}

func TestPattern(t *testing.T) {
	v := vars{"serial": "17"}
	for _, tt := range []struct {
		pattern, text, masked string
		ok                    bool
	}{
		{"a", "a", "a", true},
		{"a", "ab", "ab", false},
		{"{serial}", "17", "17", true},
		{"{serial}", "18", "18", false},
		{"{1..5}", "5", "{1..5}", true},
		{"{1..5}", "6", "6", false},
		{"{1..5}", "x", "x", false},
		{"a {*} b", "a any thing b", "a any thing b", true},
		{"ttl {1..9}, {*}", "ttl 3, x", "ttl {1..9}, x", true},
		{`{"a":{"b":{serial}}}`, `{"a":{"b":17}}`, `{"a":{"b":17}}`, true},
		{"{unknown}", "1", "1", false},
	} {
		masked, ok := pattern(tt.pattern).match(tt.text, v)
		if masked != tt.masked || ok != tt.ok {
			t.Errorf("pattern %q on %q: got %q, %v, want %q, %v", tt.pattern, tt.text, masked, ok, tt.masked, tt.ok)
		}
	}
	if _, ok := pattern("etag {*tag}").match(`etag "x"`, v); !ok || v["tag"] != `"x"` {
		t.Errorf("got tag %q, want it remembered", v["tag"])
	}
}

func TestNibbles(t *testing.T) {
	for in, want := range map[string]string{
		"{2001:db8::/32}.z": "8.b.d.0.1.0.0.2.z",
		"{::ffff:7f00:2}":   "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",
		`{"a":1}`:           `{"a":1}`,
	} {
		if got := nibbles(in); got != want {
			t.Errorf("nibbles of %q: got %q, want %q", in, got, want)
		}
	}
}

// good answers the query of TestWrongRepliesAreSeen as it should be.
func good(w http.ResponseWriter, r *http.Request, change func(h http.Header, m *dns.Msg)) {
	m := new(dns.Msg)
	m.SetQuestion("1.2.0.192.dnsbl-2.bl.example.", dns.TypeA)
	m.Id, m.Response, m.Authoritative, m.RecursionDesired = 7, true, true, false
	rr, err := dns.NewRR("1.2.0.192.dnsbl-2.bl.example. 300 IN A 127.0.0.2")
	if err != nil {
		panic(err)
	}
	m.Answer = []dns.RR{rr}
	h := w.Header()
	h.Set("content-type", "application/dns-message")
	h.Set("x-content-type-options", "nosniff")
	h.Set("access-control-allow-origin", "*")
	h.Set("cache-control", "max-age=300")
	change(h, m)
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	if h.Get("broken") != "" {
		wire = wire[:20]
	}
	w.Write(wire)
}

// TestWrongRepliesAreSeen breaks a good reply in one way a row.
func TestWrongRepliesAreSeen(t *testing.T) {
	const text = "-- a --\nquery 1.2.0.192.dnsbl-2.bl.example. A id=7\n> GET /dns-query?dns={query}\n< 200\n" +
		"< content-type: application/dns-message\n< etag: -\nanswer noerror aa\n1.2.0.192.dnsbl-2.bl.example. 300 IN A 127.0.0.2\n"
	cases, err := parseCases("f.txt", "f", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string // in the failure; empty is none
		change func(h http.Header, m *dns.Msg)
	}{
		{"", func(http.Header, *dns.Msg) {}},
		{"nosniff", func(h http.Header, m *dns.Msg) { h.Del("x-content-type-options") }},
		{"allow-origin", func(h http.Header, m *dns.Msg) { h.Del("access-control-allow-origin") }},
		{"max-age of at most 300", func(h http.Header, m *dns.Msg) { h.Set("cache-control", "max-age=301") }},
		{"max-age of at most 300", func(h http.Header, m *dns.Msg) { h.Del("cache-control") }},
		{"header content-type", func(h http.Header, m *dns.Msg) { h.Set("content-type", "text/plain") }},
		{"header etag", func(h http.Header, m *dns.Msg) { h.Set("etag", "x") }},
		{"ID: got 8, want 7", func(h http.Header, m *dns.Msg) { m.Id = 8 }},
		{"QR is not set", func(h http.Header, m *dns.Msg) { m.Response = false }},
		{"opcode", func(h http.Header, m *dns.Msg) { m.Opcode = 2 }},
		{"question", func(h http.Header, m *dns.Msg) { m.Question[0].Name = strings.ToUpper(m.Question[0].Name) }},
		{"noerror aa ra", func(h http.Header, m *dns.Msg) { m.RecursionAvailable = true }},
		{"got  nxdomain aa", func(h http.Header, m *dns.Msg) { m.Rcode = dns.RcodeNameError }},
		{"127.0.0.3", func(h http.Header, m *dns.Msg) { m.Answer[0].(*dns.A).A = net.IPv4(127, 0, 0, 3) }},
		{"299 IN A", func(h http.Header, m *dns.Msg) { m.Answer[0].Header().Ttl = 299 }},
		{"answer:", func(h http.Header, m *dns.Msg) { m.Answer = nil }},
		{"edns", func(h http.Header, m *dns.Msg) { m.SetEdns0(1232, false) }},
		{"cannot be read", func(h http.Header, m *dns.Msg) { h.Set("broken", "yes") }},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { good(w, r, tt.change) }))
		_, err := newSession(server.Client(), server.URL).run(cases[0])
		server.Close()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("a good reply: got %v", err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("got failure %v, want one with %q", err, tt.want)
		}
	}
}

func TestMembers(t *testing.T) {
	for _, tt := range []struct{ got, want, failure string }{
		{`{"a":1,"b":2}`, `{"a":1}`, ""},
		{`{"a":1}`, `{"a":2}`, ".a"},
		{`{"a":"1"}`, `{"a":1}`, ".a"},
		{`{"a":1}`, `{"a":"1"}`, ".a"},
		{`{"a":7}`, `{"a":"{1..9}"}`, ""},
		{`{"a":[1,2]}`, `{"a":[1]}`, "array of 1"},
		{`{"a":[{"b":1},{"b":2}]}`, `{"a":[{},{"b":3}]}`, ".a[1].b"},
		{`{"a":1}`, `{"b":"{absent}"}`, ""},
		{`{"b":1}`, `{"b":"{absent}"}`, "no such member"},
		{`{}`, `{"b":1}`, "got no such member"},
		{`{"a":true}`, `{"a":true}`, ""},
		{`{"a":null}`, `{"a":false}`, ".a"},
		{`[`, `{}`, "not JSON"},
	} {
		_, problem := checkMembers([]string{tt.want}, []byte(tt.got), vars{})
		if tt.failure == "" && problem != "" || !strings.Contains(problem, tt.failure) {
			t.Errorf("%s in %s: got %q, want %q", tt.want, tt.got, problem, tt.failure)
		}
	}
}
