package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

// batchReports is how many reports are appended at once: enough that a sync of
// the disk costs each a microsecond, little enough to be held by each upload.
const batchReports = 10_000

// Bounds on what is told and kept of refused records of one body.
const (
	refusalsTold = 1000 // in the response; the total is always told
	refusalsKept = 100  // as decisions of their own; one more counts the rest
	reasonMax    = 512  // bytes of a reason, which quotes what was sent
)

// refusalsHourly is up to how many decisions about refused records of one
// reporter are kept in an hour, but for those of the body that passes it: they
// stay for good, and it can send ten thousand a second.
const refusalsHourly = 1000

// A refusal is one refused record in a response.
type refusal struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// An outcome is what became of a body of reports.
type outcome struct {
	Accepted     int       `json:"accepted"`
	Duplicates   int       `json:"duplicates"`
	Waiting      int       `json:"waiting"` // of the accepted: those that wait for an operator
	RefusedTotal int       `json:"refused_total"`
	Refused      []refusal `json:"refused"`
	Error        string    `json:"error,omitempty"` // why the rest of the body was not read
}

// status is the HTTP status of a body that was read to its end: 200 if every
// record was taken, 207 if some were, 422 if none was.
func (o *outcome) status() int {
	switch {
	case o.RefusedTotal == 0:
		return http.StatusOK
	case o.Accepted+o.Duplicates == 0:
		return http.StatusUnprocessableEntity
	}
	return http.StatusMultiStatus
}

// rules are those for the reports of one reporter.
func (h *Handler) rules(reporter string) report.Rules {
	return report.Rules{Reporter: reporter, Now: h.now(), Ahead: h.Ahead, Window: h.Window, Reserved: h.Reserved}
}

func (h *Handler) postReports(w http.ResponseWriter, r *http.Request) {
	if !isShort(r) {
		reporter := bearer(r).Name
		if err := h.uploads.enter(reporter); err != nil {
			retryAfter(w, stall)
			h.refuse(w, r, err)
			return
		}
		defer h.uploads.leave(reporter)
	}
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Time{}) // the body may take hours; see patient
	outcome, status, err := h.takeBody(w, r)
	control.SetWriteDeadline(time.Now().Add(answerTime))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	respond(w, status, outcome)
}

// isShort reports whether the body is known to be short, decoded too.
func isShort(r *http.Request) bool {
	coding := r.Header.Get("Content-Encoding")
	return 0 <= r.ContentLength && r.ContentLength <= shortUpload && (coding == "" || coding == "identity")
}

// takeBody takes the reports of a request's body.
func (h *Handler) takeBody(w http.ResponseWriter, r *http.Request) (outcome, int, error) {
	parse, err := h.parser(r)
	if err != nil {
		return outcome{}, 0, err
	}
	body, err := h.openBody(w, r)
	if err != nil {
		return outcome{}, 0, err
	}
	defer body.Close()
	in := intake{h: h, reporter: bearer(r).Name}
	// A body that breaks off ends the context; what was read of it counts all the same.
	status, err := in.take(context.WithoutCancel(r.Context()), parse(body))
	return in.outcome, status, err
}

// parser returns what reads a body of the request's media type.
func (h *Handler) parser(r *http.Request) (func(io.Reader) report.Reports, error) {
	rules := h.rules(bearer(r).Name)
	if kind := r.URL.Query().Get("kind"); kind != "" {
		var ok bool
		if rules.Kind, ok = snapshot.ParseKind(kind); !ok {
			return nil, fail(http.StatusBadRequest, fmt.Sprintf("kind %q is unknown", kind))
		}
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		return func(body io.Reader) report.Reports { return report.NDJSON(body, rules) }, nil
	case "text/csv":
		return func(body io.Reader) report.Reports { return report.CSV(body, rules) }, nil
	case "text/plain":
		return func(body io.Reader) report.Reports { return report.List(body, rules) }, nil
	case "message/rfc822":
		return func(body io.Reader) report.Reports { return report.Mail(body, rules, h.Relays) }, nil
	case "text/x-rbldnsd":
		return func(body io.Reader) report.Reports { return report.ZoneFile(body, rules) }, nil
	}
	return nil, fail(http.StatusUnsupportedMediaType, "the body must be application/x-ndjson, text/csv, text/plain, text/x-rbldnsd or message/rfc822")
}

// An intake takes the reports of one body into the ledger.
type intake struct {
	h        *Handler
	reporter string
	outcome  outcome
	batch    []report.Report // not yet sorted into the next two
	pass     []report.Report // to be appended
	hold     []report.Report // to wait
	kept     []ledger.Decision
}

// take appends the reports batch by batch and returns the status of the
// response. An error means that nothing can be said of the last batch: the
// sender must send the body again, which counts nothing twice.
func (in *intake) take(ctx context.Context, reports report.Reports) (status int, err error) {
	if err := in.full(); err != nil {
		return 0, err
	}
	var broken error
	for r, err := range reports {
		var refused *report.Refusal
		switch {
		case err == nil:
			in.batch = append(in.batch, r)
		case errors.As(err, &refused):
			in.refuse(refused)
		default:
			broken = err
		}
		if len(in.batch) == batchReports {
			if err := in.flush(ctx); err != nil {
				return 0, err
			}
			if broken = in.full(); broken != nil {
				break
			}
		}
	}
	if err := in.flush(ctx); err != nil {
		return 0, err
	}
	if err := in.record(ctx); err != nil {
		return 0, err
	}
	if in.outcome.Refused == nil {
		in.outcome.Refused = []refusal{}
	}
	if broken != nil {
		return in.broken(broken), nil
	}
	return in.outcome.status(), nil
}

