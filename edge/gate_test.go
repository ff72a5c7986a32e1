package edge

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ucedge/core"
)

// hashOf returns the hash of a key as it stands in a key file.
func hashOf(key string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(key))) }

func mustKeys(t testing.TB, text string) *Keys {
	t.Helper()
	keys, err := ParseKeys(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestParseKeys(t *testing.T) {
	one, two := hashOf("one"), hashOf("two")
	keys := mustKeys(t, "# keys of mx.example\n\none.example "+one+"\n\ttwo.example\t"+strings.ToUpper(two)+" 2.5  \n")
	if keys.Len() != 2 {
		t.Errorf("got %d keys, want 2", keys.Len())
	}
	for key, want := range map[string]string{"one": "one.example 0", "two": "two.example 2.5", "three": "", "": "", one: ""} {
		got := ""
		if k := keys.Find([]byte(key)); k != nil {
			got = fmt.Sprint(k.Name, " ", float64(k.Rate))
		}
		if got != want {
			t.Errorf("key %q: got %q, want %q", key, got, want)
		}
	}
	for name, row := range map[string][2]string{
		"no hash":           {"one.example", `line 1: 1 fields`},
		"too much":          {"one.example " + one + " 1 2", `line 1: 4 fields`},
		"short hash":        {"\none.example " + one[2:], `line 2: key "one.example": hash`},
		"long hash":         {"one.example " + one + "00", `hash is not 64 hex digits`},
		"key, not its hash": {"one.example secret", `hash is not 64 hex digits`},
		"rate of nothing":   {"one.example " + one + " 0", `rate "0"`},
		"rate below 0":      {"one.example " + one + " -1", `rate "-1"`},
		"rate too high":     {"one.example " + one + " 1000001", `rate "1000001"`},
		"rate of NaN":       {"one.example " + one + " NaN", `rate "NaN"`},
		"rate in words":     {"one.example " + one + " fast", `rate "fast"`},
		"same hash twice":   {"one.example " + one + "\ntwo.example " + one, `line 2: key "two.example": another name`},
	} {
		keys, err := ParseKeys(strings.NewReader(row[0]))
		if err == nil || !strings.Contains(err.Error(), row[1]) || keys != nil {
			t.Errorf("%s: got %v and error %v, want an error with %q", name, keys, err, row[1])
		}
	}
}

func TestLimits(t *testing.T) {
	now := time.Unix(1763827200, 0)
	fast := &Key{Name: "fast", Rate: 1}
	plain := &Key{Name: "plain"}
	// A step is some requests at one moment, and how many of them pass.
	type step struct {
		after   time.Duration
		key     *Key
		address string
		asked   int
		passed  int
	}
	for name, row := range map[string]struct {
		rate  float64
		steps []step
	}{
		"burst, then the rate": {0.5, []step{
			{0, nil, "192.0.2.1", 9, 5}, {2 * time.Second, nil, "192.0.2.1", 9, 1}, {4 * time.Second, nil, "192.0.2.1", 9, 1}, {time.Hour, nil, "192.0.2.1", 9, 5},
		}},
		"each IPv4 address": {0.1, []step{
			{0, nil, "192.0.2.1", 2, 1}, {0, nil, "192.0.2.2", 2, 1}, {0, nil, "::ffff:192.0.2.1", 2, 0},
		}},
		"each IPv6 /64": {0.1, []step{
			{0, nil, "2001:db8::1", 2, 1}, {0, nil, "2001:db8::2", 2, 0}, {0, nil, "2001:db8::1%eth0", 1, 0}, {0, nil, "2001:db8:0:1::1", 2, 1},
		}},
		"each key, from wherever": {0.1, []step{
			{0, plain, "192.0.2.1", 2, 1}, {0, plain, "192.0.2.2", 2, 0}, {0, nil, "192.0.2.1", 2, 1},
		}},
		"a key's own rate": {0.1, []step{
			{0, fast, "192.0.2.1", 20, 10}, {time.Second, fast, "192.0.2.1", 20, 1},
		}},
		"no rate":                     {0, []step{{0, nil, "192.0.2.1", 1000, 1000}, {0, plain, "192.0.2.1", 1000, 1000}}},
		"no rate but a key's own":     {0, []step{{0, fast, "192.0.2.1", 20, 10}}},
		"rates have a highest":        {1e300, []step{{0, nil, "192.0.2.1", 1000, 1000}}},
		"an address that is none":     {0.1, []step{{0, nil, "", 2, 1}, {0, nil, "", 1, 0}}},
		"time does not run backwards": {0.5, []step{{0, nil, "192.0.2.1", 9, 5}, {-time.Hour, nil, "192.0.2.1", 9, 0}}},
	} {
		l := NewLimits(row.rate)
		for i, s := range row.steps {
			address, _ := netip.ParseAddr(s.address)
			passed := 0
			for range s.asked {
				if l.Allow(s.key, address, now.Add(s.after)) {
					passed++
				}
			}
			if passed != s.passed {
				t.Errorf("%s, step %d: %d of %d passed, want %d", name, i, passed, s.asked, s.passed)
			}
		}
	}
	if none := (*Limits)(nil); !none.Allow(nil, netip.Addr{}, now) {
		t.Error("nil Limits refused a request")
	}
}

// TestLimitsAreBounded asks from more clients than the table remembers. The
// table stays bounded, and a client that keeps asking is not forgotten.
func TestLimitsAreBounded(t *testing.T) {
	now := time.Unix(1763827200, 0)
	l := NewLimits(0.1)
	busy := netip.MustParseAddr("192.0.2.1")
	if !l.Allow(nil, busy, now) {
		t.Fatal("the first request was refused")
	}
	for i := range 2 * clientsMax {
		l.Allow(nil, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if i%1000 == 0 && l.Allow(nil, busy, now) {
			t.Fatalf("after %d other clients the busy one began afresh", i)
		}
	}
	remembered := 0
	for i := range l.shards {
		remembered += len(l.shards[i].young) + len(l.shards[i].old)
	}
	if remembered > clientsMax || remembered < clientsMax/2 {
		t.Errorf("%d clients remembered, want %d to %d", remembered, clientsMax/2, clientsMax)
	}
}

func TestGatekeeper(t *testing.T) {
	keys := mustKeys(t, "one "+hashOf("one")+"\ntwo "+hashOf("two")+" 0.1\n")
	now := time.Unix(1763827200, 0)
	for name, row := range map[string]struct {
		keys   *Keys
		target string
		auth   string
		gate   core.Gate
		rest   string
	}{
		"keys off":                      {nil, "/resolve?name=x", "", core.Open, "/resolve?name=x"},
		"keys off, a key in the path":   {nil, "/k/any/resolve", "", core.Open, "/resolve"},
		"none":                          {keys, "/dns-query", "", core.NoKey, "/dns-query"},
		"in the path":                   {keys, "/k/one/dns-query?dns=A", "", core.Keyed, "/dns-query?dns=A"},
		"in the path, unknown":          {keys, "/k/three/dns-query", "", core.BadKey, "/dns-query"},
		"in the path, empty":            {keys, "/k//dns-query", "", core.NoKey, "/dns-query"},
		"in the path, nothing more":     {keys, "/k/one", "", core.Keyed, "/"},
		"in the path, only a query":     {keys, "/k/one?ip=192.0.2.1", "", core.Keyed, "/?ip=192.0.2.1"},
		"in the path, percent-encoded":  {keys, "/k/%6Fne/", "", core.BadKey, "/"},
		"in the header":                 {keys, "/dns-query", "Bearer one", core.Keyed, "/dns-query"},
		"in the header, lower case":     {keys, "/dns-query", "bearer one", core.Keyed, "/dns-query"},
		"in the header, unknown":        {keys, "/dns-query", "Bearer three", core.BadKey, "/dns-query"},
		"in the header, empty":          {keys, "/dns-query", "Bearer ", core.NoKey, "/dns-query"},
		"in the header, another scheme": {keys, "/dns-query", "Basic one", core.NoKey, "/dns-query"},
		"the path's comes first":        {keys, "/k/three/dns-query", "Bearer one", core.BadKey, "/dns-query"},
		"like a key":                    {keys, "/keys/one", "Bearer one", core.Keyed, "/keys/one"},
	} {
		g := new(Gatekeeper)
		g.SetKeys(row.keys)
		c := &Caller{Target: []byte(row.target), Authorization: []byte(row.auth), Peer: netip.MustParseAddr("192.0.2.1")}
		if gate, rest := g.HTTP(c, now); gate != row.gate || string(rest) != row.rest {
			t.Errorf("%s: got %d %q, want %d %q", name, gate, rest, row.gate, row.rest)
		}
	}
}

// TestGatekeeperCounts counts a request with a key for the key, and one with a
// wrong key for the address, so that guessing has its price.
func TestGatekeeperCounts(t *testing.T) {
	now := time.Unix(1763827200, 0)
	g := &Gatekeeper{Limits: NewLimits(0.2)}
	g.SetKeys(mustKeys(t, "one "+hashOf("one")+"\ntwo "+hashOf("two")+" 0.1\n"))
	for i, row := range []struct {
		target string
		gate   core.Gate
	}{
		{"/k/guess1/", core.BadKey}, {"/", core.NoKey}, {"/k/guess2/", core.OverRate}, {"/", core.OverRate},
		{"/k/one/", core.Keyed}, {"/k/one/", core.Keyed}, {"/k/one/", core.OverRate},
		{"/k/two/", core.Keyed}, {"/k/two/", core.OverRate},
	} {
		c := &Caller{Target: []byte(row.target), Peer: netip.MustParseAddr("192.0.2.1")}
		if gate, _ := g.HTTP(c, now); gate != row.gate {
			t.Errorf("request %d, %s: got gate %d, want %d", i, row.target, gate, row.gate)
		}
	}
	if gate := g.DNS(netip.MustParseAddr("192.0.2.1"), now); gate != core.OverRate {
		t.Errorf("DNS from the same address: got gate %d, want OverRate", gate)
	}
	if gate := g.DNS(netip.MustParseAddr("192.0.2.2"), now); gate != core.Open {
		t.Errorf("DNS from another address: got gate %d, want Open: keys are for HTTP", gate)
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for name, row := range map[string]struct {
		trusted   []netip.Prefix
		peer      string
		forwarded []string
		want      string
	}{
		"nobody is trusted":         {nil, "192.0.2.1:1", []string{"203.0.113.1"}, "192.0.2.1"},
		"not a proxy":               {trusted, "198.51.100.1:1", []string{"203.0.113.1"}, "198.51.100.1"},
		"a proxy":                   {trusted, "192.0.2.1:1", []string{"203.0.113.1"}, "203.0.113.1"},
		"a mapped proxy":            {trusted, "[::ffff:192.0.2.1]:1", []string{"203.0.113.1"}, "203.0.113.1"},
		"what the client claimed":   {trusted, "192.0.2.1:1", []string{"127.0.0.1, 203.0.113.1"}, "203.0.113.1"},
		"two proxies":               {trusted, "192.0.2.1:1", []string{"127.0.0.1, 203.0.113.1, 192.0.2.9"}, "203.0.113.1"},
		"several lines":             {trusted, "192.0.2.1:1", []string{"127.0.0.1", "203.0.113.1", "2001:db8::9"}, "203.0.113.1"},
		"only proxies":              {trusted, "192.0.2.1:1", []string{"192.0.2.7, 192.0.2.8"}, "192.0.2.7"},
		"no field":                  {trusted, "192.0.2.1:1", nil, "192.0.2.1"},
		"garbage":                   {trusted, "192.0.2.1:1", []string{"203.0.113.1, unknown"}, "192.0.2.1"},
		"garbage behind a proxy":    {trusted, "192.0.2.1:1", []string{"unknown, 192.0.2.9"}, "192.0.2.9"},
		"IPv6":                      {trusted, "[2001:db8::1]:1", []string{"2001:db9::1"}, "2001:db9::1"},
		"a peer that is no address": {trusted, "@", []string{"203.0.113.1"}, "invalid IP"},
	} {
		g := &Gatekeeper{Trusted: row.trusted}
		r := &http.Request{RemoteAddr: row.peer, Header: http.Header{"X-Forwarded-For": row.forwarded}}
		if got := g.Client(r).String(); got != row.want {
			t.Errorf("%s: got %s, want %s", name, got, row.want)
		}
	}
}

// TestKeysAreNeverTold asks with keys in every place, and looks for them in all
// that the edge writes.
func TestKeysAreNeverTold(t *testing.T) {
	var log bytes.Buffer
	e := wasmEngine(t, testGuest, WasmOptions{Instances: 1})
	gate := new(Gatekeeper)
	gate.SetKeys(mustKeys(t, "one "+hashOf("secret-one")+"\n"))
	m := NewMetrics(e)
	h := &Handler{Engine: e, Gate: gate, Metrics: m, Public: true, Log: slog.New(slog.NewTextHandler(&log, nil))}
	ask := func(target, auth string) string {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
	told := ask("/k/secret-one/v1/check?ip=192.0.2.77", "")
	told += ask("/k/secret-wrong/v1/check?ip=192.0.2.77", "")
	told += ask("/v1/other/secret-path", "Bearer secret-one")
	if !strings.Contains(told, "|4|GET|/v1/check?ip=192.0.2.77|") || !strings.Contains(told, "|2|GET|/v1/check?ip=192.0.2.77|") {
		t.Errorf("the core was asked %q", told)
	}
	shown := ask("/metrics", "")
	for _, text := range []string{log.String(), shown} {
		for _, secret := range []string{"secret", hashOf("secret-one"), "192.0.2"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in\n%s", secret, text)
			}
		}
	}
	for _, want := range []string{`path=/v1/check status=200`, `path=other status=200`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
	if want := `ucedge_requests_total{path="/v1/check",status="200"} 2`; !strings.Contains(shown, want) {
		t.Errorf("%q is not in the metrics:\n%s", want, shown)
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, gate := &Config{KeyFile: name, Log: slog.New(slog.DiscardHandler)}, new(Gatekeeper)
	write("one " + hashOf("one") + "\n")
	if err := c.readKeys(gate); err != nil {
		t.Fatal(err)
	}
	watch := &keyWatch{config: c, gate: gate}
	watch.look()
	for _, row := range []struct{ text, good, bad string }{
		{"two " + hashOf("two") + "\n", "two", "one"},
		{"two " + hashOf("two") + "\nnonsense\n", "two", "one"},
		{"", "", "two"},
		{"three " + hashOf("three") + "\n", "three", "two"},
	} {
		write(row.text)
		watch.look()
		if keys := gate.keys.Load(); row.good != "" && keys.Find([]byte(row.good)) == nil || keys.Find([]byte(row.bad)) != nil {
			t.Errorf("key file %q: want key %q and not %q", row.text, row.good, row.bad)
		}
	}
}
