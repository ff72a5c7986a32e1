package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// A mode is one way to ask.
type mode struct {
	name string
	args []string // of h2load
	post bool
}

var modes = []mode{
	{"h2 GET", nil, false},
	{"h2 POST", nil, true},
	{"h1 GET", []string{"--h1"}, false},
	{"h1 POST", []string{"--h1"}, true},
}

// load compares the host with its peers: all of them run at once and take
// turns, so that what disturbs the machine disturbs all.
func (s *suite) load() error {
	if _, err := exec.LookPath("h2load"); err != nil {
		s.results.skip("throughput, since the command h2load is absent")
		return nil
	}
	peers, stop, err := s.startPeers()
	defer stop()
	if err != nil {
		return err
	}
	rates := map[string][]float64{} // by peer and mode, one a round
	for round := range s.rounds {
		for _, m := range modes {
			for _, p := range peers {
				r, err := s.h2load(p, m, "-D", strconv.Itoa(s.seconds))
				if err != nil {
					return err
				}
				if r.failed > 0 {
					return fmt.Errorf("%s, %s: %d requests failed:\n%s", p.name, m.name, r.failed, r.text)
				}
				progress("   round %d, %s, %s: %.0f req/s", round+1, p.name, m.name, r.perSecond)
				rates[p.name+m.name] = append(rates[p.name+m.name], r.perSecond)
			}
		}
	}
	s.noteLoads(peers, rates)
	return s.noteMemory(peers)
}

// startPeers starts every peer that there is. The function stops those that
// were started, also after an error.
func (s *suite) startPeers() (peers []*peer, stop func(), err error) {
	stop = func() {
		for _, p := range peers {
			p.stop()
		}
	}
	if err := s.writeSeeded(); err != nil {
		return nil, stop, err
	}
	for _, name := range []string{"wazero", "native", "constant"} {
		p, err := s.startPeer(name)
		if err != nil {
			return peers, stop, err
		}
		peers = append(peers, p)
	}
	p, err := s.startDNSDist()
	if errors.Is(err, errAbsent) {
		s.results.skip("comparison with dnsdist, since %v", err)
		return peers, stop, nil
	}
	if err != nil {
		return peers, stop, err
	}
	return append(peers, p), stop, nil
}

// writeSeeded puts a list that needs no file where peers find it.
func (s *suite) writeSeeded() error {
	o, err := s.build(seededName, seeded(seededCount))
	if err != nil {
		return err
	}
	return writeObjects(s.dir, o, time.Now().Unix())
}

// noteLoads notes requests a second, and the host's as a ratio to its peers'.
func (s *suite) noteLoads(peers []*peer, rates map[string][]float64) {
	for _, m := range modes {
		for _, p := range peers {
			s.results.add(fmt.Sprintf("%s, %s", p.name, m.name), median(rates[p.name+m.name]), "req/s")
		}
		for _, p := range peers {
			if p.name == "constant" || p.name == "dnsdist" {
				s.results.add(fmt.Sprintf("wazero / %s, %s", p.name, m.name),
					median(ratios(rates["wazero"+m.name], rates[p.name+m.name])), "ratio")
			}
		}
	}
}

// ratios compares two peers round by round.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// median returns the middle value, of an even number the lower one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

func (s *suite) noteMemory(peers []*peer) error {
	for _, p := range peers {
		now, peak, err := residentKiB(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		s.results.add(p.name+", memory after the loads", now/1024, "MiB")
		s.results.add(p.name+", most memory", peak/1024, "MiB")
	}
	return nil
}

// A loaded is what h2load says.
type loaded struct {
	perSecond       float64
	succeeded, done int
	failed          int // failed, errored, timed out or not 2xx
	text            []byte
}

// h2load asks a peer with 10 connections of 20 requests at once.
func (s *suite) h2load(p *peer, m mode, more ...string) (*loaded, error) {
	args := append([]string{"-c", "10", "-m", "20", "-t", "1"}, m.args...)
	url := "https://" + p.address + "/dns-query"
	if m.post {
		body := filepath.Join(s.dir, "query")
		if err := os.WriteFile(body, loadQuery, 0o644); err != nil {
			return nil, err
		}
		args = append(args, "-d", body, "-H", "content-type: application/dns-message")
	} else {
		url += "?dns=" + base64.RawURLEncoding.EncodeToString(loadQuery)
	}
	args = append(append(args, more...), url)
	out, err := exec.CommandContext(s.ctx, "h2load", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	return parseLoad(out)
}

var (
	loadRate  = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
	loadCount = regexp.MustCompile(`requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	loadCodes = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
)

// parseLoad reads what h2load prints.
func parseLoad(out []byte) (*loaded, error) {
	rate, count, codes := loadRate.FindSubmatch(out), loadCount.FindSubmatch(out), loadCodes.FindSubmatch(out)
	if rate == nil || count == nil || codes == nil {
		return nil, fmt.Errorf("h2load printed\n%s", out)
	}
	number := func(b []byte) int { n, _ := strconv.Atoi(string(b)); return n } // digits, as the expressions say
	perSecond, err := strconv.ParseFloat(string(rate[1]), 64)
	if err != nil {
		return nil, err
	}
	l := &loaded{perSecond: perSecond, done: number(count[3]), succeeded: number(count[4]), text: out}
	l.failed = number(count[5]) + number(count[6]) + number(count[7]) + number(codes[2]) + number(codes[3]) + number(codes[4])
	return l, nil
}

// start measures how long the host takes from its start to its first answer,
// with and without the compilation cache.
func (s *suite) start() error {
	if err := s.writeSeeded(); err != nil {
		return err
	}
	if _, err := certificate(s.dir); err != nil { // making it is no part of the start
		return err
	}
	for _, x := range []struct {
		name, peer string
		empty      bool
	}{{"wazero, empty compilation cache", "wazero", true}, {"wazero, with its compilation cache", "wazero", false}, {"native", "native", false}} {
		if x.empty {
			if err := os.RemoveAll(filepath.Join(s.dir, "cache")); err != nil {
				return err
			}
		}
		started := time.Now()
		p, err := s.startPeer(x.peer)
		if err != nil {
			return err
		}
		err = p.waitUntilItAnswers()
		took := milliseconds(started)
		p.stop()
		if err != nil {
			return err
		}
		s.results.add("start to first answer: "+x.name, took, "ms")
	}
	return nil
}