// full fails if so much of the reporter waits that nothing more is taken.
func (in *intake) full() error {
	if in.h.Admit != nil {
		if reason := in.h.Admit.Full(in.reporter); reason != "" {
			return fail(http.StatusTooManyRequests, reason)
		}
	}
	return nil
}

// broken is the status of a body that ended too early, or was left there.
func (in *intake) broken(err error) int {
	var failed *failure
	if errors.As(err, &failed) || errors.As(bodyFailure(err), &failed) {
		in.outcome.Error = failed.reason
		return failed.status
	}
	return http.StatusBadRequest
}

// sort puts the reports of the batch where they belong. A report that the ledger
// has counts nothing twice, so it costs its reporter nothing either.
func (in *intake) sort(ctx context.Context) error {
	if in.h.Admit == nil {
		in.pass = append(in.pass, in.batch...)
		return nil
	}
	fresh, err := in.h.Ledger.Fresh(ctx, in.batch)
	if err != nil {
		return err
	}
	for i, r := range in.batch {
		if fresh[i] && in.h.Admit.Admit(r) != "" {
			in.hold = append(in.hold, r)
		} else {
			in.pass = append(in.pass, r)
		}
	}
	return nil
}

func (in *intake) refuse(r *report.Refusal) {
	r = &report.Refusal{Line: r.Line, Reason: cut(r.Reason)}
	in.outcome.RefusedTotal++
	if len(in.outcome.Refused) < refusalsTold {
		in.outcome.Refused = append(in.outcome.Refused, refusal{r.Line, r.Reason})
	}
	if len(in.kept) < refusalsKept {
		in.kept = append(in.kept, in.decision(r.Error(), 1))
	}
}

// cut shortens a reason to what is told and kept of it.
func cut(reason string) string {
	if len(reason) > reasonMax {
		reason = reason[:reasonMax] + "…"
	}
	return strings.ToValidUTF8(reason, "?")
}

// decision is the row that says that records were refused. What a reporter
// sent may be anything, so it is never in the public part.
func (in *intake) decision(note string, count int) ledger.Decision {
	return ledger.Decision{At: in.h.now(), Kind: ledger.ReportRefused, Reporter: in.reporter, Note: note, Count: int64(count)}
}

// flush appends what has been gathered.
func (in *intake) flush(ctx context.Context) error {
	if err := in.sort(ctx); err != nil {
		return err
	}
	if len(in.pass) > 0 {
		receipt, err := in.h.Ledger.AppendReports(ctx, in.pass)
		if err != nil {
			return err
		}
		in.outcome.Accepted += receipt.Accepted
		in.outcome.Duplicates += receipt.Duplicates
	}
	if len(in.hold) > 0 {
		receipt, err := in.h.Ledger.HoldReports(ctx, in.hold)
		if err != nil {
			return err
		}
		in.outcome.Accepted += receipt.Accepted
		in.outcome.Waiting += receipt.Accepted
		in.outcome.Duplicates += receipt.Duplicates
	}
	in.batch, in.pass, in.hold = in.batch[:0], in.pass[:0], in.hold[:0]
	return nil
}

// record writes the rows of the refused records.
func (in *intake) record(ctx context.Context) error {
	if len(in.kept) == 0 {
		return nil
	}
	untold, ok := in.h.refused.tell(in.reporter, in.h.now()/3600, len(in.kept), in.outcome.RefusedTotal)
	if !ok {
		return nil
	}
	if more := in.outcome.RefusedTotal - len(in.kept); more > 0 {
		in.kept = append(in.kept, in.decision("further records of the same body", more))
	}
	if untold > 0 {
		in.kept = append(in.kept, in.decision(fmt.Sprintf("records refused before, past %d rows in an hour", refusalsHourly), untold))
	}
	return in.h.Ledger.AppendDecisions(ctx, in.kept)
}

// refused counts the rows about refused records by reporter. It may be used by
// many goroutines; the zero value has counted none.
type refused struct {
	mu     sync.Mutex
	hour   int64
	rows   map[string]int // of this hour
	untold map[string]int // records that no row stands for yet
}

// tell reports whether rows about so many records may be written in an hour, and
// for how many records before them too.
func (f *refused) tell(reporter string, hour int64, rows, records int) (untold int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hour != hour {
		f.hour, f.rows = hour, map[string]int{}
	}
	if f.untold == nil {
		f.untold = map[string]int{}
	}
	if f.rows[reporter] >= refusalsHourly {
		f.untold[reporter] += records
		return 0, false
	}
	f.rows[reporter] += rows
	untold = f.untold[reporter]
	delete(f.untold, reporter)
	return untold, true
}
