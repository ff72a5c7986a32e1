package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// removalRequest is the body of POST /v1/removals.
type removalRequest struct {
	Address netip.Addr `json:"address"`
	Reason  string     `json:"reason"` // published
	Proof   string     `json:"proof"`  // how control was proven; operators only, kept private
}

// postRemoval removes an address from Level 1: for an operator who says how
// control of it was proven, or for whoever asks from that address.
func (h *Handler) postRemoval(w http.ResponseWriter, r *http.Request) {
	if bearer(r).ID == "" && !h.SelfRemoval {
		h.refuse(w, r, fail(http.StatusUnauthorized, "a key is needed"))
		return
	}
	var q removalRequest
	if err := h.readJSON(w, r, &q); err != nil {
		h.refuse(w, r, err)
		return
	}
	q.Address = q.Address.Unmap()
	actor, err := h.remover(r, &q)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	d := ledger.Decision{Kind: ledger.Removed, Level: snapshot.Address, Prefix: host(q.Address), Actor: actor, Reason: q.Reason, Note: q.Proof}
	check, err := h.removal(r, policy.RemovalRequest{Address: q.Address, Proven: true})
	if errors.Is(err, errBusy) {
		retryAfter(w, time.Second)
		h.refuse(w, r, fail(http.StatusTooManyRequests, "another removal is being looked into"))
		return
	}
	h.decide(w, r, d, unless(err, check))
}

// unless returns the check, or one that fails with the error of looking into it:
// the rule's refusals at a glance are decisions too.
func unless(err error, check func(context.Context) error) func(context.Context) error {
	if err != nil {
		return func(context.Context) error { return err }
	}
	return check
}

// errBusy means that the request is to come again.
var errBusy = errors.New("busy")

// removal looks into a removal and returns the check that is left. Of those
// without a key, which anybody may send, it looks into what a glance does not
// refuse, and into one at a time.
func (h *Handler) removal(r *http.Request, q policy.RemovalRequest) (check func(context.Context) error, err error) {
	if bearer(r).ID == "" {
		if err := h.Policy.GlanceRemoval(r.Context(), q); err != nil {
			return nil, err
		}
		select {
		case h.removals <- struct{}{}:
			defer func() { <-h.removals }()
		default:
			return nil, errBusy
		}
	}
	return h.Policy.Removal(r.Context(), q)
}

// remover tells who asks for a removal and completes the proof.
func (h *Handler) remover(r *http.Request, q *removalRequest) (actor string, err error) {
	if !q.Address.IsValid() || q.Address.Zone() != "" {
		return "", needs("address", false)
	}
	if key := bearer(r); key.ID != "" {
		return key.Name, needs("proof", q.Proof != "")
	}
	if client := h.Client(r); !client.IsValid() || client != q.Address {
		return "", fail(http.StatusForbidden, "the request does not come from the address that it is about")
	}
	// What anybody writes is kept, not published.
	q.Proof, q.Reason = "the request came from the address: "+q.Reason, "asked for from the address itself"
	return "self", nil
}

// exemptionRequest is the body of POST /v1/exemptions.
type exemptionRequest struct {
	Address netip.Addr `json:"address"`
	Until   time.Time  `json:"until,omitzero"` // absent: until it is ended
	Reason  string     `json:"reason"`         // published
}

