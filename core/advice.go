package core

import (
	"net/netip"

	"ucedge/snapshot"
)

// windowHours is for how many hours an impact counts (POLICY, Words).
const windowHours = 7 * 24

// A standing is what Level 1 says of the address that somebody asks about: it
// tells a neighbour of abusers from an abuser.
type standing uint8

const (
	unknown   standing = iota // a prefix, an exemption, or no Level 1 in this list
	neighbour                 // not listed there
	abuser                    // listed there
)

// standingOf returns the standing of an address, given what Level 1 found.
func (k *check) standingOf(first finding) standing {
	switch {
	case k.core.levels[snapshot.Address] == nil:
		return unknown
	case first == listed:
		return abuser
	case first == unlisted:
		return neighbour
	}
	return unknown
}

// appendAdvice appends what whoever is listed can do, as a JSON string.
func (k *check) appendAdvice(dst []byte, h *hit, level snapshot.Level, address netip.Addr, s standing) []byte {
	var room [512]byte
	said := room[:0]
	switch {
	case h.test:
		said = append(said, "Nothing: this is a test point, listed in every list so that clients can try it."...)
	case level == snapshot.Address:
		said = appendOwnerAdvice(said, &h.match.Facts)
	default:
		said = appendStanding(said, h, address, s)
		said = k.appendProviderAdvice(said, h, level, s)
	}
	return appendString(dst, said)
}

// appendOwnerAdvice speaks to whoever uses an address on Level 1.
func appendOwnerAdvice(dst []byte, facts *snapshot.MatchFacts) []byte {
	dst = append(dst, "Find and stop what sends the abuse; the listing ends by itself"...)
	if facts.End == 0 {
		return append(dst, " when no more of it is seen."...)
	}
	dst = appendStamp(append(dst, " by "...), facts.End)
	return append(dst, " unless more of it is seen. No fee and no request is needed."...)
}

// appendStanding says to a neighbour that it is not his fault, and to an
// abuser that it is.
func appendStanding(dst []byte, h *hit, address netip.Addr, s standing) []byte {
	switch s {
	case neighbour:
		dst = append(dst, "This is not the fault of "...)
		dst = address.AppendTo(dst)
		dst = append(dst, ", which is not on Level 1"...)
		if byHand(&h.match.Facts) {
			return append(dst, ". "...)
		}
		return append(dst, ": others in the same network are the cause. "...)
	case abuser:
		dst = address.AppendTo(dst)
		return append(dst, " is itself on Level 1: that comes first. "...)
	}
	return dst
}

// byHand reports whether an operator listed it, and nothing else does.
func byHand(facts *snapshot.MatchFacts) bool {
	return facts.Kinds&snapshot.Manual != 0 && facts.Threshold == 0
}

// appendProviderAdvice says who can end a listing of Level 2 or 3, and when it
// leaves.
func (k *check) appendProviderAdvice(dst []byte, h *hit, level snapshot.Level, s standing) []byte {
	facts := &h.match.Facts
	if byHand(facts) {
		dst = append(dst, "The operator of the list has listed "...)
		dst = appendSubject(dst, h, level)
		dst = append(dst, " by hand"...)
		if facts.End != 0 {
			dst = appendStamp(append(dst, ", until "...), facts.End)
		}
		return append(dst, '.')
	}
	dst = append(dst, "Who can end it: "...)
	dst = appendProvider(dst, facts)
	dst = append(dst, ", by stopping the abuse from "...)
	dst = append(appendSubject(dst, h, level), '.')
	if s != abuser {
		dst = append(dst, " Write to them, or send your mail through another network meanwhile."...)
	}
	return k.appendLeaving(dst, facts, level)
}

// appendLeaving says what must fall to what, and when that has happened at the
// latest.
func (k *check) appendLeaving(dst []byte, facts *snapshot.MatchFacts, level snapshot.Level) []byte {
	if facts.Threshold == 0 {
		return append(dst, " This list gives neither a threshold nor an end for it."...)
	}
	dst = append(dst, " The listing leaves by itself when "...)
	if facts.Count == 0 {
		dst = k.appendRemaining(dst, facts, level)
	} else {
		dst = append(append(dst, "its "...), k.core.counts[level]...)
		dst = appendUint(append(dst, " fall from "...), uint64(facts.Count))
		dst = appendUint(append(dst, " to "...), uint64(facts.Threshold-1))
		if facts.Threshold > 1 {
			dst = append(dst, " or fewer"...)
		}
	}
	if end := k.latest(facts); end != 0 {
		dst = appendStamp(append(dst, ": at the latest by "...), end)
		dst = append(dst, " if no more abuse is seen"...)
	}
	return append(dst, '.')
}

// appendSubject names what a level lists.
func appendSubject(dst []byte, h *hit, level snapshot.Level) []byte {
	if level == snapshot.Allocation {
		return h.match.Prefix.AppendTo(dst)
	}
	return append(dst, "its network"...)
}

// appendProvider names the provider behind a listing as far as it is known.
func appendProvider(dst []byte, facts *snapshot.MatchFacts) []byte {
	dst = append(dst, "the provider"...)
	if facts.ASN == 0 {
		return dst
	}
	dst = append(dst, ' ')
	if len(facts.ASName) > 0 {
		dst = append(append(dst, facts.ASName...), '/')
	}
	dst = append(dst, "AS"...)
	return appendUint(dst, uint64(facts.ASN))
}

// appendRemaining appends the words for when a listing of Level 2 or 3 ends:
// at one less than its threshold.
func (k *check) appendRemaining(dst []byte, facts *snapshot.MatchFacts, level snapshot.Level) []byte {
	most, counts := facts.Threshold-1, k.core.counts[level]
	if most == 0 {
		dst = append(dst, "no"...)
	} else {
		dst = appendUint(append(dst, "at most "...), uint64(most))
	}
	dst = append(dst, ' ')
	if most == 1 {
		return append(append(dst, counts[:len(counts)-1]...), " remains"...)
	}
	return append(append(dst, counts...), " remain"...)
}

// latest returns the hour by which the last impact behind a listing has
// stopped to count, so that nothing is left to stand on. It is 0 if that is
// unknown, or past: the snapshot is then too old to tell.
func (k *check) latest(facts *snapshot.MatchFacts) snapshot.Hour {
	end := facts.Last + 1 + windowHours
	if facts.Last == 0 || facts.Threshold == 0 || facts.End != 0 || end.Seconds() <= k.now {
		return 0
	}
	return end
}

// appendStamp appends an hour for a person.
func appendStamp(dst []byte, h snapshot.Hour) []byte {
	var room [32]byte
	rfc := appendTime(room[:0], h.Seconds()) // "2006-01-02T15:04:05Z" with its quotes
	dst = append(append(dst, rfc[1:11]...), ' ')
	return append(append(dst, rfc[12:17]...), " UTC"...)
}
