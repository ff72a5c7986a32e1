package h2

import "time"

// What one connection may cost. A client that goes past a limit loses the
// stream or the connection, with the code that the limit names.
const (
	// frameMax is the largest payload of a frame in either direction: the
	// smallest that a peer must take, and the default (RFC 9113 4.2). Beyond it
	// FRAME_SIZE_ERROR.
	frameMax = 1 << 14
	// inMin is the read buffer of a connection that sends small requests, some
	// thirty of them. It grows to what a frame needs.
	inMin = 4 << 10
	// outMax is about how many bytes are collected before they are written:
	// enough to fill a fast link while a large body is sent, few enough that a
	// new request does not wait for long.
	outMax = 128 << 10
	// heldMax bounds what a connection's open streams hold together: headers and
	// bodies that are still arriving, and bodies that wait for the client's
	// window. Past it streams end with REFUSED_STREAM, which says that nothing
	// was done, so that a client may ask again (RFC 9113 8.7). It is 250 queries
	// of 8 KiB, or 100 requests for a thousand addresses each.
	heldMax = 2 << 20
	// fieldsMax bounds the header without its target, as RFC 9113 6.5.2 counts:
	// name, value and 32 bytes for each field. Past it, status 431.
	fieldsMax = 16 << 10
	// continuationsMax bounds the CONTINUATION frames of one header, which are
	// full frames unless somebody wants trouble (CVE-2024-27316). Past it
	// ENHANCE_YOUR_CALM.
	continuationsMax = 16
	// tableMax is the dynamic table of HPACK in either direction, the default
	// (RFC 9113 6.5.2).
	tableMax = 4 << 10
	// windowMax is the largest flow-control window (RFC 9113 6.9.1), and
	// windowDefault the one before any setting says otherwise (6.9.2).
	windowMax     = 1<<31 - 1
	windowDefault = 1<<16 - 1
	// connWindow is how much of all bodies together may be on its way to us.
	connWindow = 1 << 20
	// patienceMax is how many frames a connection may spend that ask for
	// nothing, such as PING, SETTINGS or empty DATA (CVE-2019-9512, -9515, -9518).
	// Past it ENHANCE_YOUR_CALM.
	patienceMax = 1000
	// answerEarns is how many of them the whole of an answer earns back: two, for
	// clients that widen both windows by every answer that they read.
	answerEarns = 2
	// resetCosts is how many of them a RST_STREAM is, so that a client may reset
	// every other request but not each (CVE-2023-44487).
	resetCosts = 4
	// windowStep is how much a WINDOW_UPDATE must at least give to cost nothing,
	// and how large a frame of a waiting body must be to earn one back.
	windowStep = 1 << 10
	// resetsKept is how many streams are remembered that were reset while their
	// client still sent: what it sends before it knows is no offence.
	resetsKept = 256
	// spareMax is how many streams a connection keeps for use again, keepMax how
	// large a buffer is that one may keep, and outKeep the same for the output.
	spareMax = 8
	keepMax  = 2 << 10
	outKeep  = 16 << 10
)

const (
	// slowest is the rate in bytes a second at which a client must at least take
	// a body, once WriteTimeout is over.
	slowest = 8000
	// glance is how long a connection with more to send looks for input, and
	// unseenMax after how many writes: it is the time that a deadline of Go takes
	// at least, in which nothing is sent.
	glance    = time.Millisecond
	unseenMax = 4
	// drainGrace is how long a client that was asked to go may still open
	// streams, if it does not say earlier that it has understood.
	drainGrace = time.Second
	// lingerTime and lingerMax bound the reading from a client that was told to
	// go: closing at once could cost it the frame that says why.
	lingerTime = time.Second
	lingerMax  = 1 << 20
)
