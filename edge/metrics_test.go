package edge

import (
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ucedge/core"
)

func TestMetrics(t *testing.T) {
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 2})
	m := NewMetrics(e)
	shows := func(lines ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range lines {
			if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
				t.Errorf("no line %q in\n%s", line, w.Body)
			}
		}
	}
	shows("ucedge_snapshot_serial 0", "ucedge_instances 2", "ucedge_guest_traps_total 0")
	g := marked('a', 77)
	g.Manifest.Built, g.Manifest.Expires = 1763827200, 1764432000
	if err := e.Load(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	e.Answer(t.Context(), nil, []byte("panic"), 0, core.Open)
	m.SyncFailed("signature")
	m.query("udp", "answered")
	m.answer(3)
	m.answer(99)
	h := &Handler{Engine: e, Metrics: m}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/resolve", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/anything/else", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/panic", nil))
	shows(
		"ucedge_snapshot_serial 77",
		"ucedge_snapshot_built_timestamp_seconds 1.7638272e+09",
		"ucedge_snapshot_expires_timestamp_seconds 1.764432e+09",
		`ucedge_snapshot_bytes{object="base"} 4`,
		"ucedge_instances 2",
		"ucedge_instances_busy 0",
		"ucedge_guest_traps_total 2",
		`ucedge_sync_failures_total{reason="signature"} 1`,
		`ucedge_dns_queries_total{outcome="answered",transport="udp"} 1`,
		`ucedge_answers_total{rcode="NXDOMAIN"} 1`,
		`ucedge_answers_total{rcode="other"} 1`,
		`ucedge_requests_total{path="/resolve",status="200"} 1`,
		`ucedge_requests_total{path="other",status="200"} 1`,
		`ucedge_requests_total{path="other",status="503"} 1`,
		`ucedge_request_duration_seconds_count{path="other"} 2`,
	)
}

// TestRCODEOfAResponse reads the RCODE where a response has one.
func TestRCODEOfAResponse(t *testing.T) {
	const (
		message  = "\x00\x00\x84\x03\x00\x01\x00\x00\x00\x00\x00\x00"
		question = "\x01a\x00\x00\x01\x00\x01"
		badvers  = "\x00\x00\x84\x00\x00\x01\x00\x00\x00\x00\x00\x01" + question + "\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00"
		edns     = "\x00\x00\x84\x03\x00\x01\x00\x00\x00\x00\x00\x01" + question + "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	)
	for _, row := range []struct {
		status int
		media  string
		body   string
		rcode  int
	}{
		{200, "application/dns-message", message, 3},
		{200, "application/dns-message", message[:11], -1},
		{200, "application/dns-message", badvers, 16},
		{200, "application/dns-message", edns, 3},
		{200, "application/dns-message", badvers[:len(badvers)-1], 0},
		{200, "application/json", message, -1},
		{400, "application/dns-message", message, -1},
		{200, "application/dns-json", `{"Status":3,"TC":false}`, 3},
		{200, "application/json", `{"Status":16}`, 16},
		{200, "application/json", `{"Status":`, -1},
		{200, "application/json", `{"Status":x,`, -1},
		{200, "application/json", `{"Status":1234567,`, -1},
		{200, "application/json", `{"list":"bl.example"}`, -1},
	} {
		x := &exchange{resp: core.Response{
			Status: row.status, Body: []byte(row.body),
			Fields: []core.Field{{Name: []byte("content-type"), Value: []byte(row.media)}},
		}}
		if got := x.rcode(); got != row.rcode {
			t.Errorf("%d %s %q: got %d, want %d", row.status, row.media, row.body, got, row.rcode)
		}
	}
}

// TestExtendedRCODE asks for an EDNS that nobody speaks: its RCODE has more
// bits than the header shows.
func TestExtendedRCODE(t *testing.T) {
	e := NewNativeEngine("")
	s := &DNSServer{Engine: e, Metrics: NewMetrics(e), Log: slog.New(slog.DiscardHandler)}
	q := new(dns.Msg).SetQuestion("2.0.0.127.dnsbl-1.bl.example.", dns.TypeA)
	q.SetEdns0(1232, false).IsEdns0().SetVersion(1)
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	s.answer(t.Context(), nil, query, netip.MustParseAddr("127.0.0.1"), "udp")
	w := httptest.NewRecorder()
	s.Metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if line := `ucedge_answers_total{rcode="BADVERS"} 1`; !strings.Contains(w.Body.String(), line) {
		t.Errorf("no line %q in\n%s", line, w.Body)
	}
}
