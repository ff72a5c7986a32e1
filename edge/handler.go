package edge

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
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
	// keepMax is the largest buffer that is kept for the next request.
	keepMax = 1 << 17
)

// A Handler answers HTTP requests from an engine. It moves bytes, keeps time
// and decides who may ask; what an answer is, is the core's business.
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

// An exchange is the memory of one request and its response.
type exchange struct {
	req  core.Request
	resp core.Response
	text []byte // the request's own strings, one after the other
	body []byte
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Drain makes /readyz say no, so that a load balancer sends its clients
// elsewhere while requests are still answered.
func (h *Handler) Drain() { h.draining.Store(true) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	gate, target := h.gate(r, start)
	path, _, _ := strings.Cut(target, "?")
	sent := h.route(w, r, gate, target, path)
	h.done(r, path, sent, start)
}

// A sent is what became of one request.
type sent struct {
	status int
	rcode  int // of the DNS message that was sent, or -1
	bytes  int
}

func (h *Handler) route(w http.ResponseWriter, r *http.Request, gate core.Gate, target, path string) sent {
	switch {
	case path == readyPath && h.draining.Load():
		return fail(w, r, http.StatusServiceUnavailable, "stopping")
	case path == metricsPath && h.Public && h.Metrics != nil:
		h.Metrics.ServeHTTP(w, r)
		return sent{status: http.StatusOK, rcode: -1}
	}
	x := exchanges.Get().(*exchange)
	defer x.release()
	if err := x.read(r, target, gate, h.now()); err != nil {
		return fail(w, r, readStatus(err), "the body did not arrive")
	}
	generation, err := h.serve(r, x)
	if err != nil {
		return fail(w, r, http.StatusServiceUnavailable, "no answer, try again")
	}
	return x.write(w, r, generation)
}

// serve has the engine answer x, and returns the generation that it answered
// from, so that an answer and the filter that goes with it are of one.
func (h *Handler) serve(r *http.Request, x *exchange) (*Generation, error) {
	for {
		generation := h.Engine.Current()
		if err := h.Engine.Serve(r.Context(), &x.req, &x.resp); err != nil {
			return nil, err
		}
		if x.resp.Ref != core.Filter || generation == h.Engine.Current() {
			return generation, nil
		}
	}
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

func (h *Handler) gate(r *http.Request, now time.Time) (core.Gate, string) {
	if h.Gate == nil {
		return core.Open, requestTarget(r)
	}
	return h.Gate.HTTP(r, now)
}

// done counts one request and perhaps logs it. The log names the path by its
// kind only: what stands in a target is whom a client asked about, and its key.
func (h *Handler) done(r *http.Request, path string, s sent, start time.Time) {
	took := h.now().Sub(start)
	if h.Metrics != nil {
		h.Metrics.request(pathKind(path), s, took)
	}
	if h.Log == nil || (h.requests.Add(1)-1)%max(h.Every, 1) != 0 {
		return
	}
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", methodKind(r.Method)), slog.String("path", pathKind(path)), slog.Int("status", s.status),
		slog.Int("bytes", s.bytes), slog.Duration("took", took), slog.String("proto", r.Proto))
}

// fail sends an error of the host's own, in the form of the core's.
func fail(w http.ResponseWriter, r *http.Request, status int, message string) sent {
	text := `{"error":"` + message + "\"}\n"
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["Access-Control-Allow-Origin"] = []string{"*"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header["Cache-Control"] = []string{"no-store"}
	header["Content-Length"] = []string{strconv.Itoa(len(text))}
	if status == http.StatusServiceUnavailable {
		header["Retry-After"] = []string{"1"}
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, text) // a client that is gone needs no answer
	}
	return sent{status: status, rcode: -1, bytes: len(text)}
}

// readStatus returns the status for a body that could not be read.
func readStatus(err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return http.StatusRequestTimeout
	}
	return http.StatusBadRequest
}

