package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"time"

	"ucedge/core"
	"ucedge/edge"
	"ucedge/snapshot/build"
	"ucedge/snapshot/manifest"
	"ucedge/wasm"
)

// guest measures the module, how long it takes to compile, to load an image and
// to be called from the host.
func (s *suite) guest() error {
	module, err := wasm.Guest()
	if err != nil {
		s.results.skip("%v", err)
		return nil
	}
	packed, err := gzipped(module)
	if err != nil {
		return err
	}
	s.results.add("guest module", float64(len(module)), "bytes")
	s.results.aimed("guest module, gzip -9", float64(packed), "bytes", "below 1000000")

	started := time.Now()
	engine, err := edge.NewWasmEngine(s.ctx, module, edge.WasmOptions{Instances: 1})
	if err != nil {
		return err
	}
	defer engine.Close(context.Background())
	s.results.add("compile and start, without a cache", milliseconds(started), "ms")

	if err := s.loadInto(engine, seededName, seeded(seededCount)); err != nil {
		return err
	}
	many, err := manyAddresses()
	if errors.Is(err, errAbsent) {
		s.results.skip("loading 2.09 M addresses, since %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	return s.loadInto(engine, manyName, many)
}

func gzipped(b []byte) (int, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(b); err != nil {
		return 0, err
	}
	err = w.Close() // which writes the rest
	return out.Len(), err
}

// loadInto measures the loading of an image into a fresh guest, and calls into
// it from the host.
func (s *suite) loadInto(engine edge.Engine, name string, in build.Input) error {
	o, err := s.build(name, in)
	if err != nil {
		return err
	}
	g := generation(o, time.Now().Unix())
	best := 0.0
	for range 5 {
		started := time.Now()
		if err := engine.Load(s.ctx, g); err != nil {
			return err
		}
		if took := milliseconds(started); best == 0 || took < best {
			best = took
		}
	}
	s.results.aimed(name+": load into a fresh guest", best, "ms", "at most 10")
	return s.calls(engine, name)
}

// calls measures one DNS answer and one HTTP exchange, the way into the guest
// and back included.
func (s *suite) calls(engine edge.Engine, name string) error {
	const each = 20_000
	now, buf := time.Now().Unix(), make([]byte, 0, 1024)
	started := time.Now()
	for range each {
		var err error
		if buf, err = engine.Answer(s.ctx, buf[:0], loadQuery, now, core.Open); err != nil {
			return err
		}
	}
	s.results.add(name+": one DNS answer, called from the host", microseconds(started)/each, "µs")

	req := core.Request{Now: now, Method: []byte("POST"), Target: []byte("/dns-query"), ContentType: []byte("application/dns-message"), Body: loadQuery}
	var resp core.Response
	started = time.Now()
	for range each {
		if err := engine.Serve(s.ctx, &req, &resp); err != nil {
			return err
		}
	}
	if resp.Status != 200 {
		return fmt.Errorf("HTTP exchange: got status %d, want 200", resp.Status)
	}
	s.results.add(name+": one HTTP exchange, called from the host", microseconds(started)/each, "µs")
	return nil
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since)) / 1e6 }
func microseconds(since time.Time) float64 { return float64(time.Since(since)) / 1e3 }

// generation is o as an edge holds it, with now as its serial and time.
func generation(o objects, now int64) *edge.Generation {
	return &edge.Generation{Manifest: times(now), Image: o.image, Filter: o.filter}
}

// times is a manifest whose snapshot stays fresh for as long as a run takes.
func times(now int64) manifest.Manifest {
	const hour = 3600
	return manifest.Manifest{List: "bl.example", Serial: serial(now), Built: now, Next: now + hour, Expires: now + 24*hour}
}
