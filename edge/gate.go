package edge

import (
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"ucedge/core"
)

// keyPrefix begins a path that carries its key: /k/KEY/dns-query.
const keyPrefix = "/k/"

// A Gatekeeper decides about a client before the core is asked. The zero
// Gatekeeper lets everybody in.
type Gatekeeper struct {
	Limits  *Limits
	Trusted []netip.Prefix // proxies whose X-Forwarded-For is believed

	keys atomic.Pointer[Keys]
}

// SetKeys makes k the keys that are asked for from now on. Nil asks for none.
func (g *Gatekeeper) SetKeys(k *Keys) { g.keys.Store(k) }

// HTTP decides about r, and returns its target without the key.
func (g *Gatekeeper) HTTP(r *http.Request, now time.Time) (core.Gate, string) {
	target, text := splitKey(requestTarget(r))
	keys := g.keys.Load()
	if keys == nil {
		return g.rate(nil, g.Client(r), now), target
	}
	if text == "" {
		text = bearer(r.Header.Get("Authorization"))
	}
	key := keys.Find(text)
	if !g.Limits.Allow(key, g.Client(r), now) {
		return core.OverRate, target
	}
	switch {
	case text == "":
		return core.NoKey, target
	case key == nil:
		return core.BadKey, target
	}
	return core.Open, target
}

// DNS decides about a message from address.
func (g *Gatekeeper) DNS(address netip.Addr, now time.Time) core.Gate {
	return g.rate(nil, address, now)
}

func (g *Gatekeeper) rate(key *Key, address netip.Addr, now time.Time) core.Gate {
	if g.Limits.Allow(key, address, now) {
		return core.Open
	}
	return core.OverRate
}

// requestTarget returns path and query as in the request line. The absolute
// form (RFC 9112 3.2.2) loses its scheme and host.
func requestTarget(r *http.Request) string {
	if t := r.RequestURI; t != "" && (t[0] == '/' || t == "*") {
		return t
	}
	return r.URL.RequestURI()
}

// splitKey takes the key off a target that begins with one.
func splitKey(target string) (rest, key string) {
	after, found := strings.CutPrefix(target, keyPrefix)
	if !found {
		return target, ""
	}
	end := strings.IndexAny(after, "/?")
	if end < 0 {
		return "/", after
	}
	if after[end] == '?' {
		return "/" + after[end:], after[:end]
	}
	return after[end:], after[:end]
}

// bearer returns the token of an Authorization field (RFC 6750 2.1), or "".
func bearer(authorization string) string {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(authorization[len(scheme):])
}

// Client returns the address that r came from: the peer's, or if that is a
// trusted proxy, the last address in X-Forwarded-For that is not one. A field
// that is not a list of addresses is not believed from where it goes wrong.
func (g *Gatekeeper) Client(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // not an address: the zero Addr, one bucket for all
	address := peer.Addr().Unmap()
	if len(g.Trusted) == 0 || !contains(g.Trusted, address) {
		return address
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
		if !contains(g.Trusted, address) {
			break
		}
	}
	return address
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
