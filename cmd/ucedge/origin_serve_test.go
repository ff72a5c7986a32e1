package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory, so that time can be a
// bubble's.
type pipes chan net.Conn

func (l pipes) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipes) Close() error   { return nil }
func (l pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestOriginWaitsForNobody holds how long the origin's server waits for whom.
func TestOriginWaitsForNobody(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(bytes.Repeat([]byte{'x'}, 1<<20))
	})
	for _, row := range []struct {
		name, sent  string
		least, most time.Duration
	}{
		{"nothing at all", "", headerTimeout, headerTimeout},
		{"half a header", "POST /v1/form HTTP/1.1\r\nHost: a", headerTimeout, headerTimeout},
		{"half a body", "POST /v1/form HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", readTimeout, readTimeout + time.Second},
		{"takes no answer", "GET /v1/audit HTTP/1.1\r\nHost: a\r\n\r\n", writeTimeout, writeTimeout + time.Second},
		{"asks nothing more", "GET /v1/audit HTTP/1.1\r\nHost: a\r\n\r\n", idleTimeout, idleTimeout + time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				ln := make(pipes, 1)
				ln <- far
				close(ln)
				server := httpServer(handler, slog.New(slog.DiscardHandler))
				ended := make(chan struct{})
				go func() { defer close(ended); server.Serve(ln) }()
				begun := time.Now()
				io.WriteString(near, row.sent)
				if row.name == "takes no answer" {
					time.Sleep(writeTimeout + time.Second/2)
				}
				got, _ := io.ReadAll(near)
				if took := time.Since(begun); took < row.least || took > row.most {
					t.Errorf("the connection was closed after %v, want %v to %v: %.100q", took, row.least, row.most, got)
				}
				if whole := len(got) > 1<<20; whole != (row.name == "half a body" || row.name == "asks nothing more") {
					t.Errorf("got %d bytes: %.100q", len(got), got)
				}
				<-ended
				server.Close()
			})
		})
	}
}

// TestOriginsPeers: a proxy is all its clients.
func TestOriginsPeers(t *testing.T) {
	exempt := inboundLimits([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}).Exempt
	for address, want := range map[string]bool{
		"192.0.2.7": true, "127.0.0.1": true, "::1": true, "198.51.100.7": false, "2001:db8::7": false,
	} {
		if got := exempt(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is exempt from the bound of a peer: %v, want %v", address, got, want)
		}
	}
}
