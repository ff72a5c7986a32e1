package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/state"
)

// noon is the time at which a test world starts.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A world is an origin with a ledger, the default policy and three keys.
type world struct {
	*testing.T
	url                         string
	handler                     http.Handler
	ledger                      *ledger.SQLite
	live                        *state.Live
	reporter, operator, revoked string // secrets
	mu                          sync.Mutex
	now                         time.Time
	urgent                      int
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// newWorld starts an origin; change may alter its settings.
func newWorld(t *testing.T, change func(*api.Settings)) *world {
	t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	named, err := policy.Named("classic")
	if err != nil {
		t.Fatal(err)
	}
	profile := *named
	profile.Documentation = true
	w := &world{T: t, ledger: l, now: noon}
	w.live = state.NewLive(l, state.Settings{Profile: &profile}, func() int64 { return w.clock().Unix() })
	w.decide()
	s := api.Settings{
		Ledger: l, Policy: w.live, Clock: w.clock, Urgent: func() { w.urgent++ },
		Reserved: func(a netip.Addr) (string, bool) { return "loopback", a.IsLoopback() },
		Limits:   api.Limits{BodyBytes: 4 << 20, ClientPerSecond: 1000, ClientBurst: 1000, KeyPerSecond: 1000, KeyBurst: 1000},
	}
	if change != nil {
		change(&s)
	}
	h, err := api.New(s)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	w.url, w.handler = server.URL, h
	w.reporter, w.operator, w.revoked = w.key(ledger.Reporter, "feed-a"), w.key(ledger.Operator, "alice"), w.key(ledger.Reporter, "feed-b")
	w.revoke("feed-b")
	return w
}

func (w *world) decide() {
	w.Helper()
	if _, err := w.live.Decide(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// key makes a key and returns its secret.
func (w *world) key(role ledger.Role, name string) string {
	w.Helper()
	key, secret := api.NewKey(role, name, w.clock().Unix())
	if err := w.ledger.CreateKey(context.Background(), key, "test"); err != nil {
		w.Fatal(err)
	}
	return secret
}

func (w *world) revoke(name string) {
	w.Helper()
	keys, err := w.ledger.Keys(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	for _, key := range keys {
		if key.Name == name {
			if err := w.ledger.RevokeKey(context.Background(), key.ID, w.clock().Unix(), "test"); err != nil {
				w.Fatal(err)
			}
		}
	}
}

// A call is one request. The secret is sent as bearer unless it is empty.
type call struct {
	method, path, secret, media, coding string
	body                                []byte
}

func (w *world) send(c call) (*http.Response, string) {
	w.Helper()
	request, err := http.NewRequest(c.method, w.url+c.path, bytes.NewReader(c.body))
	if err != nil {
		w.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": c.media, "Content-Encoding": c.coding} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if c.secret != "" {
		request.Header.Set("Authorization", "Bearer "+c.secret)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response, string(body)
}

// expect sends a request and wants a status and, in the body, some words.
func (w *world) expect(c call, status int, words ...string) string {
	w.Helper()
	response, body := w.send(c)
	if response.StatusCode != status {
		w.Fatalf("%s %s: status is %d, want %d: %s", c.method, c.path, response.StatusCode, status, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			w.Errorf("%s %s: body lacks %q: %s", c.method, c.path, word, body)
		}
	}
	return body
}

func (w *world) post(path, secret, body string) call {
	return call{method: "POST", path: path, secret: secret, media: "application/json", body: []byte(body)}
}

func (w *world) reports(body string) call {
	return call{method: "POST", path: "/v1/reports", secret: w.reporter, media: "application/x-ndjson", body: []byte(body)}
}

const line = `{"address":"192.0.2.1","seen":"2026-11-22T11:00:00Z","kind":"spamtrap","evidence":"a1"}` + "\n"

// lines are n reports about addresses that differ.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"address":"198.51.%d.%d","seen":%d,"kind":"scan","evidence":"%d"}`+"\n", i>>8&255, i&255, noon.Unix()-int64(i%1000), i)
	}
	return b.String()
}

func TestReports(t *testing.T) {
	w := newWorld(t, nil)
	w.expect(w.reports(line), 200, `{"accepted":1,"duplicates":0,"waiting":0,"refused_total":0,"refused":[]}`)
	w.expect(w.reports(line), 200, `"accepted":0,"duplicates":1`)
	mixed := strings.Replace(line, "a1", "a2", 1) + "nonsense\n" + `{"address":"127.0.0.1","seen":"2026-11-22T11:00:00Z","kind":"scan"}` + "\n"
	w.expect(w.reports(mixed), 207, `"accepted":1`, `"refused_total":2`, `{"line":2,"reason":"line is not one flat JSON object`, `{"line":3,"reason":"address 127.0.0.1 is never listed: loopback"}`)
	w.expect(w.reports("nonsense\n"), 422, `"accepted":0`, `"refused_total":1`)
	w.expect(w.reports(""), 200, `"accepted":0`)

	csv := w.reports("address,seen\n192.0.2.2,2026-11-22T11:00:00Z\n")
	csv.media, csv.path = "text/csv; charset=utf-8", "/v1/reports?kind=user"
	w.expect(csv, 200, `"accepted":1`)
	list := w.reports("# list\n192.0.2.3 2026-11-22T11:00:00Z scan\n")
	list.media = "text/plain"
	w.expect(list, 200, `"accepted":1`)
	zone := w.reports(":127.0.0.2:listed\n192.0.2.5\n")
	zone.media, zone.path = "text/x-rbldnsd", "/v1/reports?kind=scan"
	w.expect(zone, 200, `"accepted":1`)
	mail := w.reports("Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nSource-IP: 192.0.2.4\nArrival-Date: Sun, 22 Nov 2026 11:00:00 +0000\n")
	mail.media = "message/rfc822"
	w.expect(mail, 200, `"accepted":1`)

	found, err := w.ledger.Reports(context.Background(), netip.MustParsePrefix("192.0.2.0/24"), 0, ledger.MaxTime)
	if err != nil || len(found) != 6 {
		t.Fatalf("ledger has %d reports, want 6: %v %v", len(found), found, err)
	}
	for _, r := range found {
		if r.Reporter != "feed-a" {
			t.Errorf("reporter of %v is not the key's", r)
		}
	}
	refused, err := w.ledger.Events(context.Background(), ledger.MaxTime, ledger.ReportRefused)
	if err != nil || len(refused) != 3 || refused[0].Reporter != "feed-a" || !strings.HasPrefix(refused[0].Note, "line 2: ") {
		t.Errorf("refusals in the ledger: %+v, %v", refused, err)
	}
}

func compress(t *testing.T, coding, body string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if coding == "zstd" {
		encoder, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = encoder
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCodings(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			w := newWorld(t, nil)
			good := w.reports("")
			good.coding, good.body = coding, compress(t, coding, lines(25_000))
			cut := good
			cut.body = good.body[:len(good.body)*9/10]
			// What was read before the cut is stored and told.
			body := w.expect(cut, 400, `"error":"read body: `)
			var outcome struct{ Accepted int }
			if err := json.Unmarshal([]byte(body), &outcome); err != nil || outcome.Accepted < 10_000 || outcome.Accepted >= 25_000 {
				t.Errorf("accepted of a cut body: %d, %v", outcome.Accepted, err)
			}
			w.expect(good, 200, fmt.Sprintf(`"accepted":%d,"duplicates":%d`, 25_000-outcome.Accepted, outcome.Accepted))
			junk := good
			junk.body = []byte("this is no compressed body")
			w.expect(junk, 400, "error")
			bomb := good
			bomb.body = compress(t, coding, strings.Repeat("\n", 64<<20))
			w.expect(bomb, 413, `"accepted":0`, "too large")
		})
	}
	w := newWorld(t, nil)
	unknown := w.reports(line)
	unknown.coding = "br"
	response, _ := w.send(unknown)
	if response.StatusCode != 415 || response.Header.Get("Accept-Encoding") != "gzip, zstd" {
		t.Errorf("coding br: %d, Accept-Encoding %q", response.StatusCode, response.Header.Get("Accept-Encoding"))
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Limits.BodyBytes = 1000 })
	w.expect(w.reports(strings.Repeat(line, 20)), 413, "more than 1000 bytes")
	chunked, err := http.NewRequest("POST", w.url+"/v1/reports", io.MultiReader(strings.NewReader(line), strings.NewReader(strings.Repeat(" \n", 1000))))
	if err != nil {
		t.Fatal(err)
	}
	chunked.Header.Set("Authorization", "Bearer "+w.reporter)
	chunked.Header.Set("Content-Type", "application/x-ndjson")
	response, err := http.DefaultClient.Do(chunked)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != 413 || !strings.Contains(string(body), `"accepted":1`) {
		t.Errorf("chunked: %d %s", response.StatusCode, body)
	}
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.1","reason":"`+strings.Repeat("x", 70_000)+`"}`), 413, "too large")
}

// TestZoneTooLarge: a zone file is read whole, so its entries are bounded, and
// the sender told what to do.
func TestZoneTooLarge(t *testing.T) {
	w := newWorld(t, nil)
	var body strings.Builder
	for i := range report.MaxZoneEntries + 1 {
		fmt.Fprintf(&body, "198.%d.%d.%d\n", 18+i>>16, i>>8&255, i&255)
	}
	zone := w.reports(body.String())
	zone.media, zone.path = "text/x-rbldnsd", "/v1/reports?kind=scan"
	w.expect(zone, 413, `"accepted":0`, "100000 entries", "split it", "as a list")
	zone.body = zone.body[:bytes.LastIndexByte(zone.body[:len(zone.body)-1], '\n')]
	w.expect(zone, 200, fmt.Sprintf(`"accepted":%d`, report.MaxZoneEntries))
}

// TestRefusalsCapped: a hostile body fills neither response nor ledger.
func TestRefusalsCapped(t *testing.T) {
	w := newWorld(t, nil)
	body := w.expect(w.reports(strings.Repeat("x\n", 5000)+line), 207, `"refused_total":5000`)
	if n := strings.Count(body, `"line":`); n != 1000 {
		t.Errorf("%d refusals told, want 1000", n)
	}
	rows := func() (n int, records int64) {
		t.Helper()
		all, err := w.ledger.Events(context.Background(), ledger.MaxTime, ledger.ReportRefused)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range all {
			records += row.Count
		}
		return len(all), records
	}
	if n, records := rows(); n != 101 || records != 5000 {
		t.Errorf("%d rows stand for %d refusals, want 101 and 5000", n, records)
	}
	for range 50 {
		w.expect(w.reports(strings.Repeat("x\n", 100)), 422)
		w.expect(call{method: "GET", path: "/v1/form?ip=x&service=ssh&apikey=" + w.reporter}, 422)
	}
	within, _ := rows()
	other := w.reports("x\n")
	other.secret = w.key(ledger.Reporter, "feed-c")
	w.expect(other, 422)
	if n, _ := rows(); within < 900 || within > 1101 || n != within+1 {
		t.Errorf("%d rows in an hour, want about 1000; %d more of another reporter, want 1", within, n-within)
	}
	w.advance(time.Hour)
	w.expect(w.reports("x\n"), 422)
	if n, records := rows(); n != within+3 || records != 5000+50*101+1+1 {
		t.Errorf("%d rows in all, want %d; they stand for %d refusals, want %d", n, within+3, records, 5000+50*101+2)
	}
}

// TestLongReason: a reason that quotes much is cut, and no trouble of the origin's.
func TestLongReason(t *testing.T) {
	w := newWorld(t, nil)
	mail := w.reports(strings.Repeat("x", 5000) + "\xff")
	mail.media = "message/rfc822"
	if body := w.expect(mail, 422, "malformed MIME header", "…"); len(body) > 1000 {
		t.Errorf("%d bytes: %.300s", len(body), body)
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t, nil)
	operatorsOnly := []call{
		{method: "GET", path: "/v1/exemptions"}, w.post("/v1/exemptions", "", "{}"), {method: "DELETE", path: "/v1/exemptions?address=192.0.2.1"},
		w.post("/v1/listings", "", "{}"), w.post("/v1/purges", "", "{}"), w.post("/v1/releases", "", "{}"), {method: "GET", path: "/v1/waiting"},
	}
	for _, c := range append(operatorsOnly, w.reports(line), w.post("/v1/removals", "", `{"address":"192.0.2.1"}`)) {
		c.secret = ""
		response, body := w.send(c)
		if response.StatusCode != 401 || !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s %s without key: %d %s", c.method, c.path, response.StatusCode, body)
		}
	}
	for _, c := range operatorsOnly {
		c.secret = w.reporter
		w.expect(c, 403, "the key is for the role reporter, not operator")
	}
	for secret, why := range map[string]string{
		w.operator: "the key is for the role operator, not reporter", w.revoked: "the key is revoked", "ucedge_guess": "the key is unknown",
	} {
		c := w.reports(line)
		c.secret = secret
		w.expect(c, 403, why)
	}
	w.expect(call{method: "GET", path: "/v1/audit", secret: w.reporter}, 403)
	if strings.Contains(fmt.Sprint(w.ledger.Keys(context.Background())), w.reporter) {
		t.Error("the ledger holds the secret itself")
	}
}

