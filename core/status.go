package core

import (
	"bytes"
	"net/netip"
)

// serveHealth says that the edge runs at all.
func (c *Core) serveHealth(e exchange) {
	e.text(200, "ok\n")
}

// serveReady says whether the edge has a snapshot that it may answer from.
func (c *Core) serveReady(e exchange) {
	switch c.condition(e.request.Now) {
	case notReady:
		e.text(503, "no snapshot loaded yet\n")
	case expired:
		e.text(503, "the snapshot has expired\n")
	default:
		e.text(200, "ready\n")
	}
}

// text makes the response a line for probes, which no cache keeps.
func (e *exchange) text(status int, line string) {
	e.begin(status, mediaText)
	e.add(nameCache, valueNoStore)
	e.Body = append(e.Body, line...)
}

// serveStatus tells what is loaded and how old it is, also when nothing is.
func (c *Core) serveStatus(e exchange) {
	now := e.request.Now
	condition := c.condition(now)
	dst := append(e.Body[:0], `{"ready":`...)
	dst = appendBool(dst, condition == fresh || condition == stale)
	if condition != notReady {
		dst = c.appendManifest(dst, condition, now)
		dst = c.appendProfile(dst)
		dst = c.appendZones(dst)
		dst = c.appendCollateral(dst)
	}
	e.Body = append(dst, "}\n"...)
	e.begin(200, mediaJSON)
	if condition == notReady {
		e.keep(errorSeconds)
		return
	}
	e.keep(c.lifetime(statusSeconds, now))
	c.tag(e)
}

// statusSeconds is how long caches may keep the status: its age grows.
const statusSeconds = 10

func (c *Core) appendManifest(dst []byte, condition condition, now int64) []byte {
	m := &c.manifest
	dst = append(dst, `,"list":`...)
	dst = appendString(dst, m.List)
	dst = append(dst, `,"serial":`...)
	dst = appendUint(dst, uint64(m.Serial))
	dst = append(dst, `,"built":`...)
	dst = appendTime(dst, m.Built)
	dst = append(dst, `,"fresh":`...)
	dst = appendTime(dst, m.Next)
	dst = append(dst, `,"expires":`...)
	dst = appendTime(dst, m.Expires)
	dst = append(dst, `,"age":`...)
	dst = appendUint(dst, c.age(now))
	dst = append(dst, `,"stale":`...)
	dst = appendBool(dst, condition != fresh)
	dst = append(dst, `,"expired":`...)
	return appendBool(dst, condition == expired)
}

func (c *Core) appendProfile(dst []byte) []byte {
	profile := c.snap.Profile()
	dst = append(dst, `,"profile":{"name":`...)
	dst = appendString(dst, profile.Name)
	dst = append(dst, `,"text":`...)
	return append(appendString(dst, profile.Text), '}')
}

func (c *Core) appendZones(dst []byte) []byte {
	dst = append(dst, `,"zones":[`...)
	for i := range c.zones {
		z := &c.zones[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"zone":`...)
		dst = appendString(dst, z.Suffix)
		dst = append(dst, `,"level":`...)
		dst = appendUint(dst, uint64(z.Level))
		dst = append(dst, `,"code":"`...)
		dst = netip.AddrFrom4(z.Code).AppendTo(dst)
		dst = append(dst, `","ttl":`...)
		dst = appendUint(dst, uint64(z.TTL))
		dst = append(dst, `,"url":`...)
		dst = append(appendString(dst, z.URL), '}')
	}
	return append(dst, ']')
}

// appendCollateral appends what each level covers, and how many addresses that
// is for each abuser inside (POLICY, What an answer says).
func (c *Core) appendCollateral(dst []byte) []byte {
	dst = append(dst, `,"levels":[`...)
	collateral := c.snap.Collateral()
	for i := range collateral {
		l := &collateral[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"level":`...)
		dst = appendUint(dst, uint64(l.Level))
		dst = append(dst, `,"entries":`...)
		dst = appendUint(dst, l.Entries)
		dst = append(dst, `,"excluded":`...)
		dst = appendUint(dst, l.Excluded)
		dst = append(dst, `,"addresses":`...)
		dst = appendUint(dst, l.Addresses)
		dst = append(dst, `,"slash64s":`...)
		dst = appendUint(dst, l.Slash64s)
		dst = append(dst, `,"abusers":`...)
		dst = appendUint(dst, l.Abusers)
		if l.Abusers > 0 {
			dst = append(dst, `,"addresses_per_abuser":`...)
			dst = appendUint(dst, l.Addresses/l.Abusers)
			dst = append(dst, '.', '0'+byte(l.Addresses%l.Abusers*10/l.Abusers))
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// serveFilter gives the filter object, which the host holds. Its ETag names
// the image that it belongs to, which has exactly one filter.
func (c *Core) serveFilter(e exchange) {
	now := e.request.Now
	if !e.answerable(c.condition(now)) {
		return
	}
	if !c.snap.Filtered() {
		e.fail(404, "this snapshot has no filter")
		return
	}
	if noneMatch(e.request.IfNoneMatch, c.etag) {
		e.begin(200, mediaOctets)
		e.Ref = Filter
	} else {
		e.begin(304, nil)
	}
	e.keep(c.lifetime(filterSeconds, now))
	c.tag(e)
	e.add(nameETag, c.etag)
	e.add(nameExpose, nameETag)
}

// noneMatch reports whether the If-None-Match field names no tag that is ours
// (RFC 9110 13.1.2). It compares weakly, as the field asks.
func noneMatch(field, etag []byte) bool {
	for len(field) > 0 {
		var one []byte
		one, field, _ = bytes.Cut(field, comma)
		one = bytes.TrimPrefix(bytes.TrimSpace(one), weak)
		if string(one) == "*" || string(one) == string(etag) {
			return false
		}
	}
	return true
}

var weak = []byte("W/")
