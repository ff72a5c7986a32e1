package edge

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange)
	defer x.release()
	x.start = h.now()
	x.read(r)
	h.answer(r.Context(), x)
	x.write(w)
	h.done(r.Context(), x)
}

// read takes r apart.
func (x *exchange) read(r *http.Request) {
	x.text = x.text[:0]
	values := [...]string{
		r.Method, requestTarget(r), field(r, "Authorization"), field(r, "X-Forwarded-For"),
		field(r, "Accept"), field(r, "Accept-Encoding"), field(r, "Content-Type"), field(r, "If-None-Match"),
	}
	for _, v := range values {
		x.text = append(x.text, v...)
	}
	text := x.text
	for i, part := range [...]*[]byte{
		&x.req.Method, &x.caller.Target, &x.caller.Authorization, &x.caller.Forwarded,
		&x.req.Accept, &x.accepts, &x.req.ContentType, &x.req.IfNoneMatch,
	} {
		n := len(values[i])
		*part, text = text[:n:n], text[n:]
	}
	x.caller.Peer, x.proto = peerOf(r), r.Proto
	if err := x.readBody(r, bodyMax); err != nil {
		x.trouble = readStatus(err)
	}
}

// peerOf returns the address at the other end of r's connection. If it is none,
// that is the zero Addr, one bucket for all.
func peerOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr()
}

// requestTarget returns path and query as in the request line. The absolute
// form (RFC 9112 3.2.2) loses its scheme and host.
func requestTarget(r *http.Request) string {
	if t := r.RequestURI; t != "" && (t[0] == '/' || t == "*") {
		return t
	}
	return r.URL.RequestURI()
}

// field returns the values of a header field, joined as RFC 9110 5.3 has it.
func field(r *http.Request, name string) string {
	values := r.Header[name]
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ", ")
}

// readBody reads at most limit bytes.
func (x *exchange) readBody(r *http.Request, limit int) error {
	x.body = x.body[:0]
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if n := int(min(r.ContentLength, int64(limit))); n > cap(x.body) {
		x.body = make([]byte, 0, n)
	}
	err := x.readAll(r.Body, limit)
	x.req.Body = x.body
	return err
}

func (x *exchange) readAll(from io.Reader, limit int) error {
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

// readStatus returns the status for a body that could not be read.
func readStatus(err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return http.StatusRequestTimeout
	}
	return http.StatusBadRequest
}

// write sends the response.
func (x *exchange) write(w http.ResponseWriter) {
	header := w.Header()
	header["Content-Type"] = nil // nothing is guessed; the core names the type of all it sends
	for _, f := range x.resp.Fields {
		name := canonical(f.Name)
		header[name] = append(header[name], string(f.Value))
	}
	if x.sized() {
		header["Content-Length"] = []string{strconv.Itoa(len(x.content))}
	}
	w.WriteHeader(x.resp.Status)
	if body := x.sent(); len(body) > 0 {
		patience(w, len(body))
		w.Write(body) // a client that is gone needs no answer
	}
}

// patience gives a client of at least 64 kbit/s the time to read a large body,
// beyond the time that every response has.
func patience(w http.ResponseWriter, bytes int) {
	if bytes > 1<<16 {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout + time.Duration(bytes)*time.Second/8000))
	}
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