func TestForm(t *testing.T) {
	w := newWorld(t, nil)
	query := "ip=192.0.2.1&service=ssh&server=root%40host.example&logs=x&format=text&apikey="
	w.expect(call{method: "GET", path: "/v1/form?" + query + w.reporter}, 200, `"accepted":1`)
	post := call{method: "POST", path: "/v1/form", media: "application/x-www-form-urlencoded", body: []byte("ip=192.0.2.2&service=mail&apikey=" + w.reporter)}
	w.expect(post, 200, `"accepted":1`)
	post.media = "application/json"
	w.expect(post, 415)
	w.expect(call{method: "GET", path: "/v1/form?ip=192.0.2.1&service=ssh"}, 401)
	w.expect(call{method: "GET", path: "/v1/form?" + query + "x"}, 403)
	w.expect(call{method: "GET", path: "/v1/form?ip=192.0.2.1&service=knitting&apikey=" + w.reporter}, 422, `service \"knitting\" is unknown`)
}

func TestExplain(t *testing.T) {
	w := newWorld(t, nil)
	w.expect(w.reports(line), 200)
	w.decide()
	body := w.expect(call{method: "GET", path: "/v1/explain?ip=::ffff:192.0.2.1"}, 200, `"address":"192.0.2.1"`, `"kind":"spamtrap"`, `"level_listed":1`)
	if strings.Contains(body, "feed-a") || strings.Contains(body, "a1") {
		t.Errorf("the answer names the reporter or its evidence: %s", body)
	}
	w.expect(call{method: "GET", path: "/v1/explain?ip=192.0.2.2"}, 200, `"level_listed":0`)
	w.expect(call{method: "GET", path: "/v1/explain?ip=mail.example"}, 400, "not an IP address")
	w.expect(call{method: "GET", path: "/v1/explain"}, 400)
}

