// Package core answers queries from one snapshot: DNS messages, dns-json and
// the check API, each of them as one whole HTTP exchange too.
//
// Most callers use New, then Serve for HTTP and AppendAnswer for bare DNS
// messages. Promised: the same bytes for the same input, no panic on any
// input, no allocation for a DNS answer once the caller's buffers have grown,
// and that a Core may be used from many goroutines at once. Not promised:
// recursion, caching, or knowing what time it is.
package core

import "ucedge/snapshot"

// A Core answers from one snapshot under one manifest. It is immutable.
type Core struct {
	snap     *snapshot.Snapshot // nil: not ready
	manifest Manifest
	zones    []zone
	levels   [4]*zone  // by level, the zone whose settings speak for it; nil if there is none
	endpoint []byte    // data of the SVCB record that names this edge, or nil
	cacheTag []byte    // "serial-" and the serial
	counts   [4]string // by level, what its counts are of: abusers or impacts
	etag     []byte    // of the filter: the sum of its image, in quotes
}

// New returns a Core for the snapshot and the manifest that names it. A nil
// snapshot gives a Core that is not ready: every answer says so.
//
// Zones with a name that DNS cannot carry are left out; the builder of an
// image refuses them.
func New(s *snapshot.Snapshot, m Manifest) *Core {
	c := &Core{snap: s, manifest: m, endpoint: endpoint(m.Host)}
	c.cacheTag = appendUint([]byte("serial-"), uint64(m.Serial))
	if s == nil {
		return c
	}
	c.etag = appendHex([]byte{'"'}, s.Sum())
	c.etag = append(c.etag, '"')
	c.counts = countsOf(s.Profile().Text)
	zones := s.Zones()
	for i := range zones {
		if z, ok := newZone(&zones[i], m.Serial); ok {
			c.zones = append(c.zones, z)
		}
	}
	for i := range c.zones {
		for j := range c.zones {
			c.zones[i].noteBetween(&c.zones[j])
		}
	}
	for i := range c.zones {
		if z := &c.zones[i]; int(z.Level) < len(c.levels) {
			c.levels[z.Level] = z
		}
	}
	for level := snapshot.Address; level <= snapshot.System; level++ {
		if c.levels[level] == nil {
			c.levels[level] = c.levels[snapshot.Combined]
		}
	}
	return c
}

// A condition is whether a snapshot may be answered from at a given time.
type condition uint8

const (
	fresh    condition = iota
	stale              // two builds are overdue: answers say so
	expired            // no answer at all
	notReady           // there is no snapshot
)

// condition returns the condition of the snapshot at the time now. A manifest
// that does not say when the next build is due, or when it expires, never gets
// stale, or never expires.
func (c *Core) condition(now int64) condition {
	m := &c.manifest
	switch {
	case c.snap == nil:
		return notReady
	case m.Expires != 0 && now >= m.Expires:
		return expired
	case m.Next != 0 && now > m.Next+(m.Next-m.Built):
		return stale
	}
	return fresh
}

// age returns the seconds since the snapshot was built, never negative.
func (c *Core) age(now int64) uint64 {
	return uint64(max(0, now-c.manifest.Built))
}

// lifetime cuts ttl, in seconds, so that no cache keeps an answer longer than
// until the next snapshot is due. When that is past, a second is left; a TTL of
// zero stays zero (RFC 8484 5.1).
func (c *Core) lifetime(ttl uint32, now int64) uint32 {
	if c.manifest.Next != 0 {
		ttl = uint32(min(int64(ttl), max(1, c.manifest.Next-now)))
	}
	return ttl
}
