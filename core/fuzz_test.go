package core

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/miekg/dns"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// FuzzQuery holds for every message that comes from the network: the answer
// can be read by another implementation, repeats ID and question, has an OPT
// record only if asked, and is the same behind a filter.
func FuzzQuery(f *testing.F) {
	for _, words := range seedQueries {
		f.Add(packQuery(f, words), int64(0))
	}
	c, gated := New(newWorld(f), worldManifest), New(newFiltered(f), worldManifest)
	f.Fuzz(func(t *testing.T, query []byte, after int64) {
		now := noon + after%(8*86400)
		answer := c.AppendAnswer(nil, query, now, Open)
		if again := gated.AppendAnswer(nil, query, now, Open); !bytes.Equal(answer, again) {
			t.Fatalf("behind the filter:\ngot  %x\nwant %x", again, answer)
		}
		if len(answer) == 0 {
			if len(query) >= headerBytes && len(query) <= messageMax && query[2]&0x80 == 0 {
				t.Fatal("a query got no answer")
			}
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("%v: %x", err, answer)
		}
		asked := new(dns.Msg)
		if asked.Unpack(query) != nil || !m.Response {
			return
		}
		if m.Id != asked.Id || m.Opcode != asked.Opcode || m.RecursionDesired != asked.RecursionDesired || m.CheckingDisabled != asked.CheckingDisabled {
			t.Errorf("the header is not that of the question:\n%v\n%v", asked, m)
		}
		if len(m.Question) == 1 && m.Question[0] != asked.Question[0] {
			t.Errorf("another question: %v, want %v", m.Question, asked.Question)
		}
		if opt := m.IsEdns0(); opt != nil && asked.IsEdns0() == nil {
			t.Errorf("an OPT record that nobody asked for")
		}
	})
}

var seedQueries = []string{
	"1.2.0.192.dnsbl-1.bl.example. A",
	"1.2.0.192.DNSBL.bl.example. TXT rd cd do pad id=65535",
	"2.0.0.127.dnsbl.bl.example. ANY ecs=192.0.2.0/23",
	"1.0.0.2.dnsbl-1.bl.example. A",
	"dnsbl-1.bl.example. SOA edns",
	"dnsbl-1.bl.example. NS cookie",
	"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.dnsbl.bl.example. TXT ecs=2001:db8::/56",
	"1.2.0.192.dnsbl-1.bl.example. A twice",
	"1.2.0.192.dnsbl-1.bl.example. A version=1",
	"example.net. AXFR class=CH opcode=UPDATE",
	"_dns.resolver.arpa. SVCB",
	"hex 0000 0000 0001 0000 0000 0000 c00c 0001 0001",
	"hex 0000 0100 0001 0000 0000 0001 00 0001 0001 c00c 0029 1000 00000000 0000",
	"hex 0000 0100 0000 0000 0000 0000",
}

// FuzzExchange holds for every HTTP request: a status that is in the table, the
// same fields in the same order, a body that is what its type says, and the
// same response when the memory of another is used again.
func FuzzExchange(f *testing.F) {
	add := func(method, target, accept, media, match, body string) {
		f.Add(method, target, accept, media, match, []byte(body), uint8(0), int64(0))
	}
	add("GET", "/dns-query?dns=AAABAAABAAAAAAAAAAABAAE", "application/dns-message", "", "", "")
	add("POST", "/dns-query", "", "application/dns-message", "", string(packQuery(f, seedQueries[0])))
	add("GET", "/resolve?name=1.2.0.192.dnsbl.bl.example&type=TXT&edns_client_subnet=192.0.2.0/24&do=1&cd=0&ct=", "*/*", "", "", "")
	add("GET", "/resolve?ip=2001:db8:0:1::5&type=TYPE1", "application/dns-json;q=0.9", "", "", "")
	add("GET", "/v1/check?ip=192.0.2.1,192.0.2.0/24&ip=%3A%3A1", "", "", "", "")
	add("POST", "/v1/check", "", "application/json", "", `{"addresses":["192.0.2.1","x\u0041\/"]}`)
	add("POST", "/v1/check", "", "application/x-ndjson", "", "\"192.0.2.1\"\n{\"address\":\"::1\"}\n")
	add("POST", "/v1/check", "", "text/plain;charset=utf-8", "", "192.0.2.1 # x\n::ffff:1.2.3.4/100")
	add("GET", "/v1/filter", "", "", `W/"0", *`, "")
	add("OPTIONS", "/v1/status?x", "", "", "", "")
	add("HEAD", "/healthz", "", "", "", "")
	named := worldManifest
	named.Host = "doh.bl.example"
	cores := []*Core{New(newFiltered(f), named), New(nil, Manifest{})}
	var used Response
	f.Fuzz(func(t *testing.T, method, target, accept, media, match string, body []byte, gate uint8, after int64) {
		req := Request{
			Now: noon + after%(8*86400), Gate: Gate(gate % 5), Method: []byte(method), Target: []byte(target),
			Accept: []byte(accept), ContentType: []byte(media), IfNoneMatch: []byte(match), Body: body,
		}
		c := cores[int(gate>>2)%len(cores)]
		var resp Response
		c.Serve(&req, &resp)
		checkResponse(t, &resp)
		c.Serve(&req, &used)
		if used.Status != resp.Status || used.Ref != resp.Ref || !bytes.Equal(used.Body, resp.Body) || !slices.EqualFunc(used.Fields, resp.Fields, equalFields) {
			t.Errorf("another response from used memory:\n%d %s\n%d %s", used.Status, used.Body, resp.Status, resp.Body)
		}
	})
}

