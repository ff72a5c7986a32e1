package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ucedge/origin/ledger"
	"ucedge/snapshot"
)

// explain tells anybody why an address is listed.
func (h *Handler) explain(w http.ResponseWriter, r *http.Request) {
	a, err := netip.ParseAddr(r.URL.Query().Get("ip"))
	if err != nil || a.Zone() != "" {
		h.refuse(w, r, fail(http.StatusBadRequest, "ip in the query is not an IP address"))
		return
	}
	d, err := h.Policy.Explain(r.Context(), a.Unmap())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	w.Header().Set("Vary", "Accept")
	if strings.HasPrefix(r.Header.Get("Accept"), "text/plain") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(d.Text()))
		return
	}
	respond(w, http.StatusOK, d)
}

// audit gives a page of decisions: to an operator all of them, to anybody the
// public part.
func (h *Handler) audit(w http.ResponseWriter, r *http.Request) {
	private := bearer(r).ID != ""
	page, err := parsePage(r.URL.Query(), private)
	if err != nil {
		h.refuse(w, r, fail(http.StatusBadRequest, err.Error()))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.Limits.AuditTime)
	defer cancel()
	decisions, err := h.Ledger.Audit(ctx, page)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fail(http.StatusServiceUnavailable, "this page takes too long to find: ask for one kind, a narrower prefix or a later time")
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	next := int64(0)
	if len(decisions) > 0 && len(decisions) >= page.Limit {
		next = decisions[len(decisions)-1].ID
	}
	respond(w, http.StatusOK, map[string]any{"decisions": entries(decisions, private), "before": next})
}

// parsePage reads the query of an audit page.
func parsePage(query url.Values, private bool) (ledger.Page, error) {
	page := ledger.Page{Limit: ledger.DefaultPage}
	for name, values := range query {
		value := values[0]
		var err error
		switch name {
		case "before":
			page.Before, err = parseCount(value)
		case "since":
			page.Since, err = parseTime(value)
		case "limit":
			var n int64
			n, err = parseCount(value)
			page.Limit = int(min(n, ledger.MaxPage))
		case "within":
			page.Within, err = parsePrefix(value)
		case "kind":
			page.Kinds, err = parseKinds(values)
		default:
			err = fmt.Errorf("is unknown")
		}
		if err != nil {
			return ledger.Page{}, fmt.Errorf("parameter %q %v", name, err)
		}
	}
	if private {
		return page, nil
	}
	return publicPage(page)
}

// publicPage bounds a page to the kinds that anyone may read of.
func publicPage(page ledger.Page) (ledger.Page, error) {
	public := ledger.PublicKinds()
	for _, kind := range page.Kinds {
		if !slices.Contains(public, kind) {
			return ledger.Page{}, fmt.Errorf("kind %q is not public", kind)
		}
	}
	if len(page.Kinds) == 0 {
		page.Kinds = public
	}
	return page, nil
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a whole number above zero", text)
	}
	return n, nil
}

func parseTime(text string) (int64, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of RFC 3339", text)
	}
	return t.Unix(), nil
}

// parsePrefix reads a prefix, or an address as the prefix of itself.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return host(a.Unmap()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is neither prefix nor address", text)
	}
	return p.Masked(), nil
}

func parseKinds(names []string) ([]ledger.DecisionKind, error) {
	var kinds []ledger.DecisionKind
	for _, name := range names {
		kind := ledger.DecisionKind(name)
		if !kind.Valid() {
			return nil, fmt.Errorf("%q is no kind of decision", name)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// An entry is a decision as it is answered.
type entry struct {
	ID     int64               `json:"id,omitempty"`
	At     time.Time           `json:"at"`
	Kind   ledger.DecisionKind `json:"kind"`
	Level  snapshot.Level      `json:"level,omitempty"`
	Prefix string              `json:"prefix,omitempty"`
	ASN    snapshot.ASN        `json:"asn,omitempty"`
	Until  time.Time           `json:"until,omitzero"`
	Serial snapshot.Serial     `json:"serial,omitempty"`
	Count  int64               `json:"count,omitempty"`
	Reason string              `json:"reason,omitempty"`

	Subject  string `json:"subject,omitempty"` // from here on: operators only
	Actor    string `json:"actor,omitempty"`
	Reporter string `json:"reporter,omitempty"`
	Note     string `json:"note,omitempty"`
}

func entryOf(d ledger.Decision, private bool) entry {
	if !private {
		d, _ = d.Public()
	}
	e := entry{
		ID: d.ID, At: time.Unix(d.At, 0).UTC(), Kind: d.Kind, Level: d.Level, ASN: d.ASN, Serial: d.Serial, Count: d.Count, Reason: d.Reason,
		Subject: d.Subject, Actor: d.Actor, Reporter: d.Reporter, Note: d.Note,
	}
	if d.Prefix.IsValid() {
		e.Prefix = d.Prefix.String()
	}
	if d.Until != 0 {
		e.Until = time.Unix(d.Until, 0).UTC()
	}
	return e
}

// entries returns the decisions as they are answered, leaving out what is
// not public unless private is set.
func entries(decisions []ledger.Decision, private bool) []entry {
	out := []entry{}
	for _, d := range decisions {
		if _, public := d.Public(); public || private {
			out = append(out, entryOf(d, private))
		}
	}
	return out
}
