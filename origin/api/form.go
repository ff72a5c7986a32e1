package api

import (
	"errors"
	"mime"
	"net/http"
	"net/url"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
)

// form serves senders that speak to blocklist.de. The key is in the field
// apikey, as it is there, or in the Authorization header.
func (h *Handler) form(w http.ResponseWriter, r *http.Request) {
	key, values, err := h.formKey(w, r)
	if errors.Is(err, errLimited) {
		return
	}
	if err == nil && values == nil {
		values, err = h.formValues(w, r)
	}
	in := intake{h: h, reporter: key.Name}
	var status int
	if err == nil {
		status, err = in.take(r.Context(), func(yield func(report.Report, error) bool) {
			one, err := report.Form(values, h.rules(key.Name))
			if err != nil {
				err = &report.Refusal{Line: 1, Reason: err.Error()}
			}
			yield(one, err)
		})
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	respond(w, status, in.outcome)
}

// errLimited means that the sender was told to wait.
var errLimited = errors.New("told to wait")

// formKey returns the key of a form within its limit, and the fields if they had
// to be read for it. Whoever shows a key only in the body pays as a client until
// it is read and found good: a body takes time and a connection.
func (h *Handler) formKey(w http.ResponseWriter, r *http.Request) (key ledger.APIKey, values url.Values, err error) {
	secret, payer := secretOf(r), ""
	if secret == "" {
		if r.Method != http.MethodGet {
			if payer = clientName(h.Client(r)); h.limited(w, r, "") {
				return key, nil, errLimited
			}
		}
		if values, err = h.formValues(w, r); err != nil {
			return key, nil, err
		}
		secret = values.Get("apikey")
	}
	key, err = h.authorise(r.Context(), secret, ledger.Reporter)
	if payer != "" {
		if err != nil {
			return key, values, err
		}
		h.clients.giveBack(payer, h.Clock())
	}
	if h.limited(w, r, key.ID) {
		return key, values, errLimited
	}
	return key, values, err
}

// formValues returns the fields of a query (GET) or form (POST).
func (h *Handler) formValues(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodGet {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "read query: "+err.Error())
		}
		return values, nil
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, fail(http.StatusUnsupportedMediaType, "the body must be application/x-www-form-urlencoded")
	}
	r.Body = http.MaxBytesReader(w, r.Body, h.Limits.SmallBytes)
	if err := r.ParseForm(); err != nil {
		return nil, bodyFailure(err)
	}
	return r.PostForm, nil
}
