package edgetest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A session is one run against one edge.
type session struct {
	client  *http.Client
	baseURL string
	known   vars
}

func newSession(client *http.Client, baseURL string) *session {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &session{client: &own, baseURL: strings.TrimSuffix(baseURL, "/"), known: newVars(0)}
}

// learn reads the serial from the SOA of the first zone. The serial of a World
// is the second in which it was made, so all its times follow from it.
func (s *session) learn(state State) error {
	if state == Empty || state == Expired || state == Limited {
		return nil // such a host tells nobody anything
	}
	query, err := newQuery(zones()[0].Suffix + ". SOA")
	if err != nil {
		return err
	}
	x := exchange{query: query, method: "GET", target: "/dns-query?dns={query}"}
	if state == Keyed {
		x.fields = []field{{"authorization", "Bearer " + Key}}
	}
	r, err := s.send(x, s.known)
	if err != nil {
		return err
	}
	now, err := serialOf(r.body)
	if err != nil {
		return fmt.Errorf("status %s: %w", r.status, err)
	}
	s.known = newVars(now)
	return nil
}

// run asks a case and compares each answer. The transcript says what came,
// whether or not it was right; the error says what was wrong.
func (s *session) run(c Case) (transcript string, err error) {
	v := vars{}
	for name, value := range s.known {
		v[name] = value
	}
	var wrong []string
	for _, x := range c.spelledOut() {
		r, err := s.send(x, v)
		if err != nil {
			return transcript, fmt.Errorf("%s: %w", x.method, err)
		}
		masked, problems := check(x, r, v)
		transcript += masked
		for _, p := range problems {
			wrong = append(wrong, fmt.Sprintf("%s %s: %s", x.method, shorten(v.fill(x.target)), p))
		}
	}
	if len(wrong) > 0 {
		return transcript, fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return transcript, nil
}

// shorten keeps failures readable when a target is thousands of bytes long.
func shorten(target string) string {
	const most = 120
	if len(target) > most {
		return target[:most] + "…"
	}
	return target
}

// spelledOut gives the exchanges of a case. A dialogue becomes three: by GET,
// by POST, and by POST in mixed case.
func (c Case) spelledOut() []exchange {
	if !c.Dialogue() {
		return c.exchanges
	}
	post := c.exchanges[0]
	post.status, post.wantFields = "200", []field{{"content-type", "application/dns-message"}}
	get := post
	get.method, get.target = "GET", "/dns-query?dns={query}"
	post.method, post.target, post.body = "POST", "/dns-query", "{query}"
	post.fields = []field{{"content-type", "application/dns-message"}}
	mixed := post
	mixed.query = mixCase(post.query)
	return []exchange{get, post, mixed}
}

// A reply is what came back.
type reply struct {
	status string
	header http.Header
	body   []byte
}

// send asks one exchange and reads the whole reply.
func (s *session) send(x exchange, v vars) (*reply, error) {
	target := strings.ReplaceAll(v.fillRequest(x.target), "{query}", base64.RawURLEncoding.EncodeToString(x.query))
	body := strings.ReplaceAll(v.fillRequest(x.body), "{query}", string(x.query))
	u, err := url.Parse(s.baseURL + target)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(x.method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == "" && x.method != http.MethodPost {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("accept-encoding", "identity")
	for _, f := range x.fields {
		req.Header.Add(f.name, v.fill(f.value))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := &reply{status: strconv.Itoa(resp.StatusCode), header: resp.Header}
	r.body, err = io.ReadAll(resp.Body)
	return r, err
}

// check compares a reply with what the exchange expects and with the rules
// that hold for every reply. It returns the reply as text for a transcript,
// and each thing that is wrong.
func check(x exchange, r *reply, v vars) (transcript string, wrong []string) {
	if r.status != x.status {
		wrong = append(wrong, fmt.Sprintf("status: got %s, want %s; body: %s", r.status, x.status, printable(r.body)))
	}
	masked := r.header.Clone()
	for _, want := range x.wantFields {
		value, problem := checkField(want, r.header, v)
		if problem != "" {
			wrong = append(wrong, problem)
		} else if value != "" {
			masked.Set(want.name, value)
		}
	}
	body, problem := checkBody(x, r, v)
	if problem != "" {
		wrong = append(wrong, problem)
	}
	wrong = append(wrong, brokenRules(x, r)...)
	return x.method + " " + r.status + "\n" + fieldLines(x, masked) + body + "\n", wrong
}

// checkField compares one header field.
func checkField(want field, got http.Header, v vars) (masked, problem string) {
	value := strings.Join(got.Values(want.name), ", ")
	if want.value == "-" {
		if value != "" {
			return "", fmt.Sprintf("header %s: got %q, want none", want.name, value)
		}
		return "", ""
	}
	masked, ok := pattern(want.value).match(value, v)
	if !ok {
		return "", fmt.Sprintf("header %s: got %q, want %q", want.name, value, v.fill(want.value))
	}
	return masked, ""
}

// hostFields are header fields that are the host's or the connection's own.
var hostFields = []string{"Date", "Server", "Connection", "Keep-Alive", "Alt-Svc", "Content-Length", "Transfer-Encoding", "Vary", "Cf-Ray", "Strict-Transport-Security"}

// fieldLines gives the header fields that a core decides, sorted. The seconds
// of max-age depend on the moment of asking unless the case names them.
func fieldLines(x exchange, header http.Header) string {
	named := slices.ContainsFunc(x.wantFields, func(f field) bool { return f.name == "cache-control" })
	var lines []string
	for name, values := range header {
		if slices.Contains(hostFields, name) {
			continue
		}
		value := strings.Join(values, ", ")
		if name == "Cache-Control" && !named {
			value = maxAge.ReplaceAllString(value, "max-age={n}")
		}
		lines = append(lines, strings.ToLower(name)+": "+value+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
