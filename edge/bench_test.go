package edge

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/miekg/dns"

	"ucedge/core"
	"ucedge/internal/trial"
	"ucedge/snapshot"
)

// large is a generation with the 2.09 million real addresses, made once.
var large struct {
	once       sync.Once
	generation *Generation
	addresses  []netip.Addr
}

func largeWorld(t testing.TB) (*Generation, []netip.Addr) {
	t.Helper()
	path := trial.File(t, "addresses/real-2.09M.u32.zst")
	large.once.Do(func() {
		packed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		decoder, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		raw, err := decoder.DecodeAll(packed, nil)
		if err != nil {
			t.Fatal(err)
		}
		special := snapshot.SpecialUse()
		var listings []snapshot.Listing
		for ; len(raw) >= 4; raw = raw[4:] {
			a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.LittleEndian.Uint32(raw))))
			if slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) }) {
				continue // no list may hold it, and a guest refuses one that does
			}
			large.addresses = append(large.addresses, a)
			listings = append(listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.PrefixFrom(a, 32)})
		}
		large.generation = world(t, 2, listings...)
	})
	if large.generation == nil {
		t.Skip("skipped: the real data could not be read")
	}
	return large.generation, large.addresses
}

// nameOf returns the owner name of an IPv4 address.
func nameOf(a netip.Addr) string {
	b := a.As4()
	return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}).String() + ".dnsbl-1.bl.example."
}

// queriesFor returns queries for some of the listed addresses and for some that
// are not, each time the same.
func queriesFor(t testing.TB, listed []netip.Addr) map[string][][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	is := make(map[netip.Addr]bool, len(listed))
	for _, a := range listed {
		is[a] = true
	}
	queries := map[string][][]byte{}
	for len(queries["listed"]) < 4096 {
		a := listed[random.IntN(len(listed))]
		queries["listed"] = append(queries["listed"], packed(t, nameOf(a), dns.TypeA))
	}
	for len(queries["unlisted"]) < 4096 {
		a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, random.Uint32())))
		if !is[a] && !a.IsLoopback() {
			queries["unlisted"] = append(queries["unlisted"], packed(t, nameOf(a), dns.TypeA))
		}
	}
	return queries
}

// BenchmarkAnswer is one DNS answer from 2.09 million addresses.
func BenchmarkAnswer(b *testing.B) {
	g, listed := largeWorld(b)
	queries := queriesFor(b, listed)
	for _, name := range []string{"native", "wasm"} {
		e := engines[name](b)
		if err := e.Load(b.Context(), g); err != nil {
			b.Fatal(err)
		}
		for _, kind := range []string{"listed", "unlisted"} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				answer, n := make([]byte, 0, 512), 0
				b.ReportAllocs()
				for b.Loop() {
					var err error
					answer, err = e.Answer(context.Background(), answer[:0], queries[kind][n%4096], g.Manifest.Built, core.Open)
					if err != nil || len(answer) == 0 {
						b.Fatalf("answer %x, error %v", answer, err)
					}
					n++
				}
			})
		}
	}
}

