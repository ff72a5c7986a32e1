package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/routes"
	"ucedge/origin/zonefile"
	"ucedge/snapshot"
)

const (
	importBatch = 10_000  // reports in one transaction
	maxOutcome  = 4 << 20 // bytes of an answer of the API
)

// reportTypes are the media types by format.
var reportTypes = map[string]string{
	"ndjson":  "application/x-ndjson",
	"csv":     "text/csv",
	"list":    "text/plain",
	"mail":    "message/rfc822",
	"rbldnsd": "text/x-rbldnsd",
}

// reportFlags say what is reported and where to.
type reportFlags struct {
	format, kind     string
	url, apiKey      string
	ledger, reporter string
	at               string
	rule             ruleFlags
	asJSON           bool
}

func newOriginReport() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report FILE|-",
		Short: "Send reports to an origin, or import them into a ledger",
		Long: fmt.Sprintf(`Sends a file of reports to an origin with --url and --api-key, or imports it into a
ledger on this machine with --ledger and --reporter. Formats are NDJSON, CSV, plain
lists with times, ARF and X-ARF mails, and rbldnsd zone files: to an origin up to %d
addresses, which count as seen at $TIMESTAMP or in this hour. With --ledger, --seen
is when addresses were seen that come without a time, and what may be reported is
as the serving origin has it unless flags give it. Sending a file twice counts
once. Refused lines are told with their reason, the good ones kept; exit code 1
says that some were refused.

A line of NDJSON; kind, reporter and evidence may be left out:

  {"address":"198.51.100.7","seen":"2026-11-22T16:00:00Z","kind":"spamtrap","evidence":"message 4711"}`, report.MaxZoneEntries),
		Example: `  ucedge origin report reports.ndjson --url http://127.0.0.1:8081 --api-key "$SECRET"
  printf '198.51.100.7 2026-11-22T16:00:00Z spamtrap\n' | ucedge origin report - --format list --ledger ledger.db --reporter trap-one
  ucedge origin report dnsbl-1.bl.example --format rbldnsd --kind spamtrap --ledger ledger.db --reporter import`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, name, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer body.Close()
			outcome, err := f.deliver(cmd, name, body)
			if err != nil {
				return err
			}
			return f.print(cmd, name, outcome)
		},
	}
	flags := cmd.Flags()
	addChoice(cmd, &f.format, "format", "", "ndjson, csv, list, mail or rbldnsd; empty tells it from the name of the file", "ndjson", "csv", "list", "mail", "rbldnsd")
	flags.StringVar(&f.kind, "kind", "", "kind of reports that name none: spamtrap, user, scan, auth, backscatter, manual")
	offer(cmd, "kind", (^snapshot.Kinds(0)).Names()...)
	flags.StringVar(&f.url, "url", "", "URL of the origin")
	flags.StringVar(&f.apiKey, "api-key", "", "secret of a reporter's key")
	flags.StringVar(&f.ledger, "ledger", "", "file of a ledger to import into, without an origin")
	flags.StringVar(&f.reporter, "reporter", "", "with --ledger: name of the reporter")
	flags.StringVar(&f.at, "seen", "", "with --ledger: when addresses were seen that come without a time, a time or a duration before now; empty is now for rbldnsd files alone")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	f.rule.add(cmd)
	return cmd
}

// openInput opens a file, or standard input for "-".
func openInput(cmd *cobra.Command, arg string) (io.ReadCloser, string, error) {
	if arg == "-" {
		return io.NopCloser(cmd.InOrStdin()), "standard input", nil
	}
	f, err := os.Open(arg)
	return f, arg, err
}

// formatOf is the format that was named, or that the name of the file tells.
func (f *reportFlags) formatOf(name string) string {
	if f.format != "" {
		return f.format
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".ndjson", ".jsonl":
		return "ndjson"
	case ".csv":
		return "csv"
	case ".eml":
		return "mail"
	}
	return "list"
}

// A reportOutcome is what became of a file of reports, as the API tells it.
type reportOutcome struct {
	Accepted     int    `json:"accepted"`
	Duplicates   int    `json:"duplicates"`
	Waiting      int    `json:"waiting"`
	RefusedTotal int    `json:"refused_total"`
	Error        string `json:"error,omitempty"`
	Refused      []struct {
		Line   int    `json:"line"`
		Reason string `json:"reason"`
	} `json:"refused"`
}

