package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ucedge/edge"
	"ucedge/snapshot"
	"ucedge/snapshot/build"
	"ucedge/wasm"
)

// Peers run as processes of their own, so that memory and time are theirs
// alone. The suite's own binary serves all but dnsdist. A peer prints one line,
// its address, when it answers; for each line that it then reads it loads the
// next snapshot and prints its serial.

// query is the question of every load: the test point of the Level 1 zone.
var loadQuery = []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x012\x010\x010\x03127\x07dnsbl-1\x02bl\x07example\x00\x00\x01\x00\x01")

// serveAs is a peer: "wazero", "native", or "constant", which is net/http with
// one fixed answer and so the most that any host on net/http can do.
func serveAs(ctx context.Context, what, dir string) error {
	config, err := certificate(dir)
	if err != nil {
		return err
	}
	if what == "constant" {
		return serveConstant(ctx, config)
	}
	engine, err := newEngine(ctx, what, dir)
	if err != nil {
		return err
	}
	defer engine.Close(context.Background())
	o, now, err := readObjects(dir)
	if err != nil {
		return err
	}
	if err := engine.Load(ctx, generation(o, now)); err != nil {
		return err
	}
	return edge.Run(ctx, edge.Config{
		Engine: engine, HTTPS: "127.0.0.1:0", TLS: config, Log: slog.New(slog.DiscardHandler),
		Follow:    func(ctx context.Context) error { return followLines(ctx, engine, now) },
		Listening: func(b edge.Bound) { fmt.Println(b.HTTPS) },
	})
}

func newEngine(ctx context.Context, what, dir string) (edge.Engine, error) {
	if what == "native" {
		return edge.NewNativeEngine(""), nil
	}
	module, err := wasm.Guest()
	if err != nil {
		return nil, err
	}
	return edge.NewWasmEngine(ctx, module, edge.WasmOptions{CacheDir: filepath.Join(dir, "cache")})
}

// followLines loads the next snapshot for each line on stdin.
func followLines(ctx context.Context, engine edge.Engine, now int64) error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		now++
		o, err := encode(changing(now))
		if err != nil {
			return err
		}
		if err := engine.Load(ctx, generation(o, now)); err != nil {
			return err
		}
		fmt.Println(now)
	}
	<-ctx.Done()
	return nil
}

// changing is a small list that is another one with every serial: its one
// listing counts as many impacts as the serial says, so that an answer made
// from two snapshots gives itself away.
func changing(now int64) build.Input {
	in := seeded(1000)
	in.Listings[0].Count = uint32(now)
	return in
}

// changingAddress is the listing of changing that tells the serial.
func changingAddress() string { return seeded(1000).Listings[0].Prefix.Addr().String() }

func serial(now int64) snapshot.Serial { return snapshot.Serial(now) }

// readObjects returns what peers serve from dir. The time at which it was
// written is its serial.
func readObjects(dir string) (o objects, now int64, err error) {
	if o.image, err = os.ReadFile(filepath.Join(dir, "image")); err != nil {
		return objects{}, 0, err
	}
	if o.filter, err = os.ReadFile(filepath.Join(dir, "filter")); err != nil {
		return objects{}, 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "serial"))
	if err != nil {
		return objects{}, 0, err
	}
	now, err = strconv.ParseInt(string(text), 10, 64)
	return o, now, err
}

// writeObjects puts what peers serve into dir, as written at now.
func writeObjects(dir string, o objects, now int64) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "image"), o.image, 0o644),
		os.WriteFile(filepath.Join(dir, "filter"), o.filter, 0o644),
		os.WriteFile(filepath.Join(dir, "serial"), strconv.AppendInt(nil, now, 10), 0o644))
}

// certificate returns the self-signed pair in dir, made if there is none.
func certificate(dir string) (*tls.Config, error) {
	cert, key, err := edge.SelfSigned(dir)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

// serveConstant answers every request with the same bytes.
func serveConstant(ctx context.Context, config *tls.Config) error {
	answer := append([]byte(nil), loadQuery...)
	answer[2], answer[3], answer[7] = 0x85, 0, 1
	answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 8, 52, 0, 4, 127, 0, 0, 2)
	length := strconv.Itoa(len(answer))
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"] = []string{"application/dns-message"}
		h["Cache-Control"] = []string{"max-age=2100"}
		h["Content-Length"] = []string{length}
		w.Write(answer) // an error is the client's going away
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ServeTLS(ln, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// residentKiB returns a process's memory in use and the most that it had, in
// KiB.
func residentKiB(pid int) (now, peak float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "VmRSS:":
			now, err = strconv.ParseFloat(fields[1], 64)
		case "VmHWM:":
			peak, err = strconv.ParseFloat(fields[1], 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return now, peak, nil
}
