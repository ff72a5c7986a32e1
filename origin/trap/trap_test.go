package trap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"math/big"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// memory is a sink that holds reports, and can fail before or after it does.
type memory struct {
	mu      sync.Mutex
	reports map[report.Key]report.Report
	before  error
	after   error
}

func (m *memory) Deliver(_ context.Context, r report.Report) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		return m.before
	}
	m.reports[r.Key()] = r
	return m.after
}

func (m *memory) fail(before, after error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before, m.after = before, after
}

func (m *memory) all() []report.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []report.Report
	for _, r := range m.reports {
		all = append(all, r)
	}
	return all
}

// start runs a trap for bait@trap.example and all of trap2.example.
func start(t *testing.T, change func(*Settings)) (address string, sink *memory) {
	t.Helper()
	sink = &memory{reports: map[report.Key]report.Report{}}
	s := Settings{
		Name: "mx.trap.example", Traps: []string{"Bait@trap.example", "@trap2.example"}, Reporter: "trap-a", Sink: sink,
		Clock: func() time.Time { return noon },
	}
	if change != nil {
		change(&s)
	}
	trap, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- trap.Serve(l) }()
	t.Cleanup(func() {
		trap.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), sink
}

// A line of a dialogue is what the peer says and the code that it wants back.
// What it says is sent with CRLF behind it.
type line struct {
	say  string
	code int
}

// talk holds a dialogue. The first line says nothing: it is the greeting.
func talk(t *testing.T, address string, lines ...line) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	answers := bufio.NewReader(c)
	for i, l := range append([]line{{"", 220}}, lines...) {
		if i > 0 {
			if _, err := c.Write([]byte(l.say + "\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		code, text := answer(t, answers)
		if code != l.code {
			t.Fatalf("%.60q is answered %d %s, want %d", l.say, code, text, l.code)
		}
	}
}

// answer reads one answer, which may have several lines (RFC 5321 4.2.1).
func answer(t *testing.T, r *bufio.Reader) (code int, text string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 4 {
			t.Fatalf("answer %q: %v", line, err)
		}
		code, err = strconv.Atoi(line[:3])
		if err != nil {
			t.Fatalf("answer %q: %v", line, err)
		}
		text += line[4:]
		if line[3] == ' ' {
			return code, strings.TrimSpace(text)
		}
	}
}

const mail = "Received: from victim.example (victim.example [203.0.113.5]) by mx.trap.example; Sun, 22 Nov 2026 11:00:00 +0000\r\n" +
	"Received: from [198.51.100.7] by victim.example\r\n" +
	"Subject: cheap watches\r\nTo: bait@trap.example\r\n\r\nBuy.\r\n..\r\n"

// deliver sends a mail with the standard library's client.
func deliver(address string, to ...string) error {
	return smtp.SendMail(address, nil, "spam@shop.example", to, []byte(mail))
}

// TestReport: the peer is reported, whatever the header says.
func TestReport(t *testing.T) {
	address, sink := start(t, nil)
	if err := deliver(address, "bait@trap.example"); err != nil {
		t.Fatal(err)
	}
	want := report.Report{Address: netip.MustParseAddr("127.0.0.1"), Seen: noon.Unix(), Reporter: "trap-a", Kind: snapshot.Spamtrap}
	got := sink.all()
	if len(got) != 1 {
		t.Fatalf("reports: %v", got)
	}
	if !evidenceName.MatchString(got[0].Evidence) {
		t.Errorf("evidence id %q", got[0].Evidence)
	}
	got[0].Evidence = ""
	if got[0] != want {
		t.Errorf("report is %v, want %v", got[0], want)
	}
}

// TestRecipients: mail is taken for traps only, under any spelling of a relay.
func TestRecipients(t *testing.T) {
	address, sink := start(t, nil)
	for to, code := range map[string]int{
		"bait@trap.example": 250, "BAIT@Trap.Example": 250, "anyone@trap2.example": 250, "\"odd name\"@trap2.example": 250,
		"other@trap.example": 550, "bait@trap.example.org": 550, "bait@sub.trap2.example": 550, "bait@shop.example": 550,
		"victim%shop.example@trap.example": 550, "shop.example!victim@trap.example": 550, "\"victim@shop.example\"@trap.example": 550,
		"victim@[203.0.113.5]": 550, "bait@trap.example@shop.example": 550, "": 501, "postmaster": 501,
	} {
		talk(t, address, line{"EHLO shop.example", 250}, line{"MAIL FROM:<>", 250}, line{"RCPT TO:<" + to + ">", code}, line{"QUIT", 221})
	}
	// A source route is to be read over (RFC 5321 appendix C): what counts is where it ends.
	talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<>", 250}, line{"RCPT TO:<@shop.example:bait@trap.example>", 250},
		line{"RCPT TO:<@trap.example,@trap2.example:victim@shop.example>", 550})
	if got := sink.all(); len(got) != 0 {
		t.Errorf("reports without mail: %v", got)
	}
}