func equalFields(a, b Field) bool {
	return string(a.Name) == string(b.Name) && string(a.Value) == string(b.Value)
}

// statuses are those of SEMANTICS §2 that a core gives; 431 is the host's.
var statuses = []int{200, 204, 304, 400, 401, 403, 404, 405, 406, 413, 414, 415, 429, 503}

func checkResponse(t *testing.T, resp *Response) {
	t.Helper()
	if !slices.Contains(statuses, resp.Status) {
		t.Errorf("status %d", resp.Status)
	}
	fields := map[string]string{}
	for _, field := range resp.Fields {
		name, value := string(field.Name), string(field.Value)
		if name != strings.ToLower(name) || strings.ContainsAny(value, "\r\n\x00") || fields[name] != "" {
			t.Errorf("field %q: %q", name, value)
		}
		fields[name] = value
	}
	if fields["access-control-allow-origin"] != "*" || fields["x-content-type-options"] != "nosniff" {
		t.Errorf("fields that every response has are missing: %v", fields)
	}
	if fields["cache-control"] == "" && resp.Status != 204 {
		t.Errorf("status %d says nothing of caches", resp.Status)
	}
	if resp.Status >= 400 && fields["cache-control"] != "no-store" {
		t.Errorf("status %d may be kept: %v", resp.Status, fields)
	}
	switch media := fields["content-type"]; {
	case resp.Status == 200 && media == "application/dns-message":
		if err := new(dns.Msg).Unpack(resp.Body); err != nil {
			t.Errorf("%v: %x", err, resp.Body)
		}
	case strings.HasSuffix(media, "json"):
		if !json.Valid(resp.Body) || !utf8.Valid(resp.Body) {
			t.Errorf("no JSON: %q", resp.Body)
		}
	}
}

// FuzzScan holds that the scanner of /v1/check takes only JSON, and reads it as
// encoding/json does.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"addresses":["192.0.2.1"]}`, `["192.0.2.0\/24", "\u0031\n"]`, ` [ ] `, `{"addresses":[]}`, `[""]`, `["a",]`, `{"addresses":["a"],"x":1}`, `[1]`, `["\ud800"]`, "[\"\xff\"]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, problem := scanJSON(text)
		if problem != "" {
			if got != nil {
				t.Error("refused, and still something comes back")
			}
			return
		}
		var list []string
		if err := json.Unmarshal(text, &list); err != nil {
			var object struct{ Addresses []string }
			if err := json.Unmarshal(text, &object); err != nil {
				t.Fatalf("%q is no JSON: %v", text, err)
			}
			list = object.Addresses
		}
		if len(list) > checksMax || bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
			return // cut short, or surrogates: no address needs them
		}
		for i, s := range list {
			if i >= len(got) || string(got[i]) != s {
				t.Fatalf("%q: got %q, want %q", text, got, list)
			}
		}
	})
}

