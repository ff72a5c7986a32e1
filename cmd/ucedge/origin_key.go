package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/report"
)

func newOriginKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, show and revoke the keys of reporters and operators",
		Example: `  ucedge origin key create --role reporter --name trap-one
  ucedge origin key list`,
	}
	cmd.AddCommand(newOriginKeyCreate(), newOriginKeyList(), newOriginKeyRevoke())
	return cmd
}

func newOriginKeyCreate() *cobra.Command {
	var file, role, name, actor string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create --role reporter|operator --name NAME",
		Short: "Make a key and print its secret, which is kept nowhere",
		Long: `Makes a key for the API and prints its secret once: the ledger keeps only a hash. A
reporter's key sends reports under the name of the key; an operator's decides.
The ledger is made if it is not there.`,
		Example: `  ucedge origin key create --role reporter --name trap-one --ledger ledger.db
  curl -H "Authorization: Bearer $SECRET" -H 'Content-Type: text/plain' --data-binary @reports http://127.0.0.1:8081/v1/reports`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r := ledger.Role(role); r != ledger.Reporter && r != ledger.Operator {
				return misusef(cmd, "--role must be reporter or operator")
			}
			if err := report.CheckName(name); err != nil {
				return misusef(cmd, "--name %v", err)
			}
			l, err := ledger.Open(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			key, secret := api.NewKey(ledger.Role(role), name, time.Now().Unix())
			if err := l.CreateKey(cmd.Context(), key, actor); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"id": key.ID, "role": key.Role, "name": key.Name, "secret": secret})
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "key %s for %s %s; the secret is shown this once:\n", key.ID, key.Role, key.Name)
			fmt.Fprintln(cmd.OutOrStdout(), secret)
			return nil
		},
	}
	ledgerFlag(cmd, &file)
	actorFlag(cmd, &actor)
	addChoice(cmd, &role, "role", "", "reporter or operator", string(ledger.Reporter), string(ledger.Operator))
	cmd.Flags().StringVar(&name, "name", "", fmt.Sprintf("name of the reporter or operator, up to %d bytes", report.MaxName))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newOriginKeyList() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show all keys, without their secrets",
		Example: "  ucedge origin key list --ledger ledger.db",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			keys, err := l.Keys(cmd.Context())
			if err != nil {
				return err
			}
			return printKeys(cmd.OutOrStdout(), keys, asJSON)
		},
	}
	ledgerFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each key")
	return cmd
}

// A shownKey is a key as it is printed.
type shownKey struct {
	ID      string      `json:"id"`
	Role    ledger.Role `json:"role"`
	Name    string      `json:"name"`
	Created time.Time   `json:"created"`
	Revoked time.Time   `json:"revoked,omitzero"`
}

func printKeys(w io.Writer, keys []ledger.APIKey, asJSON bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(t, "ID\tROLE\tNAME\tCREATED\tREVOKED")
	}
	for _, k := range keys {
		s := shownKey{ID: k.ID, Role: k.Role, Name: k.Name, Created: time.Unix(k.Created, 0).UTC()}
		if k.Revoked != 0 {
			s.Revoked = time.Unix(k.Revoked, 0).UTC()
		}
		if asJSON {
			if err := json.NewEncoder(w).Encode(s); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Role, s.Name, stampOf(k.Created), stampOf(k.Revoked))
	}
	return t.Flush()
}

// stampOf writes seconds since the Unix epoch as a time, 0 as nothing.
func stampOf(unix int64) string {
	if unix == 0 {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

func newOriginKeyRevoke() *cobra.Command {
	var file, actor string
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a key from now on",
		Long: `Revokes a key from now on. What it has reported stays; to withdraw that too, use
ucedge origin purge.`,
		Example: "  ucedge origin key revoke q3xk7a2b --ledger ledger.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openLedger(cmd.Context(), file)
			if err != nil {
				return err
			}
			defer l.Close()
			err = l.RevokeKey(cmd.Context(), args[0], time.Now().Unix(), actor)
			if errors.Is(err, ledger.ErrNoKey) {
				err = fmt.Errorf("%w: `ucedge origin key list --ledger %s` shows the ids", err, file)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "key %s is revoked\n", args[0])
			return nil
		},
	}
	ledgerFlag(cmd, &file)
	actorFlag(cmd, &actor)
	return cmd
}
