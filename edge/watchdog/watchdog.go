// Package watchdog sees to it that a process dies rather than hangs.
//
// Callers use Start. Promised: a process in which some goroutine can no longer
// be stopped ends, on Linux, with a trace of all goroutines, for its supervisor
// to start it again; one that sleeps, is suspended or gets no processor is left
// in peace. Not promised: which goroutine it was, or anything on other systems,
// where Start does nothing.
//
// Nothing in Go can interrupt compiled guest code: a guest that never returned
// would stop the whole process at the next garbage collection, which waits for
// every goroutine. (wazero can look for an end at each loop of a guest, but an
// answer then takes five times as long.) So the world is stopped now and then,
// which is only possible when nothing is stuck, and the kernel counts the
// processor time that passes in between.
package watchdog

import (
	"context"
	"runtime"
	"time"
)

// Every is how often the world is stopped, which takes some 10 µs.
const Every = 5 * time.Second

// Limit is how much processor time a process may use between two such stops:
// five seconds for each processor that it has.
func Limit() time.Duration { return time.Duration(runtime.GOMAXPROCS(0)) * 5 * time.Second }

// Start watches this process until ctx ends, usually with Every and Limit().
// The process must have SIGABRT for itself.
func Start(ctx context.Context, every, limit time.Duration) error {
	t, err := newTimer()
	if err != nil {
		return err
	}
	if err := t.set(limit); err != nil {
		t.delete()
		return err
	}
	go watch(ctx, t, every, limit)
	return nil
}

func watch(ctx context.Context, t *timer, every, limit time.Duration) {
	defer t.delete()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var stats runtime.MemStats
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			runtime.ReadMemStats(&stats) // stops the world, or never returns
			t.set(limit)
		}
	}
}