// TestRemoval goes through the life of a removal: refused while the impact is
// fresh, allowed later, refused again, and all of it in the audit.
func TestRemoval(t *testing.T) {
	w := newWorld(t, nil)
	remove := w.post("/v1/removals", w.operator, `{"address":"192.0.2.1","reason":"host was cleaned","proof":"call to the registered contact"}`)
	w.expect(remove, 409, `"rule":"unlisted"`)
	w.expect(w.reports(line), 200)
	w.expect(remove, 409, `"rule":"quiet"`, `"until":"2026-11-22T14:00:00Z"`)
	w.expect(w.post("/v1/removals", w.operator, `{"address":"192.0.2.1","reason":"x"}`), 400, "needs proof")
	w.advance(4 * time.Hour)
	urgent := w.urgent
	w.expect(remove, 201, `"kind":"removal"`, `"prefix":"192.0.2.1/32"`, `"actor":"alice"`)
	if w.urgent != urgent+1 {
		t.Errorf("publisher was told %d times, want once", w.urgent-urgent)
	}
	w.expect(remove, 409)
	w.decide()
	w.expect(call{method: "GET", path: "/v1/explain?ip=192.0.2.1"}, 200, `"level_listed":0`)
	public := w.expect(call{method: "GET", path: "/v1/audit?kind=removal&kind=removal-refused&within=192.0.2.0/24"}, 200, "host was cleaned")
	if n := strings.Count(public, `"kind"`); n != 4 {
		t.Errorf("%d removals and refusals in the audit, want 4: %s", n, public)
	}

	later := strings.NewReplacer("a1", "a2", "11:00", "16:30").Replace(line)
	w.advance(time.Hour)
	w.expect(w.reports(later), 200)
	w.decide()
	w.expect(call{method: "GET", path: "/v1/explain?ip=192.0.2.1"}, 200, `"level_listed":1`)
	relapses, err := w.ledger.Events(context.Background(), ledger.MaxTime, ledger.Relapsed)
	if err != nil || len(relapses) != 1 || relapses[0].At != time.Date(2026, 11, 22, 16, 30, 0, 0, time.UTC).Unix() {
		t.Errorf("relapses: %+v, %v", relapses, err)
	}
	w.advance(40 * 24 * time.Hour)
	if _, err := w.ledger.Compact(context.Background(), w.clock().Unix()-policy.Window); err != nil {
		t.Fatal(err)
	}
	again := strings.NewReplacer("a1", "a3", "2026-11-22T11:00", "2027-01-01T11:00").Replace(line)
	w.expect(w.reports(again), 200)
	w.expect(remove, 409, `"rule":"relapse"`)
}

