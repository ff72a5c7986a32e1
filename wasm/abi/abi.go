// Package abi is what guest and host agree on: the names of the guest's
// exports, the layout of the two frames of an HTTP exchange, and a version
// that must match. It knows nothing of DNS and imports nothing but the
// standard library.
//
// All integers are little-endian. An address is an offset into the guest's
// linear memory. A result of type uint64 is address<<32 | length, and stays
// valid until the next call of any export. The guest is one thread: a host
// makes one call at a time.
package abi

// Version is the version of this interface. A host refuses a guest whose
// abi_version differs, and an edge a manifest whose ABI range leaves it out.
const Version = 1

// Names of the guest's exports. Besides these a guest exports _initialize,
// which a host calls once, and memory.
const (
	// abi_version() uint32
	ExportVersion = "abi_version"
	// image_buffer(n uint32) uint32: address of n bytes for a whole image or
	// filter; each call gives a fresh buffer, and 0 means that there is no room.
	ExportImageBuffer = "image_buffer"
	// load(image, imageLen, filter, filterLen uint32) uint32: opens the image,
	// and the filter when filterLen is not 0; 0 is success, else the message
	// is at last_error. The host has verified every byte of both against the
	// hashes of a signed manifest. A guest that has loaded refuses another
	// until drop.
	ExportLoad = "load"
	// drop(): forgets snapshot, buffers and manifest, and collects them, so that
	// the next image takes their place in a memory that cannot shrink.
	ExportDrop = "drop"
	// set_manifest(n uint32) uint32: takes the n bytes of a manifest frame
	// from the request buffer; 0 is success.
	ExportSetManifest = "set_manifest"
	// request_buffer(n uint32) uint32: address of at least n bytes for the next request;
	// the same buffer for every call with n <= RequestBytes.
	ExportRequestBuffer = "request_buffer"
	// answer(n uint32, now int64, gate uint32) uint64: answers the DNS message of n
	// bytes in the request buffer; a length of 0 means: send nothing.
	ExportAnswer = "answer"
	// serve(n uint32) uint64: serves the request frame of n bytes in the request
	// buffer and gives a response frame.
	ExportServe = "serve"
	// last_error() uint64: text of the last failure.
	ExportLastError = "last_error"
)

// RequestBytes is the size of the request buffer that a guest has from the
// start: the largest DNS message (RFC 1035 4.2.2) with room for its frame.
const RequestBytes = 80 << 10

// Layout of a request frame:
//
//	offset size
//	0      8    now, seconds since the Unix epoch
//	8      1    gate (core.Gate)
//	9      3    zero
//	12     4    length of the method        M
//	16     4    length of the target        T  path and query as in the request line
//	20     4    length of Accept            A
//	24     4    length of Content-Type      C
//	28     4    length of If-None-Match     I
//	32     4    length of the body          B
//	36     …    M, T, A, C, I and B bytes in this order, and nothing after them
const RequestHeader = 36

// Layout of a response frame:
//
//	offset size
//	0      2    status code
//	2      1    ref (core.Ref): which bytes the host puts in place of the body
//	3      1    number of header fields      H
//	4      4    length of the header fields  L
//	8      4    length of the body           B
//	12     L    H × (u16 length of name, u16 length of value, name, value)
//	12+L   B    body
//
// Field names are lower case. The host adds Content-Length and Date, and
// leaves the body out when the method was HEAD; it changes nothing else.
const ResponseHeader = 12

// Layout of a manifest frame, what a guest needs to know of a verified manifest:
//
//	offset size
//	0      4    serial
//	4      4    length of the host name   N
//	8      8    built     seconds since the Unix epoch
//	16     8    next      likewise, when the next manifest is due
//	24     8    expires   likewise
//	32     …    list name, then the N bytes of the host name: the edge's own
//	            setting, not part of the signed text; N is 0 if it has none
const ManifestHeader = 32
