package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
)

// A shownDecision is a decision as it is printed.
type shownDecision struct {
	ID       int64               `json:"id,omitempty"`
	At       time.Time           `json:"at"`
	Kind     ledger.DecisionKind `json:"kind"`
	Level    uint8               `json:"level,omitempty"`
	Prefix   netip.Prefix        `json:"prefix,omitzero"`
	ASN      uint32              `json:"asn,omitempty"`
	Until    time.Time           `json:"until,omitzero"`
	Serial   uint32              `json:"serial,omitempty"`
	Count    int64               `json:"count,omitempty"`
	Subject  string              `json:"subject,omitempty"`
	Actor    string              `json:"actor,omitempty"`
	Reporter string              `json:"reporter,omitempty"`
	Reason   string              `json:"reason,omitempty"`
	Note     string              `json:"note,omitempty"`
}

func shownOf(d ledger.Decision) shownDecision {
	s := shownDecision{
		ID: d.ID, At: time.Unix(d.At, 0).UTC(), Kind: d.Kind, Level: uint8(d.Level), Prefix: d.Prefix,
		ASN: uint32(d.ASN), Serial: uint32(d.Serial), Count: d.Count, Subject: d.Subject,
		Actor: d.Actor, Reporter: d.Reporter, Reason: d.Reason, Note: d.Note,
	}
	if d.Until != 0 {
		s.Until = time.Unix(d.Until, 0).UTC()
	}
	return s
}

// String writes the decision as one line: what is not told is left out.
func (s shownDecision) String() string {
	words := []string{s.At.Format(time.RFC3339), string(s.Kind)}
	add := func(told bool, format string, args ...any) {
		if told {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(s.Level != 0, "level %d", s.Level)
	add(s.Prefix.IsValid(), "%s", s.Prefix)
	add(s.ASN != 0, "AS%d", s.ASN)
	add(s.Reporter != "", "reporter %s", s.Reporter)
	add(s.Subject != "", "%s", s.Subject)
	add(s.Count != 0, "count %d", s.Count)
	add(s.Serial != 0, "serial %d", s.Serial)
	add(!s.Until.IsZero(), "until %s", s.Until.Format(time.RFC3339))
	add(s.Actor != "", "by %s", s.Actor)
	add(s.Reason != "", "why %q", s.Reason)
	add(s.Note != "", "note %q", s.Note)
	return strings.Join(words, " ")
}

func newOriginAudit() *cobra.Command {
	var (
		file   string
		kinds  []string
		within string
		limit  int
		since  string
		public bool
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the decisions in the ledger, the newest first",
		Long: `Shows what was decided, by whom and why: listings and their ends, exemptions,
removals, purges, keys, publications. With --public only what anybody may read:
no names of reporters or operators, no evidence.`,
		Example: `  ucedge origin audit --ledger ledger.db --limit 20
  ucedge origin audit --kind listing --within 198.51.100.0/24 --public --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			page, err := pageOf(kinds, within, since, limit)
			if err != nil {
				return misusef(cmd, "%v", err)
			}
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			return printAudit(cmd, l, page, public, asJSON)
		},
	}
	ledgerFlag(cmd, &file)
	flags := cmd.Flags()
	flags.StringSliceVar(&kinds, "kind", nil, "kinds of decisions, for example listing, delisting, exemption, publish")
	offer(cmd, "kind", kindNames()...)
	flags.StringVar(&within, "within", "", "only decisions about this prefix or what is inside it")
	flags.StringVar(&since, "since", "", "only decisions since a time, or a duration before now")
	flags.IntVar(&limit, "limit", ledger.DefaultPage, fmt.Sprintf("at most so many decisions, up to %d", ledger.MaxPage))
	flags.BoolVar(&public, "public", false, "show what anybody may read")
	flags.BoolVar(&asJSON, "json", false, "print JSON, a line for each decision")
	return cmd
}

// kindNames are the kinds of decisions.
func kindNames() []string {
	var names []string
	for _, kind := range ledger.AllKinds() {
		names = append(names, string(kind))
	}
	return names
}

// pageOf reads the flags that select decisions.
func pageOf(kinds []string, within, since string, limit int) (ledger.Page, error) {
	page := ledger.Page{Limit: limit}
	for _, name := range kinds {
		kind := ledger.DecisionKind(name)
		if !kind.Valid() {
			return page, fmt.Errorf("no kind of decision is called %q: there are %s", name, strings.Join(kindNames(), ", "))
		}
		page.Kinds = append(page.Kinds, kind)
	}
	if limit < 1 || limit > ledger.MaxPage {
		return page, fmt.Errorf("--limit %d is not from 1 to %d", limit, ledger.MaxPage)
	}
	if within != "" {
		prefixes, err := parsePrefixes([]string{within})
		if err != nil {
			return page, fmt.Errorf("--within: %w", err)
		}
		page.Within = prefixes[0]
	}
	if since != "" {
		t, err := parseMoment(since, time.Now())
		if err != nil {
			return page, err
		}
		page.Since = t.Unix()
	}
	return page, nil
}

func printAudit(cmd *cobra.Command, l ledger.Ledger, page ledger.Page, public, asJSON bool) error {
	if public && len(page.Kinds) == 0 {
		page.Kinds = ledger.PublicKinds()
	}
	decisions, err := l.Audit(cmd.Context(), page)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		if public {
			var may bool
			if d, may = d.Public(); !may {
				continue
			}
		}
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(shownOf(d))
		} else {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), shownOf(d))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
