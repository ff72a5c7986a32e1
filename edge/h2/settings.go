package h2

import "encoding/binary"

// handle takes one frame.
func (c *conn) handle(f *frame) error {
	switch {
	case !c.settled && (f.kind != kindSettings || f.has(flagAck)):
		return &connError{codeProtocol, "no SETTINGS first"} // RFC 9113 3.4
	case c.header.open && f.kind != kindContinuation:
		return &connError{codeProtocol, "a header that is interrupted"} // RFC 9113 6.2
	}
	switch f.kind {
	case kindHeaders:
		return c.headers(f)
	case kindData:
		return c.data(f)
	case kindContinuation:
		return c.continuation(f)
	case kindWindowUpdate:
		return c.windowUpdate(f)
	case kindReset:
		return c.resetByClient(f)
	case kindSettings:
		return c.settings(f)
	case kindPing:
		return c.ping(f)
	case kindGoAway:
		return c.goAway(f)
	case kindPriority:
		return c.priority(f)
	case kindPush:
		return &connError{codeProtocol, "a push by a client"} // RFC 9113 8.4
	}
	return c.spend(1) // RFC 9113 5.5: unknown kinds are ignored
}

// spend takes n frames from the connection's patience.
func (c *conn) spend(n int) error {
	if c.patience -= n; c.patience < 0 {
		return &connError{codeCalm, "too many frames that ask for nothing"}
	}
	return nil
}

// settings takes a SETTINGS frame (RFC 9113 6.5).
func (c *conn) settings(f *frame) error {
	switch {
	case f.id != 0:
		return &connError{codeProtocol, "settings of a stream"}
	case f.has(flagAck) && len(f.payload) != 0, len(f.payload)%6 != 0:
		return &connError{codeFrameSize, "settings of an odd size"}
	case f.has(flagAck):
		return c.spend(1)
	}
	for p := f.payload; len(p) > 0; p = p[6:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.settled = true
	c.out = appendFrameHeader(c.out, kindSettings, flagAck, 0, 0)
	return c.spend(1 + len(f.payload)/60)
}

// setting takes one setting (RFC 9113 6.5.2). Those that would let us do more
// than we do are not needed.
func (c *conn) setting(id uint16, value uint32) error {
	switch id {
	case settingPush:
		if value > 1 {
			return &connError{codeProtocol, "a setting of ENABLE_PUSH that is neither 0 nor 1"}
		}
	case settingFrame:
		if value < frameMax || value >= 1<<24 {
			return &connError{codeProtocol, "a setting of MAX_FRAME_SIZE out of its range"}
		}
	case settingWindow:
		return c.setInitialWindow(value)
	case settingTable:
		c.encoder.setLimit(int(min(value, tableMax)))
	}
	return nil
}

// setInitialWindow changes the window of every open stream by as much as the
// initial one changes; it may become negative (RFC 9113 6.9.2).
func (c *conn) setInitialWindow(value uint32) error {
	if value > windowMax {
		return &connError{codeFlowControl, "a setting of INITIAL_WINDOW_SIZE that is too large"}
	}
	delta := int64(value) - c.initialWindow
	c.initialWindow = int64(value)
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > windowMax {
			return &connError{codeFlowControl, "a setting that makes a window too large"}
		}
	}
	return nil
}

// windowUpdate takes a WINDOW_UPDATE frame (RFC 9113 6.9).
func (c *conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return &connError{codeFrameSize, "a window update of an odd size"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) &^ (1 << 31))
	s := c.find(f.id)
	switch {
	case f.id == 0 && n == 0:
		return &connError{codeProtocol, "a window update of nothing"}
	case f.id == 0:
		if c.sendWindow += n; c.sendWindow > windowMax {
			return &connError{codeFlowControl, "a connection's window that is too large"}
		}
	case f.id > c.last || f.id%2 == 0:
		return &connError{codeProtocol, "a window update on a stream that is not open"}
	case s == nil: // it was answered meanwhile
	case n == 0:
		return c.malformed(s)
	default:
		if s.sendWindow += n; s.sendWindow > windowMax {
			c.resetStream(s, codeFlowControl)
		}
	}
	if n >= windowStep {
		return nil
	}
	return c.spend(1)
}

// resetByClient takes a RST_STREAM frame (RFC 9113 6.4).
func (c *conn) resetByClient(f *frame) error {
	switch {
	case len(f.payload) != 4:
		return &connError{codeFrameSize, "a reset of an odd size"}
	case f.id == 0 || f.id > c.last || f.id%2 == 0:
		return &connError{codeProtocol, "a reset of a stream that is not open"}
	}
	if s := c.find(f.id); s != nil {
		c.close(s)
	}
	return c.spend(resetCosts)
}

// ping takes a PING frame (RFC 9113 6.7).
func (c *conn) ping(f *frame) error {
	switch {
	case f.id != 0:
		return &connError{codeProtocol, "a ping of a stream"}
	case len(f.payload) != 8:
		return &connError{codeFrameSize, "a ping of an odd size"}
	case !f.has(flagAck):
		c.out = append(appendFrameHeader(c.out, kindPing, flagAck, 0, 8), f.payload...)
	case !c.leaving.IsZero() && string(f.payload) == drainPing:
		c.part()
	}
	return c.spend(1)
}

// goAway takes a GOAWAY frame (RFC 9113 6.8): the client opens no more streams.
func (c *conn) goAway(f *frame) error {
	switch {
	case f.id != 0:
		return &connError{codeProtocol, "a goodbye on a stream"}
	case len(f.payload) < 8:
		return &connError{codeFrameSize, "a goodbye of an odd size"}
	}
	if c.leaving.IsZero() {
		c.askToLeave()
	}
	return c.spend(1)
}

// priority takes a PRIORITY frame, which says nothing any more (RFC 9113 6.3).
func (c *conn) priority(f *frame) error {
	switch {
	case f.id == 0:
		return &connError{codeProtocol, "a priority of the connection"}
	case len(f.payload) != 5:
		return &connError{codeFrameSize, "a priority of an odd size"}
	case dependency(f.payload) == f.id:
		return &connError{codeProtocol, "a stream that depends on itself"} // RFC 7540 5.3.1
	}
	return c.spend(1)
}

// dependency returns the stream that a priority depends on (RFC 7540 6.3).
func dependency(b []byte) uint32 { return binary.BigEndian.Uint32(b) &^ (1 << 31) }
