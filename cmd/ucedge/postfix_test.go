package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// inNamespace says in the environment that the process has a network, mounts
// and processes of its own.
const inNamespace = "UCEDGE_TEST_NAMESPACE"

// The network of TestPostfix. All of it is on the loopback device.
const (
	mailServer  = "192.0.2.25"
	mailServer6 = "2001:db8::25"
)

// TestPostfix puts an edge beside a real Postfix as docs/mail.md says, with its
// very lines: a machine (a network namespace) whose resolver is Unbound, which
// asks the edge. Postfix refuses clients that are listed with the words of the
// list, takes mail from others, and from everybody when the edge is gone.
// SpamAssassin scores what Postfix would have taken.
func TestPostfix(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a mail server")
	}
	if os.Getenv(inNamespace) == "" {
		enterNamespace(t)
		return
	}
	const dir = "/mnt" // ends with the namespace, and other users may enter it
	command(t, "mount", "-t", "tmpfs", "tmpfs", dir)
	stopEdge := startResolver(t, dir)
	startPostfix(t, dir)
	for _, row := range []struct{ client, refused string }{
		{"198.51.100.5", "blocked using dnsbl-1.bl.example; IP 198.51.100.5 is listed here"},
		{"203.0.113.77", "blocked using dnsbl-2.bl.example; Net 203.0.113.0/24 is listed"},
		{"198.51.100.6", ""},
		{"2001:db8:0:1::5", "blocked using dnsbl-1.bl.example; IP 2001:db8:0:1::5 is listed here"},
		{"2001:db8:0:2::5", ""},
	} {
		err := sendMail(row.client)
		switch refusal := (*textproto.Error)(nil); {
		case row.refused == "" && err != nil:
			t.Errorf("%s is not listed: got %v, want that its mail is taken", row.client, err)
		case row.refused != "" && (!errors.As(err, &refusal) || refusal.Code != 554 || !strings.Contains(refusal.Msg, row.refused)):
			t.Errorf("%s is listed: got %v, want 554 with %q", row.client, err, row.refused)
		}
	}
	score(t, dir)
	stopEdge()
	// A listed client that Postfix has not met: it remembers answers.
	if err := sendMail("203.0.113.78"); err != nil {
		t.Errorf("without an edge: got %v, want that mail flows", err)
	}
	if t.Failed() {
		logged, _ := os.ReadFile(filepath.Join(dir, "maillog"))
		t.Logf("Postfix says:\n%s", logged)
	}
}

// enterNamespace runs this test in namespaces of its own, or skips it.
func enterNamespace(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("network namespaces and Postfix need root on Linux")
	}
	for _, needed := range []string{"unshare", "ip", "mount", "postfix"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("%s is not installed", needed)
		}
	}
	apart := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--"}
	if out, err := exec.Command("unshare", append(apart, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "unshare", append(apart, os.Args[0], "-test.run=^TestPostfix$", "-test.v")...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	t.Logf("in the namespaces:\n%s", out)
}

// command runs a program that must succeed.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// startResolver makes the network, and an edge its name server until stop or
// the end of the test.
func startResolver(t *testing.T, dir string) (stop func()) {
	command(t, "ip", "link", "set", "lo", "up")
	for _, a := range []string{mailServer, "198.51.100.5", "198.51.100.6", "203.0.113.77", "203.0.113.78"} {
		command(t, "ip", "address", "add", a+"/32", "dev", "lo")
	}
	for _, a := range []string{mailServer6, "2001:db8:0:1::5", "2001:db8:0:2::5"} {
		command(t, "ip", "address", "add", a+"/128", "dev", "lo", "nodad")
	}
	put(t, dir, "resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
	command(t, "mount", "--bind", filepath.Join(dir, "resolv.conf"), "/etc/resolv.conf")
	dns := "127.0.0.1:5300"
	if !startUnbound(t, dir) {
		dns = "127.0.0.1:53"
	}

	put(t, dir, "dnsbl-1.bl.example", "$DATASET ip4set @\n:127.0.0.2:IP $ is listed here\n198.51.100.5\n$DATASET ip6trie @\n:127.0.0.2:IP $ is listed here\n2001:db8:0:1::/64\n")
	put(t, dir, "dnsbl-2.bl.example", ":127.0.0.2:Net 203.0.113.0/24 is listed\n203.0.113.0/24\n")
	must(t, "keygen", "bl.example", "--dir", dir)
	must(t, "snapshot", "build", "--l1", filepath.Join(dir, "dnsbl-1.bl.example"), "--l2", filepath.Join(dir, "dnsbl-2.bl.example"),
		"--allow-special-use", "--key", filepath.Join(dir, "bl.example.key"), "--out", filepath.Join(dir, "publish"))
	ctx, cancel := context.WithCancel(context.Background())
	talk, ended := &safeBuffer{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"edge", "--from", filepath.Join(dir, "publish"), "--pub", filepath.Join(dir, "bl.example.pub"),
			"--engine", "native", "--dns", dns, "--http", "127.0.0.1:8080", "--state", filepath.Join(dir, "state")}, nil, talk, talk)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("the edge ended with exit code %d: %s", code, talk)
		}
	}
	t.Cleanup(stop)
	waitReady(t, "http://127.0.0.1:8080")
	return stop
}

