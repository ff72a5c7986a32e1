// Command ucedge runs a three-level DNS blacklist end to end: it builds and
// signs snapshots, decides what they list, and answers from them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK      = 0
	exitFailure = 1 // the command was understood and could not be done, or the answer is no
	exitMisuse  = 2 // the command line or a setting is wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var quiet quietFailure
	if errors.As(err, &quiet) {
		return exitFailure
	}
	fmt.Fprintf(stderr, "ucedge: %v\n", err)
	var misuse misuseError
	if errors.As(err, &misuse) {
		fmt.Fprintf(stderr, "ucedge: see `%s -h`\n", misuse.command)
		return exitMisuse
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ucedge",
		Short: "A three-level DNS blacklist: origin, signed snapshots and edges",
		Long: `ucedge runs a three-level DNS blacklist end to end. An origin collects spam
reports and decides what is listed; every few minutes it signs a snapshot; edges
load the snapshot and answer over DNS-over-HTTPS, JSON and DNS.

Every flag can also be set as UCEDGE_<FLAG> in the environment (dashes become
underscores), or by its name in a TOML file given with --config.`,
		Example: `  ucedge run                               a whole demo on 127.0.0.1
  ucedge check 198.51.100.7 --edge http://127.0.0.1:8080
  ucedge snapshot build --l1 dnsbl-1.bl.example --key list.key --out publish`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: applySettings,
		Version:           versionText(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().String("config", "", "TOML file with settings, one key per flag")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misusef(cmd, "%v", err) })
	root.AddCommand(commands()...)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	wrapArgs(root)
	return root
}

// commands returns the subcommands, one per file.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newRun(),
		newKeygen(),
		newSnapshot(),
		newOrigin(),
		newTrap(),
		newEdge(),
		newCheck(),
		newQuery(),
		newVersion(),
	}
}

// wrapArgs makes wrong arguments of any command a misuse that shows the right
// ones, and a command that only groups others say so when it is called alone.
func wrapArgs(cmd *cobra.Command) {
	check, none := cmd.Args, cmd.Args == nil
	if none {
		check = cobra.NoArgs
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return cmd.Help() }
		check = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misusef(cmd, "unknown command %q%s", args[0], meant(cmd, args[0]))
			}
			return nil
		}
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		var misuse misuseError
		switch {
		case err == nil || errors.As(err, &misuse):
			return err
		case none:
			return misusef(cmd, "%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
		}
		return misusef(cmd, "wrong number of arguments; it is: %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" { // its arguments are commands
			wrapArgs(sub)
		}
	}
}

// meant asks whether a subcommand with a name like that was meant.
func meant(cmd *cobra.Command, name string) string {
	cmd.SuggestionsMinimumDistance = 2 // letters
	if found := cmd.SuggestionsFor(name); len(found) > 0 {
		return fmt.Sprintf("; is it %q?", found[0])
	}
	return ""
}

// A misuseError is a command line or setting that cannot be meant.
type misuseError struct {
	command string
	message string
}

func (e misuseError) Error() string { return e.message }

func misusef(cmd *cobra.Command, format string, args ...any) error {
	return misuseError{cmd.CommandPath(), fmt.Sprintf(format, args...)}
}

// A quietFailure ends a command with exit code 1 after it has printed what
// there is to say: a failed check, a difference that was found.
type quietFailure struct{}

func (quietFailure) Error() string { return "failure" }
