package trap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
)

// A LedgerSink delivers into a ledger of the same host.
type LedgerSink struct {
	Ledger interface {
		AppendReports(ctx context.Context, reports []report.Report) (ledger.Receipt, error)
	}
}

// Deliver is promised by Sink.
func (s LedgerSink) Deliver(ctx context.Context, r report.Report) error {
	_, err := s.Ledger.AppendReports(ctx, []report.Report{r})
	if errors.Is(err, ledger.ErrInvalid) {
		return fmt.Errorf("%w: %v", ErrRefused, err)
	}
	return err
}

// An OriginSink delivers to the origin's POST /v1/reports.
type OriginSink struct {
	url    string
	secret string
	client *http.Client
}

// NewOriginSink returns a sink for the origin at a base URL. The secret is
// that of a reporter's key, whose name must be the trap's. A nil client is
// http.DefaultClient.
func NewOriginSink(base, secret string, client *http.Client) (*OriginSink, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("origin %q is not a URL", base)
	}
	if client == nil {
		client = http.DefaultClient
	}
	return &OriginSink{u.JoinPath("v1", "reports").String(), secret, client}, nil
}

// maxAnswer is how much of an answer is read, bytes.
const maxAnswer = 64 << 10

// Deliver is promised by Sink.
func (s *OriginSink) Deliver(ctx context.Context, r report.Report) error {
	if err := s.deliver(ctx, r); err != nil {
		return fmt.Errorf("deliver to %q: %w", s.url, err)
	}
	return nil
}

func (s *OriginSink) deliver(ctx context.Context, r report.Report) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(append(r.AppendNDJSON(nil), '\n')))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	request.Header.Set("Authorization", "Bearer "+s.secret)
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	return judge(response.StatusCode, body)
}

// judge tells from an answer what became of the report. Only a count of one
// is an acknowledgement: a proxy may say 200 too.
func judge(status int, body []byte) error {
	var outcome struct {
		Accepted   int `json:"accepted"`
		Duplicates int `json:"duplicates"`
		Refused    []struct {
			Reason string `json:"reason"`
		} `json:"refused"`
	}
	if err := json.Unmarshal(body, &outcome); err != nil {
		return fmt.Errorf("status %d and no answer of an origin", status)
	}
	switch {
	case status == http.StatusOK && outcome.Accepted+outcome.Duplicates == 1:
		return nil
	case status == http.StatusUnprocessableEntity && len(outcome.Refused) == 1:
		return fmt.Errorf("%w: %s", ErrRefused, outcome.Refused[0].Reason)
	}
	return fmt.Errorf("status %d: report not acknowledged", status)
}
