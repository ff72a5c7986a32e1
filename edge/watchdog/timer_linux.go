package watchdog

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

const clockProcessCPU = 2 // CLOCK_PROCESS_CPUTIME_ID

// A timer sends SIGABRT to this process when it has used the processor time
// that was set last (timer_create(2)).
type timer struct{ id int32 }

// sigevent is struct sigevent of the kernel: 64 bytes, of which a signal needs
// the first 16.
type sigevent struct {
	value  uint64
	signal int32
	notify int32 // 0 is SIGEV_SIGNAL
	_      [48]byte
}

func newTimer() (*timer, error) {
	event, t := sigevent{signal: int32(syscall.SIGABRT)}, new(timer)
	_, _, errno := syscall.Syscall(syscall.SYS_TIMER_CREATE, clockProcessCPU, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&t.id)))
	if errno != 0 {
		return nil, fmt.Errorf("make a watchdog timer: %w", errno)
	}
	return t, nil
}

// set makes the timer count from now.
func (t *timer) set(limit time.Duration) error {
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(limit))} // no interval, one value
	_, _, errno := syscall.Syscall6(syscall.SYS_TIMER_SETTIME, uintptr(t.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set the watchdog timer: %w", errno)
	}
	return nil
}

func (t *timer) delete() { syscall.Syscall(syscall.SYS_TIMER_DELETE, uintptr(t.id), 0, 0) }
