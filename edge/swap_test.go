package edge

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
)

// engines are both engines on the real core.
var engines = map[string]func(testing.TB) Engine{
	"native": func(testing.TB) Engine { return NewNativeEngine("") },
	"wasm":   func(t testing.TB) Engine { return wasmEngine(t, realGuest, WasmOptions{}) },
}

// world returns a generation of one zone in which 192.0.2.1 is listed. An answer
// shows which image it is from: the A record ends in the last byte of the
// serial, and the name server in the SOA is called after it.
func world(t testing.TB, serial snapshot.Serial, listings ...snapshot.Listing) *Generation {
	t.Helper()
	listings = append(listings, snapshot.Listing{Level: snapshot.Address, Prefix: netip.MustParsePrefix("192.0.2.1/32")})
	image, err := build.Image(build.Input{
		Zones: []snapshot.Zone{{
			Suffix: "dnsbl-1.bl.example", Level: snapshot.Address, Code: [4]byte{127, 0, 0, byte(serial)}, TTL: 300,
			MName: fmt.Sprintf("ns%d.bl.example", serial), RName: "hostmaster.bl.example", SOATTL: 300, Refresh: 300, Retry: 60, Expire: 600000, Minimum: 60,
			Text: "{ip} is listed",
		}},
		Listings: listings,
		Profile:  snapshot.Profile{Name: "imported"},
	})
	if err != nil {
		t.Fatal(err)
	}
	filter, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	return &Generation{
		Image: image, Filter: filter,
		Manifest: manifest.Manifest{
			List: "bl.example", Serial: serial, Built: now, Next: now + 300, Expires: now + 86400,
			Objects: []manifest.Object{
				{Role: manifest.Base, Hash: sha256.Sum256(image), Size: int64(len(image))},
				{Role: manifest.Filter, Hash: sha256.Sum256(filter), Size: int64(len(filter))},
			},
		},
	}
}

// packed returns a query in DNS.
func packed(t testing.TB, name string, kind uint16) []byte {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	q.Id = 0
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return query
}

// TestHotSwap changes the snapshot 20 times while clients ask over HTTP/1.1,
// HTTP/2, UDP and TCP. No question is lost, and what an answer has from the
// image and what it has from the manifest are of one serial, one that was in
// force while the question was under way.
func TestHotSwap(t *testing.T) {
	for name, newEngine := range engines {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			if err := e.Load(t.Context(), world(t, 2)); err != nil {
				t.Fatal(err)
			}
			at, _ := start(t, Config{Engine: e})
			var s swapping
			s.loaded.Store(2)
			listed, apex := packed(t, "1.2.0.192.dnsbl-1.bl.example.", dns.TypeA), packed(t, "dnsbl-1.bl.example.", dns.TypeSOA)
			var askers sync.WaitGroup
			for _, ask := range []func() ([]byte, error){
				overHTTP(newClient(t, nil, overH1), at.HTTP, listed), overHTTP(newClient(t, nil, overH1), at.HTTP, apex),
				overHTTP(newClient(t, nil, overH2C), at.HTTP, listed), overHTTP(newClient(t, nil, overH2C), at.HTTP, apex),
				overDNS("udp", at.DNS, apex), overDNS("tcp", at.DNS, apex),
			} {
				askers.Go(func() { s.keepAsking(t, ask) })
			}
			for serial := int64(3); serial <= 22; serial++ {
				before := s.answered.Load()
				if err := e.Load(t.Context(), world(t, snapshot.Serial(serial))); err != nil {
					t.Error(err)
				}
				s.loaded.Store(serial)
				for s.answered.Load() < before+30 && !t.Failed() {
					time.Sleep(100 * time.Microsecond)
				}
			}
			s.done.Store(true)
			askers.Wait()
			t.Logf("%d questions, none lost", s.answered.Load())
		})
	}
}

// swapping is one run of TestHotSwap.
type swapping struct {
	loaded, answered atomic.Int64 // the serial that was loaded last; how many answers came
	done             atomic.Bool
}

// keepAsking asks until the run is done.
func (s *swapping) keepAsking(t *testing.T, ask func() ([]byte, error)) {
	for !s.done.Load() {
		from := s.loaded.Load()
		answer, err := ask()
		to := s.loaded.Load() + 1
		var got int64
		if err == nil {
			got, err = serialIn(answer)
		}
		if err != nil {
			t.Errorf("a question was lost: %v", err)
			return
		}
		if got < from || got > to {
			t.Errorf("got an answer of serial %d, want one of %d to %d", got, from, to)
			return
		}
		s.answered.Add(1)
	}
}

// serialIn returns the serial that the one record of an answer shows.
func serialIn(answer []byte) (int64, error) {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		return 0, err
	}
	if len(m.Answer) != 1 {
		return 0, fmt.Errorf("not one record: %v", &m)
	}
	if a, ok := m.Answer[0].(*dns.A); ok {
		return int64(a.A.To4()[3]), nil
	}
	soa := m.Answer[0].(*dns.SOA)
	if want := fmt.Sprintf("ns%d.bl.example.", soa.Serial); soa.Ns != want {
		return 0, fmt.Errorf("serial %d of the manifest with %q of the image", soa.Serial, soa.Ns)
	}
	return int64(soa.Serial), nil
}

// overHTTP asks over HTTP, where the manifest's serial is in a header field.
func overHTTP(client *http.Client, at string, query []byte) func() ([]byte, error) {
	url := "http://" + at + "/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(query)
	return func() ([]byte, error) {
		resp, err := client.Get(url)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		serial, err := serialIn(answer)
		if want := fmt.Sprintf("serial-%d", serial); err == nil && resp.Header.Get("Cache-Tag") != want {
			err = fmt.Errorf("cache tag %q of the manifest with serial %d of the image", resp.Header.Get("Cache-Tag"), serial)
		}
		return answer, err
	}
}

// overDNS asks over one socket.
func overDNS(network, at string, query []byte) func() ([]byte, error) {
	client := &dns.Client{Net: network}
	var conn *dns.Conn
	return func() (answer []byte, err error) {
		if conn == nil {
			if conn, err = client.Dial(at); err != nil {
				return nil, err
			}
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err = conn.Write(query); err != nil {
			return nil, err
		}
		return conn.ReadMsgHeader(nil)
	}
}
