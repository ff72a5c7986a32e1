package core

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ucedge/snapshot"
)

var update = flag.Bool("update", false, "write what the core answers into the dialogues")

// A scene is what a dialogue sets before it asks: the time, the gate, and
// which snapshot there is.
type scene struct {
	cores map[string]*Core
	core  string
	now   int64
	gate  Gate
}

func newScene(t testing.TB) *scene {
	named := worldManifest
	named.Host = "doh.bl.example"
	ported, unnamed := worldManifest, worldManifest
	ported.Host, unnamed.Host = "doh.bl.example:8443", "doh.bl.example:0"
	world := newWorld(t)
	return &scene{
		cores: map[string]*Core{
			"world":    New(world, worldManifest),
			"named":    New(world, named),
			"ported":   New(world, ported),
			"unnamed":  New(world, unnamed),
			"filtered": New(newFiltered(t), worldManifest),
			"advice":   New(newSnapshot(t, adviceWorld(snapshot.Profile{Name: "classic"})), worldManifest),
			"impacts":  New(newSnapshot(t, adviceWorld(snapshot.Profile{Name: "own", Text: "counts = \"impacts\"\n"})), worldManifest),
			"none":     New(nil, Manifest{}),
		},
		core: "world",
		now:  noon,
	}
}

var gates = map[string]Gate{"open": Open, "no-key": NoKey, "bad-key": BadKey, "over-rate": OverRate, "keyed": Keyed}

// set obeys a line that sets the scene, and reports false if it is none.
func (s *scene) set(t *testing.T, line string) bool {
	verb, value, _ := strings.Cut(line, " ")
	switch verb {
	case "snapshot":
		if s.core = value; s.cores[value] == nil {
			t.Fatalf("%q: no such snapshot", line)
		}
	case "at": // seconds after noon
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.now = noon + seconds
	case "gate":
		gate, ok := gates[value]
		if !ok {
			t.Fatalf("%q: no such gate", line)
		}
		s.gate = gate
	default:
		return false
	}
	return true
}

// TestDialogues plays testdata/*.txt: DNS queries with the answers as zone
// files write them, and HTTP requests with their responses. A test with
// -update writes the answers; they are then to be read before they are kept.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d dialogues, want several (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { play(t, file) })
	}
}

// play plays one file: blocks apart by empty lines. A block is lines that set
// the scene, a question ("query …", or lines that begin with ">"), and what
// follows it.
func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	var out strings.Builder
	asked := 0
	for i, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		var question []string
		var want strings.Builder
		for _, line := range strings.Split(block, "\n") {
			switch {
			case strings.HasPrefix(line, "query ") || strings.HasPrefix(line, ">"):
				question = append(question, line)
				out.WriteString(line + "\n")
			case len(question) == 0 && (strings.HasPrefix(line, "#") || s.set(t, line)):
				out.WriteString(line + "\n")
			case len(question) == 0:
				t.Fatalf("%q: neither sets the scene nor asks", line)
			default:
				want.WriteString(line + "\n")
			}
		}
		if len(question) == 0 {
			continue
		}
		asked++
		got := s.ask(t, question)
		out.WriteString(got)
		if got != want.String() && !*update {
			t.Errorf("%s\ngot\n%swant\n%s", strings.Join(question, "\n"), got, want.String())
		}
	}
	if asked == 0 {
		t.Fatal("the file asks nothing")
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *scene) ask(t *testing.T, question []string) string {
	t.Helper()
	c := s.cores[s.core]
	if strings.HasPrefix(question[0], ">") {
		return s.askHTTP(t, c, question)
	}
	query := packQuery(t, strings.TrimPrefix(question[0], "query "))
	answer := c.AppendAnswer(nil, query, s.now, s.gate)
	if len(answer) == 0 {
		return "nothing\n"
	}
	return renderMessage(t, answer)
}

