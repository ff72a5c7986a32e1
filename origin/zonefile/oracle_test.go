package zonefile

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ucedge/origin/reserved"
	"ucedge/snapshot"
)

// An oracle is a running rbldnsd.
type oracle struct {
	address string
	client  *dns.Client
}

// startOracle runs rbldnsd over zone specifications whose files lie in dir. It
// skips the test if there is no rbldnsd, and returns nil if it refuses them.
func startOracle(t *testing.T, dir string, options []string, zones ...string) *oracle {
	t.Helper()
	path, err := exec.LookPath("rbldnsd")
	if err != nil {
		if path = "/usr/sbin/rbldnsd"; !isFile(path) {
			t.Skip("skipped: no rbldnsd on this machine")
		}
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).Port
	conn.Close()
	args := append(options, "-n", "-a", "-c", "0", "-w", dir, "-b", fmt.Sprintf("127.0.0.1/%d", port))
	cmd := exec.Command(path, append(args, zones...)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill(); <-gone })
	o := &oracle{fmt.Sprintf("127.0.0.1:%d", port), &dns.Client{Timeout: 2 * time.Second}}
	for range 100 {
		select {
		case <-gone:
			gone <- nil
			t.Logf("rbldnsd refuses the files: %s", log.String())
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		if _, _, err := o.client.Exchange(new(dns.Msg).SetQuestion("version.bind.", dns.TypeTXT), o.address); err == nil {
			return o
		}
	}
	t.Fatalf("rbldnsd does not answer: %s", log.String())
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// ownerName is the name of an address in a zone; an IPv4-mapped one is written
// in nibbles.
func ownerName(a netip.Addr, suffix string) string {
	var b strings.Builder
	for _, octet := range slices.Backward(a.AsSlice()) {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", octet)
		} else {
			fmt.Fprintf(&b, "%x.%x.", octet&15, octet>>4)
		}
	}
	return b.String() + suffix + "."
}

// ask returns the A and TXT data of an address in a zone.
func (o *oracle) ask(t *testing.T, a netip.Addr, suffix string) (codes, texts []string) {
	t.Helper()
	name := ownerName(a, suffix)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT} {
		m, _, err := o.client.Exchange(new(dns.Msg).SetQuestion(name, qtype), o.address)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				codes = append(codes, rr.A.String())
			case *dns.TXT:
				texts = append(texts, strings.Join(rr.Txt, ""))
			}
		}
	}
	return codes, texts
}

// expected is the rule of a zone as a linear scan over its listings.
func expected(z snapshot.Zone, listings []snapshot.Listing, a netip.Addr) (code, text string) {
	var best *snapshot.Listing
	for i, l := range listings {
		if l.Level == z.Level && l.Prefix.Contains(a) && (best == nil || l.Prefix.Bits() > best.Prefix.Bits()) {
			best = &listings[i]
		}
	}
	template := z.Text
	switch {
	case a == testPoint4:
		best = &snapshot.Listing{Prefix: netip.PrefixFrom(a, 32)}
		if z.TestText != "" {
			template = z.TestText
		}
	case best == nil || best.Excluded || a == neverList4:
		return "", ""
	case best.Text != "":
		template = best.Text
	}
	return netip.AddrFrom4(z.Code).String(), presentation(Expand(template, *best, z, a.String()))
}

