package h2

import "time"

// notePartial remembers when a frame or a header began that is not yet whole.
func (c *conn) notePartial() {
	switch {
	case len(c.in) == c.at && !c.header.open:
		c.partial = time.Time{}
	case c.partial.IsZero():
		c.partial = c.now
	}
}

// deadline returns when something is due if nothing comes before.
func (c *conn) deadline() time.Time {
	at := c.active.Add(c.server.IdleTimeout)
	if len(c.streams) > 0 {
		at = c.streams[0].deadline
		for _, s := range c.streams[1:] {
			at = earlier(at, s.deadline)
		}
	}
	if !c.partial.IsZero() {
		at = earlier(at, c.partial.Add(c.server.ReadTimeout))
	}
	if !c.settled {
		at = earlier(at, c.begun.Add(c.server.HeaderTimeout))
	}
	if !c.leaving.IsZero() && !c.gone {
		at = earlier(at, c.leaving.Add(drainGrace))
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// expire does what is due. A client that is merely slow has broken no rule of
// the protocol, so its connection ends without a code.
func (c *conn) expire() error {
	due := func(at time.Time) bool { return !c.now.Before(at) }
	if !c.settled && due(c.begun.Add(c.server.HeaderTimeout)) || !c.partial.IsZero() && due(c.partial.Add(c.server.ReadTimeout)) {
		return errDone
	}
	for s := c.overdue(); s != nil; s = c.overdue() {
		if err := c.late(s); err != nil {
			return err
		}
	}
	if len(c.streams) == 0 && due(c.active.Add(c.server.IdleTimeout)) {
		return errDone
	}
	if !c.leaving.IsZero() && !c.gone && due(c.leaving.Add(drainGrace)) {
		c.part()
	}
	return nil
}

// overdue returns a stream whose time is over, or nil.
func (c *conn) overdue() *stream {
	for _, s := range c.streams {
		if !c.now.Before(s.deadline) {
			return s
		}
	}
	return nil
}

// late ends a stream whose time is over: with status 408 if its body did not
// arrive, and without the rest of its answer if the client does not take that.
func (c *conn) late(s *stream) error {
	if s.answered {
		c.resetStream(s, codeCancel)
		return c.spend(1)
	}
	s.Trouble = 408
	return c.answer(s)
}

// drainPing is the payload of the PING whose answer says that the client has
// seen the GOAWAY before it.
const drainPing = "draining"

// askToLeave begins a graceful end (RFC 9113 6.8): the client is told to open
// no more streams, and those that it opens before it has heard are answered.
func (c *conn) askToLeave() {
	c.leaving = c.now
	c.out = appendGoAway(c.out, windowMax, codeNone)
	c.out = append(appendFrameHeader(c.out, kindPing, 0, 0, len(drainPing)), drainPing...)
}

// part tells the client which stream is the last that is answered.
func (c *conn) part() {
	if !c.gone {
		c.gone = true
		c.out = appendGoAway(c.out, c.last, codeNone)
	}
}
