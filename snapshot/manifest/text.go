package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ucedge/snapshot"
)

// Limits of the text form. They bound what a reader allocates before it has
// verified a single hash.
const (
	MaxSigned  = 16 << 10  // bytes of a signed manifest, signatures included
	MaxObject  = 256 << 20 // bytes of an object, plain or on the wire
	MaxName    = 253       // bytes of a list name (RFC 1035 2.3.4, without the root)
	MaxLabel   = 63        // bytes of one of its labels
	MaxProfile = 32        // bytes of a profile name
)

// order is every pair of role and coding in the order in which their lines
// stand. A pair occurs at most once, so it is also the limit on their number.
var order = [...]struct {
	role   Role
	coding Coding
}{{Base, Zstd}, {Base, Gzip}, {Base, Plain}, {Filter, Zstd}, {Filter, Gzip}, {Filter, Plain}}

// MaxObjects is the largest number of objects in one manifest.
const MaxObjects = len(order)

// header is the first line: the format and its version.
const header = "ucedge manifest v1"

// timeForm is RFC 3339 in UTC, whole seconds.
const timeForm = "2006-01-02T15:04:05Z"

// String returns the hash in lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash returns the hash that s is the String of.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != hex.EncodedLen(len(h)) || strings.ToLower(s) != s {
		return Hash{}, fmt.Errorf("hash %q is not %d lower-case hexadecimal digits", s, hex.EncodedLen(len(h)))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("hash %q: %v", s, err)
	}
	return h, nil
}

// Format returns the text of m. It does not judge m: Parse refuses the text of
// a manifest that breaks a rule, and Sign does not sign it.
func Format(m Manifest) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nlist %s\nserial %d\n", header, m.List, m.Serial)
	fmt.Fprintf(&b, "built %s\nnext %s\nexpires %s\n", formatTime(m.Built), formatTime(m.Next), formatTime(m.Expires))
	fmt.Fprintf(&b, "abi %d %d\nprofile %s\nprevious %s\n", m.ABIMin, m.ABIMax, m.Profile, m.Previous)
	for _, o := range m.Objects {
		fmt.Fprintf(&b, "object %s %s %d %s %s %d\n", o.Role, o.Hash, o.Size, o.Coding, o.WireHash, o.WireSize)
	}
	return []byte(b.String())
}

// TextHash returns the SHA-256 of the text of m, by which the manifest after
// it names m as its previous one. Two manifests are the same exactly if their
// text hashes are; signatures are no part of it.
func (m Manifest) TextHash() Hash { return sha256.Sum256(Format(m)) }

// Object returns the object of that role and coding, if m names one.
func (m Manifest) Object(r Role, c Coding) (Object, bool) {
	for _, o := range m.Objects {
		if o.Role == r && o.Coding == c {
			return o, true
		}
	}
	return Object{}, false
}

// SameObjects says whether m and n name the same plain objects, so that one
// may stand for the other without anything being fetched. Codings may differ.
func (m Manifest) SameObjects(n Manifest) bool {
	for _, r := range []Role{Base, Filter} {
		a, inM := m.Object(r, Zstd)
		b, inN := n.Object(r, Zstd)
		if inM != inN || a.Hash != b.Hash || a.Size != b.Size {
			return false
		}
	}
	return true
}