// presentation writes a text as the DNS library shows one.
func presentation(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// probes are the first and last address of every listing, and their
// neighbours.
func probes(r *Result) []netip.Addr {
	list := []netip.Addr{testPoint4, neverList4}
	for _, l := range r.Listings {
		first := l.Prefix.Addr()
		last := lastOf(l.Prefix)
		list = append(list, first, first.Prev(), last, last.Next())
	}
	list = slices.DeleteFunc(list, func(a netip.Addr) bool { return !a.IsValid() })
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// TestOracle asks rbldnsd over every golden file and over its export.
func TestOracle(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(filepath.Base(g.path), func(t *testing.T) {
			r, err := Parse(g.options, Source{"file", bytes.NewReader(g.text)})
			if err != nil {
				t.Skipf("skipped: not in its time: %v", err)
			}
			dir := oracleDir(t)
			writeFile(t, dir, "in", g.text)
			var options []string
			if g.options.AllowHostBits {
				options = []string{"-e"}
			}
			asked := probes(r)
			if o := startOracle(t, dir, options, fmt.Sprintf("bl.example:%s:in", r.Kind)); o != nil {
				for _, z := range r.Zones {
					compareImport(t, o, r, z, asked, g.options.AllowSpecialUse)
				}
			}
			for _, z := range r.Zones {
				if z.Level == snapshot.Combined {
					continue
				}
				var file bytes.Buffer
				kind, err := Export(&file, z, r.Serial, r.Listings)
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, dir, "out", file.Bytes())
				o := startOracle(t, dir, nil, fmt.Sprintf("%s:%s:out", z.Suffix, kind))
				if o == nil {
					t.Fatalf("rbldnsd refuses what was exported:\n%s", file.Bytes())
				}
				compareExport(t, o, r, z, asked, kind)
			}
		})
	}
}

// oracleDir is a folder that rbldnsd, which drops its rights, can read.
func oracleDir(t *testing.T) string {
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeFile(t *testing.T, dir, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// inFamily returns an IPv4 address as the datasets of IPv6 know it.
func inFamily(a netip.Addr, kind Kind) netip.Addr {
	if kind.is6() {
		return netip.AddrFrom16(a.As16())
	}
	return a
}

// compareImport holds the result against rbldnsd on the same file. Where the
// import reported that it cannot keep a code or the lack of a text, only the
// rest counts; an ip4set may give several texts, of which ours must be one.
func compareImport(t *testing.T, o *oracle, r *Result, z snapshot.Zone, asked []netip.Addr, special bool) {
	t.Helper()
	kept := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kept })
	for _, a := range asked {
		_, isSpecial := reserved.Covering(netip.PrefixFrom(a, a.BitLen()))
		if z.Level == snapshot.Combined || !special && a != testPoint4 && isSpecial {
			continue
		}
		code, text := expected(z, r.Listings, a)
		codes, texts := o.ask(t, inFamily(a, r.Kind), z.Suffix)
		if a == testPoint4 && len(codes) == 0 {
			continue // listed in all our zones, and in none of rbldnsd's without an entry
		}
		switch {
		case (code != "") != (len(codes) > 0):
			t.Errorf("%s in %s: rbldnsd says %q, the import %q", a, z.Suffix, codes, code)
		case code != "" && !kept && !slices.Contains(codes, code):
			t.Errorf("%s in %s: rbldnsd has A %q, the import %s", a, z.Suffix, codes, code)
		case len(texts) == 0 && (kept || text == ""):
		case code != "" && !slices.Contains(texts, text):
			t.Errorf("%s in %s: rbldnsd has TXT %q, the import %q", a, z.Suffix, texts, text)
		case len(texts) > 1 && r.Kind != IP4Set && r.Kind != Combined:
			t.Errorf("%s in %s: rbldnsd has %d texts", a, z.Suffix, len(texts))
		}
	}
}

// compareExport holds rbldnsd on an exported file against the result.
func compareExport(t *testing.T, o *oracle, r *Result, z snapshot.Zone, asked []netip.Addr, kind Kind) {
	t.Helper()
	for _, a := range asked {
		if a == testPoint4 && z.TestText == "" && speaksOfFacts(z.Text) {
			continue // no default line can say it
		}
		code, text := expected(z, r.Listings, a)
		codes, texts := o.ask(t, inFamily(a, kind), z.Suffix)
		if kind.is6() && a.Is4() {
			text = strings.ReplaceAll(text, a.String(), mappedText(a)) // as rbldnsd writes it
		}
		if strings.Join(codes, " ") != code || strings.Join(texts, " ") != text {
			t.Errorf("%s in the exported %s: rbldnsd has A %q and TXT %q, the result %q and %q", a, z.Suffix, codes, texts, code, text)
		}
	}
}
