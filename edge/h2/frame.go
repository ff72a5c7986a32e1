package h2

import "encoding/binary"

// clientPreface begins a client's connection (RFC 9113 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A kind is the type of a frame (RFC 9113 6).
type kind byte

const (
	kindData kind = iota
	kindHeaders
	kindPriority
	kindReset
	kindSettings
	kindPush
	kindPing
	kindGoAway
	kindWindowUpdate
	kindContinuation
)

// Flags of frames (RFC 9113 6).
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4 // HEADERS, CONTINUATION
	flagPadded     = 0x8 // DATA, HEADERS
	flagPriority   = 0x20
)

// A code says why a stream or a connection ends (RFC 9113 7).
type code uint32

const (
	codeNone code = iota
	codeProtocol
	codeInternal
	codeFlowControl
	codeSettingsTimeout
	codeStreamClosed
	codeFrameSize
	codeRefused
	codeCancel
	codeCompression
	codeConnect
	codeCalm
	codeInadequate
)

// Settings (RFC 9113 6.5.2).
const (
	settingTable = iota + 1
	settingPush
	settingStreams
	settingWindow
	settingFrame
	settingHeader
)

const frameHeaderBytes = 9

// A frame is one frame as it came. Its payload is the connection's, until the
// next frame.
type frame struct {
	kind    kind
	flags   byte
	id      uint32
	payload []byte
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// parseFrameHeader reads the nine bytes before a payload (RFC 9113 4.1).
func parseFrameHeader(b []byte) (f frame, length int) {
	f.kind, f.flags = kind(b[3]), b[4]
	f.id = binary.BigEndian.Uint32(b[5:]) &^ (1 << 31)
	return f, int(b[0])<<16 | int(b[1])<<8 | int(b[2])
}

// appendFrameHeader is the reverse of parseFrameHeader.
func appendFrameHeader(dst []byte, k kind, flags byte, id uint32, length int) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(k), flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// appendNumber appends a frame whose payload is one number of 31 or 32 bits:
// RST_STREAM or WINDOW_UPDATE.
func appendNumber(dst []byte, k kind, id, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(dst, k, 0, id, 4), n)
}

func appendGoAway(dst []byte, last uint32, why code) []byte {
	dst = appendFrameHeader(dst, kindGoAway, 0, 0, 8)
	dst = binary.BigEndian.AppendUint32(dst, last)
	return binary.BigEndian.AppendUint32(dst, uint32(why))
}

func appendSetting(dst []byte, id uint16, value int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	return binary.BigEndian.AppendUint32(dst, uint32(value))
}

// unpad takes the padding off the payload of a DATA or HEADERS frame (RFC 9113
// 6.1). It returns how many bytes that were.
func (f *frame) unpad() (padding int, err error) {
	if !f.has(flagPadded) {
		return 0, nil
	}
	if len(f.payload) == 0 {
		return 0, &connError{codeFrameSize, "a padded frame without the length of its padding"}
	}
	n := int(f.payload[0])
	if n >= len(f.payload) {
		return 0, &connError{codeProtocol, "padding longer than its frame"}
	}
	f.payload = f.payload[1 : len(f.payload)-n]
	return n + 1, nil
}

// A connError ends a connection (RFC 9113 5.4.1).
type connError struct {
	code code
	why  string
}

func (e *connError) Error() string { return e.why }
