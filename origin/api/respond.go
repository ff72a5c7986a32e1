package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

// A failure is an error that the client is told, with its status.
type failure struct {
	status int
	reason string
}

func (f *failure) Error() string { return f.reason }

func fail(status int, reason string) error { return &failure{status, reason} }

// problem is the body of every error.
type problem struct {
	Error string    `json:"error"`
	Rule  string    `json:"rule,omitempty"` // of the policy that refuses
	Until time.Time `json:"until,omitzero"` // from when the rule would allow it
}

// refuse answers with an error. What is not a failure or a refusal of the
// policy is the server's own trouble: it is logged, not told. What fails because
// its client has left is neither, or anybody could fill the log.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var failed *failure
	var refused *policy.Refusal
	switch {
	case errors.As(err, &failed):
		if failed.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="ucedge origin"`)
		}
		respond(w, failed.status, problem{Error: failed.reason})
	case errors.As(err, &refused):
		p := problem{Error: refused.Reason, Rule: refused.Rule}
		if refused.Until != 0 {
			p.Until = told(refused.Until, bearer(r).ID != "")
		}
		respond(w, http.StatusConflict, p)
	case r.Context().Err() != nil: // nobody waits for the answer
	default:
		h.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		retryAfter(w, time.Second)
		respond(w, http.StatusServiceUnavailable, problem{Error: "the origin cannot do this now"})
	}
}

// told is a time as it is told. What a rule allows again follows from the second
// of an impact, which would tell a spammer which mail hit the trap: without an
// operator's key it is rounded up to the hour.
func told(unix int64, private bool) time.Time {
	if !private {
		unix = snapshot.HourOf(unix).Seconds()
	}
	return time.Unix(unix, 0).UTC()
}

// retryAfter tells the client when to come back, in whole seconds.
func retryAfter(w http.ResponseWriter, delay time.Duration) {
	seconds := int64((delay + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
}

func respond(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("api: response does not marshal: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}

// readJSON reads a small JSON body strictly.
func (h *Handler) readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return fail(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, h.Limits.SmallBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bodyFailure(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fail(http.StatusBadRequest, "the body goes on after its JSON object")
	}
	return nil
}

// bodyFailure is what the client is told when its body cannot be read.
func bodyFailure(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, errDecodedTooLarge) {
		return fail(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	if errors.Is(err, report.ErrTooLarge) {
		return fail(http.StatusRequestEntityTooLarge, err.Error())
	}
	if errors.Is(err, errTooSlow) {
		return fail(http.StatusRequestTimeout, "the "+errTooSlow.Error())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fail(http.StatusRequestTimeout, "the body did not arrive in time")
	}
	return fail(http.StatusBadRequest, "read body: "+err.Error())
}
