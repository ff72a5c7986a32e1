package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"ucedge/snapshot/manifest"
)

func newKeygen() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "keygen LIST",
		Short: "Make the key pair that signs a list's snapshots",
		Long: `Makes an Ed25519 key pair named after the list and writes it to LIST.key, which
stays with the origin, and LIST.pub, which every edge gets. An existing file is
never replaced. To rotate, make a second pair in another folder, sign with both
keys until every edge trusts the new one, then drop the old.`,
		Example: `  ucedge keygen bl.example
  ucedge keygen bl.example --dir /etc/ucedge`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, public, err := manifest.GenerateKey(args[0])
			if err != nil {
				return misusef(cmd, "%v", err)
			}
			secretPath := filepath.Join(dir, args[0]+".key")
			publicPath := filepath.Join(dir, args[0]+".pub")
			if err := manifest.WriteKeys(secretPath, secret, publicPath, public); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "secret key: %s (keep it with the origin)\npublic key: %s (give it to every edge)\n", secretPath, publicPath)
			fmt.Fprintln(cmd.OutOrStdout(), public)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder for the two files")
	return cmd
}
