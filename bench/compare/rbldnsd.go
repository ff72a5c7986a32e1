package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A server is a running rbldnsd.
type server struct {
	address string
	process *exec.Cmd
	log     bytes.Buffer
	gone    chan struct{}
}

// startRbldnsd starts rbldnsd on a free port of 127.0.0.1 and waits until it
// answers. Without rbldnsd on this machine the error is errSkip.
func startRbldnsd(dir string, zones []zoneSpec) (*server, error) {
	path, err := exec.LookPath("rbldnsd")
	if err != nil {
		path = "/usr/sbin/rbldnsd"
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: no rbldnsd on this machine", errSkip)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{"-n", "-a", "-c", "0", "-w", dir, "-b", fmt.Sprintf("127.0.0.1/%d", port)}
	for _, z := range zones {
		args = append(args, fmt.Sprintf("%s:%s:%s", z.suffix, z.kind, z.file))
	}
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", port), process: exec.Command(path, args...), gone: make(chan struct{})}
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.process.Wait()
		close(s.gone)
	}()
	if err := s.wait(zones[0].suffix); err != nil {
		s.stop()
		return nil, fmt.Errorf("rbldnsd: %w\n%s", err, s.log.String())
	}
	return s, nil
}

func freePort() (int, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port, nil
}

// wait returns when the server answers for the zone.
func (s *server) wait(suffix string) error {
	conn, err := net.Dial("udp4", s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	query := (&question{labels: "2.0.0.127.", qtype: 1}).wire(nil, 1, suffix)
	for range 300 {
		select {
		case <-s.gone:
			return errors.New("ended at once")
		default:
		}
		conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Write(query); err == nil {
			if n, err := conn.Read(make([]byte, 512)); err == nil && n > 12 {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("does not answer")
}

func (s *server) stop() {
	s.process.Process.Kill()
	<-s.gone
}

// residentBytes returns the memory of the process, or zero where the system does
// not tell.
func (s *server) residentBytes() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return kilobytes << 10
		}
	}
	return 0
}
