package zonefile

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ucedge/snapshot"
)

// texts gives the listings of one level their templates and facts, and its zone
// its code and texts.
type texts struct {
	p         *parser
	zone      *snapshot.Zone
	uses      []int             // by value: the listings that have it
	templates map[uint32]string // by value, the link recognised
	bytes     int               // of templates
	words     map[string]string // what listings say, each text once
}

// newTexts settles the zone's code, link, text and test text. Link and text of
// a level without a zone of its own are those of shared, if that is not nil.
func newTexts(p *parser, zone, shared *snapshot.Zone, sets []*dataset, lists ...[]entry) *texts {
	t := &texts{p: p, zone: zone, uses: make([]int, len(p.values.list)), templates: map[uint32]string{}, words: map[string]string{}}
	for _, list := range lists {
		for _, e := range list {
			if e.value != excludedValue {
				t.uses[e.value]++
			}
		}
	}
	zone.Code = t.commonCode(sets)
	if shared != nil {
		zone.URL, zone.Text = shared.URL, shared.Text
	} else if url := t.commonURL(sets); url != "" {
		zone.URL = url
	}
	for _, s := range slices.Backward(sets) {
		if s.first == noValue || shared != nil {
			continue
		}
		if text := t.template(s.first); text != "" {
			zone.Text = text
		}
	}
	for _, s := range slices.Backward(sets) {
		if s.testing == noValue {
			continue
		}
		zone.TestText = t.template(s.testing)
		if zone.TestText == zone.Text {
			zone.TestText = ""
		}
	}
	return t
}

// template returns the template of a value with the zone's link recognised.
func (t *texts) template(v uint32) string {
	text, ok := t.templates[v]
	if !ok {
		text = markURL(t.p.values.list[v].template(), t.zone.URL)
		t.templates[v] = text
		if t.bytes += len(text); t.bytes > t.p.opts.MaxTextBytes {
			t.p.limit("bytes of texts", t.p.opts.MaxTextBytes)
		}
	}
	return text
}

// commonCode returns the A code of most listings, of equals the lowest; without
// listings that of the first default. Codes outside 127.0.0.0/8, which RFC 5782
// 2.1 has no room for, do not count.
func (t *texts) commonCode(sets []*dataset) [4]byte {
	codes := map[[4]byte]int{}
	for v, n := range t.uses {
		if code := t.p.values.list[v].code; n > 0 && code[0] == 127 {
			codes[code] += n
		}
	}
	for _, s := range sets {
		if len(codes) == 0 && s.first != noValue && t.p.values.list[s.first].code[0] == 127 {
			codes[t.p.values.list[s.first].code]++
		}
	}
	if len(codes) == 0 {
		return cmp.Or(t.p.opts.Zone.Code, defaultCode)
	}
	return slices.SortedFunc(maps.Keys(codes), func(a, b [4]byte) int {
		return cmp.Or(cmp.Compare(codes[b], codes[a]), bytes.Compare(a[:], b[:]))
	})[0]
}

// commonURL returns the first link in the texts of most listings, of equals the
// lowest; if none has any, that of the first default. A listing without a text is
// one with the zone's.
func (t *texts) commonURL(sets []*dataset) string {
	urls := map[string]int{}
	zones := firstURL(t.defaultText(sets))
	for v, n := range t.uses {
		if n == 0 {
			continue
		}
		url := zones
		if text := t.p.values.list[v].template(); text != "" {
			url = firstURL(text)
		}
		if url != "" {
			urls[url] += n
		}
	}
	for _, s := range sets {
		if len(urls) == 0 && s.first != noValue {
			urls[firstURL(t.p.values.list[s.first].template())]++
		}
	}
	if len(urls) == 0 {
		return ""
	}
	return slices.SortedFunc(maps.Keys(urls), func(a, b string) int {
		return cmp.Or(cmp.Compare(urls[b], urls[a]), cmp.Compare(a, b))
	})[0]
}

// defaultText returns the text of the first dataset that has one by default,
// which is that of the zone, with its links as they stand.
func (t *texts) defaultText(sets []*dataset) string {
	for _, s := range sets {
		if s.first == noValue {
			continue
		}
		if text := t.p.values.list[s.first].template(); text != "" {
			return text
		}
	}
	return t.zone.Text
}

// listing returns the listing of an entry, and reports what of it cannot be
// said in a snapshot.
func (t *texts) listing(e entry, is6 bool) snapshot.Listing {
	l := snapshot.Listing{Level: t.zone.Level, Prefix: e.prefix(is6)}
	if e.value == excludedValue {
		l.Excluded = true
		return l
	}
	if t.p.opts.AddressesOnly {
		return l
	}
	v := &t.p.values.list[e.value]
	if v.code != t.zone.Code {
		t.p.report(e.at, true, "A record %s, listed with the zone's %s", netip.AddrFrom4(v.code), netip.AddrFrom4(t.zone.Code))
	}
	text := t.template(e.value)
	switch {
	case text == "" && t.zone.Text != "":
		t.p.report(e.at, true, "%s has no text, listed with the zone's", l.Prefix)
	case text != "" && text != t.zone.Text:
		t.own(&l, text, e.at)
	}
	return l
}

// own gives a listing its own text, as a template where facts of the listing
// stand in it.
func (t *texts) own(l *snapshot.Listing, text string, at uint32) {
	length := len(Expand(text, *l, *t.zone, longestAddr(l.Prefix)))
	l.Facts = recognise(text, l.Prefix, length <= snapshot.MaxText)
	l.Text, l.ASName = t.once(l.Text), t.once(l.ASName)
	if l.Text == t.zone.Text {
		l.Text = ""
	}
	if length := len(Expand(text, *l, *t.zone, l.Prefix.Addr().String())); length > snapshot.MaxText {
		t.p.report(at, true, "text of %d bytes, answers carry %d", length, snapshot.MaxText)
	}
}

// once returns the one copy of a text that a million listings may have.
func (t *texts) once(text string) string {
	if known, ok := t.words[text]; ok {
		return known
	}
	text = strings.Clone(text) // and not what it may be a part of
	t.words[text] = text
	return text
}

// longestAddr returns text as long as the longest address of the family.
func longestAddr(p netip.Prefix) string {
	if !p.IsValid() || p.Addr().Is4() {
		return "255.255.255.255"
	}
	return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
}

// promote makes the commonest template of the listings the zone's, if the files
// have no default text and every listing has its own: so a zone whose default
// text speaks of facts, which a default line cannot, survives the trip.
func (t *texts) promote(listings []snapshot.Listing) {
	if t.zone.Text != "" {
		return
	}
	uses := map[string]int{}
	for _, l := range listings {
		if l.Excluded {
			continue
		}
		if l.Text == "" {
			return
		}
		uses[l.Text]++
	}
	if len(uses) == 0 {
		return
	}
	t.zone.Text = slices.SortedFunc(maps.Keys(uses), func(a, b string) int {
		return cmp.Or(cmp.Compare(uses[b], uses[a]), cmp.Compare(a, b))
	})[0]
	for i := range listings {
		if listings[i].Text == t.zone.Text {
			listings[i].Text = ""
		}
	}
}
