package edge

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"ucedge/core"
)

// keyPrefix begins a path that carries its key: /k/KEY/dns-query.
var keyPrefix = []byte("/k/")

// A Gatekeeper decides about a client before the core is asked. The zero
// Gatekeeper lets everybody in.
type Gatekeeper struct {
	Limits  *Limits
	Trusted []netip.Prefix // proxies whose X-Forwarded-For is believed

	keys atomic.Pointer[Keys]
}

// SetKeys makes k the keys that are asked for from now on. Nil asks for none.
func (g *Gatekeeper) SetKeys(k *Keys) { g.keys.Store(k) }

// A Caller is what a Gatekeeper sees of an HTTP request. Fields of several lines
// are joined by commas (RFC 9110 5.3).
type Caller struct {
	Target        []byte // path and query, perhaps with a key
	Authorization []byte
	Forwarded     []byte     // X-Forwarded-For
	Peer          netip.Addr // who the connection is from
}

// HTTP decides about c, and returns its target without the key.
func (g *Gatekeeper) HTTP(c *Caller, now time.Time) (core.Gate, []byte) {
	target, text := splitKey(c.Target)
	keys := g.keys.Load()
	if keys == nil {
		return g.rate(nil, g.address(c), now), target
	}
	if len(text) == 0 {
		text = bearer(c.Authorization)
	}
	key := keys.Find(text)
	if !g.Limits.Allow(key, g.address(c), now) {
		return core.OverRate, target
	}
	switch {
	case len(text) == 0:
		return core.NoKey, target
	case key == nil:
		return core.BadKey, target
	}
	return core.Keyed, target
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

// splitKey takes the key off a target that begins with one.
func splitKey(target []byte) (rest, key []byte) {
	after, found := bytes.CutPrefix(target, keyPrefix)
	if !found {
		return target, nil
	}
	end := bytes.IndexAny(after, "/?")
	if end < 0 {
		return []byte("/"), after
	}
	if after[end] == '?' {
		return append([]byte("/"), after[end:]...), after[:end]
	}
	return after[end:], after[:end]
}

// bearer returns the token of an Authorization field (RFC 6750 2.1), or nil.
func bearer(authorization []byte) []byte {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(string(authorization[:len(scheme)]), scheme) {
		return nil
	}
	return bytes.TrimSpace(authorization[len(scheme):])
}

// Client returns the address that r came from: the peer's, or if that is a
// trusted proxy, the last address in X-Forwarded-For that is not one. A field
// that is not a list of addresses is not believed from where it goes wrong.
func (g *Gatekeeper) Client(r *http.Request) netip.Addr {
	return g.address(&Caller{Forwarded: []byte(field(r, "X-Forwarded-For")), Peer: peerOf(r)})
}

func (g *Gatekeeper) address(c *Caller) netip.Addr {
	address := c.Peer.Unmap()
	for hops := c.Forwarded; len(hops) > 0 && contains(g.Trusted, address); {
		comma := bytes.LastIndexByte(hops, ',')
		hop, err := netip.ParseAddr(string(bytes.TrimSpace(hops[comma+1:])))
		if err != nil {
			break
		}
		address, hops = hop.Unmap(), hops[:max(comma, 0)]
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