// guide returns the block of docs/mail.md of that kind.
func guide(t *testing.T, kind string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/mail.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "\n```"+kind+"\n")
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !ended {
		t.Fatalf("docs/mail.md has no block %s", kind)
	}
	return block + "\n"
}

// startUnbound starts the resolver of the machine. It ends with the namespace.
func startUnbound(t *testing.T, dir string) bool {
	if _, err := exec.LookPath("unbound"); err != nil {
		t.Log("unbound is not installed: Postfix asks the edge itself")
		return false
	}
	put(t, dir, "unbound.conf", guide(t, "unbound")+`server:
    interface: 127.0.0.1
    directory: "`+dir+`"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
`)
	if err := exec.Command("unbound", "-c", filepath.Join(dir, "unbound.conf")).Start(); err != nil {
		t.Fatal(err)
	}
	return true
}

// score asks SpamAssassin for what it makes of mail from listed clients.
func score(t *testing.T, dir string) {
	if _, err := exec.LookPath("spamassassin"); err != nil {
		t.Log("spamassassin is not installed: it is left out")
		return
	}
	const site = "/etc/spamassassin" // of this namespace, see below
	put(t, dir, "local.cf", "dns_available yes\n"+guide(t, "spamassassin"))
	command(t, "mount", "--bind", filepath.Join(dir, "local.cf"), filepath.Join(site, "local.cf"))
	for _, row := range []struct{ client, hit string }{
		{"198.51.100.5", "UCEDGE_L1"}, {"203.0.113.77", "UCEDGE_L2"}, {"198.51.100.6", ""}, {"2001:db8:0:1::5", "UCEDGE_L1"},
	} {
		cmd := exec.Command("spamassassin", "-p", filepath.Join(dir, "local.cf"))
		cmd.Env = append(os.Environ(), "HOME="+dir)
		cmd.Stdin = strings.NewReader("Received: from client.example (client.example [" + row.client + "]) by mx.example.net with ESMTP id 1;\r\n" +
			"\tMon, 23 Nov 2026 01:00:00 +0000\r\nFrom: sender@example.com\r\nTo: reader@example.net\r\nSubject: hello\r\n\r\nhello\r\n")
		mail, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("spamassassin: %v\n%s", err, mail)
		}
		for _, rule := range []string{"UCEDGE_L1", "UCEDGE_L2"} {
			if hit := bytes.Contains(mail, []byte(rule)); hit != (rule == row.hit) {
				t.Errorf("%s: SpamAssassin's %s is %v\n%s", row.client, rule, hit, mail)
			}
		}
	}
}

// The settings of a Postfix that takes mail for one domain, throws it away, and
// asks Level 1 as the guide says, and Level 2. {dir} stands for its folder.
const (
	mainCF = `compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
inet_interfaces = ` + mailServer + `, ` + mailServer6 + `
inet_protocols = all
myhostname = mx.example.net
mydestination = example.net
mynetworks =
local_transport = discard
local_recipient_maps =
alias_maps =
smtpd_peername_lookup = no
`
	masterCF = `smtp     inet  n - n - - smtpd
cleanup  unix  n - n - 0 cleanup
qmgr     unix  n - n 300 1 qmgr
rewrite  unix  - - n - - trivial-rewrite
bounce   unix  - - n - 0 bounce
defer    unix  - - n - 0 bounce
discard  unix  - - n - - discard
error    unix  - - n - - error
retry    unix  - - n - - error
anvil    unix  - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
`
)

// startPostfix starts an instance with a folder of its own. It ends with the
// namespace.
func startPostfix(t *testing.T, dir string) {
	for _, folder := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "chown", "postfix", filepath.Join(dir, "data"))
	restrictions := strings.TrimSuffix(guide(t, "postfix"), "\n") + ",\n    reject_rbl_client dnsbl-2.bl.example\n"
	put(t, dir, "etc/main.cf", strings.ReplaceAll(mainCF, "{dir}", dir)+restrictions)
	put(t, dir, "etc/master.cf", masterCF)
	command(t, "postfix", "-c", filepath.Join(dir, "etc"), "start")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort(mailServer, "25"))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			logged, _ := os.ReadFile(filepath.Join(dir, "maillog"))
			t.Fatalf("Postfix does not listen: %v\n%s", err, logged)
		}
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sendMail sends a mail to Postfix from that address.
func sendMail(client string) error {
	server := mailServer
	if strings.Contains(client, ":") {
		server = mailServer6
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(server, "25"))
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c, err := smtp.NewClient(conn, "mx.example.net")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer c.Close()
	err = c.Mail("sender@example.com")
	if err == nil {
		err = c.Rcpt("reader@example.net")
	}
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	body := bytes.NewBufferString("Subject: hello\r\n\r\nhello\r\n")
	if _, err := body.WriteTo(w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("end of the mail: %w", err)
	}
	return c.Quit()
}