// Parse reads the text of a manifest, which has no signatures. It accepts
// nothing but the output of Format for a manifest that keeps every rule: a
// list name in lower case, a serial above zero, built before next and next no
// later than expires, a zstd base, twins that agree, sizes within MaxObject.
// On error the manifest is zero.
func Parse(text []byte) (Manifest, error) {
	if len(text) > MaxSigned {
		return Manifest{}, fmt.Errorf("manifest of %d bytes, at most %d are allowed", len(text), MaxSigned)
	}
	p := parser{rest: string(text)}
	m := p.manifest()
	if p.err != nil {
		return Manifest{}, fmt.Errorf("manifest line %d: %w", p.line, p.err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// check holds the rules that concern more than one line.
func (m Manifest) check() error {
	switch {
	case m.Serial == 0:
		return errors.New("serial 0 is not in use")
	case m.Built >= m.Next:
		return fmt.Errorf("next %s is not after built %s", formatTime(m.Next), formatTime(m.Built))
	case m.Next > m.Expires:
		return fmt.Errorf("expires %s is before next %s", formatTime(m.Expires), formatTime(m.Next))
	case m.ABIMin == 0 || m.ABIMin > m.ABIMax:
		return fmt.Errorf("abi range %d %d is empty or begins at 0", m.ABIMin, m.ABIMax)
	}
	return checkObjects(m.Objects)
}

// checkObjects holds the rules on the object lines: the base first, each role
// in zstd and then perhaps in gzip and plain, twins that name the same plain
// bytes, and plain ones that name nothing else.
func checkObjects(objects []Object) error {
	if len(objects) == 0 || objects[0].Role != Base {
		return errors.New("the first object is not a base")
	}
	next := 0
	for i, o := range objects {
		for next < len(order) && (order[next].role != o.Role || order[next].coding != o.Coding) {
			next++
		}
		if next == len(order) {
			return fmt.Errorf("object %s %s is unknown, repeated or out of order", o.Role, o.Coding)
		}
		next++
		if o.Coding == Zstd {
			continue
		}
		if i == 0 || objects[i-1].Role != o.Role {
			return fmt.Errorf("object %s has no zstd coding", o.Role)
		}
		if t := objects[i-1]; t.Hash != o.Hash || t.Size != o.Size {
			return fmt.Errorf("twins of object %s differ in hash or size", o.Role)
		}
		if o.Coding == Plain && (o.WireHash != o.Hash || o.WireSize != o.Size) {
			return fmt.Errorf("plain object %s has another hash or size on the wire", o.Role)
		}
	}
	return nil
}

// A parser takes a text apart line by line. After the first error its methods
// return zero values and keep that error.
type parser struct {
	rest string
	line int
	err  error
}

func (p *parser) manifest() (m Manifest) {
	if got := p.next(); p.err == nil && got != header {
		p.fail("%q is not %q", got, header)
	}
	m.List = p.name("list")
	m.Serial = snapshot.Serial(p.number(p.field("serial"), 1<<32-1))
	m.Built = p.time("built")
	m.Next = p.time("next")
	m.Expires = p.time("expires")
	abi := p.words("abi", 2)
	m.ABIMin, m.ABIMax = uint32(p.number(abi[0], 1<<32-1)), uint32(p.number(abi[1], 1<<32-1))
	m.Profile = p.profile("profile")
	m.Previous = p.hash(p.field("previous"))
	for p.err == nil && p.rest != "" {
		if len(m.Objects) == MaxObjects {
			p.line++
			p.fail("more than %d objects", MaxObjects)
			break
		}
		m.Objects = append(m.Objects, p.object())
	}
	return m
}

func (p *parser) object() Object {
	w := p.words("object", 6)
	return Object{
		Role:     Role(w[0]),
		Hash:     p.hash(w[1]),
		Size:     p.size(w[2]),
		Coding:   Coding(w[3]),
		WireHash: p.hash(w[4]),
		WireSize: p.size(w[5]),
	}
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// next returns the next line without its end.
func (p *parser) next() string {
	if p.err != nil {
		return ""
	}
	p.line++
	line, rest, ok := strings.Cut(p.rest, "\n")
	if !ok {
		p.fail("text ends in %q", p.rest)
		return ""
	}
	p.rest = rest
	return line
}

// words returns the n words of the next line, which must begin with key. The
// result always has n elements.
func (p *parser) words(key string, n int) []string {
	line := p.next()
	w := strings.Split(line, " ")
	if p.err == nil && (len(w) != n+1 || w[0] != key) {
		p.fail("%q is not %q and %d words", line, key, n)
	}
	if p.err != nil {
		return make([]string, n)
	}
	return w[1:]
}

func (p *parser) field(key string) string { return p.words(key, 1)[0] }

// number reads a decimal number of at most limit, which must equal its own
// formatting: no sign, no leading zero.
func (p *parser) number(s string, limit uint64) uint64 {
	if p.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s || n > limit {
		p.fail("%q is not a number from 0 to %d", s, limit)
		return 0
	}
	return n
}

func (p *parser) size(s string) int64 {
	n := p.number(s, MaxObject)
	if n == 0 {
		p.fail("object of size 0")
	}
	return int64(n)
}

func (p *parser) hash(s string) Hash {
	if p.err != nil {
		return Hash{}
	}
	h, err := ParseHash(s)
	if err != nil {
		p.fail("%w", err)
	}
	return h
}

func (p *parser) time(key string) int64 {
	s := p.field(key)
	if p.err != nil {
		return 0
	}
	t, err := time.Parse(timeForm, s)
	if err != nil || t.Format(timeForm) != s || t.Unix() < 0 {
		p.fail("%q is not a time of the form %q", s, timeForm)
		return 0
	}
	return t.Unix()
}

func formatTime(unix int64) string { return time.Unix(unix, 0).UTC().Format(timeForm) }

func (p *parser) name(key string) string {
	s := p.field(key)
	if p.err == nil && !validName(s) {
		p.fail("%q is not a list name: labels of lower-case letters, digits, '-' and '_'", s)
	}
	return s
}

// validName says whether s may name a list: a domain name in lower case,
// without the final dot.
func validName(s string) bool {
	if len(s) > MaxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > MaxLabel || !only(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") {
			return false
		}
	}
	return true
}

func (p *parser) profile(key string) string {
	s := p.field(key)
	if err := CheckProfileName(s); p.err == nil && err != nil {
		p.fail("%v", err)
	}
	return s
}

// CheckProfileName returns nil if s may name a profile.
func CheckProfileName(s string) error {
	if s == "" || len(s) > MaxProfile || !only(s, "abcdefghijklmnopqrstuvwxyz0123456789-") {
		return fmt.Errorf("%q is not a profile name: 1 to %d lower-case letters, digits and '-'", s, MaxProfile)
	}
	return nil
}

// only says whether s has no character besides the allowed ones.
func only(s, allowed string) bool { return strings.TrimLeft(s, allowed) == "" }