func (o *reportOutcome) refuse(line int, reason string) {
	o.RefusedTotal++
	if len(o.Refused) < zonefile.MaxProblems {
		o.Refused = append(o.Refused, struct {
			Line   int    `json:"line"`
			Reason string `json:"reason"`
		}{line, reason})
	}
}

// print tells what became of the file, and what to do about lines without a
// time.
func (f *reportFlags) print(cmd *cobra.Command, name string, o *reportOutcome) error {
	if f.asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(o); err != nil {
			return err
		}
	} else {
		untimed := false
		for _, r := range o.Refused {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", name, &report.Refusal{Line: r.Line, Reason: r.Reason})
			untimed = untimed || strings.HasPrefix(r.Reason, report.NoTime)
		}
		if untimed && f.ledger != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "ucedge: --seen TIME gives one time to all lines that have none, for example --seen 1h")
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d accepted, %d known before, %d refused, %d wait for an operator\n", o.Accepted, o.Duplicates, o.RefusedTotal, o.Waiting)
	}
	if o.Error != "" {
		return errors.New(o.Error)
	}
	if o.RefusedTotal > 0 {
		return quietFailure{}
	}
	return nil
}

func (f *reportFlags) deliver(cmd *cobra.Command, name string, body io.Reader) (*reportOutcome, error) {
	format := f.formatOf(name)
	if _, known := reportTypes[format]; !known {
		return nil, misusef(cmd, "--format %q is not ndjson, csv, list, mail or rbldnsd", format)
	}
	kind, known := snapshot.ParseKind(f.kind)
	if f.kind != "" && !known {
		return nil, misusef(cmd, "--kind %q is unknown", f.kind)
	}
	switch {
	case (f.url == "") == (f.ledger == ""):
		return nil, misusef(cmd, "either --url or --ledger is needed: where to report to")
	case format == "rbldnsd" && kind == 0:
		return nil, misusef(cmd, "--kind is needed with zone files: they name none")
	case f.url != "" && f.at != "":
		return nil, misusef(cmd, "--seen is for --ledger: to an origin every report tells its own time")
	case f.url != "" && !isURL(f.url):
		return nil, misusef(cmd, "--url %q is not as http://127.0.0.1:8081", f.url)
	case f.url != "" && f.apiKey == "":
		return nil, misusef(cmd, "--api-key is needed with --url: the secret that `ucedge origin key create --role reporter` prints once")
	case f.url != "":
		return f.send(cmd.Context(), format, body)
	case f.reporter == "":
		return nil, misusef(cmd, "--reporter is needed with --ledger: under whose name")
	}
	return f.intoLedger(cmd, format, kind, name, body)
}

// send posts the body to the API.
func (f *reportFlags) send(ctx context.Context, format string, body io.Reader) (*reportOutcome, error) {
	target := strings.TrimSuffix(f.url, "/") + "/v1/reports"
	if f.kind != "" {
		target += "?kind=" + f.kind
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", reportTypes[format])
	req.Header.Set("Authorization", "Bearer "+f.apiKey)
	resp, err := http.DefaultClient.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("origin %q cannot be reached: %w: does it run, and is this its --listen?", f.url, failed.Err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxOutcome))
	if err != nil {
		return nil, err
	}
	var outcome reportOutcome
	err = json.Unmarshal(text, &outcome)
	switch {
	case err != nil:
		return nil, fmt.Errorf("origin %q: status %s and no answer of an origin: --url must be the address of an origin, or of a proxy before it", f.url, resp.Status)
	case resp.StatusCode >= 400 && outcome.Accepted+outcome.Duplicates+outcome.RefusedTotal == 0: // else the outcome tells why the rest was not taken
		return nil, fmt.Errorf("origin %q: status %s: %s%s", f.url, resp.Status, outcome.Error, nextStep(resp))
	}
	return &outcome, nil
}