// TestNoRelay: a mail whose recipients were all refused is not taken, and one
// with a trap among others is reported and goes nowhere.
func TestNoRelay(t *testing.T) {
	address, sink := start(t, nil)
	talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<a@shop.example>", 250}, line{"RCPT TO:<victim@shop.example>", 550}, line{"DATA", 502})
	talk(t, address, line{"EHLO a", 250}, line{"AUTH PLAIN AGEAYg==", 523}, line{"VRFY bait", 252}, line{"EXPN bait", 502}, line{"DATA", 502})
	if len(sink.all()) != 0 {
		t.Fatalf("reports: %v", sink.all())
	}
	talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<a@shop.example>", 250}, line{"RCPT TO:<victim@shop.example>", 550},
		line{"RCPT TO:<bait@trap.example>", 250}, line{"DATA", 354}, line{mail + ".", 250},
		line{"MAIL FROM:<a@shop.example>", 250}, line{"DATA", 502})
	if len(sink.all()) != 1 {
		t.Fatalf("reports: %v", sink.all())
	}
}

// TestSmuggling: what looks like an end of data to others is none here, so the
// mail behind it is part of the first one.
func TestSmuggling(t *testing.T) {
	address, sink := start(t, nil)
	talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<>", 250}, line{"RCPT TO:<bait@trap.example>", 250}, line{"DATA", 354},
		line{"Subject: a\r\n\r\nx\n.\nMAIL FROM:<>\r\n\n.\r\nRCPT TO:<bait@trap.example>\r\n.", 250}, line{"NOOP", 250})
	if len(sink.all()) != 1 {
		t.Errorf("reports: %v", sink.all())
	}
}

// TestSinkFails: without an acknowledgement the peer is told to try again, and
// when it does it is counted once.
func TestSinkFails(t *testing.T) {
	broken := errors.New("no connection")
	for name, set := range map[string]func(*memory){
		"before it stored": func(m *memory) { m.fail(broken, nil) },
		"after it stored":  func(m *memory) { m.fail(nil, broken) },
	} {
		address, sink := start(t, nil)
		set(sink)
		if err := deliver(address, "bait@trap.example"); err == nil || !strings.HasPrefix(err.Error(), "451") {
			t.Errorf("%s: peer is told %v, want 451", name, err)
		}
		sink.fail(nil, nil)
		if err := deliver(address, "bait@trap.example"); err != nil {
			t.Errorf("%s: second try: %v", name, err)
		}
		if got := sink.all(); len(got) != 1 {
			t.Errorf("%s: reports: %v", name, got)
		}
	}
	address, sink := start(t, nil)
	sink.fail(fmt.Errorf("%w: never listed", ErrRefused), nil)
	if err := deliver(address, "bait@trap.example"); err != nil {
		t.Errorf("refused for good: peer is told %v, want 250", err)
	}
}

// TestCut: a mail that was not sent to its end is not reported.
func TestCut(t *testing.T) {
	address, sink := start(t, nil)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bait@trap.example>\r\nDATA\r\n"+mail)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for _, want := range []int{220, 250, 250, 250, 354, 451} {
		if code, text := answer(t, r); code != want {
			t.Fatalf("answer is %d %s, want %d", code, text, want)
		}
	}
	if got := sink.all(); len(got) != 0 {
		t.Errorf("reports: %v", got)
	}
}

