package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// memoryPages bounds the memory of one connection: 256 MiB in pages of 64 KiB.
// A connection caches 8 MiB and holds a segment or two at a time.
const memoryPages = 4096

// compiledSuffix makes the name of the folder beside the ledger that keeps the
// compiled code of SQLite: whoever can change it can change the ledger too.
const compiledSuffix = "-compiled"

// engine is SQLite, a WebAssembly module that is compiled once a process: two
// seconds of one processor, or 0.05 s with the code that an earlier process has
// left in the folder.
var engine struct {
	once sync.Once
	err  error
}

// startEngine makes engine ready. The first ledger of a process names the folder.
func startEngine(folder string) error {
	engine.once.Do(func() {
		sqlite3.RuntimeConfig = configure(folder)
		if err := sqlite3.Initialize(); err != nil {
			os.RemoveAll(folder)
			engine.err = fmt.Errorf("compiled code in %q, now removed: %w", folder, err)
		}
	})
	return engine.err
}

// configure returns the settings of SQLite's runtime, with the code in the
// folder. A new folder is filled; where none can be made or filled the code
// stays in memory.
func configure(folder string) wazero.RuntimeConfig {
	plain := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(memoryPages)
	made := os.Mkdir(folder, 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return plain
	}
	cache, err := wazero.NewCompilationCacheWithDir(folder)
	if err != nil {
		return plain
	}
	cached := plain.WithCompilationCache(cache)
	if made == nil && compile(cached) != nil {
		os.RemoveAll(folder)
		return plain
	}
	return cached
}

// compile has all processors compile SQLite, where Initialize takes one.
func compile(config wazero.RuntimeConfig) error {
	ctx := experimental.WithCompilationWorkers(context.Background(), runtime.GOMAXPROCS(0))
	_, err := wazero.NewRuntimeWithConfig(ctx, config).CompileModule(ctx, sqlite3.Binary)
	return err
}
