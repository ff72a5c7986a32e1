//go:build !unix

package main

// lockFile does nothing where the system has no flock.
func lockFile(string) (unlock func() error, ok bool, err error) {
	return func() error { return nil }, true, nil
}