func TestLimits(t *testing.T) {
	t.Run("size", func(t *testing.T) {
		address, sink := start(t, func(s *Settings) { s.Limits.MessageBytes = 1000 })
		talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<> SIZE=2000", 552})
		talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<>", 250}, line{"RCPT TO:<bait@trap.example>", 250}, line{"DATA", 354},
			line{"Subject: x\r\n\r\n" + strings.Repeat("word\r\n", 300) + ".", 552}, line{"NOOP", 250})
		if len(sink.all()) != 0 {
			t.Errorf("reports: %v", sink.all())
		}
	})
	t.Run("recipients", func(t *testing.T) {
		address, _ := start(t, func(s *Settings) { s.Limits.Recipients = 2 })
		talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<>", 250}, line{"RCPT TO:<a@trap2.example>", 250},
			line{"RCPT TO:<b@trap2.example>", 250}, line{"RCPT TO:<c@trap2.example>", 452})
	})
	t.Run("rate", func(t *testing.T) {
		now := noon
		var mu sync.Mutex
		address, _ := start(t, func(s *Settings) {
			s.Limits.PeerPerMinute, s.Limits.PeerBurst = 1, 2
			s.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		})
		for _, code := range []string{"", "", "450"} {
			if err := deliver(address, "bait@trap.example"); (err != nil) != (code != "") || err != nil && !strings.HasPrefix(err.Error(), code) {
				t.Errorf("peer is told %v, want %q", err, code)
			}
		}
		mu.Lock()
		now = now.Add(time.Minute)
		mu.Unlock()
		if err := deliver(address, "bait@trap.example"); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
	t.Run("connections", func(t *testing.T) {
		address, _ := start(t, func(s *Settings) { s.Limits.PerPeer = 1 })
		first, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := answer(t, bufio.NewReader(first)); code != 220 {
			t.Fatalf("first: %d", code)
		}
		second, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if code, text := answer(t, bufio.NewReader(second)); code != 421 {
			t.Errorf("second: %d %s", code, text)
		}
		first.Close()
		for code := 0; code != 220; { // until the server has noticed
			again, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			code, _ = answer(t, bufio.NewReader(again))
			again.Close()
		}
	})
	t.Run("long session", func(t *testing.T) {
		address, _ := start(t, func(s *Settings) { s.Limits.SessionAtMost = 50 * time.Millisecond })
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		rest, err := bufio.NewReader(c).ReadString(0)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("session goes on after %q", rest)
		}
	})
	t.Run("reserved peer", func(t *testing.T) {
		address, sink := start(t, func(s *Settings) {
			s.Reserved = func(a netip.Addr) (string, bool) { return "loopback", a.IsLoopback() }
		})
		talk(t, address, line{"EHLO a", 250}, line{"MAIL FROM:<>", 550})
		if len(sink.all()) != 0 {
			t.Errorf("reports: %v", sink.all())
		}
	})
}

// certificate makes a server certificate for the name and who trusts it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestSTARTTLS(t *testing.T) {
	own, pool := certificate(t, "mx.trap.example")
	address, sink := start(t, func(s *Settings) { s.TLS = &tls.Config{Certificates: []tls.Certificate{own}} })
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{ServerName: "mx.trap.example", RootCAs: pool}); err != nil {
		t.Fatal(err)
	}
	if offered, how := c.Extension("AUTH"); offered {
		t.Errorf("AUTH %s is offered", how)
	}
	if err := errors.Join(c.Mail("spam@shop.example"), c.Rcpt("bait@trap.example")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
	if got := sink.all(); len(got) != 1 || got[0].Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("reports: %v", got)
	}
	clearBehindSTARTTLS(t, address, pool)
}

// clearBehindSTARTTLS: a command that somebody in between puts behind STARTTLS
// in the clear is not taken for one that came encrypted.
func clearBehindSTARTTLS(t *testing.T, address string, pool *x509.CertPool) {
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(plain)
	answer(t, r)
	fmt.Fprint(plain, "EHLO a\r\n")
	answer(t, r)
	fmt.Fprint(plain, "STARTTLS\r\nMAIL FROM:<>\r\n")
	if code, text := answer(t, r); code != 220 {
		t.Fatalf("STARTTLS is answered %d %s", code, text)
	}
	encrypted := tls.Client(plain, &tls.Config{ServerName: "mx.trap.example", RootCAs: pool})
	fmt.Fprint(encrypted, "QUIT\r\n")
	if code, text := answer(t, bufio.NewReader(encrypted)); code != 221 {
		t.Errorf("QUIT is answered %d %s: the command before it was taken", code, text)
	}
}

