package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A peer is a server that the suite has started.
type peer struct {
	name    string
	address string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	stderr  *bytes.Buffer
}

// patience is how long a peer may take to start or to stop.
const patience = 20 * time.Second

// startPeer starts this binary as a peer and waits for its address.
func (s *suite) startPeer(name string) (*peer, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, cmd: exec.CommandContext(s.ctx, binary, "-serve", name, "-dir", s.dir), stderr: new(bytes.Buffer)}
	p.cmd.Stderr = p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.start(); err != nil {
		return nil, err
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("peer %q did not start: %s", name, p.stderr)
	}
	p.address = strings.TrimSpace(line)
	return p, nil
}

// start starts the process, which is asked to stop before it is made to.
func (p *peer) start() error {
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	return p.cmd.Start()
}

func (p *peer) stop() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait() // how it ended is of no interest
}

// startDNSDist starts dnsdist with the same certificate, one fixed answer and
// nothing behind it.
func (s *suite) startDNSDist() (*peer, error) {
	binary, err := exec.LookPath("dnsdist")
	if err != nil {
		return nil, fmt.Errorf("command dnsdist: %w", errAbsent)
	}
	if _, err := certificate(s.dir); err != nil {
		return nil, err
	}
	doh, plain, err := freePorts()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(s.dir, "dnsdist.conf")
	text := fmt.Sprintf("setLocal(%q)\naddDOHLocal(%q, %q, %q, \"/dns-query\")\naddAction(AllRule(), SpoofAction(\"127.0.0.2\"))\n",
		plain, doh, filepath.Join(s.dir, "localhost.crt"), filepath.Join(s.dir, "localhost.key"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p := &peer{name: "dnsdist", address: doh, cmd: exec.CommandContext(s.ctx, binary, "--supervised", "--disable-syslog", "-C", config), stderr: new(bytes.Buffer)}
	p.cmd.Stderr = p.stderr
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.waitUntilItAnswers(); err != nil {
		p.stop()
		return nil, fmt.Errorf("%w\n%s", err, p.stderr)
	}
	return p, nil
}

// freePorts returns two addresses on loopback that nobody listens on.
func freePorts() (a, b string, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer second.Close()
	return first.Addr().String(), second.Addr().String(), nil
}

// insecure trusts any certificate: those here are the suite's own.
var insecure = &http.Client{
	Timeout:   2 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
}

// waitUntilItAnswers asks until the peer gives an address.
func (p *peer) waitUntilItAnswers() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if p.ask() == nil {
			return nil
		}
	}
	return fmt.Errorf("peer %q does not answer: %w", p.name, p.ask())
}

// ask posts the query once and wants the address back. dnsdist has an OPT record behind it.
func (p *peer) ask() error {
	resp, err := insecure.Post("https://"+p.address+"/dns-query", "application/dns-message", bytes.NewReader(loadQuery))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte{0, 4, 127, 0, 0, 2}) {
		return fmt.Errorf("got no address: %s, %x", resp.Status, answer)
	}
	return nil
}