// postExemption takes an address off Levels 2 and 3, unless it is itself on
// Level 1.
func (h *Handler) postExemption(w http.ResponseWriter, r *http.Request) {
	var q exemptionRequest
	err := h.readJSON(w, r, &q)
	if err == nil {
		err = errors.Join(needs("address", q.Address.IsValid() && q.Address.Zone() == ""), needs("reason", q.Reason != ""))
	}
	if err == nil && !q.Until.IsZero() {
		err = needs("until in the future", q.Until.After(h.Clock()))
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	d := ledger.Decision{Kind: ledger.Exempted, Prefix: host(q.Address.Unmap()), Actor: bearer(r).Name, Reason: q.Reason}
	if !q.Until.IsZero() {
		d.Until = q.Until.Unix()
	}
	check, err := h.Policy.Lift(r.Context(), d.Prefix.Addr())
	h.decide(w, r, d, unless(err, check))
}

// deleteExemption ends the exemption of the address in the query.
func (h *Handler) deleteExemption(w http.ResponseWriter, r *http.Request) {
	a, err := netip.ParseAddr(r.URL.Query().Get("address"))
	if err != nil || a.Zone() != "" {
		h.refuse(w, r, fail(http.StatusBadRequest, "address in the query is not an IP address"))
		return
	}
	subject := host(a.Unmap())
	d := ledger.Decision{Kind: ledger.ExemptionEnded, Prefix: subject, Actor: bearer(r).Name, Reason: r.URL.Query().Get("reason")}
	h.decide(w, r, d, func(ctx context.Context) error {
		exempt, err := ledger.ExemptionsAt(ctx, h.Ledger, h.now())
		if err != nil {
			return err
		}
		for _, e := range exempt {
			if e.Prefix == subject {
				return nil
			}
		}
		return fail(http.StatusNotFound, "the address has no exemption")
	})
}

func (h *Handler) getExemptions(w http.ResponseWriter, r *http.Request) {
	exempt, err := ledger.ExemptionsAt(r.Context(), h.Ledger, h.now())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	respond(w, http.StatusOK, map[string]any{"exemptions": entries(exempt, true)})
}

// listingRequest is the body of POST /v1/listings.
type listingRequest struct {
	Prefix   netip.Prefix `json:"prefix"`
	Until    time.Time    `json:"until"`
	Reason   string       `json:"reason"`   // published
	Evidence string       `json:"evidence"` // kept private
}

func (h *Handler) postListing(w http.ResponseWriter, r *http.Request) {
	var q listingRequest
	err := h.readJSON(w, r, &q)
	if err == nil {
		err = errors.Join(
			needs("prefix, masked and not IPv4-mapped", q.Prefix.IsValid() && q.Prefix == q.Prefix.Masked() && !q.Prefix.Addr().Is4In6()),
			needs("until in the future", q.Until.After(h.Clock())),
			needs("evidence", q.Evidence != ""))
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	manual := policy.Manual{Prefix: q.Prefix, From: h.now(), Until: q.Until.Unix(), Evidence: q.Evidence}
	d := ledger.Decision{Kind: ledger.ManualListed, Prefix: q.Prefix, Until: manual.Until, Actor: bearer(r).Name, Reason: q.Reason, Note: q.Evidence}
	h.decide(w, r, d, func(ctx context.Context) error { return h.Policy.CheckManual(ctx, manual) })
}

// reporterRequest is the body of POST /v1/purges and /v1/releases.
type reporterRequest struct {
	Reporter string `json:"reporter"`
	Reason   string `json:"reason"` // published for a purge
}

func (h *Handler) postPurge(w http.ResponseWriter, r *http.Request)   { h.judge(w, r, ledger.Purged) }
func (h *Handler) postRelease(w http.ResponseWriter, r *http.Request) { h.judge(w, r, ledger.Released) }

// judge makes a decision on a reporter.
func (h *Handler) judge(w http.ResponseWriter, r *http.Request, kind ledger.DecisionKind) {
	var q reporterRequest
	err := h.readJSON(w, r, &q)
	if err == nil {
		err = errors.Join(needs("reporter", q.Reporter != ""), needs("reason", q.Reason != ""))
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	d := ledger.Decision{Kind: kind, Reporter: q.Reporter, Actor: bearer(r).Name, Reason: q.Reason}
	h.decide(w, r, d, func(ctx context.Context) error {
		err := ledger.CheckReporter(ctx, h.Ledger, q.Reporter)
		if errors.Is(err, ledger.ErrNoReporter) {
			return fail(http.StatusNotFound, err.Error())
		}
		return err
	})
}

func (h *Handler) getWaiting(w http.ResponseWriter, r *http.Request) {
	waiting, err := h.Ledger.Waiting(r.Context(), h.now()-h.Window, h.now()+h.Ahead)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	respond(w, http.StatusOK, map[string]any{"waiting": waiting})
}

// decide writes a decision if the check allows it, tells the publisher and
// answers 201. One decision is checked at a time, so that two requests cannot
// both be the last that a limit allows. A removal or exemption that the rule
// refuses is a row too, but see saidToday.
func (h *Handler) decide(w http.ResponseWriter, r *http.Request, d ledger.Decision, check func(context.Context) error) {
	h.deciding.Lock()
	defer h.deciding.Unlock()
	d.At = h.now()
	var err error
	if check != nil {
		err = check(r.Context())
	}
	// Whoever leaves now does not take the lock off a row that is on its way: the
	// next check would not see it, and one more than a limit could pass.
	ctx := context.WithoutCancel(r.Context())
	var refused *policy.Refusal
	if errors.As(err, &refused) {
		if no, kept := d.Refused(refused.Reason); kept && !h.saidToday(r, no) {
			err = errors.Join(err, h.Ledger.AppendDecisions(ctx, []ledger.Decision{no}))
		}
	}
	if err == nil {
		err = h.Ledger.AppendDecisions(ctx, []ledger.Decision{d})
	}
	if errors.Is(err, ledger.ErrInvalid) {
		err = fail(http.StatusBadRequest, err.Error())
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.Urgent()
	respond(w, http.StatusCreated, entryOf(d, bearer(r).ID != ""))
}

// saidToday reports whether whoever asks without a key, as anybody may, has been
// refused within a day for an address of the same unit: rows stay for good.
func (h *Handler) saidToday(r *http.Request, no ledger.Decision) bool {
	if bearer(r).ID != "" {
		return false
	}
	const day = 24 * 3600
	rows, err := h.Ledger.Audit(r.Context(), ledger.Page{
		Kinds: []ledger.DecisionKind{no.Kind}, Within: routes.UnitOf(no.Prefix.Addr()).Prefix(), Since: no.At - day + 1, Limit: 1,
	})
	return err == nil && len(rows) > 0
}

// needs is the failure of a request without what it needs.
func needs(what string, given bool) error {
	if given {
		return nil
	}
	return fail(http.StatusBadRequest, "the request needs "+what)
}

// host is the prefix of one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
