// Package manifest is the signed text that names the current snapshot: which
// objects it consists of, when it was built, and until when it may be used.
//
// Most callers use Open, which gives a Manifest only if a trusted key signed
// exactly these bytes, then Manifest.Accept, which holds it against a clock and
// against the manifest accepted last; and Sign. Promised: one Manifest has one
// text, and any changed byte is refused. Not promised: that it is the newest
// one; that is the business of whoever fetches it.
//
// A signed manifest looks like this (C2SP signed-note form; hashes shortened):
//
//	ucedge manifest v1
//	list bl.example
//	serial 1795363200
//	built 2026-11-22T16:00:00Z
//	next 2026-11-22T16:05:00Z
//	expires 2026-11-29T16:00:00Z
//	abi 1 1
//	profile classic
//	previous 0000…
//	object base 9f86… 4194304 zstd 6030… 1048576
//	object base 9f86… 4194304 plain 9f86… 4194304
//	object filter fd61… 262144 zstd a4ac… 262160
//	object filter fd61… 262144 plain fd61… 262144
//
//	— bl.example qLhP…=
package manifest

import "ucedge/snapshot"

// A Manifest names one snapshot. Its text form is strict: a text that Parse
// accepts is the text that Format gives back.
type Manifest struct {
	List     string          // name of the list, also the name of its keys
	Serial   snapshot.Serial // ever-growing
	Built    int64           // seconds since the Unix epoch
	Next     int64           // when the next manifest is due
	Expires  int64           // from then on it must not be used
	ABIMin   uint32          // guest interface versions that can read the objects
	ABIMax   uint32
	Profile  string // name of the listing profile
	Previous Hash   // SHA-256 of the text of the manifest before it; zero for the first
	Objects  []Object
}

// A Hash is a SHA-256.
type Hash [32]byte

// A Role says what an object is for.
type Role string

const (
	Base   Role = "base"   // image with all listings of all zones
	Filter Role = "filter" // bloom filters over the base
)

// A Coding is how an object is compressed on the wire, if it is.
type Coding string

const (
	Zstd Coding = "zstd"
	Gzip Coding = "gzip"
	// Plain bytes are on the wire as they are, so that a reader to whom bytes
	// cost less than time neither decompresses nor hashes twice.
	Plain Coding = "plain"
)

// Where a store, be it a folder, a URL or a bucket, keeps the signed manifest,
// and under which prefix the objects.
const (
	StoreName   = "manifest"
	StorePrefix = "objects/"
)

// StoreName returns where a store keeps o: under the hash of its wire bytes.
func (o Object) StoreName() string { return StorePrefix + o.WireHash.String() }

// An Object is one encoding of one object. Objects of one role with several
// codings have the same Hash and Size, and of a plain one they are those on the
// wire too.
type Object struct {
	Role     Role
	Hash     Hash  // of the plain bytes
	Size     int64 // of the plain bytes
	Coding   Coding
	WireHash Hash // of the coded bytes, also its name: objects/<hex>
	WireSize int64
}
