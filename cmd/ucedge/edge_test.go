package main

import (
	"strings"
	"testing"
)

// TestEndpoint holds that discovery tells no port but one where DNS over HTTPS
// is: that of --https, the proxy's, or what the operator says.
func TestEndpoint(t *testing.T) {
	for _, row := range []struct{ host, https, want, problem string }{
		{"", ":8443", "", ""},
		{"doh.bl.example", ":443", "doh.bl.example:443", ""},
		{"doh.bl.example", "127.0.0.1:8443", "doh.bl.example:8443", ""},
		{"doh.bl.example", "[::1]:https", "doh.bl.example:443", ""},
		{"doh.bl.example", "", "doh.bl.example:443", ""},
		{"doh.bl.example:8853", ":443", "doh.bl.example:8853", ""},
		{"doh.bl.example", "127.0.0.1:0", "", "which port"},
		{"doh.bl.example:0", ":443", "", "which port"},
		{"doh.bl.example:70000", ":443", "", "70000"},
		{"2001:db8::1", ":443", "", "db8::1"},
	} {
		f := edgeFlags{host: row.host, https: row.https}
		got, err := f.endpoint()
		if got != row.want || (err != nil) != (row.problem != "") || err != nil && !strings.Contains(err.Error(), row.problem) {
			t.Errorf("--host %q --https %q: %q, %v, want %q, %q", row.host, row.https, got, err, row.want, row.problem)
		}
		f.apiKeys = "keys"
		if got, err := f.endpoint(); got != "" || err != nil {
			t.Errorf("--host %q --https %q --keys: %q, %v, want nothing: discovery has no key to give", row.host, row.https, got, err)
		}
	}
}
