package core

import "ucedge/snapshot"

// A Gate is what the host decided about a client before it asked the core. The
// host authenticates and counts; the core knows how a refusal reads.
type Gate uint8

const (
	Open     Gate = iota
	NoKey         // keys are on and the request has none: 401, DNS REFUSED + EDE 18
	BadKey        // the key is unknown or revoked: 403, DNS REFUSED + EDE 18
	OverRate      // past its quota: 429 + Retry-After, DNS REFUSED + EDE 18
	Keyed         // open to the holder of a key alone: no shared cache may keep it (RFC 9111 3.5), or a revoked key would live on there
)

// lets reports whether the client may ask.
func (g Gate) lets() bool { return g == Open || g == Keyed }

// A Ref names bytes that the host holds and sends in place of a body, so that
// they need not pass through a guest.
type Ref uint8

const (
	Body   Ref = iota // the response's own body
	Filter            // the filter object, as it was before compression
	Page              // the look-up page
)

// A Manifest is what the core needs to know of the signed manifest that the
// host has verified. Times are seconds since the Unix epoch.
type Manifest struct {
	List    string
	Serial  snapshot.Serial
	Built   int64
	Next    int64 // when the next manifest is due
	Expires int64 // from then on every answer is SERVFAIL

	// Host is the name under which clients reach this edge, and behind a colon
	// the port of DNS over HTTPS unless it is 443, for the discovery of
	// designated resolvers (RFC 9462). It is the edge's own setting and no part
	// of the signed text; empty means that the edge has no name to tell.
	Host string
}

// A Request is one HTTP request as a host hands it over. The core keeps no
// reference to its bytes.
type Request struct {
	Now         int64  // seconds since the Unix epoch
	Gate        Gate   // what the host decided
	Method      []byte // as in the request line
	Target      []byte // path and query, as in the request line, key prefix taken off
	Accept      []byte // field values, several lines joined by ", "; empty is absent
	ContentType []byte
	IfNoneMatch []byte
	Body        []byte
}

// A Response is one HTTP response. Its memory is the caller's to use again:
// the core appends to Fields and Body from length zero.
type Response struct {
	Status int
	Ref    Ref
	Fields []Field // header fields in a fixed order, names in lower case
	Body   []byte

	scratch []byte // the values of fields that are made for this response alone
}

// A Field is one header field.
type Field struct{ Name, Value []byte }