func TestSelfRemoval(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.1")
	w := newWorld(t, func(s *api.Settings) {
		s.SelfRemoval = true
		s.Client = func(*http.Request) netip.Addr { return client }
	})
	w.expect(w.reports(strings.Replace(line, "11:00:00", "11:23:45", 1)), 200)
	w.decide()
	// The second of the impact is an operator's to know.
	w.expect(w.post("/v1/removals", "", `{"address":"192.0.2.1","reason":"x"}`), 409, `"rule":"quiet"`, `"until":"2026-11-22T15:00:00Z"`)
	w.expect(w.post("/v1/removals", w.operator, `{"address":"192.0.2.1","reason":"x","proof":"y"}`), 409, `"until":"2026-11-22T14:23:45Z"`)
	w.advance(4 * time.Hour)
	w.expect(w.post("/v1/removals", "", `{"address":"192.0.2.9","reason":"x"}`), 403, "does not come from the address")
	body := w.expect(w.post("/v1/removals", "", `{"address":"::ffff:192.0.2.1","reason":"buy our watches"}`), 201)
	body += w.expect(call{method: "GET", path: "/v1/audit"}, 200, `"kind":"removal"`)
	if strings.Contains(body, "watches") {
		t.Errorf("what anybody wrote is published: %s", body)
	}
}

// TestSelfRemovalsFillNothing: who asks again and again without a key is refused
// each time, and is a row once a day.
func TestSelfRemovalsFillNothing(t *testing.T) {
	var client netip.Addr
	w := newWorld(t, func(s *api.Settings) {
		s.SelfRemoval = true
		s.Client = func(*http.Request) netip.Addr { return client }
	})
	expect := func(when, secret, address string, want int) {
		t.Helper()
		client = netip.MustParseAddr(address)
		w.expect(w.post("/v1/removals", secret, `{"address":"`+address+`","reason":"x","proof":"y"}`), 409)
		rows, err := w.ledger.Events(context.Background(), ledger.MaxTime, ledger.RemovalRefused)
		if err != nil || len(rows) != want {
			t.Errorf("%s: %d rows, want %d: %v", when, len(rows), want, err)
		}
	}
	expect("the first time", "", "192.0.2.1", 1)
	expect("at once again", "", "192.0.2.1", 1)
	expect("another address", "", "192.0.2.2", 2)
	expect("of IPv6", "", "2001:db8::1", 3)
	expect("another of its /64", "", "2001:db8::2", 3)
	expect("by an operator", w.operator, "192.0.2.1", 4)
	w.advance(24*time.Hour - time.Second)
	expect("almost a day later", "", "192.0.2.1", 4)
	w.advance(time.Second)
	expect("a day later", "", "192.0.2.1", 5)
}

// slowPolicy goes through the ledger for as long as it is let.
type slowPolicy struct {
	api.Policy
	looks chan struct{} // one for each look that has begun
	done  chan struct{} // closed when looks may end
}

func (p *slowPolicy) Removal(ctx context.Context, q policy.RemovalRequest) (func(context.Context) error, error) {
	p.looks <- struct{}{}
	<-p.done
	return p.Policy.Removal(ctx, q)
}

