package report

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-message"
)

// Relays are the mail servers whose Received fields are believed. Anyone can
// write such a field, so the zero Relays believe none.
type Relays struct {
	Names     []string       // as they stand after "by"
	Addresses []netip.Prefix // from which they send on to each other
}

// maxReceived is how many Received fields are walked. RFC 5321 6.3 lets mail
// with a hundred go as a loop.
const maxReceived = 100

// source walks the Received fields of a message from the newest on, as long as
// a trusted relay wrote them, and returns the first address that is not one.
func (r Relays) source(header *message.Header) (netip.Addr, error) {
	if len(r.Names) == 0 {
		return netip.Addr{}, errors.New("Source-IP is missing, and no relay is trusted to tell it")
	}
	fields := header.FieldsByKey("Received")
	for n := 0; fields.Next() && n < maxReceived; n++ {
		from, by := splitReceived(fields.Value())
		if !r.trusts(by) {
			return netip.Addr{}, fmt.Errorf("received field %d was written by %q, which is no trusted relay", n+1, clip(by))
		}
		if from == "" {
			continue // handed over within one host
		}
		peer, err := peerOf(from)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("received field %d: %v", n+1, err)
		}
		if !r.owns(peer) {
			return peer, nil
		}
	}
	return netip.Addr{}, errors.New("no received field of a trusted relay names an address outside")
}

func (r Relays) trusts(name string) bool {
	return slices.ContainsFunc(r.Names, func(known string) bool {
		return strings.EqualFold(known, strings.TrimSuffix(name, "."))
	})
}

func (r Relays) owns(a netip.Addr) bool {
	return slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}

// splitReceived takes the clauses "from" and "by" out of a Received field
// (RFC 5321 4.4). Words in comments are no clauses.
func splitReceived(field string) (from, by string) {
	words := receivedWords(field)
	clause := ""
	var fromWords []string
	for _, word := range words {
		switch lower := strings.ToLower(word); {
		case lower == "from" && clause == "":
			clause = "from"
		case lower == "by" && clause != "by":
			clause = "by"
		case clause == "from":
			fromWords = append(fromWords, word)
		case clause == "by":
			return strings.Join(fromWords, " "), strings.TrimSuffix(word, ";")
		}
	}
	return strings.Join(fromWords, " "), ""
}

// receivedWords cuts a field at white space; a comment with all that is
// nested in it is one word.
func receivedWords(field string) []string {
	var words []string
	depth, start := 0, -1
	for i := 0; i < len(field); i++ {
		c := field[i]
		space := c == ' ' || c == '\t' || c == '\r' || c == '\n'
		switch {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		}
		if space && depth == 0 {
			if start >= 0 {
				words = append(words, field[start:i])
			}
			start = -1
		} else if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, field[start:])
	}
	return words
}

// peerOf finds the address of the connection in a "from" clause. It stands in
// brackets in the comment behind the name that the client gave itself:
//
//	name (reverse.example [192.0.2.1])     most
//	name ([192.0.2.1] helo=name)           Exim
//	[192.0.2.1] (helo=name)                Exim, if the address has no name
//
// A literal anywhere else was chosen by the client.
func peerOf(from string) (netip.Addr, error) {
	words := receivedWords(from)
	comment := ""
	for _, word := range words {
		if strings.HasPrefix(word, "(") {
			comment = strings.TrimSuffix(strings.TrimPrefix(word, "("), ")")
		}
	}
	if literal, ok := literalIn(comment); ok {
		return parseAddress(trimLiteral(literal))
	}
	if strings.Contains(comment, "helo=") && strings.HasPrefix(words[0], "[") {
		return parseAddress(trimLiteral(words[0]))
	}
	return netip.Addr{}, fmt.Errorf("no address of the connection in %q", clip(from))
}

// literalIn returns the last word in brackets that is not what the client
// gave itself.
func literalIn(comment string) (literal string, ok bool) {
	for _, word := range strings.Fields(comment) {
		if strings.HasPrefix(word, "[") && strings.HasSuffix(word, "]") {
			literal, ok = word, true
		}
	}
	return literal, ok
}
