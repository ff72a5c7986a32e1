package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
)

// maxMessage is the largest DNS message (RFC 8484, section 6).
const maxMessage = 65535

func newQuery() *cobra.Command {
	var (
		server  string
		post    bool
		asJSON  bool
		zone    string
		caFile  string
		keyFlag string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE]",
		Short: "Ask an edge one DNS question over HTTPS (RFC 8484)",
		Long: `Asks an edge one DNS question over HTTPS and prints the answer as dig does.
With --zone, NAME may be an address: its reversed name in that zone is asked.
Exit code 0 says that the edge answered, whatever it answered.`,
		Example: `  ucedge query 2.0.0.127.dnsbl-1.bl.example TXT --edge http://127.0.0.1:8080
  ucedge query 198.51.100.7 --zone dnsbl-1.bl.example --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, qtype, err := questionOf(args, zone)
			if err != nil {
				return misusef(cmd, "%v", err)
			}
			client, err := httpClient(caFile, timeout)
			if err != nil {
				return err
			}
			msg := new(dns.Msg).SetQuestion(name, qtype)
			msg.Id = 0 // RFC 8484 4.1: a constant ID lets caches share
			msg.SetEdns0(1232, false)
			answer, took, err := exchange(cmd.Context(), client, server, keyFlag, msg, post)
			if err != nil {
				return err
			}
			if asJSON {
				return printAnswerJSON(cmd.OutOrStdout(), answer)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n;; %d bytes from %s in %s\n", answer, answer.Len(), server, took.Round(10*time.Microsecond))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&server, "edge", "http://127.0.0.1:8080", "URL of the edge")
	flags.BoolVar(&post, "post", false, "use POST instead of GET")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.StringVar(&zone, "zone", "", "zone for a NAME that is an address")
	addClientFlags(cmd, &caFile, &keyFlag, &timeout)
	return cmd
}

// addClientFlags adds the flags of every command that talks to an edge.
func addClientFlags(cmd *cobra.Command, caFile, key *string, timeout *time.Duration) {
	cmd.Flags().StringVar(caFile, "ca", "", "PEM file with the certificate to trust instead of the system's")
	cmd.Flags().StringVar(key, "api-key", "", "access key, for an edge with keys (better set as UCEDGE_API_KEY)")
	cmd.Flags().DurationVar(timeout, "timeout", 5*time.Second, "how long to wait for the edge")
}

// questionOf returns the owner name and type that the arguments ask for.
func questionOf(args []string, zone string) (string, uint16, error) {
	name, qtype := args[0], dns.TypeA
	if zone != "" {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return "", 0, fmt.Errorf("%q is not an address, which --zone wants", name)
		}
		reversed, err := dns.ReverseAddr(addr.Unmap().String())
		if err != nil {
			return "", 0, err
		}
		reversed = strings.TrimSuffix(strings.TrimSuffix(reversed, "in-addr.arpa."), "ip6.arpa.")
		name = reversed + zone
	}
	if len(args) == 2 {
		t, ok := dns.StringToType[strings.ToUpper(args[1])]
		if !ok {
			return "", 0, fmt.Errorf("no DNS type %q", args[1])
		}
		qtype = t
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return "", 0, fmt.Errorf("%q is not a domain name", name)
	}
	return dns.Fqdn(name), qtype, nil
}

// httpClient returns a client that trusts the certificates in caFile, or the
// system's if it is empty.
func httpClient(caFile string, timeout time.Duration) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %q", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: timeout}, nil
}

// exchange sends one DNS message over HTTP and returns the answer.
func exchange(ctx context.Context, client *http.Client, server, key string, msg *dns.Msg, post bool) (*dns.Msg, time.Duration, error) {
	wire, err := msg.Pack()
	if err != nil {
		return nil, 0, fmt.Errorf("pack the query: %w", err)
	}
	target := strings.TrimSuffix(server, "/") + "/dns-query"
	method, body := http.MethodPost, io.Reader(bytes.NewReader(wire))
	if !post {
		target += "?dns=" + base64.RawURLEncoding.EncodeToString(wire)
		method, body = http.MethodGet, nil
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/dns-message")
	if post {
		req.Header.Set("Content-Type", "application/dns-message")
	}
	began := time.Now()
	reply, err := fetch(client, req, key, maxMessage)
	if err != nil {
		return nil, 0, err
	}
	took := time.Since(began)
	answer := new(dns.Msg)
	if err := answer.Unpack(reply); err != nil {
		return nil, 0, fmt.Errorf("answer of %s is not a DNS message: %w", server, err)
	}
	return answer, took, nil
}

// fetch does one request and returns the body of a 200; anything else is an
// error that quotes what the edge said.
func fetch(client *http.Client, req *http.Request, key string, limit int64) ([]byte, error) {
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the edge at %s: %w%s", req.URL.Host, withoutURL(err), hintNoEdge(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("answer of %s is larger than %d bytes", req.URL.Host, limit)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s: %s", req.URL.Host, resp.Status, strings.TrimSpace(string(body[:min(len(body), 300)])))
	}
	return body, nil
}

// withoutURL returns what went wrong alone: the URL holds a whole DNS message,
// and perhaps a key.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// hintNoEdge says what to do where nobody listens.
func hintNoEdge(err error) string {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return ""
	}
	return "\nucedge: no edge runs there; --edge says where one does, and `ucedge run` starts one"
}

func printAnswerJSON(w io.Writer, m *dns.Msg) error {
	type record struct {
		Name string `json:"name"`
		Type string `json:"type"`
		TTL  uint32 `json:"ttl"`
		Data string `json:"data"`
	}
	list := func(rrs []dns.RR) []record {
		out := []record{}
		for _, rr := range rrs {
			h := rr.Header()
			out = append(out, record{h.Name, dns.TypeToString[h.Rrtype], h.Ttl, strings.TrimPrefix(rr.String(), h.String())})
		}
		return out
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Rcode         string   `json:"rcode"`
		Authoritative bool     `json:"authoritative"`
		Answer        []record `json:"answer"`
		Authority     []record `json:"authority"`
	}{dns.RcodeToString[m.Rcode], m.Authoritative, list(m.Answer), list(m.Ns)})
}
