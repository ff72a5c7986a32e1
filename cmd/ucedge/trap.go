package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ucedge/edge"
	"ucedge/origin/state"
	"ucedge/origin/trap"
)

// trapFlags are the settings of an SMTP trap.
type trapFlags struct {
	rule              ruleFlags
	listen, name      string
	traps             []string
	url, apiKey       string
	ledger, reporter  string
	certFile, keyFile string
	sealTo, keep      string
	logForm           string
}

func newTrap() *cobra.Command {
	var f trapFlags
	cmd := &cobra.Command{
		Use:   "trap --name HOST --trap ADDRESS --url URL --api-key SECRET",
		Short: "Take mail for trap addresses and report whoever delivers it",
		Long: `An SMTP server for addresses that nobody should write to. It takes mail for them
alone, sends none, and reports the peer of the connection, never what a header
says. Mail is acknowledged once its report is on stable storage: at an origin
with --url and --api-key, or in a ledger of this machine with --ledger, by the rule
of the origin that serves from it unless flags give another. Headers are dropped, or
kept sealed with --keep and --seal-to; ucedge trap open reads them.`,
		Example: `  ucedge trap --name mx.trap.example --trap @trap.example --url http://127.0.0.1:8081 --api-key "$SECRET" --reporter trap-one --listen :25
  ucedge trap --name mx.trap.example --trap jane@trap.example --ledger ledger.db --reporter trap-one --listen 127.0.0.1:2525`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.rule.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:2525", "address to serve SMTP on")
	flags.StringVar(&f.name, "name", "", "name by which the server greets")
	flags.StringArrayVar(&f.traps, "trap", nil, "trap address, or a domain as @DOMAIN (repeatable)")
	flags.StringVar(&f.url, "url", "", "URL of the origin")
	flags.StringVar(&f.apiKey, "api-key", "", "secret of a reporter's key, whose name is --reporter")
	flags.StringVar(&f.ledger, "ledger", "", "file of a ledger on this machine, without an origin between")
	flags.StringVar(&f.reporter, "reporter", "", "name under which the trap reports")
	flags.StringVar(&f.certFile, "tls-cert", "", "PEM certificate chain for STARTTLS; empty offers none")
	flags.StringVar(&f.keyFile, "tls-key", "", "PEM key of --tls-cert")
	flags.StringVar(&f.sealTo, "seal-to", "", "file with the public key to seal kept headers to, of ucedge trap sealkey")
	flags.StringVar(&f.keep, "keep", "", "folder for sealed headers")
	addChoice(cmd, &f.logForm, "log-format", "text", "text or json", "text", "json")
	cmd.AddCommand(newTrapSealKey(), newTrapOpen())
	return cmd
}

// newTrapSealKey makes the pair of keys for kept headers.
func newTrapSealKey() *cobra.Command {
	return &cobra.Command{
		Use:   "sealkey",
		Short: "Make the key pair for headers that a trap keeps",
		Long: `Makes a key pair and prints its secret part and then its public part. The secret one
belongs to the operator, never on the host of the trap.`,
		Example: `  ucedge trap sealkey >seal.key && tail -n 1 seal.key >seal.pub      # seal.pub goes to the trap`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, public, err := trap.GenerateSealKey()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", secret, public)
			return nil
		},
	}
}

// Bounds on the files of a kept header, bytes.
const (
	sealKeyMax = 1 << 10
	sealedMax  = 1 << 20 // a trap keeps 64 kB of a header
)

// newTrapOpen shows a kept header to whoever holds the secret key.
func newTrapOpen() *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "open --seal-key FILE SEALED",
		Short: "Print a header that a trap has kept",
		Long: `Opens a header that a trap has sealed, with the secret key that ucedge trap sealkey
printed first, and prints it. The name of the file is the evidence id of its report.
Exit code 1 says that the key is another or the file damaged.`,
		Example: `  ucedge trap open --seal-key seal.key kept/trap-0123456789abcdef0123456789abcdef.sealed`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keyFile == "" {
				return misusef(cmd, "--seal-key is needed: the file with the secret key")
			}
			header, err := openHeader(keyFile, args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(header)
			return err
		},
	}
	cmd.Flags().StringVar(&keyFile, "seal-key", "", "file whose first line is the secret key")
	return cmd
}

