package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"net/http"
	"strings"
	"time"

	"ucedge/origin/ledger"
)

// keyMark begins every secret, so that it is recognised where it leaks.
const keyMark = "ucedge_"

// keyEncoding writes the random part of a secret.
var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKey makes a key and its secret, which exists nowhere else: the ledger
// keeps its hash. A single SHA-256 is enough for 160 random bits. now is in
// seconds since the Unix epoch.
func NewKey(role ledger.Role, name string, now int64) (key ledger.APIKey, secret string) {
	var random [20 + 5]byte
	rand.Read(random[:]) // never fails
	secret = keyMark + keyEncoding.EncodeToString(random[:20])
	id := keyEncoding.EncodeToString(random[20:])
	return ledger.APIKey{ID: id, Role: role, Name: name, Hash: sha256.Sum256([]byte(secret)), Created: now}, secret
}

// keyOf is where a request's context holds its key.
type keyOf struct{}

// bearer returns the key that sent a request served by withKey.
func bearer(r *http.Request) ledger.APIKey {
	key, _ := r.Context().Value(keyOf{}).(ledger.APIKey)
	return key
}

// secretOf returns the bearer token of a request (RFC 6750 2.1), if any.
func secretOf(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// authorise returns the key of that secret if it may act in the role.
func (h *Handler) authorise(ctx context.Context, secret string, role ledger.Role) (ledger.APIKey, error) {
	if secret == "" {
		return ledger.APIKey{}, fail(http.StatusUnauthorized, "a key is needed")
	}
	key, err := h.Ledger.KeyByHash(ctx, sha256.Sum256([]byte(secret)))
	switch {
	case errors.Is(err, ledger.ErrNoKey):
		return ledger.APIKey{}, fail(http.StatusForbidden, "the key is unknown")
	case err != nil:
		return ledger.APIKey{}, err
	case key.Revoked != 0 && key.Revoked <= h.now():
		return ledger.APIKey{}, fail(http.StatusForbidden, "the key is revoked")
	case key.Role != role:
		return ledger.APIKey{}, fail(http.StatusForbidden, "the key is for the role "+string(key.Role)+", not "+string(role))
	}
	return key, nil
}

// limited tells whether a request of that secret or, without one, of that
// client must wait. Unknown secrets count against the client, so that guessing
// is slow.
func (h *Handler) limited(w http.ResponseWriter, r *http.Request, key string) bool {
	limiter := h.keys
	if key == "" {
		limiter, key = h.clients, clientName(h.Client(r))
	}
	delay := limiter.wait(key, h.Clock())
	if delay <= 0 {
		return false
	}
	retryAfter(w, delay)
	if r.ContentLength != 0 {
		// Or the server waits for a body that nobody wants.
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(time.Now())
	}
	h.refuse(w, r, fail(http.StatusTooManyRequests, "too many requests"))
	return true
}

// withKey serves requests whose key has the role.
func (h *Handler) withKey(role ledger.Role, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, err := h.authorise(r.Context(), secretOf(r), role)
		if h.limited(w, r, key.ID) {
			return
		}
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		serve(w, r.WithContext(context.WithValue(r.Context(), keyOf{}, key)))
	}
}

// public serves requests without a key, and those of operators, whose key is
// then in the context. A key that is not an operator's is refused: the sender
// expects more than the public answer.
func (h *Handler) public(serve http.HandlerFunc) http.HandlerFunc {
	withKey := h.withKey(ledger.Operator, serve)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			withKey(w, r)
		} else if !h.limited(w, r, "") {
			serve(w, r)
		}
	}
}
