package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"ucedge/edge"
	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

const (
	delayEvery = 10 * time.Second       // between two snapshots
	delayLook  = time.Second            // between two looks of the edge
	delayPause = 100 * time.Millisecond // between two reports
	delayAsk   = 50 * time.Millisecond  // between two questions about all that are awaited
	delayMax   = time.Minute            // after the last report
)

// measureDelay reports one address after the other to an origin, and asks an
// edge that follows it until each is listed.
func (b *bench) measureDelay() error {
	l, err := ledger.Open(b.ctx, filepath.Join(b.dir, "delay.db"))
	if err != nil {
		return err
	}
	defer l.Close()
	o, _, err := b.newOrigin(l, delayEvery, nil)
	if err != nil {
		return err
	}
	url, secret, stop, err := b.serveAPI(l, o, "feed")
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(b.ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { o.Run(ctx) })
	answers, err := b.startEdge(ctx, &parts)
	if err != nil {
		return err
	}
	w := &waiting{since: map[string]time.Time{}, url: answers}
	parts.Go(func() { w.askUntil(ctx) })
	for i, end := 0, time.Now().Add(b.delay); time.Now().Before(end); i++ {
		a := netip.AddrFrom4([4]byte{11, 1, byte(i >> 8), byte(i)})
		r := report.Report{Address: a, Seen: time.Now().Unix(), Kind: snapshot.Spamtrap, Evidence: a.String(), Reporter: "feed"}
		if err := send(ctx, url, secret, r.AppendNDJSON(nil), 1); err != nil {
			return err
		}
		w.add(a)
		time.Sleep(delayPause)
	}
	for end := time.Now().Add(delayMax); w.open() > 0 && time.Now().Before(end); {
		time.Sleep(delayAsk)
	}
	if n := w.open(); n > 0 {
		return fmt.Errorf("%d reports were never answered", n)
	}
	all := sorted(w.took)
	fmt.Printf("  from accepted report to answered at an edge, snapshots every %v, the edge looks every %v: p50 %v, p99 %v, longest %v of %d\n",
		delayEvery, delayLook, percentile(all, 50), percentile(all, 99), percentile(all, 100), len(all))
	return nil
}

// startEdge starts an edge on the folder of the origin and returns its URL.
func (b *bench) startEdge(ctx context.Context, parts *sync.WaitGroup) (string, error) {
	_, keys, err := keysIn(b.dir)
	if err != nil {
		return "", err
	}
	source, err := edge.NewSource(filepath.Join(b.dir, "publish"))
	if err != nil {
		return "", err
	}
	engine := edge.NewNativeEngine("")
	syncer := &edge.Syncer{Source: source, Engine: engine, Keys: keys, List: list, Look: delayLook}
	bound, failed := make(chan string, 1), make(chan error, 1)
	parts.Go(func() {
		failed <- edge.Run(ctx, edge.Config{
			Engine: engine, Follow: syncer.Run, HTTP: "127.0.0.1:0",
			Listening: func(b edge.Bound) { bound <- "http://" + b.HTTP },
		})
	})
	select {
	case url := <-bound:
		return url, nil
	case err := <-failed:
		return "", errors.Join(errors.New("the edge ended"), err)
	}
}

// waiting are the addresses whose listings the edge does not answer yet.
type waiting struct {
	url string

	mu    sync.Mutex
	since map[string]time.Time
	took  []time.Duration
}

func (w *waiting) add(a netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[a.String()] = time.Now()
}

func (w *waiting) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.since)
}

func (w *waiting) askUntil(ctx context.Context) {
	for ctx.Err() == nil {
		w.ask(ctx) // an edge without a snapshot answers later
		time.Sleep(delayAsk)
	}
}

// ask asks about everything that is awaited.
func (w *waiting) ask(ctx context.Context) error {
	w.mu.Lock()
	var question struct {
		Addresses []string `json:"addresses"`
	}
	for a := range w.since {
		question.Addresses = append(question.Addresses, a)
	}
	w.mu.Unlock()
	if len(question.Addresses) == 0 {
		return nil
	}
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v1/check", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Results []struct {
			Query  string
			Listed bool
		}
	}
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range answer.Results {
		if since, ok := w.since[r.Query]; ok && r.Listed {
			w.took = append(w.took, time.Since(since))
			delete(w.since, r.Query)
		}
	}
	return err
}
