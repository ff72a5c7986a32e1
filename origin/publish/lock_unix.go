//go:build unix

package publish

import (
	"errors"
	"os"
	"syscall"
)

// lock waits until no other process holds the lock file. The kernel lets go of
// it when a process ends, however it ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			return nil, errors.Join(err, f.Close())
		}
	}
	return func() { f.Close() }, nil
}
