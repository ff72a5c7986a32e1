package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ucedge/core"
)

const (
	maxChecks      = 1000     // addresses in one request (DESIGN, 5)
	maxCheckAnswer = 16 << 20 // bytes of an answer for as many
)

func newCheck() *cobra.Command {
	var (
		server, from    string
		caFile, keyFlag string
		timeout         time.Duration
		asJSON          bool
	)
	cmd := &cobra.Command{
		Use:   "check ADDRESS…",
		Short: "Say whether addresses are listed, why, and until when",
		Long: `Asks an edge, or a snapshot on this machine, about addresses or prefixes: on which
levels they are listed, by how many against which threshold, and when it ends.
A lone - reads addresses from standard input, one a line. Exit code 1 says that
at least one is listed, or could not be asked about.`,
		Example: `  ucedge check 198.51.100.7 2001:db8:25:25::1 --edge http://127.0.0.1:8080
  ucedge check --snapshot publish 198.51.100.66 --json
  cut -d' ' -f1 mail.log | ucedge check -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subjects, err := subjectsOf(args, cmd.InOrStdin())
			if err != nil {
				return misusef(cmd, "%v", err)
			}
			client, err := httpClient(caFile, timeout)
			if err != nil {
				return err
			}
			ask := askEdge(client, server, keyFlag)
			if from != "" {
				if ask, err = askSnapshot(from); err != nil {
					return err
				}
			}
			return runCheck(cmd, ask, subjects, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&server, "edge", "http://127.0.0.1:8080", "URL of the edge")
	flags.StringVar(&from, "snapshot", "", "ask this publish folder or image instead of an edge")
	flags.BoolVar(&asJSON, "json", false, "print JSON, as /v1/check gives it")
	addClientFlags(cmd, &caFile, &keyFlag, &timeout)
	return cmd
}

// subjectsOf returns the arguments, with a lone - replaced by the lines of r.
func subjectsOf(args []string, r io.Reader) ([]string, error) {
	if len(args) != 1 || args[0] != "-" {
		return args, nil
	}
	var subjects []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			subjects = append(subjects, line)
		}
	}
	if len(subjects) == 0 && lines.Err() == nil {
		return nil, errors.New("no address on standard input")
	}
	return subjects, lines.Err()
}

// An asker answers the body of one POST to /v1/check.
type asker func(ctx context.Context, body []byte) ([]byte, error)

func askEdge(client *http.Client, server, key string) asker {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(server, "/")+"/v1/check", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		return fetch(client, req, key, maxCheckAnswer)
	}
}

// askSnapshot asks the core over a snapshot on this machine, with the very
// request that an edge would get.
func askSnapshot(path string) (asker, error) {
	l, err := loadSnapshot(path, nil)
	if err != nil {
		return nil, err
	}
	m := core.Manifest{
		List: l.manifest.List, Serial: l.manifest.Serial,
		Built: l.manifest.Built, Next: l.manifest.Next, Expires: l.manifest.Expires,
	}
	if l.signed == nil { // a bare image is as fresh as it is asked
		now := time.Now().Unix()
		m.Built, m.Next, m.Expires = now, now+3600, now+7200
	}
	c := core.New(l.snapshot, m)
	return func(_ context.Context, body []byte) ([]byte, error) {
		var resp core.Response
		c.Serve(&core.Request{
			Now: time.Now().Unix(), Method: []byte(http.MethodPost), Target: []byte("/v1/check"),
			ContentType: []byte("application/json"), Body: body,
		}, &resp)
		if resp.Status != http.StatusOK {
			return nil, fmt.Errorf("snapshot %q: %s", path, bytes.TrimSpace(resp.Body))
		}
		return resp.Body, nil
	}, nil
}

// runCheck asks about the subjects, as many at a time as one request takes.
func runCheck(cmd *cobra.Command, ask asker, subjects []string, asJSON bool) error {
	listed := false
	for len(subjects) > 0 {
		n := min(len(subjects), maxChecks)
		body, err := json.Marshal(map[string][]string{"addresses": subjects[:n]})
		if err != nil {
			return err
		}
		subjects = subjects[n:]
		reply, err := ask(cmd.Context(), body)
		if err != nil {
			return err
		}
		var checks checkReply
		if err := json.Unmarshal(reply, &checks); err != nil {
			return fmt.Errorf("answer of the edge: %w", err)
		}
		if asJSON {
			if _, err := cmd.OutOrStdout().Write(reply); err != nil {
				return err
			}
		} else if err := checks.print(cmd.OutOrStdout()); err != nil {
			return err
		}
		listed = listed || checks.listed()
	}
	if listed {
		return quietFailure{}
	}
	return nil
}

// A checkReply is the part of an answer of /v1/check that a person is shown.
type checkReply struct {
	List    string `json:"list"`
	Serial  uint32 `json:"serial"`
	Built   string `json:"built"`
	Stale   bool   `json:"stale"`
	Results []struct {
		Query  string       `json:"query"`
		Error  string       `json:"error"`
		Listed bool         `json:"listed"`
		Exempt bool         `json:"exempt"`
		Levels []checkLevel `json:"levels"`
	} `json:"results"`
}

type checkLevel struct {
	Level      int    `json:"level"`
	Zone       string `json:"zone"`
	Listed     bool   `json:"listed"`
	Exempt     bool   `json:"exempt"`
	Prefix     string `json:"prefix"`
	Count      int64  `json:"count"`
	Threshold  int64  `json:"threshold"`
	ASN        uint32 `json:"asn"`
	Name       string `json:"name"`
	Expires    string `json:"expires"`
	LeavesWhen string `json:"leaves_when"`
	Next       string `json:"next"`
}

func (r checkReply) listed() bool {
	for _, result := range r.Results {
		if result.Listed || result.Error != "" {
			return true
		}
	}
	return false
}

func (r checkReply) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tLEVEL\tLISTED\tPREFIX\tCOUNT\tAS\tENDS")
	for _, result := range r.Results {
		switch {
		case result.Error != "":
			fmt.Fprintf(t, "%s\t-\terror: %s\t\t\t\t\n", result.Query, result.Error)
		case len(result.Levels) == 0:
			fmt.Fprintf(t, "%s\t-\tno\t\t\t\t\n", result.Query)
		}
		for _, l := range result.Levels {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", result.Query, l.Level, l.word(), l.Prefix, l.count(), l.system(), l.ends())
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, result := range r.Results {
		for _, l := range result.Levels {
			if l.Listed && l.Next != "" {
				fmt.Fprintf(w, "\n%s, level %d: %s\n", result.Query, l.Level, l.Next)
			}
		}
	}
	stale := ""
	if r.Stale {
		stale = ", stale"
	}
	_, err := fmt.Fprintf(w, "\n%s serial %d, built %s%s\n", r.List, r.Serial, r.Built, stale)
	return err
}

func (l checkLevel) word() string {
	switch {
	case l.Listed:
		return "yes"
	case l.Exempt:
		return "exempt"
	}
	return "no"
}

func (l checkLevel) count() string {
	switch {
	case l.Count == 0:
		return ""
	case l.Threshold == 0:
		return fmt.Sprint(l.Count)
	}
	return fmt.Sprintf("%d of %d", l.Count, l.Threshold)
}

func (l checkLevel) system() string {
	if l.ASN == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("AS%d %s", l.ASN, l.Name))
}

func (l checkLevel) ends() string {
	if l.Expires != "" {
		return l.Expires
	}
	return l.LeavesWhen
}
