package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ucedge/snapshot"
)

// An xarfDocument is what matters of an X-ARF document of version 4. The
// standard lets documents hold more, so unknown members are read over.
type xarfDocument struct {
	Version  string `json:"xarf_version"`
	ID       string `json:"report_id"`
	Time     string `json:"timestamp"`
	Source   string `json:"source_identifier"`
	Category string `json:"category"`
	Type     string `json:"type"`
	Evidence string `json:"evidence_source"`
}

// xarfKinds maps category and type to kinds of evidence.
var xarfKinds = map[string]snapshot.Kinds{
	"messaging/spam":                snapshot.UserReport,
	"messaging/bulk_messaging":      snapshot.UserReport,
	"connection/login_attack":       snapshot.AuthAbuse,
	"connection/auth_failure":       snapshot.AuthAbuse,
	"connection/port_scan":          snapshot.Scan,
	"connection/vulnerability_scan": snapshot.Scan,
	"connection/reconnaissance":     snapshot.Scan,
}

func (c *complaint) fromXARF(rules *Rules) (Report, error) {
	var d xarfDocument
	if err := json.Unmarshal(c.xarf, &d); err != nil {
		return Report{}, fmt.Errorf("X-ARF document is no JSON object of version 4: %v", err)
	}
	if !strings.HasPrefix(d.Version, "4.") {
		return Report{}, fmt.Errorf("X-ARF version %q is not 4", clip(d.Version))
	}
	if d.ID == "" {
		return Report{}, errors.New("X-ARF report_id is missing")
	}
	kind, ok := xarfKinds[d.Category+"/"+d.Type]
	if !ok {
		return Report{}, fmt.Errorf("X-ARF type %q does not speak against the source", clip(d.Category+"/"+d.Type))
	}
	if kind == snapshot.UserReport && d.Evidence == "spamtrap" {
		kind = snapshot.Spamtrap
	}
	address, err := parseAddress(d.Source)
	if err != nil {
		return Report{}, err
	}
	seen, err := time.Parse(time.RFC3339, d.Time)
	if err != nil {
		return Report{}, fmt.Errorf("X-ARF timestamp %q is not RFC 3339", clip(d.Time))
	}
	return rules.Check(Report{Address: address, Seen: seen.Unix(), Kind: kind, Evidence: evidenceID(d.ID)})
}
