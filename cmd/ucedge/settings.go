package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// applySettings fills flags that the command line leaves out: from the
// environment first, then from the file named by --config. A key in the file
// that is no flag of the command is refused.
func applySettings(cmd *cobra.Command, _ []string) error {
	given := map[string]bool{}
	var first error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		given[f.Name] = f.Changed
		name := "UCEDGE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed || f.Name == "help" {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil && first == nil {
			first = misusef(cmd, "environment variable %s: %v", name, err)
		}
		given[f.Name] = true
	})
	if first != nil {
		return first
	}
	path := cmd.Flag("config").Value.String()
	if path == "" {
		return nil
	}
	return applyFile(cmd, path, given)
}

func applyFile(cmd *cobra.Command, path string, given map[string]bool) error {
	var settings map[string]any
	if _, err := toml.DecodeFile(path, &settings); err != nil {
		return misusef(cmd, "settings %q: %v", path, err)
	}
	for key, value := range settings {
		flag := cmd.Flag(key)
		if flag == nil || key == "config" || key == "help" {
			return misusef(cmd, "settings %q: no setting %q of %s", path, key, cmd.CommandPath())
		}
		if given[key] {
			continue
		}
		for _, text := range settingTexts(value) {
			if err := cmd.Flags().Set(key, text); err != nil {
				return misusef(cmd, "settings %q: %s: %v", path, key, err)
			}
		}
	}
	return nil
}

// settingTexts returns a TOML value as flag values: an array sets a repeatable
// flag once for each member.
func settingTexts(value any) []string {
	list, ok := value.([]any)
	if !ok {
		return []string{fmt.Sprint(value)}
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return texts
}