// TestSelfRemovalsDoNotQueue: going through the ledger for whoever asks keeps no
// operator waiting, is done for one at a time, and not for who is refused anyway.
func TestSelfRemovalsDoNotQueue(t *testing.T) {
	slow := &slowPolicy{looks: make(chan struct{}, 10), done: make(chan struct{})}
	w := newWorld(t, func(s *api.Settings) {
		slow.Policy, s.Policy, s.SelfRemoval = s.Policy, slow, true
		s.Client = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("Accept")) }
	})
	ask := func(address string) (status int, body string) {
		request := httptest.NewRequest("POST", "/v1/removals", strings.NewReader(`{"address":"`+address+`","reason":"x"}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", address)
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, request)
		return answer.Code, answer.Body.String()
	}
	w.expect(w.reports(line+strings.NewReplacer("192.0.2.1", "198.51.100.1", "a1", "a2").Replace(line)), 200)
	w.decide()
	w.advance(4 * time.Hour)
	if status, body := ask("203.0.113.1"); status != 409 || !strings.Contains(body, `"rule":"unlisted"`) || len(slow.looks) != 0 {
		t.Errorf("address that is not listed: %d %s, %d looks into the ledger", status, body, len(slow.looks))
	}
	first := make(chan int)
	go func() { status, _ := ask("192.0.2.1"); first <- status }()
	<-slow.looks
	if status, body := ask("198.51.100.1"); status != 429 || len(slow.looks) != 0 {
		t.Errorf("second of two at once: %d %s", status, body)
	}
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.9","reason":"ours"}`), 201)
	close(slow.done)
	if status := <-first; status != 201 {
		t.Errorf("first of two at once: %d", status)
	}
	if status, body := ask("198.51.100.1"); status != 201 {
		t.Errorf("second, later: %d %s", status, body)
	}
}

// leaving is a ledger whose client leaves when its decision is on the way.
type leaving struct {
	ledger.Ledger
	leave func()
}

func (l *leaving) AppendDecisions(ctx context.Context, d []ledger.Decision) error {
	l.leave()
	if err := ctx.Err(); err != nil {
		return err // and the row may be written all the same
	}
	return l.Ledger.AppendDecisions(ctx, d)
}

// TestClientLeaves: a decision is made or not, whether or not its client waits
// for it: no limit can be passed by leaving. It is no trouble of the origin's.
func TestClientLeaves(t *testing.T) {
	var log bytes.Buffer
	left := &leaving{}
	w := newWorld(t, func(s *api.Settings) {
		left.Ledger, s.Ledger = s.Ledger, left
		s.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	for _, row := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/exemptions", `{"address":"192.0.2.1","reason":"ours"}`, 201},
		{"POST", "/v1/removals", `{"address":"192.0.2.1","reason":"x","proof":"y"}`, 409},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		left.leave = cancel
		request := httptest.NewRequestWithContext(ctx, row.method, row.path, strings.NewReader(row.body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+w.operator)
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, request)
		if answer.Code != row.status {
			t.Errorf("%s: status %d, want %d: %s", row.path, answer.Code, row.status, answer.Body)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	w.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, "GET", "/v1/audit", nil))
	if log.Len() > 0 {
		t.Errorf("log: %s", &log)
	}
}

func (p *slowPolicy) Lift(ctx context.Context, a netip.Addr) (func(context.Context) error, error) {
	if a.Is4() {
		return p.Policy.Lift(ctx, a)
	}
	p.looks <- struct{}{}
	<-p.done
	return p.Policy.Lift(ctx, a)
}

// TestExemptionsDoNotQueue: going through the ledger for an exemption keeps no
// other decision waiting, and what was decided meanwhile counts.
func TestExemptionsDoNotQueue(t *testing.T) {
	slow := &slowPolicy{looks: make(chan struct{}, 1), done: make(chan struct{})}
	w := newWorld(t, func(s *api.Settings) { slow.Policy, s.Policy = s.Policy, slow })
	exempt := w.post("/v1/exemptions", w.operator, `{"address":"2001:db8::1","reason":"ours"}`)
	done := make(chan string)
	go func() {
		response, body := w.send(exempt)
		done <- fmt.Sprint(response.StatusCode, body)
	}()
	<-slow.looks
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.9","reason":"ours"}`), 201)
	w.expect(w.post("/v1/listings", w.operator, `{"prefix":"2001:db8::1/128","until":"2026-11-23T00:00:00Z","reason":"x","evidence":"y"}`), 201)
	close(slow.done)
	if got := <-done; !strings.HasPrefix(got, "409") || !strings.Contains(got, "on Level 1, by hand") {
		t.Errorf("exempted although it was listed meanwhile: %s", got)
	}
}

func TestExemption(t *testing.T) {
	w := newWorld(t, nil)
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.1","reason":"ours","until":"2026-11-23T00:00:00Z"}`), 201, `"until":"2026-11-23T00:00:00Z"`)
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"2001:db8::1","reason":"theirs"}`), 201)
	list := call{method: "GET", path: "/v1/exemptions", secret: w.operator}
	w.expect(list, 200, "192.0.2.1/32", "2001:db8::1/128", `"actor":"alice"`)
	w.expect(call{method: "DELETE", path: "/v1/exemptions?address=2001:db8::1&reason=moved", secret: w.operator}, 201, `"kind":"exemption-end"`)
	w.expect(call{method: "DELETE", path: "/v1/exemptions?address=2001:db8::1", secret: w.operator}, 404)
	if body := w.expect(list, 200); strings.Contains(body, "2001:db8::1") {
		t.Errorf("ended exemption is listed: %s", body)
	}
	w.advance(24 * time.Hour)
	w.expect(list, 200, `{"exemptions":[]}`)
	for body, why := range map[string]string{
		`{"address":"192.0.2.1"}`: "needs reason", `{"reason":"x"}`: "needs address", `{"address":"192.0.2.1","reason":"x","colour":"red"}`: "unknown field",
		`{"address":"192.0.2.1","reason":"x","until":"2020-01-01T00:00:00Z"}`: "needs until in the future", `{"address":"x"}`: "read body", `{} {}`: "goes on",
	} {
		w.expect(w.post("/v1/exemptions", w.operator, body), 400, why)
	}
}

// TestExemptionOfAbuser refuses an address that is itself on Level 1, by the
// ledger of this moment, until it is not.
func TestExemptionOfAbuser(t *testing.T) {
	w := newWorld(t, nil)
	w.expect(w.reports(line), 200)
	exempt := w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.1","reason":"ours","until":"2027-11-22T00:00:00Z"}`)
	w.expect(exempt, 409, `"rule":"level1"`, "192.0.2.1 is itself on Level 1", `"until":"2026-11-`)
	public := w.expect(call{method: "GET", path: "/v1/audit"}, 200, `"kind":"exemption-refused"`, `"prefix":"192.0.2.1/32","reason":"192.0.2.1 is itself on Level 1"`)
	if strings.Contains(public, "ours") {
		t.Errorf("what was asked for is published: %s", public)
	}
	w.expect(call{method: "GET", path: "/v1/exemptions", secret: w.operator}, 200, `{"exemptions":[]}`)
	w.expect(w.post("/v1/exemptions", w.operator, `{"address":"192.0.2.2","reason":"its neighbour"}`), 201)
	w.advance(7 * 24 * time.Hour)
	w.expect(exempt, 201)
}

