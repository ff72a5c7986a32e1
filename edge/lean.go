package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"ucedge/edge/h2"
)

// Answer implements h2.Handler.
func (h *Handler) Answer(r *h2.Request, w *h2.Writer) {
	x := exchanges.Get().(*exchange)
	defer x.release()
	x.readLean(r)
	if string(r.Method) == http.MethodOptions && string(r.Target) == "*" {
		w.Status(http.StatusOK) // nothing in particular is asked (RFC 9110 9.3.7); net/http answers this itself
		w.Length(0)
		return
	}
	h.answer(context.Background(), x)
	x.writeLean(w)
	h.done(context.Background(), x)
}

// readLean takes r apart.
func (x *exchange) readLean(r *h2.Request) {
	x.text = x.text[:0]
	x.start, x.proto, x.trouble = r.Begun, "HTTP/2.0", r.Trouble
	x.caller = Caller{
		Target: r.Target, Peer: r.Peer,
		Authorization: x.lines(r, "authorization"), Forwarded: x.lines(r, "x-forwarded-for"),
	}
	x.accepts = x.lines(r, "accept-encoding")
	x.req.Method, x.req.Body = r.Method, r.Body
	x.req.Accept, x.req.ContentType, x.req.IfNoneMatch = x.lines(r, "accept"), x.lines(r, "content-type"), x.lines(r, "if-none-match")
}

// lines returns the values of a header field, joined as RFC 9110 5.3 has it.
func (x *exchange) lines(r *h2.Request, name string) []byte {
	var value []byte
	from, n := len(x.text), 0
	for i := range r.Fields {
		f := &r.Fields[i]
		if string(f.Name) != name {
			continue
		}
		switch n++; n {
		case 1:
			value = f.Value
			continue
		case 2:
			x.text = append(x.text, value...)
		}
		x.text = append(append(x.text, ", "...), f.Value...)
	}
	if n > 1 {
		return x.text[from:len(x.text):len(x.text)]
	}
	return value
}

// writeLean sends the response.
func (x *exchange) writeLean(w *h2.Writer) {
	w.Status(x.resp.Status)
	for i := range x.resp.Fields {
		w.Field(x.resp.Fields[i].Name, x.resp.Fields[i].Value)
	}
	if x.sized() {
		w.Length(len(x.content))
	}
	w.End(x.sent(), x.lasting)
}

// leanServer returns a server with the patience and the limits of net/http's.
func leanServer(handler h2.Handler) *h2.Server {
	return &h2.Server{
		Handler: handler, BodyMax: bodyMax, HeaderMax: headerMax, Streams: streamsMax,
		HeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// useLean makes server answer HTTP/2 from handler with package h2, and stop it
// gracefully. HTTP/1.1 stays with net/http.
func useLean(server *http.Server, handler h2.Handler) {
	lean := leanServer(handler)
	server.RegisterOnShutdown(lean.Drain)
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, c *tls.Conn, _ http.Handler) { lean.Serve(c, false) },
		// net/http looks for the preface of an unencrypted connection itself, and
		// gives the connection away under this name, wrapped as no TLS connection
		// is: the way in which golang.org/x/net/http2 gets it too.
		"unencrypted_http2": func(_ *http.Server, c *tls.Conn, _ http.Handler) {
			if plain, ok := c.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
				lean.Serve(plain.UnencryptedNetConn(), true)
			}
		},
	}
}
