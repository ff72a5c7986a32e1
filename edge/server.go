package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"ucedge/edge/h2"
)

// Patience with clients. A request is a few hundred bytes and its answer is
// ready at once, so whoever takes longer is broken or hostile.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 20 * time.Second // from the header on, so that a body that came too late is answered
	idleTimeout   = 2 * time.Minute  // mail filters keep their connections
	stopTimeout   = 10 * time.Second // for requests under way when the edge stops
	headerMax     = 128 << 10        // room for a target of messageMax bytes in base64url, which the core answers with 414
	streamsMax    = 250              // requests at once on one HTTP/2 connection
)

// Connections at once to one listener. A client, which is an IPv4 address or an
// IPv6 /64, has one or a few for each of its mail filters' processes; without a
// bound, one that opened all it could and asked for nothing would take the
// edge's memory and descriptors for idleTimeout each.
const (
	connectionsMax     = 1 << 13
	peerConnectionsMax = 1 << 8
)

// serveHTTP answers HTTP/1.1 and HTTP/2 on ln until ctx ends, and then lets the
// requests under way finish. Without config HTTP/2 is the unencrypted kind with
// prior knowledge (RFC 9113 3.3). A handler that is an h2.Handler too answers
// HTTP/2 as one. It closes ln.
func serveHTTP(ctx context.Context, ln net.Listener, handler http.Handler, config *tls.Config, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		Protocols:         protocols(config),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax, SendPingTimeout: idleTimeout},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes that fail and the like: clients' troubles
	}
	if lean, ok := handler.(h2.Handler); ok {
		useLean(server, lean)
	}
	stopped := make(chan error, 1)
	forget := context.AfterFunc(ctx, func() { stopped <- stopHTTP(server) })
	err := listenOn(server, ln)
	if forget() { // ctx has not ended: the listener failed
		return errors.Join(err, server.Close())
	}
	return <-stopped
}

func listenOn(server *http.Server, ln net.Listener) error {
	if server.TLSConfig == nil {
		return server.Serve(ln)
	}
	return server.ServeTLS(ln, "", "")
}

// stopHTTP waits for the requests under way, for stopTimeout at most.
func stopHTTP(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

func protocols(config *tls.Config) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(config != nil)
	p.SetUnencryptedHTTP2(config == nil)
	return p
}
