package edgetest

import (
	"fmt"
	"strconv"
	"strings"
)

// A Case is one or more exchanges with an edge, as text:
//
//	-- name of the case --
//	# why, and where it is written
//	query 1.2.0.192.dnsbl-1.bl.example. A rd     a DNS message; see newQuery for the words
//	> GET /dns-query?dns={query}                 what is sent: request line,
//	> accept: application/dns-message            header fields, and after an
//	>                                            empty line the body
//	< 200                                        what must come back: status,
//	< content-type: application/dns-message      header fields ("-" means absent),
//	answer noerror aa rd                         and one kind of body
//	1.2.0.192.dnsbl-1.bl.example. 300 IN A 127.0.0.2
//
// The kinds of body are:
//
//	answer RCODE FLAGS   a DNS message, records below; see render
//	json                 exactly this JSON, order of members included; white space is free
//	members              JSON that has at least these members
//	text                 exactly this text
//	empty                no body
//
// An IPv6 address in braces stands for its 32 nibbles in reverse, and a prefix
// for the nibbles that it has: {2001:db8::/32} is 8.b.d.0.1.0.0.2.
//
// A case without a request is asked three ways: by GET, by POST, and by POST
// in the mixed case of RFC draft 0x20. Another ">" after a "<" begins the next
// exchange. Words in braces are filled in; see type pattern.
type Case struct {
	Name      string
	File      string
	Line      int
	exchanges []exchange
}

// Dialogue reports whether the case is a DNS query with its answer and nothing
// of HTTP, so that it holds over any transport.
func (c Case) Dialogue() bool {
	return len(c.exchanges) == 1 && c.exchanges[0].method == "" && c.exchanges[0].status == ""
}

// An exchange is one request and what must come back.
type exchange struct {
	query  []byte // DNS message, for {query}
	method string
	target string
	fields []field
	body   string
	inBody bool // the empty line of the request has passed

	status     string
	wantFields []field
	kind       string // of the body, or empty for any
	want       []string
}

// A field is a header field; in an expectation the value is a pattern.
type field struct{ name, value string }

// parseCases reads the cases of one file.
func parseCases(file, prefix, text string) ([]Case, error) {
	var cases []Case
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		fail := func(err error) ([]Case, error) { return nil, fmt.Errorf("%s:%d: %w", file, i+1, err) }
		if name, ok := caseName(line); ok {
			if seen[name] {
				return fail(fmt.Errorf("second case %q", name))
			}
			seen[name] = true
			cases = append(cases, Case{Name: prefix + "/" + name, File: file, Line: i + 1, exchanges: make([]exchange, 1)})
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") || len(cases) == 0 {
			continue // the file's own introduction, and comments
		}
		if err := cases[len(cases)-1].addLine(nibbles(line)); err != nil {
			return fail(err)
		}
	}
	for _, c := range cases {
		if err := c.complete(); err != nil {
			return nil, fmt.Errorf("%s:%d: case %q: %w", file, c.Line, c.Name, err)
		}
	}
	return cases, nil
}

// caseName reads a line that begins a case.
func caseName(line string) (string, bool) {
	name, ok := strings.CutPrefix(line, "-- ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(name, " --")
}

// complete reports what a case lacks.
func (c Case) complete() error {
	for _, x := range c.exchanges {
		switch {
		case x.status == "" && x.kind != "answer":
			return fmt.Errorf("expects nothing")
		case x.method == "" && len(x.query) == 0:
			return fmt.Errorf("asks nothing")
		}
	}
	return nil
}

// addLine adds one line of a case's text to it.
func (c *Case) addLine(line string) error {
	x := &c.exchanges[len(c.exchanges)-1]
	if sent, ok := cutMark(line, ">"); ok {
		if x.status != "" {
			c.exchanges = append(c.exchanges, exchange{query: x.query})
			x = &c.exchanges[len(c.exchanges)-1]
		}
		return x.addSent(sent)
	}
	if got, ok := cutMark(line, "<"); ok {
		return x.addReceived(got)
	}
	if x.kind != "" {
		x.want = append(x.want, line)
		return nil
	}
	return x.addWord(line)
}

// cutMark takes the mark and the space after it off a line.
func cutMark(line, mark string) (string, bool) {
	if line == mark {
		return "", true
	}
	return strings.CutPrefix(line, mark+" ")
}

// addSent adds a line of the request.
func (x *exchange) addSent(line string) error {
	switch {
	case x.method == "":
		var ok bool
		if x.method, x.target, ok = strings.Cut(line, " "); !ok {
			return fmt.Errorf("request line %q has no target", line)
		}
	case x.inBody:
		if x.body != "" {
			x.body += "\n"
		}
		x.body += line
	case line == "":
		x.inBody = true
	default:
		return addField(&x.fields, line)
	}
	return nil
}

// addReceived adds a line of the expected response.
func (x *exchange) addReceived(line string) error {
	if x.status != "" {
		return addField(&x.wantFields, line)
	}
	if _, err := strconv.Atoi(line); err != nil {
		return fmt.Errorf("status %q is not a number", line)
	}
	x.status = line
	return nil
}

func addField(fields *[]field, line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("header field %q has no colon", line)
	}
	*fields = append(*fields, field{name, strings.TrimSpace(value)})
	return nil
}

// addWord adds a line that begins with a word: the query, or a kind of body.
func (x *exchange) addWord(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "query":
		x.query, err = newQuery(rest)
	case "wire":
		x.query, err = parseHex(rest)
	case "answer":
		x.kind, x.want = word, []string{rest}
	case "json", "members", "text", "empty":
		x.kind = word
	default:
		err = fmt.Errorf("line begins with the unknown word %q", word)
	}
	return err
}
