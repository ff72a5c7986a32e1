package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	swaps     = 20 // snapshot changes
	swapEvery = 200 * time.Millisecond
)

// swap changes the snapshot while h2load asks, and wants every request answered
// and every answer made from one snapshot.
func (s *suite) swap() error {
	if _, err := exec.LookPath("h2load"); err != nil {
		s.results.skip("snapshot changes under load, since the command h2load is absent")
		return nil
	}
	now := time.Now().Unix()
	o, err := encode(changing(now))
	if err != nil {
		return err
	}
	if err := writeObjects(s.dir, o, now); err != nil {
		return err
	}
	p, err := s.startPeer("wazero")
	if err != nil {
		return err
	}
	defer p.stop()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var workers sync.WaitGroup
	defer workers.Wait()

	// Watch before the first change, so that both serials of each are seen.
	w := &watcher{url: "https://" + p.address + "/v1/check?ip=" + changingAddress(), serials: map[uint32]bool{}}
	workers.Go(func() { w.watch(ctx) })
	changed := make(chan error, 1)
	workers.Go(func() { changed <- p.change(ctx) })

	seconds := strconv.Itoa(int((swaps*swapEvery + 2*time.Second) / time.Second))
	r, err := s.h2load(p, modes[0], "-D", seconds)
	if err != nil {
		return err
	}
	if err := <-changed; err != nil {
		return err
	}
	cancel()
	workers.Wait()
	return s.noteSwap(r, w)
}

// change makes the peer load one snapshot after another.
func (p *peer) change(ctx context.Context) error {
	for range swaps {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(swapEvery):
		}
		if _, err := fmt.Fprintln(p.stdin, "next"); err != nil {
			return err
		}
		line, err := p.stdout.ReadString('\n')
		if err != nil {
			return fmt.Errorf("peer %q stopped: %s", p.name, p.stderr)
		}
		progress("   loaded serial %s", strings.TrimSpace(line))
	}
	return nil
}

func (s *suite) noteSwap(r *loaded, w *watcher) error {
	s.results.add("snapshot changes under load", swaps, "")
	s.results.add("serials seen by a watching client", float64(len(w.serials)), "")
	s.results.add("requests answered meanwhile", float64(r.succeeded), "")
	s.results.aimed("requests lost", float64(r.failed+r.done-r.succeeded), "", "0")
	s.results.aimed("answers made of two snapshots", float64(w.mixed), "", "0")
	s.results.aimed("watching client's requests lost", float64(w.lost), "", "0")
	switch {
	case w.lost > 0:
		return fmt.Errorf("%d of %d requests of the watching client were lost, the last since %w", w.lost, w.asked, w.err)
	case r.failed > 0 || r.done != r.succeeded:
		return fmt.Errorf("requests were lost:\n%s", r.text)
	case w.mixed > 0:
		return fmt.Errorf("%d answers were made of two snapshots", w.mixed)
	case len(w.serials) < swaps/2:
		return fmt.Errorf("saw only %d serials in %d answers: the snapshot did not change under load", len(w.serials), w.asked)
	}
	return nil
}

// A watcher asks for the one listing that tells the serial.
type watcher struct {
	url                string
	serials            map[uint32]bool
	asked, lost, mixed int
	err                error // why the last one was lost
}

// watch asks until ctx ends.
func (w *watcher) watch(ctx context.Context) {
	for ctx.Err() == nil {
		serial, count, err := w.ask()
		w.asked++
		switch {
		case err != nil:
			w.lost++
			w.err = err
		case serial != count:
			w.mixed++
		default:
			w.serials[serial] = true
		}
	}
}

// ask returns the serial of one answer, and the one that its data tells.
func (w *watcher) ask() (serial, count uint32, err error) {
	resp, err := insecure.Get(w.url)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Serial  uint32
		Results []struct{ Levels []struct{ Count uint32 } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, 0, err
	}
	if len(answer.Results) != 1 || len(answer.Results[0].Levels) != 1 {
		return 0, 0, fmt.Errorf("got %+v, want one listing", answer)
	}
	return answer.Serial, answer.Results[0].Levels[0].Count, nil
}
