package core

import (
	"bytes"
	"net/netip"
	"unicode/utf8"

	"ucedge/snapshot"
)

// appendText appends what the template of h says about the address, at most
// snapshot.MaxText bytes of it: the AS name is cut first, then the template's
// own words from the end, the address and the link never, unless they alone
// are too long.
func appendText(dst []byte, h *hit, address netip.Addr) []byte {
	text := h.match.Facts.Text
	if h.test {
		return appendTemplate(dst, h.zone.test, h, address)
	}
	if len(text) == 0 {
		return appendTemplate(dst, h.zone.Text, h, address)
	}
	return appendTemplate(dst, text, h, address)
}

func appendTemplate[T ~string | ~[]byte](dst []byte, template T, h *hit, address netip.Addr) []byte {
	base := len(dst)
	name := h.match.Facts.ASName
	e := expansion{hit: h, address: address, name: name, words: len(template)}
	dst = expand(dst, template, &e)
	excess := len(dst) - base - snapshot.MaxText
	if excess <= 0 {
		return dst
	}
	if cut := e.names * len(name); cut >= excess {
		e.name = cutName(name, len(name)-(excess+e.names-1)/e.names)
	} else {
		e.name = nil
		e.words = max(0, e.literals-(excess-cut))
	}
	e.names, e.literals = 0, 0
	dst = expand(dst[:base], template, &e)
	return dst[:min(len(dst), base+snapshot.MaxText)]
}

// cutName returns the first n bytes of the name, fewer if that would leave
// half a character of UTF-8. A name in Latin-1 is cut anywhere.
func cutName(name []byte, n int) []byte {
	if !utf8.Valid(name) {
		return name[:n]
	}
	for n > 0 && n < len(name) && !utf8.RuneStart(name[n]) {
		n--
	}
	return bytes.TrimRight(name[:n], " ")
}

// An expansion is what the words of a template stand for, and what expanding
// it once came to.
type expansion struct {
	hit     *hit
	address netip.Addr
	name    []byte // the AS name, perhaps cut
	words   int    // how many bytes of the template's own words may stay

	names    int // how often the AS name stands in the template
	literals int // bytes of the template's own words
}

// expand appends the expanded template. A word in braces that templates do not
// know stays as it is.
func expand[T ~string | ~[]byte](dst []byte, template T, e *expansion) []byte {
	from := 0 // of the template's own words that are not appended yet
	for i := 0; i < len(template); i++ {
		c := template[i]
		if c != '{' && c != '}' {
			continue
		}
		if i+1 < len(template) && template[i+1] == c { // a literal brace: one of the two stays
			i++
			dst = literal(dst, template[from:i], e)
			from = i + 1
			continue
		}
		if end := closing(template, i); c == '{' && end > 0 {
			at := len(dst)
			dst = literal(dst, template[from:i], e)
			made, known := e.word(dst, string(template[i+1:end]))
			if !known {
				e.literals -= i - from
				dst = dst[:at]
				continue
			}
			dst, from, i = made, end+1, end
		}
	}
	return literal(dst, template[from:], e)
}

// closing returns the index of the brace that closes the one at i, or 0.
func closing[T ~string | ~[]byte](template T, i int) int {
	const wordMax = len("{as_name}")
	for j := i + 1; j < min(len(template), i+wordMax); j++ {
		if template[j] == '}' {
			return j
		}
	}
	return 0
}

// literal appends the template's own words as far as there is room.
func literal[T ~string | ~[]byte](dst []byte, words T, e *expansion) []byte {
	room := max(0, e.words-e.literals)
	e.literals += len(words)
	return append(dst, words[:min(len(words), room)]...)
}

// word appends what the word in braces stands for.
func (e *expansion) word(dst []byte, word string) ([]byte, bool) {
	facts := &e.hit.match.Facts
	switch word {
	case "ip":
		return e.address.AppendTo(dst), true
	case "net":
		return e.hit.match.Prefix.AppendTo(dst), true
	case "count":
		return appendUint(dst, uint64(facts.Count)), true
	case "as_name":
		e.names++
		return append(dst, e.name...), true
	case "asn":
		return appendUint(dst, uint64(facts.ASN)), true
	case "url":
		return append(dst, e.hit.zone.URL...), true
	}
	return dst, false
}

// appendUint appends n in decimal.
func appendUint(dst []byte, n uint64) []byte {
	var digits [20]byte
	at := len(digits)
	for {
		at--
		digits[at] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return append(dst, digits[at:]...)
		}
	}
}