// isURL reports whether text is the base of URLs that can be asked.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// nextStep says what to do about an answer that took nothing.
func nextStep(resp *http.Response) string {
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ": `ucedge origin key create --role reporter`, where the ledger is, makes a key for --api-key"
	case http.StatusNotFound:
		return ": --url is the address of the origin alone, as http://127.0.0.1:8081"
	}
	if wait := resp.Header.Get("Retry-After"); wait != "" {
		return ": send the file again in " + wait + " s, nothing counts twice"
	}
	return ""
}

// intoLedger appends what the body holds to a ledger on this machine.
func (f *reportFlags) intoLedger(cmd *cobra.Command, format string, kind snapshot.Kinds, name string, body io.Reader) (outcome *reportOutcome, err error) {
	now := time.Now()
	seen, err := parseMoment(f.at, now)
	if err != nil {
		return nil, misusef(cmd, "--seen: %v", err)
	}
	l, err := ledger.Open(cmd.Context(), f.ledger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	settings, err := f.rule.admitting(cmd, l)
	if err != nil {
		return nil, err
	}
	rules := report.Rules{
		Reporter: f.reporter, Kind: kind, Now: now.Unix(), Ahead: report.DefaultAhead,
		Window: policy.Window, Reserved: refuses(settings),
	}
	if f.at != "" {
		rules.Seen = seen.Unix()
	}
	var reports report.Reports
	switch format {
	case "ndjson":
		reports = report.NDJSON(body, rules)
	case "csv":
		reports = report.CSV(body, rules)
	case "list":
		reports = report.List(body, rules)
	case "mail":
		reports = report.Mail(body, rules, report.Relays{})
	default:
		if reports, err = zoneReports(name, body, rules, seen.Unix()); err != nil {
			return nil, err
		}
	}
	err = tellNewReporter(cmd.Context(), l, f.reporter, func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "ucedge:", text) })
	if err != nil {
		return nil, err
	}
	return importReports(cmd.Context(), l, reports)
}

// zoneReports gives a report for each address that a zone file lists.
func zoneReports(name string, body io.Reader, rules report.Rules, seen int64) (report.Reports, error) {
	zone := defaultZone(snapshot.Address, "dnsbl-1.import.example", "import.example")
	result, err := zonefile.Parse(zonefile.Options{Zone: zone, AllowSpecialUse: true, Now: rules.Now}, zonefile.Source{Name: name, Reader: body})
	if err != nil {
		return nil, err
	}
	return func(yield func(report.Report, error) bool) {
		for _, p := range result.Problems {
			if !yield(report.Report{}, &report.Refusal{Line: p.Line, Reason: p.Reason}) {
				return
			}
		}
		for _, l := range result.Listings {
			r, err := zoneReport(l, rules, seen)
			if !l.Excluded && !yield(r, err) {
				return
			}
		}
	}, nil
}

// zoneReport is the report of one entry, which must be an address or a /64.
func zoneReport(l snapshot.Listing, rules report.Rules, seen int64) (report.Report, error) {
	a := l.Prefix.Addr()
	if l.Prefix.Bits() < routes.UnitOf(a).Prefix().Bits() {
		return report.Report{}, &report.Refusal{Reason: fmt.Sprintf("%s is wider than an address, and a report is about one", l.Prefix)}
	}
	r, err := rules.Check(report.Report{Address: a, Seen: seen, Reporter: rules.Reporter, Kind: rules.Kind})
	if err != nil {
		return r, &report.Refusal{Reason: fmt.Sprintf("%s: %v", a, err)}
	}
	return r, nil
}

// importReports appends reports batch by batch.
func importReports(ctx context.Context, l ledger.Ledger, reports report.Reports) (*reportOutcome, error) {
	outcome := new(reportOutcome)
	var batch []report.Report
	flush := func() error {
		receipt, err := l.AppendReports(ctx, batch)
		batch = batch[:0]
		outcome.Accepted += receipt.Accepted
		outcome.Duplicates += receipt.Duplicates
		return err
	}
	for r, err := range reports {
		var refused *report.Refusal
		switch {
		case errors.As(err, &refused):
			outcome.refuse(refused.Line, refused.Reason)
			continue
		case err != nil:
			return outcome, err
		}
		if batch = append(batch, r); len(batch) == importBatch {
			if err := flush(); err != nil {
				return outcome, err
			}
		}
	}
	if len(batch) == 0 {
		return outcome, nil
	}
	return outcome, flush()
}