// read takes r apart into x.req.
func (x *exchange) read(r *http.Request, target string, gate core.Gate, now time.Time) error {
	x.text = x.text[:0]
	x.req = core.Request{Now: now.Unix(), Gate: gate}
	values := [...]string{r.Method, target, field(r, "Accept"), field(r, "Content-Type"), field(r, "If-None-Match")}
	for _, v := range values {
		x.text = append(x.text, v...)
	}
	text := x.text
	for i, part := range [...]*[]byte{&x.req.Method, &x.req.Target, &x.req.Accept, &x.req.ContentType, &x.req.IfNoneMatch} {
		n := len(values[i])
		*part, text = text[:n:n], text[n:]
	}
	return x.readBody(r, messageMax+1)
}

// field returns the values of a header field, joined as RFC 9110 5.3 has it.
func field(r *http.Request, name string) string {
	values := r.Header[name]
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ", ")
}

// readBody reads at most limit bytes: one more than the core allows, so that
// the core sees that there is too much.
func (x *exchange) readBody(r *http.Request, limit int) error {
	x.body = x.body[:0]
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if n := int(min(r.ContentLength, int64(limit))); n > cap(x.body) {
		x.body = make([]byte, 0, n)
	}
	err := x.fill(r.Body, limit)
	x.req.Body = x.body
	return err
}

func (x *exchange) fill(from io.Reader, limit int) error {
	for len(x.body) < limit {
		if len(x.body) == cap(x.body) {
			x.body = append(x.body, 0)[:len(x.body)]
		}
		n, err := from.Read(x.body[len(x.body):min(cap(x.body), limit)])
		x.body = x.body[:len(x.body)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends x.resp.
func (x *exchange) write(w http.ResponseWriter, r *http.Request, generation *Generation) sent {
	header := w.Header()
	header["Content-Type"] = nil // nothing is guessed; the core names the type of all it sends
	for _, f := range x.resp.Fields {
		name := canonical(f.Name)
		header[name] = append(header[name], string(f.Value))
	}
	body := x.content(generation)
	if x.resp.Status != http.StatusNoContent && x.resp.Status != http.StatusNotModified {
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(x.resp.Status)
	if r.Method == http.MethodHead {
		return sent{x.resp.Status, x.rcode(), 0}
	}
	patience(w, len(body))
	w.Write(body) // a client that is gone needs no answer
	return sent{x.resp.Status, x.rcode(), len(body)}
}

// content returns the bytes that the response's ref names.
func (x *exchange) content(generation *Generation) []byte {
	switch {
	case x.resp.Ref == core.Page:
		return web.Page
	case x.resp.Ref == core.Filter && generation != nil:
		return generation.Filter
	}
	return x.resp.Body
}

// patience gives a client of at least 64 kbit/s the time to read a large body,
// beyond the time that every response has.
func patience(w http.ResponseWriter, bytes int) {
	if bytes > 1<<16 {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout + time.Duration(bytes)*time.Second/8000))
	}
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
	x.req = core.Request{}
	if cap(x.body) > keepMax {
		x.body = nil
	}
	if cap(x.resp.Body) > keepMax {
		x.resp.Body = nil
	}
	if cap(x.text) > keepMax {
		x.text = nil
	}
	exchanges.Put(x)
}

// canonicals are the spellings of the field names that the core sends, so that
// none has to be made for every response.
var canonicals = func() map[string]string {
	names := make(map[string]string)
	for _, name := range []string{
		"Accept-Ranges", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
		"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Age", "Allow", "Cache-Control", "Cache-Tag",
		"Content-Disposition", "Content-Security-Policy", "Content-Type", "Etag", "Expires", "Last-Modified", "Link",
		"Permissions-Policy", "Referrer-Policy", "Retry-After", "Vary", "Www-Authenticate", "X-Content-Type-Options",
		"X-Frame-Options",
	} {
		names[strings.ToLower(name)] = name
	}
	return names
}()

func canonical(name []byte) string {
	if c, ok := canonicals[string(name)]; ok {
		return c
	}
	return http.CanonicalHeaderKey(string(name))
}
