package zonefile

import (
	"net/netip"
	"strconv"
	"strings"

	"ucedge/snapshot"
)

// Expand returns the text that a template stands for in an answer about a
// listing, before it is cut to snapshot.MaxText. ip stands for {ip}.
func Expand(template string, l snapshot.Listing, z snapshot.Zone, ip string) string {
	return expand(template, func(word string) (string, bool) {
		switch word {
		case "ip":
			return ip, true
		case "net":
			return l.Prefix.String(), true
		case "count":
			return strconv.FormatUint(uint64(l.Count), 10), true
		case "as_name":
			return l.ASName, true
		case "asn":
			return strconv.FormatUint(uint64(l.ASN), 10), true
		case "url":
			return z.URL, true
		}
		return "", false
	})
}

// expand replaces the words of a template. A doubled brace is a brace; a word
// that nobody knows, and a brace alone, stand for themselves.
func expand(template string, word func(string) (string, bool)) string {
	var out strings.Builder
	for {
		i := strings.IndexAny(template, "{}")
		if i < 0 {
			out.WriteString(template)
			return out.String()
		}
		out.WriteString(template[:i])
		brace := template[i]
		template = template[i+1:]
		if len(template) > 0 && template[0] == brace {
			out.WriteByte(brace)
			template = template[1:]
			continue
		}
		if end := strings.IndexByte(template, '}'); brace == '{' && end >= 0 {
			if text, ok := word(template[:end]); ok {
				out.WriteString(text)
				template = template[end+1:]
				continue
			}
		}
		out.WriteByte(brace)
	}
}

// urlBytes end a link in a text; urlTail are not part of it at its end.
const (
	urlBytes = " \t?{}\"<>"
	urlTail  = ".,;:!)"
)

// urlAt returns the link at the start of text, up to its query, or nothing.
func urlAt(text string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(text, scheme); ok {
			if end := strings.IndexAny(rest, urlBytes); end >= 0 {
				rest = rest[:end]
			}
			if rest = strings.TrimRight(rest, urlTail); rest == "" {
				return ""
			}
			return text[:len(scheme)+len(rest)]
		}
	}
	return ""
}

// firstURL returns the first link in text, or nothing.
func firstURL(text string) string {
	for {
		i := strings.Index(text, "http")
		if i < 0 {
			return ""
		}
		if url := urlAt(text[i:]); url != "" {
			return url
		}
		text = text[i+len("http"):]
	}
}

// markURL writes {url} for every link in the template that is url.
func markURL(template, url string) string {
	if url == "" || !strings.Contains(template, url) {
		return template
	}
	var out strings.Builder
	for {
		i := strings.Index(template, url)
		if i < 0 {
			out.WriteString(template)
			return out.String()
		}
		out.WriteString(template[:i])
		if urlAt(template[i:]) == url {
			out.WriteString("{url}")
		} else {
			out.WriteString(url)
		}
		template = template[i+len(url):]
	}
}

// recognise finds the facts of a listing in its text: its prefix or address,
// the number in front of a word for abuse, and an AS number after a name. The
// facts' Text is the template that stands for the same text; naming says
// whether it may use {as_name}, the word that is cut in texts too long.
func recognise(text string, prefix netip.Prefix, naming bool) snapshot.Facts {
	var f snapshot.Facts
	t := markWord(text, prefix.String(), "{net}")
	if prefix.IsSingleIP() {
		t = markWord(t, prefix.Addr().String(), "{ip}")
	}
	t = markCount(t, &f)
	t = markAS(t, &f, naming)
	f.Text = t
	if len(t) > snapshot.TemplateMax || !sameText(text, t, f, prefix) {
		return snapshot.Facts{Text: text}
	}
	return f
}

// sameText reports whether a template with its facts stands for the same text
// as the one it was made from.
func sameText(from, to string, f snapshot.Facts, prefix netip.Prefix) bool {
	l := snapshot.Listing{Prefix: prefix, Facts: f}
	keep := snapshot.Zone{URL: "\x00url"}
	ip := "\x00ip"
	if prefix.IsSingleIP() {
		ip = prefix.Addr().String()
	}
	return Expand(from, l, keep, ip) == Expand(to, l, keep, ip)
}

// markWord replaces an address or prefix where it stands alone.
func markWord(text, word, mark string) string {
	var out strings.Builder
	done := 0
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			out.WriteString(text[done:])
			return out.String()
		}
		i += from
		from = i + len(word)
		if standsAlone(text, i, from) {
			out.WriteString(text[done:i])
			out.WriteString(mark)
			done = from
		}
	}
}

// standsAlone reports whether no longer address surrounds text[start:end]. A
// full stop at the end of a sentence is none.
func standsAlone(text string, start, end int) bool {
	if start > 0 && addressByte(text[start-1]) {
		return false
	}
	rest := strings.TrimPrefix(text[end:], ".")
	return rest == "" || !addressByte(rest[0])
}

func addressByte(c byte) bool {
	return hexDigit(c) >= 0 || c == '.' || c == ':' || c == '/'
}

// markCount replaces the first number in front of a word for abuse.
func markCount(text string, f *snapshot.Facts) string {
	first, length := -1, 0
	for _, word := range []string{" impacts", " abusers", " spammers"} {
		for from := 0; ; {
			i := strings.Index(text[from:], word)
			if i < 0 {
				break
			}
			i += from
			from = i + len(word)
			start := i
			for start > 0 && text[start-1]-'0' <= 9 {
				start--
			}
			n, ok := parseFact(text[start:i])
			if ok && (first < 0 || start < first) && (start == 0 || text[start-1] == ' ') {
				first, length, f.Count = start, i-start, n
			}
		}
	}
	if first < 0 {
		return text
	}
	return text[:first] + "{count}" + text[first+length:]
}

// markAS replaces the first "NAME/AS" with a number after it. The name begins
// behind the first "from " or "ISP " that follows the count, or without one in
// front of it, the start of the text.
func markAS(text string, f *snapshot.Facts, naming bool) string {
	slash, end := findAS(text, f)
	if slash < 0 {
		return text
	}
	tail := "/AS{asn}" + text[end:]
	head := text[:slash]
	if !naming {
		return head + tail
	}
	from := 0
	if i := strings.Index(head, "{count}"); i >= 0 {
		from = i
	}
	begin := -1
	for _, marker := range []string{" from ", " ISP "} {
		if i := strings.Index(head[from:], marker); i >= 0 && (begin < 0 || from+i+len(marker) < begin) {
			begin = from + i + len(marker)
		}
	}
	if begin < 0 || begin == len(head) || len(head)-begin > snapshot.ASNameMax || strings.ContainsAny(head[begin:], "{}") {
		return head + tail
	}
	f.ASName = head[begin:]
	return head[:begin] + "{as_name}" + tail
}

// findAS returns where the first "/AS" with a number stands, and where that
// number ends.
func findAS(text string, f *snapshot.Facts) (slash, end int) {
	for from := 0; ; {
		i := strings.Index(text[from:], "/AS")
		if i < 0 {
			return -1, 0
		}
		slash, from = from+i, from+i+len("/AS")
		end = from
		for end < len(text) && text[end]-'0' <= 9 {
			end++
		}
		if n, ok := parseFact(text[from:end]); ok {
			f.ASN = snapshot.ASN(n)
			return slash, end
		}
	}
}

// parseFact reads a number that is not zero and equals its own re-formatting.
func parseFact(digits string) (uint32, bool) {
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n != 0 && digits[0] != '0' && digits[0] != '+'
}
