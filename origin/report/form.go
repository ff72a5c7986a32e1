package report

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"ucedge/snapshot"
)

// services maps what scripts that watch logs put into the service field of a
// form to kinds of evidence. Others are refused by name: a guess would count.
var services = map[string]snapshot.Kinds{
	"ssh": snapshot.AuthAbuse, "sshd": snapshot.AuthAbuse, "ftp": snapshot.AuthAbuse, "imap": snapshot.AuthAbuse,
	"pop3": snapshot.AuthAbuse, "sasl": snapshot.AuthAbuse, "sip": snapshot.AuthAbuse, "bruteforcelogin": snapshot.AuthAbuse,
	"dovecot": snapshot.AuthAbuse, "postfix-sasl": snapshot.AuthAbuse, "proftpd": snapshot.AuthAbuse, "vsftpd": snapshot.AuthAbuse,
	"mail": snapshot.UserReport, "postfix": snapshot.UserReport, "spam": snapshot.UserReport, "exim": snapshot.UserReport,
	"portscan": snapshot.Scan, "portflood": snapshot.Scan, "apache": snapshot.Scan, "badbots": snapshot.Scan, "honeypot": snapshot.Scan,
}

// Form reads one report from the query or form that blocklist.de's HTTP
// interface takes, so that its many senders need only another URL: ip and
// service are required, time (as seen elsewhere) is optional and now by
// default, id is an optional evidence id. What identifies the sender (server,
// apikey) is the caller's business; logs and format are read over.
func Form(values url.Values, rules Rules) (Report, error) {
	for name, given := range values {
		if !slices.Contains(formFields, name) {
			return Report{}, unknown("field", name, formFields)
		}
		if len(given) > 1 {
			return Report{}, fmt.Errorf("field %q %w", name, errRepeated)
		}
	}
	return formReport(values, rules)
}

var formFields = []string{"ip", "service", "time", "id", "server", "apikey", "logs", "format"}

func formReport(values url.Values, rules Rules) (Report, error) {
	var f fields
	if !values.Has("ip") {
		return Report{}, errors.New("ip is missing")
	}
	if err := f.set(0, []byte(values.Get("ip"))); err != nil {
		return Report{}, err
	}
	seen := values.Get("time")
	if seen == "" {
		seen = strconv.FormatInt(rules.Now, 10)
	}
	if err := f.set(1, []byte(seen)); err != nil {
		return Report{}, err
	}
	kind, err := serviceKind(values.Get("service"), rules.Kind)
	if err != nil {
		return Report{}, err
	}
	f.report.Kind, f.report.Evidence = kind, values.Get("id")
	return f.done(&rules, "the field time")
}

func serviceKind(service string, otherwise snapshot.Kinds) (snapshot.Kinds, error) {
	if kind, ok := services[service]; ok {
		return kind, nil
	}
	if kind, ok := snapshot.ParseKind(service); ok {
		return kind, nil
	}
	if service == "" && otherwise != 0 {
		return otherwise, nil
	}
	return 0, unknown("service", service, slices.Sorted(maps.Keys(services)))
}
