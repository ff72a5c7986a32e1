package main

import (
	"io"
	"net"
	"strings"
	"testing"
)

// TestFindPorts takes a port for TCP, and another for UDP alone, and asks the
// demo to get along.
func TestFindPorts(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	taken := tcp.Addr().String()
	settle := func(args ...string) (*demo, error) {
		cmd := newRun()
		cmd.SetErr(io.Discard)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		d := &demo{cmd: cmd, origin: "127.0.0.1:0"}
		d.serve.http, d.serve.dns = taken, udp.LocalAddr().String()
		return d, d.findPorts()
	}

	d, err := settle()
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"http": d.serve.http, "dns": d.serve.dns, "origin": d.origin} {
		if address == taken || address == udp.LocalAddr().String() || strings.HasSuffix(address, ":0") {
			t.Errorf("%s is %s, want a free port", name, address)
		}
		if l, err := net.Listen("tcp", address); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			l.Close()
		}
	}
	if d.serve.admin != "" {
		t.Errorf("admin is %q, want that it stays off", d.serve.admin)
	}
	if _, err := settle("--http", taken); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("a taken port that was asked for: got %v, want an error that names the flag", err)
	}
	d.serve.http = "nowhere"
	if err := d.findPorts(); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("an address that is none: got %v, want an error that names the flag", err)
	}
}
