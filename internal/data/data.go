// Package data finds the real data that tests and benchmarks measure on, which
// are not part of the repository.
package data

import (
	"errors"
	"os"
	"path/filepath"
)

// Folder returns the folder of the real data: the one that $UCEDGE_DATA names,
// or ../shared/data beside the repository that the process works in. It need
// not be there.
func Folder() (string, error) {
	if dir := os.Getenv("UCEDGE_DATA"); dir != "" {
		return dir, nil
	}
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(root), "shared", "data"), nil
		}
		if root == filepath.Dir(root) {
			return "", errors.New("no go.mod here or above, and UCEDGE_DATA is not set")
		}
		root = filepath.Dir(root)
	}
}