func TestOperatorDecisions(t *testing.T) {
	w := newWorld(t, nil)
	listing := `{"prefix":"203.0.113.0/24","until":"2026-11-25T00:00:00Z","reason":"snowshoe","evidence":"e1"}`
	w.expect(w.post("/v1/listings", w.operator, listing), 201, `"kind":"manual-listing"`)
	w.expect(w.post("/v1/listings", w.operator, listing), 409, "rule")
	w.expect(w.post("/v1/listings", w.operator, `{"prefix":"203.0.113.1/24","until":"2026-11-25T00:00:00Z","evidence":"e1"}`), 400, "masked")
	w.decide()
	w.expect(call{method: "GET", path: "/v1/explain?ip=203.0.113.5"}, 200, `"level_listed":2`)

	w.expect(w.reports(line), 200)
	for _, path := range []string{"/v1/purges", "/v1/releases"} {
		w.expect(w.post(path, w.operator, `{"reporter":"feed-s","reason":"mistyped"}`), 404, `no such reporter`)
	}
	w.expect(w.post("/v1/purges", w.operator, `{"reporter":"feed-a","reason":"feed was poisoned"}`), 201, `"reporter":"feed-a"`)
	w.decide()
	w.expect(call{method: "GET", path: "/v1/explain?ip=192.0.2.1"}, 200, `"level_listed":0`)
	public := w.expect(call{method: "GET", path: "/v1/audit"}, 200, "feed was poisoned", "manual-listing")
	for _, secret := range []string{"feed-a", "alice", "e1", "key-created"} {
		if strings.Contains(public, secret) {
			t.Errorf("the public audit tells %q: %s", secret, public)
		}
	}
	all := w.expect(call{method: "GET", path: "/v1/audit", secret: w.operator}, 200, "feed-a", "alice", "key-created", "key-revoked")
	if strings.Contains(all, "mistyped") {
		t.Errorf("a decision on a reporter that nobody knows is in the ledger: %s", all)
	}
}

// admitOdd lets every second report wait.
type admitOdd struct{}

func (admitOdd) Admit(r report.Report) string {
	if r.Address.As4()[3]%2 == 1 {
		return "past its budget"
	}
	return ""
}

func (admitOdd) Full(string) string { return "" }

// admitUntil lets every report wait, and takes none once there are so many.
type admitUntil struct{ left int }

func (a *admitUntil) Admit(report.Report) string {
	a.left--
	return "past its budget"
}

func (a *admitUntil) Full(reporter string) string {
	if a.left <= 0 {
		return "too many of " + reporter + " wait"
	}
	return ""
}

// TestFull: a reporter of whom too much waits is told so, and what of a body was
// taken before.
func TestFull(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Admit = &admitUntil{left: 15_000} })
	w.expect(w.reports(lines(25_000)), 429, `"accepted":20000`, `"waiting":20000`, "too many of feed-a wait")
	w.expect(w.reports(lines(1)), 429, `"error":"too many of feed-a wait"`)
	w.expect(call{method: "GET", path: "/v1/form?ip=192.0.2.1&service=ssh&apikey=" + w.reporter}, 429, "too many of feed-a wait")
	w.expect(call{method: "GET", path: "/v1/waiting", secret: w.operator}, 200, `{"waiting":{"feed-a":20000}}`)
}

