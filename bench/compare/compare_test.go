package main

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ucedge/origin/zonefile"
	"ucedge/snapshot"
)

// TestMadeWorld compares a small made world, with few random addresses.
func TestMadeWorld(t *testing.T) {
	var out bytes.Buffer
	same, err := compareWorld(&out, maker{"made world", func(dir string) (*world, error) { return madeWorld(dir, 500) }}, 100, 3)
	if errors.Is(err, errSkip) {
		t.Skip(err)
	}
	if err != nil || !same {
		t.Errorf("same = %v, %v\n%s", same, err, out.String())
	}
}

// TestDifferencesAreFound changes our side behind the back of rbldnsd: each
// change must be told, and by its name.
func TestDifferencesAreFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world)
		want   string
	}{
		{"nothing", func(w *world) {}, ""},
		{"listing left out", func(w *world) { w.listings = slices.Delete(w.listings, firstListed(w), firstListed(w)+1) }, "listed there only"},
		{"exclusions left out", func(w *world) {
			w.listings = slices.DeleteFunc(w.listings, func(l snapshot.Listing) bool { return l.Excluded })
		}, "listed here only"},
		{"code", func(w *world) { w.zones[0].Code = [4]byte{127, 0, 0, 9} }, "other A data"},
		{"text", func(w *world) { w.listings[firstListed(w)].Text = "another" }, "other TXT data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			small := maker{"small", func(dir string) (*world, error) { return smallWorld(dir, c.change) }}
			var out bytes.Buffer
			same, err := compareWorld(&out, small, 50, 3)
			if errors.Is(err, errSkip) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if same != (c.want == "") || !strings.Contains(out.String(), c.want) {
				t.Errorf("same = %v, want %q in\n%s", same, c.want, out.String())
			}
		})
	}
}

// smallWorld is one zone, changed on our side after rbldnsd has its file.
func smallWorld(dir string, change func(w *world)) (*world, error) {
	var w world
	const text = ":127.0.0.2:$ listed\n127.0.0.2\n9.1.1.1\n9.1.2.0/24\n!9.1.2.128/25\n"
	err := w.add(dir, zoneSpec{"bl.example", zonefile.IP4Trie, "bl.example"}, []byte(text), snapshot.Zone{Suffix: "bl.example", Level: snapshot.Address})
	if err != nil {
		return nil, err
	}
	asked := slices.Clone(w.listings)
	change(&w)
	if err := w.build(); err != nil {
		return nil, err
	}
	w.listings = asked
	return &w, nil
}

func firstListed(w *world) int {
	return slices.IndexFunc(w.listings, func(l snapshot.Listing) bool { return !l.Excluded })
}

func TestBelow(t *testing.T) {
	for _, c := range []struct{ labels, want string }{
		{"1.", "1.0.0.0/8 1000::/4"},
		{"10.", "10.0.0.0/8"},
		{"0.1.", "1.0.0.0/16 1000::/8"},
		{"3.2.1.", "1.2.3.0/24 1230::/12"},
		{"4.3.2.1.", "1234::/16"},
		{"f.f.", "ff00::/8"},
		{"04.1.", ""},
		{"256.", ""},
		{"x.", ""},
		{"40.3.2.1.", ""},
	} {
		var got []string
		for _, p := range below(c.labels) {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("below(%q) = %q, want %q", c.labels, s, c.want)
		}
	}
}

func TestAnyIn(t *testing.T) {
	list := []netip.Addr{netip.MustParseAddr("9.1.1.1"), netip.MustParseAddr("2600::1")}
	for prefix, want := range map[string]bool{
		"9.0.0.0/8": true, "10.0.0.0/8": false, "2600::/16": true, "2601::/16": false,
		"::/4": true, "::ffff:9.0.0.0/104": true, "::ffff:10.0.0.0/104": false, "::ffff:0:0/96": true, "1000::/4": false,
	} {
		if got := anyIn(list, netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("anyIn(%s) = %v, want %v", prefix, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	nxdomain, nodata := reply{rcode: dns.RcodeNameError}, reply{}
	listed, other := reply{data: []string{"127.0.0.2"}}, reply{data: []string{"127.0.0.3"}}
	for _, c := range []struct {
		labels   string
		nature   nature
		us, them reply
		kind     string
		allowed  bool
	}{
		{"2.1.", partial, nodata, nxdomain, "empty non-terminal: NODATA here, NXDOMAIN there", true},
		{"2.1.", partial, nxdomain, nodata, "other RCODE", false},
		{"4.3.2.1.", address, nodata, nxdomain, "empty non-terminal: NODATA here, NXDOMAIN there", true},
		{"40.3.2.1.", address, nodata, nxdomain, "other RCODE", false},
		{"04.3.2.1.", zeros, nxdomain, listed, "leading zeros: NXDOMAIN here, listed there", true},
		{"04.3.2.1.", zeros, listed, nxdomain, "listed here only", false},
		{"40.3.2.1.", address, nxdomain, listed, "listed there only", false},
		{"40.3.2.1.", address, listed, nxdomain, "listed here only", false},
		{"40.3.2.1.", address, listed, other, "other A data", false},
		{"40.3.2.1.", address, reply{broken: errSkip}, other, "unreadable answer", false},
	} {
		q := question{labels: c.labels, nature: c.nature, qtype: dns.TypeA}
		if got := classify(&q, c.us, c.them); got != (difference{c.kind, c.allowed}) {
			t.Errorf("classify(%q, %s, %s) = %v, want %q", c.labels, c.us, c.them, got, c.kind)
		}
	}
}

// TestWire holds the questions against the DNS library.
func TestWire(t *testing.T) {
	for _, labels := range []string{"", "1.", "2.0.0.127.", reversed(netip.MustParseAddr("2600::1"))} {
		q := question{labels: labels, qtype: dns.TypeTXT}
		var m dns.Msg
		if err := m.Unpack(q.wire(nil, 77, "bl.example")); err != nil {
			t.Fatalf("%q: %v", labels, err)
		}
		if m.Id != 77 || len(m.Question) != 1 || m.Question[0] != (dns.Question{Name: labels + "bl.example.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}) {
			t.Errorf("%q became %v", labels, m.Question)
		}
	}
}

func TestUsage(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"-h"}, &out, &errs); code != 0 || !strings.Contains(errs.String(), "-random") {
		t.Errorf("run -h = %d, %q", code, errs.String())
	}
	if code := run([]string{"-nonsense"}, &out, &errs); code != 2 {
		t.Errorf("run -nonsense = %d", code)
	}
}