func openHeader(keyFile, sealedFile string) ([]byte, error) {
	key, err := readFile(keyFile, sealKeyMax)
	if err != nil {
		return nil, err
	}
	sealed, err := readFile(sealedFile, sealedMax)
	if err != nil {
		return nil, err
	}
	secret, _, _ := strings.Cut(string(key), "\n")
	header, err := trap.Unseal(strings.TrimSpace(secret), sealed)
	if err != nil {
		return nil, fmt.Errorf("open %q with the key in %q: %w", sealedFile, keyFile, err)
	}
	return header, nil
}

func (f *trapFlags) run(cmd *cobra.Command) error {
	if f.name == "" || len(f.traps) == 0 || f.reporter == "" || (f.url == "") == (f.ledger == "") {
		return misusef(cmd, "--name, --trap, --reporter and either --url or --ledger are needed")
	}
	log := newLogger(cmd.ErrOrStderr(), f.logForm, slog.LevelInfo)
	sink, rule, done, err := f.sink(cmd, log)
	if err != nil {
		return err
	}
	defer done()
	s := trap.Settings{
		Name: f.name, Traps: f.traps, Reporter: f.reporter, Clock: time.Now,
		Sink: sink, Reserved: refuses(rule), Log: log,
	}
	if err := f.evidence(&s); err != nil {
		return err
	}
	if f.certFile != "" {
		if s.TLS, err = edge.CertificateFiles(f.certFile, f.keyFile, log); err != nil {
			return err
		}
	}
	t, err := trap.New(s)
	if err != nil {
		return misusef(cmd, "%v", err)
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	log.Info("listening", "smtp", l.Addr().String())
	stopped := make(chan struct{})
	context.AfterFunc(cmd.Context(), func() { t.Close(); close(stopped) })
	if err := t.Serve(l); cmd.Context().Err() == nil {
		return err
	}
	<-stopped
	return nil
}

// sink is where reports go, and by which rule the trap refuses some.
func (f *trapFlags) sink(cmd *cobra.Command, log *slog.Logger) (s trap.Sink, rule state.Settings, done func(), err error) {
	if f.url != "" {
		if rule, _, err = f.rule.settings(cmd); err == nil {
			s, err = trap.NewOriginSink(f.url, f.apiKey, nil)
		}
		return s, rule, func() {}, err
	}
	l, err := openLedger(cmd.Context(), f.ledger)
	if err != nil {
		return nil, rule, nil, err
	}
	if rule, err = f.rule.admitting(cmd, l); err == nil {
		err = tellNewReporter(cmd.Context(), l, f.reporter, func(text string) { log.Warn(text) })
	}
	if err != nil {
		return nil, rule, nil, errors.Join(err, l.Close())
	}
	return trap.LedgerSink{Ledger: l}, rule, func() { l.Close() }, nil
}

// evidence sets up the keeping of sealed headers, if there is to be one.
func (f *trapFlags) evidence(s *trap.Settings) error {
	if (f.sealTo == "") != (f.keep == "") {
		return errors.New("--seal-to and --keep need each other")
	}
	if f.keep == "" {
		return nil
	}
	text, err := readFile(f.sealTo, sealKeyMax)
	if err != nil {
		return err
	}
	if s.SealTo, err = trap.ParseSealKey(strings.TrimSpace(string(text))); err != nil {
		return err
	}
	s.Keeper = trap.NewFolder(f.keep)
	return os.MkdirAll(f.keep, 0o700)
}
