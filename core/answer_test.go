package core

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// large is a snapshot of a size that the public lists have: the world, and
// 50 000 addresses and 10 000 nets in the space of RFC 2544 and beyond.
func large(t testing.TB, filtered bool) *snapshot.Snapshot {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	in := build.Input{Zones: worldZones(), Listings: worldListings(), Profile: snapshot.Profile{Name: "classic"}}
	for range 50_000 {
		a := netip.AddrFrom4([4]byte{10, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(a, 32), Facts: snapshot.Facts{Count: 1, End: noon/3600 + snapshot.Hour(1+random.IntN(168))}})
	}
	for range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(random.Uint32()), byte(random.Uint32()), 0})
		in.Listings = append(in.Listings, snapshot.Listing{Level: snapshot.Allocation, Prefix: netip.PrefixFrom(a, 24), Facts: snapshot.Facts{Count: 7, Threshold: 5, ASN: 64496, ASName: "Example Net"}})
	}
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	if !filtered {
		return s
	}
	object, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(object)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.WithFilter(f); err != nil {
		t.Fatal(err)
	}
	return s
}

// hotQueries are the questions that an edge spends its life on.
var hotQueries = []struct{ name, words string }{
	{"unlisted/v4", "9.9.2.10.dnsbl-1.bl.example. A"},
	{"listed/v4", "1.2.0.192.dnsbl-1.bl.example. A"},
	{"unlisted/v6", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.f.0.0.0.8.b.d.0.1.0.0.2.dnsbl-1.bl.example. A"},
	{"listed/v6", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.dnsbl-1.bl.example. A"},
	{"listed/TXT", "1.2.0.192.dnsbl-2.bl.example. TXT"},
	{"combined/A", "1.2.0.192.dnsbl.bl.example. A"},
	{"combined/TXT+EDNS", "1.2.0.192.dnsbl.bl.example. TXT edns pad"},
	{"partial", "2.0.192.dnsbl-1.bl.example. A"},
	{"foreign", "1.2.0.192.example.net. A edns"},
}

// TestAnswerAllocates holds that a DNS answer allocates nothing once the buffer
// has grown.
func TestAnswerAllocates(t *testing.T) {
	c := New(newFiltered(t), worldManifest)
	for _, hot := range hotQueries {
		query := packQuery(t, hot.words)
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { buf = c.AppendAnswer(buf[:0], query, noon, Open) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", hot.name, n)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, filtered := range []bool{false, true} {
		c := New(large(b, filtered), worldManifest)
		gate := "exact/"
		if filtered {
			gate = "filtered/"
		}
		for _, hot := range hotQueries {
			b.Run(gate+hot.name, func(b *testing.B) {
				query := packQuery(b, hot.words)
				buf := make([]byte, 0, 4096)
				b.ReportAllocs()
				for b.Loop() {
					buf = c.AppendAnswer(buf[:0], query, noon, Open)
				}
			})
		}
	}
}

// hotRequests are the requests that come most.
func hotRequests(t testing.TB) map[string]*Request {
	raw := packQuery(t, "1.2.0.192.dnsbl-1.bl.example. A")
	get := func(target, accept string) *Request {
		return &Request{Now: noon, Method: []byte("GET"), Target: []byte(target), Accept: []byte(accept)}
	}
	encoded := base64.RawURLEncoding.EncodeToString(raw)
	return map[string]*Request{
		"get":      get("/dns-query?dns="+encoded, "application/dns-message"),
		"escaped":  get("/dns-query?dns=%41"+encoded[1:], ""),
		"resolve":  get("/resolve?name=1.2.0.192.dnsbl-2.bl.example&type=TXT", "application/dns-json"),
		"negative": get("/dns-query?name=2.2.0.192.dnsbl-1.bl.example&type=A&ct=application/dns-json", "*/*"),
		"post": {
			Now: noon, Method: []byte("POST"), Target: []byte("/dns-query"), Accept: []byte("application/dns-message"),
			ContentType: []byte("application/dns-message"), Body: raw,
		},
	}
}

// TestServeAllocates holds the same of whole exchanges.
func TestServeAllocates(t *testing.T) {
	c := New(newFiltered(t), worldManifest)
	for name, req := range hotRequests(t) {
		var resp Response
		serve := func() { c.Serve(req, &resp) }
		serve()
		if n := testing.AllocsPerRun(100, serve); n != 0 || resp.Status != 200 {
			t.Errorf("%s: %v allocations, want none; status %d, want 200", name, n, resp.Status)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	c := New(large(b, false), worldManifest)
	for name, req := range hotRequests(b) {
		b.Run(name, func(b *testing.B) {
			var resp Response
			b.ReportAllocs()
			for b.Loop() {
				c.Serve(req, &resp)
			}
		})
	}
	check := &Request{Now: noon, Method: []byte("POST"), Target: []byte("/v1/check"), ContentType: []byte("text/plain")}
	for i := range checksMax {
		check.Body = append(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).AppendTo(check.Body), '\n')
	}
	b.Run("check1000", func(b *testing.B) {
		var resp Response
		b.ReportAllocs()
		for b.Loop() {
			c.Serve(check, &resp)
		}
	})
}

// TestZeroTTL holds that HTTP keeps nothing whose TTL says that nobody may (RFC
// 8484 5.1), on whichever way it is asked for and however late the snapshot is.
func TestZeroTTL(t *testing.T) {
	zones := worldZones()
	for i := range zones {
		zones[i].TTL, zones[i].NSTTL, zones[i].Minimum = 0, 0, 0
	}
	s := newSnapshot(t, build.Input{Zones: zones, Listings: worldListings(), Profile: snapshot.Profile{Name: "classic"}})
	endless := worldManifest
	endless.Next = 0
	for _, m := range []Manifest{worldManifest, endless} {
		c := New(s, m)
		for _, target := range []string{
			"/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(packQuery(t, "1.2.0.192.dnsbl-1.bl.example. A")),
			"/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(packQuery(t, "2.2.0.192.dnsbl-1.bl.example. A")),
			"/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(packQuery(t, "dnsbl-1.bl.example. NS")),
			"/resolve?name=1.2.0.192.dnsbl-1.bl.example",
			"/resolve?ip=192.0.2.1",
		} {
			for _, now := range []int64{noon, worldManifest.Next + 1} {
				var resp Response
				c.Serve(&Request{Now: now, Method: []byte("GET"), Target: []byte(target)}, &resp)
				if got := fieldOf(&resp, "cache-control"); resp.Status != 200 || got != "max-age=0" {
					t.Errorf("%s at %d: status %d, %q, want max-age=0", target, now, resp.Status, got)
				}
			}
		}
	}
}

// fieldOf returns the value of a header field of a response.
func fieldOf(resp *Response, name string) string {
	for _, f := range resp.Fields {
		if string(f.Name) == name {
			return string(f.Value)
		}
	}
	return ""
}

// TestNestedZones holds that a name between two zones exists, with nothing at
// it (RFC 8020 2): to a resolver NXDOMAIN there denies all of the lower zone.
func TestNestedZones(t *testing.T) {
	zones := worldZones()[:3]
	zones[0].Suffix, zones[1].Suffix, zones[2].Suffix = "b.example", "x.y.1.b.example", "w.b.example"
	c := New(newSnapshot(t, build.Input{Zones: zones, Profile: snapshot.Profile{Name: "classic"}}), worldManifest)
	for _, row := range []struct {
		name  string
		rcode int
		soa   string // of the zone that answers
	}{
		{"y.1.b.example.", dns.RcodeSuccess, "b.example."},
		{"1.b.example.", dns.RcodeSuccess, "b.example."},
		{"Y.1.B.Example.", dns.RcodeSuccess, "b.example."},
		{"z.1.b.example.", dns.RcodeNameError, "b.example."},
		{"y.y.1.b.example.", dns.RcodeNameError, "b.example."},
		{"y.b.example.", dns.RcodeNameError, "b.example."},
		{"x.y.1.b.example.", dns.RcodeSuccess, "x.y.1.b.example."},
		{"y.x.y.1.b.example.", dns.RcodeNameError, "x.y.1.b.example."},
		{"w.b.example.", dns.RcodeSuccess, "w.b.example."},
		{"1.w.b.example.", dns.RcodeNameError, "w.b.example."},
	} {
		m := ask(t, c, row.name, dns.TypeA, noon)
		if len(m.Answer) != 0 || len(m.Ns) != 1 || m.Rcode != row.rcode || !strings.EqualFold(m.Ns[0].Header().Name, row.soa) {
			t.Errorf("%s: got %v, want RCODE %d and the SOA of %s", row.name, m, row.rcode, row.soa)
		}
	}
}

// TestAppend holds that an answer is appended: what stands in the buffer stays,
// and the answer is the same wherever it stands.
func TestAppend(t *testing.T) {
	c := New(newWorld(t), worldManifest)
	for _, hot := range hotQueries {
		query := packQuery(t, hot.words)
		alone := c.AppendAnswer(nil, query, noon, Open)
		after := c.AppendAnswer([]byte("what stands here"), query, noon, Open)
		if want := append([]byte("what stands here"), alone...); !bytes.Equal(after, want) {
			t.Errorf("%s: got %q, want %q", hot.name, after, want)
		}
	}
}