func TestWaiting(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Admit = admitOdd{} })
	w.expect(w.reports(lines(10)), 200, `"accepted":10,"duplicates":0,"waiting":5`)
	w.expect(call{method: "GET", path: "/v1/waiting", secret: w.operator}, 200, `{"waiting":{"feed-a":5}}`)
	w.expect(w.post("/v1/releases", w.operator, `{"reporter":"feed-a","reason":"known campaign"}`), 201)
	w.expect(call{method: "GET", path: "/v1/waiting", secret: w.operator}, 200, `{"waiting":{}}`)
}

// admitSome lets so many reports pass.
type admitSome struct{ left int }

func (a *admitSome) Admit(report.Report) string {
	if a.left--; a.left < 0 {
		return "past its budget"
	}
	return ""
}

func (a *admitSome) Full(string) string { return "" }

// TestResendIsFree: what the ledger has costs its reporter nothing, be it sent
// again, cut and sent again, or twice in one body.
func TestResendIsFree(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Admit = &admitSome{left: 12} })
	w.expect(w.reports(lines(10)), 200, `"accepted":10,"duplicates":0,"waiting":0`)
	w.expect(w.reports(lines(10)), 200, `"accepted":0,"duplicates":10,"waiting":0`)
	w.expect(w.reports(lines(11)+lines(11)), 200, `"accepted":1,"duplicates":21,"waiting":0`)
	w.expect(w.reports(lines(13)), 200, `"accepted":2,"duplicates":11,"waiting":1`)
	w.expect(w.reports(lines(13)), 200, `"accepted":0,"duplicates":13,"waiting":0`)
	w.expect(call{method: "GET", path: "/v1/waiting", secret: w.operator}, 200, `{"waiting":{"feed-a":1}}`)
}

func TestAuditPages(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 5 {
		w.expect(w.post("/v1/exemptions", w.operator, fmt.Sprintf(`{"address":"192.0.2.%d","reason":"r"}`, i)), 201)
	}
	var seen []string
	for path := "/v1/audit?limit=2"; ; {
		var page struct {
			Decisions []struct{ Prefix string }
			Before    int
		}
		if err := json.Unmarshal([]byte(w.expect(call{method: "GET", path: path}, 200)), &page); err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Decisions {
			seen = append(seen, d.Prefix)
		}
		if page.Before == 0 {
			break
		}
		path = fmt.Sprintf("/v1/audit?limit=2&before=%d", page.Before)
	}
	want := []string{"192.0.2.4/32", "192.0.2.3/32", "192.0.2.2/32", "192.0.2.1/32", "192.0.2.0/32"}
	if !slices.Equal(seen, want) {
		t.Errorf("pages give %v, want %v", seen, want)
	}
	for _, query := range []string{"limit=0", "limit=x", "before=-1", "kind=whim", "kind=key-created", "since=yesterday", "within=x", "colour=red"} {
		w.expect(call{method: "GET", path: "/v1/audit?" + query}, 400, "error")
	}
}

// slowAudit is a ledger whose pages take until nobody waits for them.
type slowAudit struct{ ledger.Ledger }

func (slowAudit) Audit(ctx context.Context, _ ledger.Page) ([]ledger.Decision, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestAuditTime: a page that takes too long is given up, and its sender told.
func TestAuditTime(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Ledger, s.Limits.AuditTime = slowAudit{s.Ledger}, time.Millisecond })
	w.expect(call{method: "GET", path: "/v1/audit"}, 503, "takes too long", "narrower prefix")
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) {
		s.Limits.ClientPerSecond, s.Limits.ClientBurst = 0.5, 3
		s.Limits.KeyPerSecond, s.Limits.KeyBurst = 1, 4
	})
	explain := call{method: "GET", path: "/v1/explain?ip=192.0.2.1"}
	for range 3 {
		w.expect(explain, 200)
	}
	response, _ := w.send(explain)
	if response.StatusCode != 429 || response.Header.Get("Retry-After") != "2" {
		t.Errorf("past the burst: %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	guess := w.reports(line)
	guess.secret = "ucedge_guess"
	w.expect(guess, 429)
	for range 4 {
		w.expect(w.reports(line), 200)
	}
	w.expect(w.reports(line), 429)
	w.advance(2 * time.Second)
	w.expect(explain, 200)
	w.expect(explain, 429)
	w.expect(w.reports(line), 200)
}

// slowUpload begins a body of reports under a key. When it returns, the upload
// has its place or is refused; finish ends the body and returns the status.
func (w *world) slowUpload(secret string) (finish func() int) {
	w.Helper()
	body, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		defer body.Close()
		request, err := http.NewRequest("POST", w.url+"/v1/reports", body)
		if err != nil {
			w.Error(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		request.Header.Set("Content-Type", "application/x-ndjson")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.Error(err)
			done <- 0
			return
		}
		response.Body.Close()
		done <- response.StatusCode
	}()
	// More than any buffer on the way: the origin has read of it, or has answered.
	io.Copy(writer, io.LimitReader(neverEnding('\n'), 8<<20))
	return func() int { writer.Close(); return <-done }
}

// neverEnding reads as one byte again and again.
type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// TestUploadsAtOnce: a reporter holds a quarter of the places, whichever of its
// keys it shows, and four hold all; slow ones do not stop anything else.
func TestUploadsAtOnce(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Limits.Uploads, s.Limits.BodyBytes = 8, 64<<20 })
	expect := func(when, secret string, want int) {
		t.Helper()
		long := w.reports(line + strings.Repeat("\n", 20<<10))
		long.secret = secret
		response, body := w.send(long)
		if response.StatusCode != want || want == 429 && response.Header.Get("Retry-After") != "30" {
			t.Errorf("%s: status %d, Retry-After %q: %s", when, response.StatusCode, response.Header.Get("Retry-After"), body)
		}
	}
	other := w.key(ledger.Reporter, "feed-c")
	finish := []func() int{w.slowUpload(w.reporter), w.slowUpload(w.key(ledger.Reporter, "feed-a"))}
	expect("a third of one reporter", w.reporter, 429)
	expect("the first of another", other, 200)
	for _, name := range []string{"feed-d", "feed-e", "feed-f"} {
		secret := w.key(ledger.Reporter, name)
		finish = append(finish, w.slowUpload(secret), w.slowUpload(secret))
	}
	expect("a ninth in all", other, 429)
	w.expect(w.reports(line), 200) // which is short
	zipped := w.reports(line)
	zipped.coding, zipped.body = "gzip", compress(t, "gzip", line)
	w.expect(zipped, 429)
	w.expect(call{method: "GET", path: "/v1/audit"}, 200)
	for i, finish := range finish {
		if status := finish(); status != 200 {
			t.Errorf("slow upload %d: status %d", i, status)
		}
	}
	expect("when all is over", w.reporter, 200)
}