// TestScanLimits holds that too many addresses are refused, and that exactly as
// many as there may be are answered.
func TestScanLimits(t *testing.T) {
	c := New(newWorld(t), worldManifest)
	for _, row := range []struct{ media, head, one, between, tail string }{
		{"application/json", "[", `"192.0.2.1"`, ",", "]"},
		{"application/x-ndjson", "", `{"address":"192.0.2.1"}`, "\n", ""},
		{"text/plain", "", "192.0.2.1", "\n", ""},
	} {
		for _, count := range []int{checksMax, checksMax + 1, 2 * checksMax} {
			body := row.head + strings.Repeat(row.one+row.between, count-1) + row.one + row.tail
			var resp Response
			c.Serve(&Request{Now: noon, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: []byte(row.media), Body: []byte(body)}, &resp)
			want := 200
			if count > checksMax {
				want = 413
			}
			if got := bytes.Count(resp.Body, []byte(`"query"`)); resp.Status != want || want == 200 && got != count {
				t.Errorf("%s, %d addresses: status %d with %d results, want %d", row.media, count, resp.Status, got, want)
			}
		}
	}
}

// TestCheckBytes holds that an image of prefixes in each other, each with a long
// name, cannot make an answer for a thousand addresses fill the memory.
func TestCheckBytes(t *testing.T) {
	in := build.Input{Zones: worldZones(), Profile: snapshot.Profile{Name: "classic"}}
	name := strings.Repeat("\x01", snapshot.ASNameMax)
	for bits := 20; bits <= 120; bits++ {
		p, _ := netip.MustParseAddr("2001:db8::").Prefix(bits)
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Allocation, Prefix: p, Facts: snapshot.Facts{ASN: 64496, ASName: name}})
	}
	c := New(newSnapshot(t, in), worldManifest)
	for count, want := range map[int]int{10: 200, checksMax: 413} {
		var resp Response
		c.Serve(&Request{Now: noon, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: mediaPlain, Body: bytes.Repeat([]byte("2001:db8::1\n"), count)}, &resp)
		if resp.Status != want || cap(resp.Body) > 2*checkBytesMax {
			t.Errorf("%d addresses: status %d and %d bytes of memory, want %d", count, resp.Status, cap(resp.Body), want)
		}
	}
}

// TestLimits holds the limits of sizes to the byte.
func TestLimits(t *testing.T) {
	c := New(newWorld(t), worldManifest)
	for _, row := range []struct {
		name, method, target, media string
		body                        int
		want                        int
	}{
		{"the largest body", "POST", "/dns-query", "application/dns-message", 65535, 400},
		{"one byte more", "POST", "/dns-query", "application/dns-message", 65536, 413},
		{"the longest value", "GET", "/dns-query?dns=" + strings.Repeat("A", 87380), "", 0, 400},
		{"one character more", "GET", "/dns-query?dns=" + strings.Repeat("A", 87381), "", 0, 414},
		{"the largest list", "POST", "/v1/check", "text/plain", 65535, 200},
		{"a larger one", "POST", "/v1/check", "text/plain", 65536, 413},
		{"a long name", "GET", "/resolve?name=" + strings.Repeat("a.", 4000), "", 0, 400},
	} {
		body := make([]byte, row.body)
		var resp Response
		c.Serve(&Request{Now: noon, Method: []byte(row.method), Target: []byte(row.target), ContentType: []byte(row.media), Body: body}, &resp)
		if resp.Status != row.want {
			t.Errorf("%s: status %d, want %d", row.name, resp.Status, row.want)
		}
	}
}

// TestPointers holds that a pointer in another record's name may only point
// backwards, and that one that does is not followed.
func TestPointers(t *testing.T) {
	c := New(newWorld(t), worldManifest)
	for words, want := range map[string]bool{
		"hex 0000 0000 0001 0000 0000 0001 0161 00 0001 0001 c00c 0001 0001 00000000 0000": true,
		"hex 0000 0000 0001 0000 0000 0001 0161 00 0001 0001 c013 0001 0001 00000000 0000": false, // itself
		"hex 0000 0000 0001 0000 0000 0001 0161 00 0001 0001 c015 0001 0001 00000000 0000": false, // forwards
		"hex 0000 0000 0001 0000 0000 0001 0161 00 0001 0001 c000 0001 0001 00000000 0000": false, // the header
		"hex 0000 0000 0001 0000 0000 0001 0161 00 0001 0001 8000 0001 0001 00000000 0000": false, // no such label
	} {
		answer := c.AppendAnswer(nil, packQuery(t, words), noon, Open)
		if got := answer[3]&rcodeLowBits == rcodeRefused; got != want {
			t.Errorf("%s: rcode %d, readable should be %v", words, answer[3]&rcodeLowBits, want)
		}
	}
}
