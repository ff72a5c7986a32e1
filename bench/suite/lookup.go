package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"ucedge/snapshot/build"
)

// lookup runs the probe natively and in a guest, on the same images.
func (s *suite) lookup() error {
	native, guest, err := s.buildProbe()
	if err != nil {
		return err
	}
	corpora := map[string]build.Input{}
	var names []string
	add := func(name string, in build.Input, err error) error {
		if errors.Is(err, errAbsent) {
			s.results.skip("%s, since %v", name, err)
			return nil
		}
		corpora[name] = in
		names = append(names, name)
		return err
	}
	many, err := manyAddresses()
	if err := add(manyName, many, err); err != nil {
		return err
	}
	real, err := publicLists(func(list, build.Input) error { return nil })
	if err := add(realName, real, err); err != nil {
		return err
	}
	if len(names) == 0 {
		if err := add(seededName, seeded(seededCount), nil); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := s.probe(name, corpora[name], native, guest); err != nil {
			return err
		}
	}
	return nil
}

// buildProbe builds bench/probe for this machine and for wasip1.
func (s *suite) buildProbe() (native, guest string, err error) {
	native, guest = filepath.Join(s.dir, "probe"), filepath.Join(s.dir, "probe.wasm")
	for out, environment := range map[string][]string{native: nil, guest: {"GOOS=wasip1", "GOARCH=wasm"}} {
		cmd := exec.CommandContext(s.ctx, "go", "build", "-pgo", filepath.Join("wasm", "guest", "default.pgo"), "-o", out, "ucedge/bench/probe")
		cmd.Env = append(os.Environ(), environment...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("build probe: %w\n%s", err, said)
		}
	}
	return native, guest, nil
}

// probe runs both probes on one image and notes what they print.
func (s *suite) probe(name string, in build.Input, native, guest string) error {
	o, err := s.build(name, in)
	if err != nil {
		return err
	}
	if err := writeObjects(s.dir, o, time.Now().Unix()); err != nil {
		return err
	}
	args := []string{filepath.Join(s.dir, "image"), filepath.Join(s.dir, "filter")}
	if s.profile != "" && name == realName {
		args = append([]string{"-profile", s.profile}, args...)
	}
	said, err := exec.CommandContext(s.ctx, native, args...).Output()
	if err != nil {
		return fmt.Errorf("native probe: %w", err)
	}
	if err := s.note(name+", native: ", said); err != nil {
		return err
	}
	if said, err = s.inGuest(guest); err != nil {
		return fmt.Errorf("guest probe: %w", err)
	}
	return s.note(name+", guest: ", said)
}

// note turns the lines of a probe into figures.
func (s *suite) note(prefix string, lines []byte) error {
	for line := range strings.Lines(string(lines)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 3 {
			return fmt.Errorf("probe printed %q", line)
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return err
		}
		s.results.aimed(prefix+fields[0], value, fields[2], lookupAim(prefix+fields[0]))
	}
	return nil
}

// lookupAim says what was aimed at for some of the probe's figures.
func lookupAim(name string) string {
	switch {
	case strings.Contains(name, "allocations"):
		return "0"
	case strings.HasPrefix(name, "2.09 M addresses, guest: lookup level 1 not listed, filter"):
		return "at most 400"
	case strings.HasPrefix(name, "2.09 M addresses, guest: lookup level 1 listed, filter"):
		return "at most 1500"
	case strings.HasPrefix(name, "2.09 M addresses, guest: open image"):
		return "at most 10"
	}
	return ""
}

// inGuest runs the probe on wazero, with the folder of this run as its root.
func (s *suite) inGuest(module string) ([]byte, error) {
	code, err := os.ReadFile(module)
	if err != nil {
		return nil, err
	}
	r := wazero.NewRuntime(s.ctx)
	defer r.Close(context.Background())
	if _, err := wasi_snapshot_preview1.Instantiate(s.ctx, r); err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	config := wazero.NewModuleConfig().WithArgs("probe", "/image", "/filter").WithStdout(&out).WithStderr(&errs).
		WithFSConfig(wazero.NewFSConfig().WithReadOnlyDirMount(s.dir, "/")).WithSysNanotime().WithSysWalltime()
	if _, err := r.InstantiateWithConfig(s.ctx, code, config); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, errs.Bytes())
	}
	return out.Bytes(), nil
}
