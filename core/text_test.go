package core

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"ucedge/snapshot"
)

// TestText expands templates. Long ones lose the AS name first, then their own
// words, never the address or the link.
func TestText(t *testing.T) {
	url := "https://bl.example/look"
	address := netip.MustParseAddr("2001:db8::1")
	long := strings.Repeat("x", 300)
	for _, row := range []struct {
		name, template, asName, want string
	}{
		{"every word", "{ip} {net} {count} {as_name} {asn} {url}", "Example", "2001:db8::1 2001:db8::/48 7 Example 64496 " + url},
		{"literal braces", "{{ip}} {{}} }}{{", "Example", "{ip} {} }{"},
		{"unknown words", "{what} {IP} {ip {", "Example", "{what} {IP} {ip {"},
		{"a literal brace before a word", "{{{ip}", "Example", "{2001:db8::1"},
		{"empty", "", "Example", ""},
		{"the name is cut", "{as_name} {ip} {url}", long, strings.Repeat("x", 255-1-11-1-23) + " 2001:db8::1 " + url},
		{"the name is cut in both places", "{as_name}|{as_name}|{ip}", long, strings.Repeat("x", 121) + "|" + strings.Repeat("x", 121) + "|2001:db8::1"},
		{"a space at the cut goes too", "{as_name}{ip}", strings.Repeat("x", 243) + " yyyyyyyy", strings.Repeat("x", 243) + "2001:db8::1"},
		{"no half character", "{as_name}{ip}", "x" + strings.Repeat("ü", 150), "x" + strings.Repeat("ü", 121) + "2001:db8::1"},
		{"Latin-1 is cut anywhere", "{as_name}{ip}", strings.Repeat("\xfc", 300), strings.Repeat("\xfc", 244) + "2001:db8::1"},
		{"the template's words are cut from the end", "{as_name}" + long + " {ip} {url}", "Example", strings.Repeat("x", 255-11-23) + "2001:db8::1" + url},
	} {
		h := hit{
			match: snapshot.Match{Listed: true, Prefix: prefix("2001:db8::/48"), Facts: snapshot.MatchFacts{
				Count: 7, ASN: 64496, ASName: []byte(row.asName), Text: []byte(row.template),
			}},
			zone: &zone{Zone: &snapshot.Zone{URL: url}},
		}
		got := string(appendText([]byte("kept"), &h, address))
		if got != "kept"+row.want {
			t.Errorf("%s:\ngot  %q\nwant %q", row.name, got, "kept"+row.want)
		}
	}
}

// FuzzText holds that no template and no name make a text that is too long,
// and that the address survives wherever there is room for it.
func FuzzText(f *testing.F) {
	for _, z := range worldZones() {
		f.Add(z.Text, "Example Net", uint32(12))
	}
	f.Add(strings.Repeat("{as_name}{ip}", 9), strings.Repeat("ü", 60), uint32(1<<31))
	f.Add("{{{ip}}}{url", "\xff", uint32(0))
	address := netip.MustParseAddr("192.0.2.1")
	f.Fuzz(func(t *testing.T, template, name string, count uint32) {
		h := hit{
			match: snapshot.Match{Listed: true, Prefix: prefix("192.0.2.0/24"), Facts: snapshot.MatchFacts{
				Count: count, ASName: []byte(name), Text: []byte(template),
			}},
			zone: &zone{Zone: &snapshot.Zone{URL: "https://bl.example/"}},
		}
		got := appendText(nil, &h, address)
		if len(got) > snapshot.MaxText {
			t.Errorf("%d bytes", len(got))
		}
		if utf8.ValidString(template) && utf8.ValidString(name) && strings.Count(template, "{") < 2 && !utf8.Valid(got) {
			if len(template) < 100 {
				t.Errorf("%q with %q gives half a character: %q", template, name, got)
			}
		}
		if strings.HasPrefix(template, "{ip}") && strings.Count(template, "{") == 1 && !strings.HasPrefix(string(got), "192.0.2.1") {
			t.Errorf("%q lost the address: %q", template, got)
		}
	})
}