// packQuery gives the message that the words stand for: "hex" and its bytes,
// or a name, a type and options.
func packQuery(t testing.TB, words string) []byte {
	t.Helper()
	fields := strings.Fields(words)
	if fields[0] == "hex" {
		raw, err := hex.DecodeString(strings.Join(fields[1:], ""))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	m := new(dns.Msg)
	qtype, ok := typeByName(fields[1])
	if !ok {
		t.Fatalf("%q: no such type", fields[1])
	}
	m.Question = []dns.Question{{Name: fields[0], Qtype: qtype, Qclass: dns.ClassINET}}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 4096}}
	for _, word := range fields[2:] {
		setOption(t, m, opt, word)
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return raw
}

// setOption changes the message as the word says. Every word about EDNS adds
// the OPT record.
func setOption(t testing.TB, m *dns.Msg, opt *dns.OPT, word string) {
	t.Helper()
	verb, value, _ := strings.Cut(word, "=")
	switch verb {
	case "rd":
		m.RecursionDesired = true
		return
	case "cd":
		m.CheckingDisabled = true
		return
	case "id":
		id, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		m.Id = uint16(id)
		return
	case "class":
		m.Question[0].Qclass = dns.StringToClass[value]
		return
	case "opcode":
		m.Opcode = dns.StringToOpcode[value]
		return
	case "twice":
		m.Question = append(m.Question, m.Question[0])
		return
	case "edns":
	case "do":
		opt.SetDo()
	case "version":
		opt.SetVersion(value[0] - '0')
	case "pad":
		opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, 7)})
	case "cookie":
		opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "24a5ac1b2c3d4e5f"})
	case "ecs":
		p, err := netip.ParsePrefix(value)
		if err != nil {
			t.Fatal(err)
		}
		subnet := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
		if p.Addr().Is6() {
			subnet.Family = 2
		}
		opt.Option = append(opt.Option, subnet)
	case "option":
		code, data, _ := strings.Cut(value, ":")
		number, err := strconv.ParseUint(code, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: uint16(number), Data: raw})
	default:
		t.Fatalf("%q: no such option", word)
	}
	if len(m.Extra) == 0 || verb == "edns" {
		m.Extra = append(m.Extra, opt)
	}
}

// renderMessage gives a DNS answer as text.
func renderMessage(t testing.TB, raw []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("the answer cannot be read: %v\n%x", err, raw)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "answer %s", rcodeText(m.Rcode))
	for _, flag := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"rd", m.RecursionDesired}, {"ra", m.RecursionAvailable}, {"ad", m.AuthenticatedData}, {"cd", m.CheckingDisabled}} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	if m.Id != 0 {
		fmt.Fprintf(&b, " id=%d", m.Id)
	}
	if len(m.Question) == 0 {
		b.WriteString(" without question")
	}
	b.WriteString("\n")
	for _, rr := range m.Answer {
		b.WriteString(renderRecord(rr) + "\n")
	}
	for _, rr := range m.Ns {
		b.WriteString("authority " + renderRecord(rr) + "\n")
	}
	for _, rr := range m.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			b.WriteString(renderOptions(opt, len(raw)) + "\n")
		} else {
			b.WriteString("additional " + renderRecord(rr) + "\n")
		}
	}
	return b.String()
}

func renderRecord(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") }

func renderOptions(opt *dns.OPT, length int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "edns size=%d", opt.UDPSize())
	if opt.Version() != 0 {
		fmt.Fprintf(&b, " version=%d", opt.Version())
	}
	if opt.Do() {
		b.WriteString(" do")
	}
	for _, option := range opt.Option {
		switch o := option.(type) {
		case *dns.EDNS0_EDE:
			fmt.Fprintf(&b, " ede=%d %q", o.InfoCode, o.ExtraText)
		case *dns.EDNS0_SUBNET:
			fmt.Fprintf(&b, " ecs=%s/%d/%d", o.Address, o.SourceNetmask, o.SourceScope)
		case *dns.EDNS0_PADDING:
			fmt.Fprintf(&b, " padded to %d", length)
		default:
			fmt.Fprintf(&b, " option=%d", o.Option())
		}
	}
	return b.String()
}

