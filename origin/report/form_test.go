package report

import (
	"net/url"
	"testing"
)

func TestForm(t *testing.T) {
	rows := []struct{ query, want string }{
		{"ip=192.0.2.1&service=ssh&server=root%40host.example&apikey=x&logs=Nov+22&format=text", "report 192.0.2.1 2026-11-22T16:00:00Z auth feed-a \"\"\n"},
		{"ip=2001:db8::1&service=mail&time=1795363100&id=a1", "report 2001:db8::1 2026-11-22T15:58:20Z user feed-a \"a1\"\n"},
		{"ip=192.0.2.1&service=spamtrap", "report 192.0.2.1 2026-11-22T16:00:00Z spamtrap feed-a \"\"\n"},
		{"service=ssh", "line 1: ip is missing\n"},
		{"ip=192.0.2.1", "line 1: service \"\" is unknown: known are apache, badbots, bruteforcelogin, dovecot, exim, ftp, honeypot, imap, mail, pop3, portflood, portscan, postfix, postfix-sasl, proftpd, sasl, sip, spam, ssh, sshd, vsftpd\n"},
		{"ip=192.0.2.1&service=knitting", "line 1: service \"knitting\" is unknown: known are apache, badbots, bruteforcelogin, dovecot, exim, ftp, honeypot, imap, mail, pop3, portflood, portscan, postfix, postfix-sasl, proftpd, sasl, sip, spam, ssh, sshd, vsftpd\n"},
		{"ip=192.0.2.1&ip=192.0.2.2&service=ssh", "line 1: field \"ip\" is given twice\n"},
		{"ip=192.0.2.1&service=ssh&colour=red", "line 1: field \"colour\" is unknown: known are ip, service, time, id, server, apikey, logs, format\n"},
		{"ip=127.0.0.1&service=ssh", "line 1: address 127.0.0.1 is never listed: loopback\n"},
		{"ip=192.0.2.1&service=ssh&time=2020-01-01T00:00:00Z", "line 1: seen 2020-01-01T00:00:00Z is older than the window of 604800 s\n"},
	}
	for _, row := range rows {
		values, err := url.ParseQuery(row.query)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(func(yield func(Report, error) bool) {
			r, err := Form(values, testRules())
			if err != nil {
				err = &Refusal{Line: 1, Reason: err.Error()}
			}
			yield(r, err)
		})
		if got != row.want {
			t.Errorf("%s:\ngot  %swant %s", row.query, got, row.want)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add("ip=192.0.2.1&service=ssh&time=1795363100&id=a1")
	f.Add("ip=::ffff:192.0.2.1&service=mail&logs=%00")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := Form(values, testRules())
		if err != nil && r != (Report{}) {
			t.Fatalf("refused, and yet %+v", r)
		}
		if again, twice := testRulesCheck(r); err == nil && (twice != nil || again != r) {
			t.Fatalf("%+v is no longer accepted: %+v, %v", r, again, twice)
		}
	})
}

func testRulesCheck(r Report) (Report, error) {
	rules := testRules()
	return rules.Check(r)
}
