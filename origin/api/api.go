// Package api is the origin's side of HTTP: reports in, explanations and the
// public part of the audit out, and the decisions of operators.
//
// Most callers use New and serve the Handler. The document of the interface is
// openapi.yaml. Promised: a report that the response counts as accepted is on
// stable storage; each change has its row in the ledger; reporter names and
// trap identities are in no public answer. Not promised: TLS and time-outs of
// connections, which belong to the server around it; those of its read and write
// deadlines are moved for bodies of reports alone.
package api

import (
	"context"
	_ "embed" // the document
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
)

// Document is the OpenAPI 3.1 description of the interface.
//
//go:embed openapi.yaml
var Document []byte

// A Policy tells what the rule makes of the ledger as it stands now. All
// methods may be called at once; errors that are a *policy.Refusal are the
// rule's, any other means that it could not be asked.
type Policy interface {
	// Explain derives the listings of one address, for anybody to read.
	Explain(ctx context.Context, a netip.Addr) (policy.Derivation, error)
	// GlanceRemoval returns why the address may not be removed, as far as that
	// can be told at once; nil means that Removal is to be asked.
	GlanceRemoval(ctx context.Context, q policy.RemovalRequest) error
	// Removal reads what is known of the address, which may take long, and
	// returns a check that does not and returns nil if the address may be
	// removed now. A removal whose decision is in the ledger counts in it.
	Removal(ctx context.Context, q policy.RemovalRequest) (check func(context.Context) error, err error)
	// Lift does the same for taking the address off Levels 2 and 3.
	Lift(ctx context.Context, a netip.Addr) (check func(context.Context) error, err error)
	// CheckManual returns nil if the listing may be made.
	CheckManual(ctx context.Context, m policy.Manual) error
}

// An Admission decides which reports of a reporter are past its budget. Its
// methods may be called at once.
type Admission interface {
	// Admit returns why the report must wait for an operator, or "". It is
	// asked once about a report that the ledger does not have.
	Admit(r report.Report) (wait string)
	// Full returns why nothing more of the reporter may be taken, or "".
	Full(reporter string) (reason string)
}

// Settings of a Handler. Ledger, Policy and Clock are needed, the zero value
// of any other has the meaning that stands beside it.
type Settings struct {
	Ledger ledger.Ledger
	Policy Policy
	Clock  func() time.Time
	// Reserved is report.Rules.Reserved. Nil lets every address pass.
	Reserved func(netip.Addr) (reason string, reserved bool)
	Ahead    int64     // report.Rules.Ahead, seconds; 0 is report.DefaultAhead
	Window   int64     // report.Rules.Window, seconds; 0 is report.DefaultWindow
	Admit    Admission // nil admits every report
	Relays   report.Relays
	// Urgent is called after a decision that must be published soon. It must
	// not block. Nil does nothing.
	Urgent func()
	// Client tells who asks. Nil takes the peer of the connection, which is
	// right unless a trusted proxy stands in front.
	Client func(*http.Request) netip.Addr
	// SelfRemoval lets anyone ask for the removal of the address from which
	// the request comes, which proves control of it.
	SelfRemoval bool
	Limits      Limits
	Log         *slog.Logger // nil discards
}

// A Handler serves the interface. It may be used by many goroutines.
type Handler struct {
	Settings
	mux      *http.ServeMux
	clients  *limiter      // of requests without a key
	keys     *limiter      // of requests with one
	uploads  *places       // of bodies of reports that are being read
	removals chan struct{} // one for the removal without a key that is being looked into
	refused  refused       // rows about refused records
	deciding sync.Mutex    // held from the check of a decision to its row
}

// routes are the paths and who serves them. The document names the same.
func (h *Handler) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /v1/reports":      h.withKey(ledger.Reporter, h.postReports),
		"GET /v1/form":          h.form,
		"POST /v1/form":         h.form,
		"GET /v1/explain":       h.public(h.explain),
		"GET /v1/audit":         h.public(h.audit),
		"POST /v1/removals":     h.public(h.postRemoval),
		"GET /v1/exemptions":    h.withKey(ledger.Operator, h.getExemptions),
		"POST /v1/exemptions":   h.withKey(ledger.Operator, h.postExemption),
		"DELETE /v1/exemptions": h.withKey(ledger.Operator, h.deleteExemption),
		"POST /v1/listings":     h.withKey(ledger.Operator, h.postListing),
		"POST /v1/purges":       h.withKey(ledger.Operator, h.postPurge),
		"POST /v1/releases":     h.withKey(ledger.Operator, h.postRelease),
		"GET /v1/waiting":       h.withKey(ledger.Operator, h.getWaiting),
		"GET /v1/openapi.yaml":  h.public(h.document),
	}
}

// New returns a handler with these settings.
func New(s Settings) (*Handler, error) {
	if s.Ledger == nil || s.Policy == nil || s.Clock == nil {
		return nil, errors.New("api: settings need a ledger, a policy and a clock")
	}
	s.setDefaults()
	h := &Handler{
		Settings: s,
		mux:      http.NewServeMux(),
		clients:  newLimiter(s.Limits.ClientPerSecond, s.Limits.ClientBurst),
		keys:     newLimiter(s.Limits.KeyPerSecond, s.Limits.KeyBurst),
		uploads:  newPlaces(s.Limits.Uploads),
		removals: make(chan struct{}, 1),
	}
	for pattern, serve := range h.routes() {
		h.mux.HandleFunc(pattern, serve)
	}
	return h, nil
}

func (s *Settings) setDefaults() {
	if s.Ahead == 0 {
		s.Ahead = report.DefaultAhead
	}
	if s.Window == 0 {
		s.Window = report.DefaultWindow
	}
	if s.Urgent == nil {
		s.Urgent = func() {}
	}
	if s.Client == nil {
		s.Client = peer
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Limits.setDefaults()
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.unrouted(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// unrouted answers a request for a path or method that is not served.
func (h *Handler) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := h.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		h.refuse(w, r, fail(http.StatusNotFound, "there is no such path"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	h.refuse(w, r, fail(http.StatusMethodNotAllowed, "the path does not take this method"))
}

// now is the time in seconds since the Unix epoch.
func (h *Handler) now() int64 { return h.Clock().Unix() }

// peer is the address of the connection's other end.
func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

func (h *Handler) document(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(Document)
}
