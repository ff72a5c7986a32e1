package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/state"
	"ucedge/snapshot"
)

// actorFlag adds the flag that says who decides.
func actorFlag(cmd *cobra.Command, actor *string) {
	name := "operator"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	cmd.Flags().StringVar(actor, "by", name, "who decides; kept in the ledger, never published")
}

// decideFlags are those of every command that decides something.
type decideFlags struct {
	ledger string
	actor  string
	why    string
	asJSON bool
}

func (f *decideFlags) add(cmd *cobra.Command) {
	ledgerFlag(cmd, &f.ledger)
	actorFlag(cmd, &f.actor)
	cmd.Flags().StringVar(&f.why, "why", "", "reason, which is published")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// decide opens the ledger, asks check whether the rule allows the decision,
// and writes it down. An origin that serves from the ledger publishes it
// within seconds. A removal or exemption that the rule refuses is a row too.
func (f *decideFlags) decide(cmd *cobra.Command, d ledger.Decision, check func(context.Context, ledger.Ledger) error) error {
	if f.why == "" || f.actor == "" {
		return misusef(cmd, "--why and --by are needed: every decision has a reason and somebody who made it")
	}
	ctx := cmd.Context()
	l, err := openLedger(ctx, f.ledger)
	if err != nil {
		return err
	}
	defer l.Close()
	d.At, d.Actor, d.Reason = time.Now().Unix(), f.actor, f.why
	if check != nil {
		if err := check(ctx, l); err != nil {
			return errors.Join(err, recordRefusal(ctx, l, d, err))
		}
	}
	if err := l.AppendDecisions(ctx, []ledger.Decision{d}); err != nil {
		return err
	}
	return f.tell(cmd, d)
}

func recordRefusal(ctx context.Context, l ledger.Ledger, d ledger.Decision, err error) error {
	var refused *policy.Refusal
	if !errors.As(err, &refused) {
		return nil
	}
	no, kept := d.Refused(refused.Reason)
	if !kept {
		return nil
	}
	return l.AppendDecisions(ctx, []ledger.Decision{no})
}

func (f *decideFlags) tell(cmd *cobra.Command, d ledger.Decision) error {
	if f.asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(shownOf(d))
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), shownOf(d))
	return err
}