// BenchmarkExchange is one HTTP exchange, without its transport.
func BenchmarkExchange(b *testing.B) {
	g, listed := largeWorld(b)
	queries := queriesFor(b, listed)
	for _, name := range []string{"native", "wasm"} {
		e := engines[name](b)
		if err := e.Load(b.Context(), g); err != nil {
			b.Fatal(err)
		}
		for _, row := range []struct {
			name string
			req  *core.Request
		}{
			{"get", &core.Request{Method: []byte("GET"), Target: []byte("/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(queries["listed"][0]))}},
			{"post", &core.Request{Method: []byte("POST"), Target: []byte("/dns-query"), ContentType: []byte("application/dns-message"), Body: queries["listed"][0]}},
			{"dnsjson", &core.Request{Method: []byte("GET"), Target: []byte("/resolve?name=" + nameOf(listed[0]))}},
			{"check", &core.Request{Method: []byte("GET"), Target: []byte("/v1/check?ip=" + listed[0].String())}},
		} {
			row.req.Now = g.Manifest.Built
			b.Run(name+"/"+row.name, func(b *testing.B) {
				var resp core.Response
				b.ReportAllocs()
				for b.Loop() {
					if err := e.Serve(context.Background(), row.req, &resp); err != nil || resp.Status != 200 {
						b.Fatalf("status %d, error %v", resp.Status, err)
					}
				}
			})
		}
	}
}

// BenchmarkHandler is what net/http is given to do for one exchange, on top of
// BenchmarkExchange.
func BenchmarkHandler(b *testing.B) {
	e := engines["native"](b)
	if err := e.Load(b.Context(), world(b, 2)); err != nil {
		b.Fatal(err)
	}
	query := base64.RawURLEncoding.EncodeToString(packed(b, "1.2.0.192.dnsbl-1.bl.example.", dns.TypeA))
	r, err := http.NewRequest("GET", "/dns-query?dns="+query, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234"
	for name, h := range map[string]*Handler{
		"bare":    {Engine: e},
		"limited": {Engine: e, Gate: &Gatekeeper{Limits: NewLimits(1e6)}, Metrics: NewMetrics(e)},
	} {
		b.Run(name, func(b *testing.B) {
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// BenchmarkDNS is one question and answer over a loopback socket.
func BenchmarkDNS(b *testing.B) {
	for _, name := range []string{"native", "wasm"} {
		e := engines[name](b)
		if err := e.Load(b.Context(), world(b, 2)); err != nil {
			b.Fatal(err)
		}
		l := new(listeners)
		if err := l.listenDNS("127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- (&DNSServer{Engine: e}).Serve(ctx, l.udp, l.tcp) }()
		query := packed(b, "1.2.0.192.dnsbl-1.bl.example.", dns.TypeA)
		b.Run("udp/"+name, func(b *testing.B) {
			conn, err := net.Dial("udp", l.udp.LocalAddr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			answer := make([]byte, 512)
			for b.Loop() {
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				conn.Write(query)
				if _, err := io.ReadAtLeast(conn, answer, 12); err != nil {
					b.Fatal(err)
				}
			}
		})
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is the time from the bytes of the guest to its first answer
// from a small snapshot, one instance.
func BenchmarkStart(b *testing.B) {
	module, err := realGuest()
	if err != nil {
		b.Fatal(err)
	}
	g := world(b, 2)
	query := packed(b, "1.2.0.192.dnsbl-1.bl.example.", dns.TypeA)
	begin := func(cache string) {
		e, err := NewWasmEngine(context.Background(), module, WasmOptions{CacheDir: cache, Instances: 1})
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Load(context.Background(), g); err != nil {
			b.Fatal(err)
		}
		if answer, err := e.Answer(context.Background(), nil, query, g.Manifest.Built, core.Open); err != nil || len(answer) == 0 {
			b.Fatalf("answer %x, error %v", answer, err)
		}
		if err := e.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("uncached", func(b *testing.B) {
		for b.Loop() {
			begin("")
		}
	})
	b.Run("cached", func(b *testing.B) {
		cache := b.TempDir()
		begin(cache)
		for b.Loop() {
			begin(cache)
		}
	})
}

// BenchmarkLoad is a snapshot of 2.09 million addresses into a fresh guest:
// start an instance, copy image and filter, open them.
func BenchmarkLoad(b *testing.B) {
	g, _ := largeWorld(b)
	e := wasmEngine(b, realGuest, WasmOptions{Instances: 1})
	bare := &Generation{Manifest: g.Manifest, Image: g.Image}
	for name, generation := range map[string]*Generation{"with filter": g, "without filter": bare} {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(float64(len(generation.Image)+len(generation.Filter)), "bytes")
			for b.Loop() {
				if err := e.Load(b.Context(), generation); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
