package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ucedge/core"
	"ucedge/edge/web"
)

const (
	// messageMax is the largest DNS message (RFC 1035 4.2.2), and the largest
	// body that the core reads.
	messageMax = 65535
	// bodyMax is how much of a body is read: one byte more than the core allows,
	// so that it sees that there is too much.
	bodyMax = messageMax + 1
	// keepMax is the largest buffer that is kept for the next request.
	keepMax = 1 << 17
)

// A Handler answers HTTP requests from an engine. It moves bytes, keeps time
// and decides who may ask; what an answer is, is the core's business. It serves
// two transports, net/http (http.go) and the lean HTTP/2 (lean.go), and what it
// says is the same over both.
type Handler struct {
	Engine  Engine
	Gate    *Gatekeeper      // nil lets everybody in
	Metrics *Metrics         // nil counts nothing
	Public  bool             // also serve /metrics, which an admin listener has anyway
	Log     *slog.Logger     // access log; nil writes none
	Every   uint64           // one request in Every is logged; 0 is as 1
	Now     func() time.Time // nil is time.Now

	draining atomic.Bool
	requests atomic.Uint64
}

// An exchange is the memory of one request and its response. A transport puts
// in what was asked and takes out what is to be sent.
type exchange struct {
	caller  Caller
	req     core.Request // its target and gate are the gatekeeper's to say
	accepts []byte       // Accept-Encoding
	proto   string
	start   time.Time // when the header arrived
	trouble int       // the status that a request earns by not arriving whole, or 0

	kind    string // of the path
	resp    core.Response
	content []byte // the body of the response: its own, or what its ref names
	lasting bool   // content never changes

	text []byte // the request's own strings, one after the other
	body []byte
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Drain makes /readyz say no, so that a load balancer sends its clients
// elsewhere while requests are still answered.
func (h *Handler) Drain() { h.draining.Store(true) }

// answer decides what is sent for x.
func (h *Handler) answer(ctx context.Context, x *exchange) {
	now := h.now()
	x.req.Now, x.req.Gate, x.req.Target = now.Unix(), core.Open, x.caller.Target
	if h.Gate != nil {
		x.req.Gate, x.req.Target = h.Gate.HTTP(&x.caller, now)
	}
	path, _, _ := bytes.Cut(x.req.Target, question)
	x.kind = pathKind(path)
	switch {
	case x.kind == readyPath && h.draining.Load():
		x.fail(http.StatusServiceUnavailable, "stopping")
	case x.kind == metricsPath && h.Public && h.Metrics != nil:
		x.show(h.Metrics)
	case x.trouble == http.StatusRequestHeaderFieldsTooLarge:
		x.fail(x.trouble, "the header is too large")
	case x.trouble != 0:
		x.fail(x.trouble, "the body did not arrive")
	default:
		h.serve(ctx, x)
	}
}

var question = []byte("?")

// serve has the engine answer x, and sees to it that an answer and the filter
// that goes with it are of one generation.
func (h *Handler) serve(ctx context.Context, x *exchange) {
	for {
		generation := h.Engine.Current()
		if err := h.Engine.Serve(ctx, &x.req, &x.resp); err != nil {
			x.fail(http.StatusServiceUnavailable, "no answer, try again")
			return
		}
		if x.resp.Ref != core.Filter || generation == h.Engine.Current() {
			x.fill(generation)
			return
		}
	}
}

// fill sets the content that the response's ref names.
func (x *exchange) fill(generation *Generation) {
	x.content, x.lasting = x.resp.Body, false
	switch {
	case x.resp.Ref == core.Page:
		x.content, x.lasting = web.Page, true
	case x.resp.Ref == core.Filter && generation != nil:
		x.content, x.lasting = generation.Filter, true
	}
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

// done counts one request and perhaps logs it. The log names the path by its
// kind only: what stands in a target is whom a client asked about, and its key.
func (h *Handler) done(ctx context.Context, x *exchange) {
	took := h.now().Sub(x.start)
	if h.Metrics != nil {
		h.Metrics.request(x.kind, x.resp.Status, x.rcode(), took)
	}
	if h.Log == nil || (h.requests.Add(1)-1)%max(h.Every, 1) != 0 {
		return
	}
	h.Log.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("method", methodKind(x.req.Method)), slog.String("path", x.kind), slog.Int("status", x.resp.Status),
		slog.Int("bytes", len(x.sent())), slog.Duration("took", took), slog.String("proto", x.proto))
}

// Fields of the host's own responses.
var (
	nameType     = []byte("content-type")
	mediaJSON    = []byte("application/json")
	failedFields = []core.Field{
		{Name: nameType, Value: mediaJSON},
		{Name: []byte("access-control-allow-origin"), Value: []byte("*")},
		{Name: []byte("x-content-type-options"), Value: []byte("nosniff")},
		{Name: []byte("cache-control"), Value: []byte("no-store")},
	}
	retryField = core.Field{Name: []byte("retry-after"), Value: []byte("1")}
)

// fail makes the response an error of the host's own, in the form of the
// core's.
func (x *exchange) fail(status int, message string) {
	x.resp.Status, x.resp.Ref = status, core.Body
	x.resp.Fields = append(x.resp.Fields[:0], failedFields...)
	if status == http.StatusServiceUnavailable {
		x.resp.Fields = append(x.resp.Fields, retryField)
	}
	x.resp.Body = append(append(append(x.resp.Body[:0], `{"error":"`...), message...), "\"}\n"...)
	x.fill(nil)
}

// sized reports whether the response says how long its content is.
func (x *exchange) sized() bool {
	return x.resp.Status != http.StatusNoContent && x.resp.Status != http.StatusNotModified
}

// sent returns the body that goes to the client: none after a HEAD.
func (x *exchange) sent() []byte {
	if string(x.req.Method) == http.MethodHead {
		return nil
	}
	return x.content
}

// rcode returns the RCODE of the DNS message or dns-json object that the
// response carries, or -1.
func (x *exchange) rcode() int {
	const member = `{"Status":`
	switch body := x.resp.Body; {
	case x.resp.Status != http.StatusOK || x.resp.Ref != core.Body:
		return -1
	case x.is("application/dns-message") && len(body) >= 12:
		return rcodeOf(body)
	case bytes.HasPrefix(body, []byte(member)):
		digits := body[len(member):]
		n, err := strconv.Atoi(string(digits[:max(0, bytes.IndexAny(digits[:min(len(digits), 6)], ",}"))]))
		if err == nil {
			return n
		}
	}
	return -1
}

// is reports whether the response's content type is that one.
func (x *exchange) is(contentType string) bool {
	for _, f := range x.resp.Fields {
		if string(f.Name) == "content-type" {
			return string(f.Value) == contentType
		}
	}
	return false
}

// release gives x back for another request, without what was unusually large.
func (x *exchange) release() {
	kept := exchange{resp: x.resp, text: x.text[:0], body: x.body[:0]}
	if cap(x.body) > keepMax {
		kept.body = nil
	}
	if cap(x.resp.Body) > keepMax {
		kept.resp.Body = nil
	}
	if cap(x.text) > keepMax {
		kept.text = nil
	}
	*x = kept
	exchanges.Put(x)
}

// A page is an http.ResponseWriter that keeps what a handler of net/http
// writes, so that every transport can send it.
type page struct {
	*exchange
	header http.Header
}

func (p page) Header() http.Header    { return p.header }
func (p page) WriteHeader(status int) { p.resp.Status = status }
func (p page) Write(b []byte) (int, error) {
	p.resp.Body = append(p.resp.Body, b...)
	return len(b), nil
}

// show makes the response what m shows.
func (x *exchange) show(m *Metrics) {
	r := &http.Request{Method: string(x.req.Method), Header: http.Header{}}
	for name, value := range map[string][]byte{"Accept": x.req.Accept, "Accept-Encoding": x.accepts} {
		if len(value) > 0 {
			r.Header.Set(name, string(value))
		}
	}
	p := page{x, http.Header{}}
	x.resp.Status, x.resp.Ref, x.resp.Fields, x.resp.Body = http.StatusOK, core.Body, x.resp.Fields[:0], x.resp.Body[:0]
	m.ServeHTTP(p, r)
	for name, values := range p.header {
		x.resp.Fields = append(x.resp.Fields, core.Field{Name: []byte(strings.ToLower(name)), Value: []byte(strings.Join(values, ", "))})
	}
	x.fill(nil)
}