// hostOf reads an address as the prefix that decisions are about.
func hostOf(cmd *cobra.Command, text string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, misusef(cmd, "%q is not an IP address", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func newOriginExempt() *cobra.Command {
	var f decideFlags
	var rule ruleFlags
	var end bool
	var until time.Duration
	cmd := &cobra.Command{
		Use:   "exempt ADDRESS --why TEXT",
		Short: "Take an address off Levels 2 and 3, whatever its neighbours do",
		Long: `Takes an address off Levels 2 and 3 until the exemption is ended, or for --for.
Level 1 lists it all the same when it is reported itself, and suspends the
exemption as long. An address that is on Level 1 now is not exempted: it has to
leave that first. A refusal is written down too, and gives exit code 1.`,
		Example: `  ucedge origin exempt 198.51.100.65 --why "mail relay of a hospital" --ledger ledger.db
  ucedge origin exempt 198.51.100.65 --end --why "moved away"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subject, err := hostOf(cmd, args[0])
			if err != nil {
				return err
			}
			if until < 0 {
				return misusef(cmd, "--for %v has ended already", until)
			}
			d := ledger.Decision{Kind: ledger.Exempted, Prefix: subject}
			if until > 0 {
				d.Until = time.Now().Add(until).Unix()
			}
			if !end {
				return f.decide(cmd, d, func(ctx context.Context, l ledger.Ledger) error {
					settings, err := rule.binding(cmd, l, f.ledger, withoutRoutes)
					if err != nil {
						return err
					}
					return liveOf(l, settings).CheckLift(ctx, subject.Addr())
				})
			}
			d.Kind, d.Until = ledger.ExemptionEnded, 0
			return f.decide(cmd, d, func(ctx context.Context, l ledger.Ledger) error { return f.isExempt(ctx, l, subject) })
		},
	}
	f.add(cmd)
	rule.addServed(cmd)
	cmd.Flags().BoolVar(&end, "end", false, "end the exemption")
	cmd.Flags().DurationVar(&until, "for", 0, "how long it holds; 0 is until it is ended")
	return cmd
}

// isExempt returns an error if the subject is not exempt now.
func (f *decideFlags) isExempt(ctx context.Context, l ledger.Ledger, subject netip.Prefix) error {
	exempt, err := ledger.ExemptionsAt(ctx, l, time.Now().Unix())
	if err != nil {
		return err
	}
	for _, e := range exempt {
		if e.Prefix == subject {
			return nil
		}
	}
	return fmt.Errorf("%s has no exemption: `ucedge origin audit --kind exemption,exemption-end --ledger %s` shows who was given one", subject.Addr(), f.ledger)
}

// liveOf is what checks a decision against the ledger as it is now.
func liveOf(l ledger.Ledger, rule state.Settings) *state.Live {
	return state.NewLive(l, rule, func() int64 { return time.Now().Unix() })
}

func newOriginRemove() *cobra.Command {
	var f decideFlags
	var rule ruleFlags
	var proof string
	cmd := &cobra.Command{
		Use:   "remove ADDRESS --proof TEXT --why TEXT",
		Short: "Take an address off Level 1 before its time (express removal)",
		Long: `Takes an address off Level 1 before its time, for somebody who has shown control of
it. The limits of the profile hold: once in 30 days, so many in a network and an
AS, not within 3 hours of an impact. A refusal is written down too, and gives
exit code 1.`,
		Example: `  ucedge origin remove 198.51.100.7 --proof "answered from postmaster@" --why "machine cleaned" --ledger ledger.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subject, err := hostOf(cmd, args[0])
			if err != nil {
				return err
			}
			if proof == "" {
				return misusef(cmd, "--proof is needed: how control of the address was shown")
			}
			d := ledger.Decision{Kind: ledger.Removed, Level: snapshot.Address, Prefix: subject, Note: proof}
			return f.decide(cmd, d, func(ctx context.Context, l ledger.Ledger) error {
				settings, err := rule.binding(cmd, l, f.ledger, withRoutes)
				if err != nil {
					return err
				}
				return liveOf(l, settings).CheckRemoval(ctx, policy.RemovalRequest{Address: subject.Addr(), Proven: true})
			})
		},
	}
	f.add(cmd)
	rule.addServed(cmd)
	cmd.Flags().StringVar(&proof, "proof", "", "how control of the address was shown; kept, never published")
	return cmd
}

func newOriginList() *cobra.Command {
	var f decideFlags
	var rule ruleFlags
	var evidence string
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "list PREFIX --evidence TEXT --why TEXT",
		Short: "List an address or prefix by hand, for at most seven days",
		Long: `Lists an address at Level 1, or anything wider at Level 2, for at most seven days.
It needs evidence, and to renew it new evidence.`,
		Example: `  ucedge origin list 198.51.100.7 --evidence "case 4711" --why "phishing site" --for 48h --ledger ledger.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, err := netip.ParsePrefix(args[0])
			if err != nil {
				prefix, err = hostOf(cmd, args[0])
			}
			if err != nil || prefix != prefix.Masked() {
				return misusef(cmd, "%q is neither an address nor a masked prefix", args[0])
			}
			if evidence == "" || length <= 0 {
				return misusef(cmd, "--evidence is needed, and --for above 0")
			}
			now := time.Now().Unix()
			m := policy.Manual{Prefix: prefix, From: now, Until: now + int64(length/time.Second), Evidence: evidence}
			d := ledger.Decision{Kind: ledger.ManualListed, Prefix: prefix, Until: m.Until, Note: evidence}
			return f.decide(cmd, d, func(ctx context.Context, l ledger.Ledger) error {
				settings, err := rule.binding(cmd, l, f.ledger, withoutRoutes)
				if err != nil {
					return err
				}
				return liveOf(l, settings).CheckManual(ctx, m)
			})
		},
	}
	f.add(cmd)
	rule.addServed(cmd)
	cmd.Flags().StringVar(&evidence, "evidence", "", "what shows the abuse; kept, never published")
	cmd.Flags().DurationVar(&length, "for", policy.Window*time.Second, "how long; at most seven days count")
	return cmd
}
