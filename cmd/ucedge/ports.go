package main

import (
	"errors"
	"fmt"
	"net"
)

// findPorts gives each address of the demo another port whose own is taken,
// unless somebody asked for just this one. Port 0 becomes a port, since texts
// name it.
func (d *demo) findPorts() error {
	for _, listener := range []struct {
		flag    string
		address *string
	}{{"http", &d.serve.http}, {"https", &d.serve.https}, {"dns", &d.serve.dns}, {"admin", &d.serve.admin}, {"origin", &d.origin}} {
		address := *listener.address
		if address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return misusef(d.cmd, "--%s: %v", listener.flag, err)
		}
		_, err = tryPort(address)
		switch {
		case err == nil && port != "0":
			continue
		case port != "0" && d.cmd.Flag(listener.flag).Changed:
			return fmt.Errorf("--%s: %w", listener.flag, err)
		}
		if *listener.address, err = tryPort(net.JoinHostPort(host, "0")); err != nil {
			return fmt.Errorf("--%s: %w", listener.flag, err)
		}
		if port != "0" {
			fmt.Fprintf(d.cmd.ErrOrStderr(), "ucedge: %s is taken, so --%s is %s\n", address, listener.flag, *listener.address)
		}
	}
	return nil
}

// portAttempts is how often a port is sought that is free for TCP and UDP.
const portAttempts = 10

// tryPort returns the address with its port, which was free for TCP and UDP
// just now.
func tryPort(address string) (free string, err error) {
	for range portAttempts {
		if free, err = tryOnce(address); err == nil {
			break
		}
	}
	return free, err
}

func tryOnce(address string) (string, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		return "", errors.Join(err, tcp.Close())
	}
	return tcp.Addr().String(), errors.Join(tcp.Close(), udp.Close())
}