func TestUnrouted(t *testing.T) {
	w := newWorld(t, nil)
	w.expect(call{method: "GET", path: "/v2/nothing"}, 404, `"error"`)
	response, body := w.send(call{method: "PUT", path: "/v1/exemptions"})
	if response.StatusCode != 405 || response.Header.Get("Allow") != "GET, HEAD, POST, DELETE" || !strings.Contains(body, `"error"`) {
		t.Errorf("PUT: %d, Allow %q: %s", response.StatusCode, response.Header.Get("Allow"), body)
	}
}

// TestDocument: every path and method in the document is served, and the other
// way round.
func TestDocument(t *testing.T) {
	w := newWorld(t, nil)
	document := w.expect(call{method: "GET", path: "/v1/openapi.yaml"}, 200, "openapi: 3.1.0")
	if document != string(api.Document) {
		t.Error("another document is served")
	}
	for _, kind := range ledger.PublicKinds() {
		if !regexp.MustCompile(`enum: \[[^\]]*\b` + string(kind) + `[,\]]`).MatchString(document) {
			t.Errorf("document knows no decision of kind %q", kind)
		}
	}
	path := ""
	var got []string
	for _, line := range strings.Split(document, "\n") {
		if m := regexp.MustCompile(`^  (/\S+):$`).FindStringSubmatch(line); m != nil {
			path = m[1]
		}
		if m := regexp.MustCompile(`^    (get|post|delete|put|patch):$`).FindStringSubmatch(line); m != nil {
			got = append(got, strings.ToUpper(m[1])+" "+path)
		}
	}
	want := api.RoutesForTest()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("document has\n%v\nserved are\n%v", got, want)
	}
}

// TestNewKey: secrets differ, and the hash is that of the secret.
func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key, secret := api.NewKey(ledger.Reporter, "a", 1)
		if seen[secret] || seen[key.ID] || len(secret) != len("ucedge_")+32 || strings.Contains(secret, key.ID) {
			t.Fatalf("key %q, secret of %d characters", key.ID, len(secret))
		}
		seen[secret], seen[key.ID] = true, true
	}
}

func BenchmarkIngest(b *testing.B) {
	l, err := ledger.Open(context.Background(), filepath.Join(b.TempDir(), "ledger"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	key, secret := api.NewKey(ledger.Reporter, "feed", noon.Unix())
	if err := l.CreateKey(context.Background(), key, "bench"); err != nil {
		b.Fatal(err)
	}
	h, err := api.New(api.Settings{
		Ledger: l, Policy: state.NewLive(l, state.Settings{}, noon.Unix), Clock: func() time.Time { return noon },
		Limits: api.Limits{KeyPerSecond: 1e9, KeyBurst: 1e9},
	})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	const batch = 10_000
	n := 0
	for b.Loop() {
		var body bytes.Buffer
		for i := range batch {
			fmt.Fprintf(&body, `{"address":"198.51.%d.%d","seen":%d,"kind":"scan","evidence":"%d-%d"}`+"\n", i>>8&255, i&255, noon.Unix()-int64(i), n, i)
		}
		request, err := http.NewRequest("POST", server.URL+"/v1/reports", &body)
		if err != nil {
			b.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		request.Header.Set("Content-Type", "application/x-ndjson")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if !strings.Contains(string(answer), fmt.Sprintf(`"accepted":%d`, batch)) {
			b.Fatal(string(answer))
		}
		n++
	}
	b.ReportMetric(float64(n*batch)/b.Elapsed().Seconds(), "reports/s")
}