// askHTTP plays one HTTP exchange. In the target and the body, {words} stands
// for the query that packQuery makes of them, in base64url or as it is; {etag}
// stands for the filter's tag.
func (s *scene) askHTTP(t *testing.T, c *Core, lines []string) string {
	t.Helper()
	req := Request{Now: s.now, Gate: s.gate}
	body := false
	for i, line := range lines {
		line = strings.TrimPrefix(strings.TrimPrefix(line, ">"), " ")
		switch {
		case i == 0:
			method, target, _ := strings.Cut(line, " ")
			req.Method, req.Target = []byte(method), []byte(expandQuery(t, target, base64.RawURLEncoding.EncodeToString))
		case body:
			req.Body = append(append(req.Body, expandQuery(t, line, func(b []byte) string { return string(b) })...), '\n')
		case line == "":
			body = true
		default:
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "accept":
				req.Accept = []byte(value)
			case "content-type":
				req.ContentType = []byte(value)
			case "if-none-match":
				req.IfNoneMatch = bytes.ReplaceAll([]byte(value), []byte("{etag}"), c.etag)
			default:
				t.Fatalf("%q: no such field", line)
			}
		}
	}
	req.Body = bytes.TrimSuffix(req.Body, []byte("\n"))
	var resp Response
	c.Serve(&req, &resp)
	text := renderResponse(t, &resp)
	if len(c.etag) > 0 { // it changes with every byte of the image's format
		text = strings.ReplaceAll(text, string(c.etag), "{etag}")
	}
	return text
}

// expandQuery replaces {query words} by the packed query.
func expandQuery(t testing.TB, text string, encode func([]byte) string) string {
	t.Helper()
	const head = "{query "
	before, rest, found := strings.Cut(text, head)
	if !found {
		return text
	}
	words, after, _ := strings.Cut(rest, "}")
	return before + encode(packQuery(t, words)) + after
}

func renderResponse(t testing.TB, resp *Response) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "< %d\n", resp.Status)
	media := ""
	for _, field := range resp.Fields {
		value := string(field.Value)
		if value == PagePolicy { // its hashes change with the page, not with the core
			value = "(the page's policy)"
		}
		fmt.Fprintf(&b, "< %s: %s\n", field.Name, value)
		if string(field.Name) == "content-type" {
			media = string(field.Value)
		}
	}
	body := string(resp.Body)
	switch {
	case resp.Ref == Filter:
		body += "(the filter object)"
	case resp.Ref == Page:
		body += "(the page)"
	case media == "application/dns-message":
		body = renderMessage(t, resp.Body)
	case strings.HasSuffix(media, "json"):
		var indented bytes.Buffer
		if err := json.Indent(&indented, resp.Body, "", " "); err != nil {
			t.Fatalf("the body is no JSON: %v\n%s", err, resp.Body)
		}
		body = indented.String()
	}
	if body != "" {
		b.WriteString("<\n")
		for line := range strings.Lines(strings.TrimSuffix(body, "\n") + "\n") {
			b.WriteString("< " + line)
		}
	}
	return b.String()
}

// typeByName returns the number of a type, of those too that the library does
// not know.
func typeByName(name string) (uint16, bool) {
	if name == "RESINFO" {
		return typeRESINFO, true
	}
	number, ok := dns.StringToType[name]
	return number, ok
}

// rcodeText returns the name of a response code. The library calls 16 by what
// it is called in a TSIG record.
func rcodeText(rcode int) string {
	if rcode == dns.RcodeBadVers {
		return "badvers"
	}
	return strings.ToLower(dns.RcodeToString[rcode])
}
