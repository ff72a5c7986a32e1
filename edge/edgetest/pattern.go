package edgetest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ucedge/snapshot"
)

// A pattern is expected text with words in braces:
//
//	{serial}      what the session knows by that name: see newVars
//	{hour+3}      the third whole hour after the snapshot was made, RFC 3339
//	{200..300}    a decimal number in that range
//	{*}           anything
//	{*tag}        anything, remembered as {tag} for the rest of the case
//
// In requests also {query}, the DNS message, and {3000*A}, a text so many
// times. Any other brace stands for itself, so JSON needs no escapes.
type pattern string

var placeholder = regexp.MustCompile(`\{(\*[a-z]*|\d+\.\.\d+|[a-z]+[0-9]?(?:[+-]\d+)?)\}`)

// match compares text with the pattern. It returns the text with the ranges'
// numbers put back into braces, which does not depend on the moment of asking.
func (p pattern) match(text string, v vars) (masked string, ok bool) {
	filled := v.fill(string(p))
	re, words := compile(filled)
	found := re.FindStringSubmatchIndex(text)
	if found == nil {
		return text, false
	}
	from := 0
	for i, word := range words {
		start, end := found[2*i+2], found[2*i+3]
		masked += text[from:start]
		from = end
		switch name, any := strings.CutPrefix(word, "*"); {
		case !any && !inRange(text[start:end], word):
			return text, false
		case !any:
			masked += "{" + word + "}"
		default:
			masked += text[start:end]
			if name != "" {
				v[name] = text[start:end]
			}
		}
	}
	return masked + text[from:], true
}

// compile turns a filled pattern into an expression with one group for each
// word left in it.
func compile(filled string) (*regexp.Regexp, []string) {
	var expr strings.Builder
	var words []string
	from := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(filled, -1) {
		expr.WriteString(regexp.QuoteMeta(filled[from:m[0]]))
		from = m[1]
		word := filled[m[2]:m[3]]
		words = append(words, word)
		switch word[0] {
		case '*':
			expr.WriteString("(.*?)")
		default:
			expr.WriteString(`(\d+)`)
		}
	}
	expr.WriteString(regexp.QuoteMeta(filled[from:]))
	return regexp.MustCompile(`(?s)^` + expr.String() + `$`), words
}

// inRange reports whether a decimal number lies in a range "low..high". An
// unknown word in braces is a range that holds nothing.
func inRange(number, word string) bool {
	low, high, _ := strings.Cut(word, "..")
	l, err1 := strconv.Atoi(low)
	h, err2 := strconv.Atoi(high)
	n, err3 := strconv.Atoi(number)
	return err1 == nil && err2 == nil && err3 == nil && l <= n && n <= h
}

// hasRange reports whether a pattern holds a range.
func (p pattern) hasRange() bool { return strings.Contains(string(p), "..") }

// vars are the words that patterns and requests may use.
type vars map[string]string

// newVars knows the times and records of a World made at now, seconds since
// the Unix epoch.
func newVars(now int64) vars {
	stamp := func(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
	times := Times(Ready, now)
	v := vars{
		"serial": strconv.FormatInt(now, 10),
		"built":  stamp(times.Built), "next": stamp(times.Next), "expires": stamp(times.Expires),
		"hour": stamp(snapshot.HourOf(now).Seconds()),
		"last": stamp((snapshot.HourOf(now) - 2).Seconds()), "first": stamp((snapshot.HourOf(now) - 50).Seconds()),
	}
	for n := 1; n <= 6; n++ {
		v[fmt.Sprintf("hour+%d", n)] = stamp((snapshot.HourOf(now) + snapshot.Hour(n)).Seconds())
	}
	for i, z := range zones() {
		v[fmt.Sprintf("soa%d", i+1)] = fmt.Sprintf("%s. %d IN SOA %s. %s. %d %d %d %d %d", z.Suffix, min(z.SOATTL, z.Minimum),
			z.MName, z.RName, now, z.Refresh, z.Retry, z.Expire, z.Minimum)
	}
	return v
}

// fill puts the known words into text and leaves the others.
func (v vars) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(word string) string {
		if value, ok := v[word[1:len(word)-1]]; ok {
			return value
		}
		return word
	})
}

var repeated = regexp.MustCompile(`\{(\d+)\*([^{}]+)\}`)

// fillRequest also does what only a request may hold.
func (v vars) fillRequest(text string) string {
	text = repeated.ReplaceAllStringFunc(text, func(word string) string {
		m := repeated.FindStringSubmatch(word)
		n, _ := strconv.Atoi(m[1])
		return strings.Repeat(m[2], n)
	})
	return v.fill(text)
}