// TestSealed: with a key the header is kept, readable with the secret alone.
func TestSealed(t *testing.T) {
	secret, public, err := GenerateSealKey()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	address, sink := start(t, func(s *Settings) {
		if s.SealTo, err = ParseSealKey(public); err != nil {
			t.Fatal(err)
		}
		s.Keeper = NewFolder(folder)
	})
	for range 2 {
		if err := deliver(address, "bait@trap.example"); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 1 || files[0].Name() != sink.all()[0].Evidence+".sealed" {
		t.Fatalf("files: %v, %v", files, err)
	}
	sealed, err := os.ReadFile(filepath.Join(folder, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("watches")) {
		t.Error("the header is readable")
	}
	header, err := Unseal(secret, sealed)
	if want, _, _ := strings.Cut(mail, "\r\n\r\n"); err != nil || string(header) != want+"\r\n" {
		t.Errorf("header is %q, %v", header, err)
	}
	other, _, err := GenerateSealKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unseal(other, sealed); err == nil {
		t.Error("another key opens it")
	}
	for i := range sealed {
		damaged := bytes.Clone(sealed)
		damaged[i] ^= 1
		if _, err := Unseal(secret, damaged); err == nil {
			t.Fatalf("byte %d changed, and it opens", i)
		}
	}
	for _, text := range []string{"", public + "A", secret, publicMark + "####", publicMark + "AAAA"} {
		if _, err := ParseSealKey(text); err == nil {
			t.Errorf("key %q is taken", text)
		} else if strings.Contains(err.Error(), secret) {
			t.Error("the error tells the secret")
		}
	}
	if err := NewFolder(folder).Keep("../escape", sealed); err == nil {
		t.Error("an odd id becomes a file")
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(address, nil, "a@shop.example", []string{"bait@trap.example"}, []byte("Subject: other\r\n\r\nx\r\n")); err == nil || !strings.HasPrefix(err.Error(), "451") {
		t.Errorf("header not kept: peer is told %v, want 451", err)
	}
	if len(sink.all()) != 1 {
		t.Errorf("reports: %v", sink.all())
	}
}

// TestDropped: by default nothing of a mail is written anywhere.
func TestDropped(t *testing.T) {
	if _, err := New(Settings{Name: "a", Traps: []string{"@a.example"}, Reporter: "a", Sink: &memory{}, Clock: time.Now, Keeper: NewFolder(".")}); err == nil {
		t.Error("a keeper without a key is taken")
	}
}

func TestEvidenceID(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	id := func(peer netip.Addr, header string, minutes int64) string {
		return evidenceID(peer, []byte(header), noon.Unix()+60*minutes)
	}
	base := id(a, "x", 0)
	if id(a, "x", 59) != base {
		t.Error("the same mail within the hour is another report")
	}
	for what, other := range map[string]string{"peer": id(b, "x", 0), "header": id(a, "y", 0), "hour": id(a, "x", 60)} {
		if other == base {
			t.Errorf("another %s is the same report", what)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, traps := range [][]string{nil, {""}, {"trap.example"}, {"bait@"}} {
		if _, err := New(Settings{Name: "a", Traps: traps, Reporter: "a", Sink: &memory{}, Clock: time.Now}); err == nil {
			t.Errorf("traps %q are taken", traps)
		}
	}
	if _, err := New(Settings{}); err == nil {
		t.Error("no settings are taken")
	}
}

// TestCannotSend: nothing in this package opens a connection for mail. The
// sink's HTTP client is all that goes out.
func TestCannotSend(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if path := strings.Trim(spec.Path.Value, `"`); path == "net/smtp" || path == "os/exec" {
				t.Errorf("%s imports %s", file, path)
			}
		}
		for _, word := range []string{"Dial", "SendMail", "NewClient", "exec."} {
			if bytes.Contains(source, []byte(word)) {
				t.Errorf("%s uses %s", file, word)
			}
		}
	}
}

func TestLedgerSink(t *testing.T) {
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address, _ := start(t, func(s *Settings) { s.Sink = LedgerSink{l} })
	if err := deliver(address, "bait@trap.example", "other@trap2.example"); err != nil {
		t.Fatal(err)
	}
	found, err := l.Reports(context.Background(), netip.MustParsePrefix("127.0.0.1/32"), 0, ledger.MaxTime)
	if err != nil || len(found) != 1 || found[0].Reporter != "trap-a" {
		t.Errorf("ledger has %v, %v", found, err)
	}
	err = LedgerSink{l}.Deliver(context.Background(), report.Report{})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("invalid report: %v, want %v", err, ErrRefused)
	}
}
