package ledger

import (
	"context"
	"runtime"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"ucedge/internal/compiled"
)

// memoryPages bounds the memory of one connection: 256 MiB in pages of 64 KiB.
// A connection caches 8 MiB and holds a segment or two at a time.
const memoryPages = 4096

// compiledSuffix makes the name of the folder beside the ledger that keeps the
// compiled code of SQLite: whoever can change it can change the ledger too.
const compiledSuffix = "-compiled"

// engine is SQLite, a WebAssembly module that is compiled once a process: two
// seconds of one processor, or 0.05 s with the code that an earlier process has
// left in the folder, unless that was damaged since.
var engine struct {
	once sync.Once
	err  error
}

// startEngine makes engine ready. The first ledger of a process names the
// folder; where none can be made or filled the code stays in memory.
func startEngine(folder string) error {
	engine.once.Do(func() {
		sqlite3.RuntimeConfig = plain()
		code, err := compiled.Open(folder)
		if err == nil {
			err = fill(code)
		}
		if err == nil {
			sqlite3.RuntimeConfig = plain().WithCompilationCache(code.Cache())
		}
		if engine.err = sqlite3.Initialize(); engine.err == nil && err == nil {
			code.Seal() // without, the next process compiles
		}
	})
	return engine.err
}

// plain returns the settings of SQLite's runtime.
func plain() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(memoryPages)
}

// fill has all processors compile SQLite into an empty folder, where Initialize
// takes one. Initialize then finds the code in the memory of the cache.
func fill(code *compiled.Folder) error {
	if !code.Empty() {
		return nil
	}
	ctx := experimental.WithCompilationWorkers(context.Background(), runtime.GOMAXPROCS(0))
	_, err := wazero.NewRuntimeWithConfig(ctx, plain().WithCompilationCache(code.Cache())).CompileModule(ctx, sqlite3.Binary)
	return err
}
