// Package compiled keeps the machine code that wazero makes of a module in a
// folder, so that the next process need not compile the module again.
//
// Callers use Open, compile with the Cache, and Seal the folder then. Promised:
// code that has changed since it was sealed is never run, but removed with a
// warning to slog's default logger, and made again. Not promised: safety from
// somebody who can write to the folder and means harm.
package compiled

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
)

// sumSuffix makes the name of the file with the sum of a file of code. wazero
// has a sum of the machine code in its files, but none of the table of
// functions before it, and refuses at every start what does not fit.
const sumSuffix = ".sum"

// A Folder holds compiled code. Several processes may have one open.
type Folder struct {
	name  string
	cache wazero.CompilationCache
	empty bool
}

// Open opens the folder, and makes it if it is not there; the folder around it
// must be. Code that was never sealed is removed too.
func Open(name string) (*Folder, error) {
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("compiled code: %w", err)
	}
	f := &Folder{name: name, empty: true}
	for _, file := range f.files() {
		whole, err := sealed(file)
		if err != nil {
			return nil, fmt.Errorf("compiled code: %w", err)
		}
		f.empty = f.empty && !whole
	}
	var err error
	if f.cache, err = wazero.NewCompilationCacheWithDir(name); err != nil {
		return nil, fmt.Errorf("compiled code: %w", err)
	}
	return f, nil
}

// Cache is what a runtime has to be configured with. Whoever closes it closes
// the code too.
func (f *Folder) Cache() wazero.CompilationCache { return f.cache }

// Empty reports whether the folder held no code when it was opened.
func (f *Folder) Empty() bool { return f.empty }

// Seal writes the sums of code that has none, which is what was compiled since
// Open. Code whose sum cannot be written is compiled again by the next process.
func (f *Folder) Seal() error {
	var errs []error
	for _, file := range f.files() {
		if _, err := os.Stat(file + sumSuffix); err == nil {
			continue
		}
		sum, err := sumOf(file)
		if err == nil {
			err = write(file+sumSuffix, sum)
		}
		errs = append(errs, gone(err))
	}
	return errors.Join(errs...)
}

// files returns the names of the files of code. wazero has a folder for each of
// its versions; what it has not finished yet has another suffix.
func (f *Folder) files() (code []string) {
	files, _ := filepath.Glob(filepath.Join(escape(f.name), "wazero-*", "*")) // the pattern is a good one
	for _, file := range files {
		if !strings.HasSuffix(file, sumSuffix) && !strings.HasSuffix(file, ".tmp") {
			code = append(code, file)
		}
	}
	return code
}

// escape makes a pattern of a name that may have the signs of patterns in it.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// sealed reports whether a file of code is as it was sealed, and removes it if
// it is not.
func sealed(file string) (whole bool, err error) {
	want, err := os.ReadFile(file + sumSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if got, err := sumOf(file); err == nil && got == string(want) {
		return true, nil
	}
	if want != nil {
		slog.Warn("compiled code is damaged, and made again", "file", file)
	}
	return false, errors.Join(gone(os.Remove(file)), gone(os.Remove(file+sumSuffix)))
}

// write makes a file that other processes see whole or not at all.
func write(name, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// gone is the error of work on a file, unless another process has removed it.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

var table = crc32.MakeTable(crc32.Castagnoli)

// sumOf returns the sum of a file as a line: 2 ms for the 8 MB of SQLite.
func sumOf(file string) (string, error) {
	code, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("crc32c %08x\n", crc32.Checksum(code, table)), nil
}
