package edge

import (
	"context"
	"runtime"
	"time"
)

// watchEvery is how often Watch proves that every goroutine can be stopped,
// which takes some 10 µs.
const watchEvery = 5 * time.Second

// hangLimit is how much processor time the process may use between two such
// proofs: five seconds for each processor that it has.
func hangLimit() time.Duration { return time.Duration(runtime.GOMAXPROCS(0)) * 5 * time.Second }

// Watch sees to it that the process dies rather than hangs, until ctx ends.
//
// Nothing in Go can interrupt compiled guest code: a guest that never returned
// would stop the whole process at the next garbage collection, which waits for
// every goroutine. (wazero can check for an end at each loop of a guest, but an
// answer then takes five times as long.) So Watch has the kernel count the
// processor time that passes while the world could not be stopped, and end the
// process with SIGABRT, with a trace of all goroutines, for its supervisor to
// start it again. A process that sleeps, is suspended or gets no processor is
// left in peace. Only on Linux; elsewhere Watch does nothing.
func Watch(ctx context.Context) error { return watch(ctx, watchEvery, hangLimit()) }

func watch(ctx context.Context, every, limit time.Duration) error {
	timer, err := newTimer()
	if err != nil {
		return err
	}
	if err := timer.set(limit); err != nil {
		timer.delete()
		return err
	}
	go func() {
		defer timer.delete()
		tick := time.NewTicker(every)
		defer tick.Stop()
		var stats runtime.MemStats
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				runtime.ReadMemStats(&stats) // stops the world, or never returns
				timer.set(limit)
			}
		}
	}()
	return nil
}
