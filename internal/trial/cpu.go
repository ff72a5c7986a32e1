//go:build unix

package trial

import (
	"syscall"
	"testing"
	"time"
)

// CPUTime returns the processor time that the process has used: on a machine
// with other work it says more than the clock.
func CPUTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
