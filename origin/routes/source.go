package routes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// shrinkMax is the share, in percent, that a reload may lose of the routes: a
// file that was cut off in the middle still reads well.
const shrinkMax = 50

// A Source keeps the table of a set of files current. All methods are safe for
// concurrent use.
type Source struct {
	paths []string
	table atomic.Pointer[Table]
	mu    sync.Mutex // held while reloading
	seen  []stamp
}

// A stamp tells whether a file has changed since it was read.
type stamp struct {
	modified time.Time
	size     int64
}

// Open loads the files and returns a Source of their table.
func Open(paths ...string) (*Source, []Stats, error) {
	s := &Source{paths: slices.Clone(paths)}
	stats, err := s.Reload()
	if err != nil {
		return nil, stats, err
	}
	return s, stats, nil
}

// Table returns the current table; it is never nil.
func (s *Source) Table() *Table { return s.table.Load() }

// Reload reads all files again and swaps the table. On an error the old table
// stays.
func (s *Source) Reload() ([]Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, err := stamps(s.paths)
	if err != nil {
		return nil, err
	}
	s.seen = seen // also of a bad file: it is read again when it changes
	t, stats, err := Load(s.paths...)
	if err != nil {
		return stats, err
	}
	if old := s.table.Load(); old != nil && t.Len() < old.Len()*shrinkMax/100 {
		return stats, fmt.Errorf("%w: %d routes where there were %d", ErrBad, t.Len(), old.Len())
	}
	s.table.Store(t)
	return stats, nil
}

// Watch looks at the files every so often and reloads them when one has
// changed, until the context ends. It calls done after each reload, which may
// have failed.
func (s *Source) Watch(ctx context.Context, every time.Duration, done func([]Stats, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.changed() {
			done(s.Reload())
		}
	}
}

// changed reports whether a file differs from when it was last read. A missing
// file has not changed: it is on its way to be replaced.
func (s *Source) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := stamps(s.paths)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || !slices.Equal(now, s.seen)
}

// stamps returns the stamps of files.
func stamps(paths []string) ([]stamp, error) {
	var all []stamp
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		all = append(all, stamp{info.ModTime(), info.Size()})
	}
	return all, nil
}
