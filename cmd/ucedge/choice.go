package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A choice is a flag with few values. It refuses any other, wherever it is
// set, and a shell completes it.
type choice struct {
	value  *string
	preset string // stands for a flag that is not given, and is taken too
	values []string
}

// addChoice adds a flag with these values to a command.
func addChoice(cmd *cobra.Command, value *string, name, preset, usage string, values ...string) {
	*value = preset
	cmd.Flags().Var(&choice{value, preset, values}, name, usage)
	offer(cmd, name, values...)
}

// offer has a shell complete the values of a flag.
func offer(cmd *cobra.Command, name string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the command has no such flag
	}
}

// String implements pflag.Value.
func (c *choice) String() string { return *c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return "string" }

// Set implements pflag.Value.
func (c *choice) Set(text string) error {
	if text != c.preset && !slices.Contains(c.values, text) {
		return fmt.Errorf("it is one of %s", strings.Join(c.values, ", "))
	}
	*c.value = text
	return nil
}
