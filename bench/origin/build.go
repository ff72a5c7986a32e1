package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ucedge/origin"
	"ucedge/origin/ledger"
	"ucedge/origin/publish"
	"ucedge/origin/report"
)

// measureBuild fills a ledger, and builds from it in a process of its own, so
// that the memory is that of the build alone.
func (b *bench) measureBuild() error {
	table, err := loadRoutes()
	if err != nil {
		fmt.Printf("  skipped: no real routes: %v (set UCEDGE_DATA)\n", err)
		return nil
	}
	file := filepath.Join(b.dir, "build.db")
	start := time.Now()
	if err := b.fill(file, &author{random: rand.New(rand.NewPCG(1, 2)), now: time.Now().Unix(), table: table}); err != nil {
		return err
	}
	fmt.Printf("  ledger: %d reports of 20 reporters, made and stored in %.1f s, %d MB\n", b.impacts, time.Since(start).Seconds(), fileSize(file)>>20)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(b.ctx, self, "-built", file)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return c.Run()
}

func (b *bench) fill(file string, a *author) error {
	l, err := ledger.Open(b.ctx, file)
	if err != nil {
		return err
	}
	defer l.Close()
	for n := 0; n < b.impacts; {
		batch := make([]report.Report, min(50_000, b.impacts-n))
		for i := range batch {
			batch[i] = a.next()
		}
		if _, err := l.AppendReports(b.ctx, batch); err != nil {
			return err
		}
		n += len(batch)
	}
	return nil
}

// buildHere builds twice from a ledger: the first snapshot, and the one that
// follows it, which is what every interval costs.
func (b *bench) buildHere() error {
	table, err := loadRoutes()
	if err != nil {
		return err
	}
	b.routes = table
	l, err := ledger.Open(b.ctx, b.ledger)
	if err != nil {
		return err
	}
	defer l.Close()
	o, _, err := b.newOrigin(l, time.Hour, nil)
	if err != nil {
		return err
	}
	for _, name := range []string{"first", "next"} {
		before, start := usage(), time.Now()
		result, err := o.Build(b.ctx)
		if err != nil {
			return err
		}
		cpu, times := usage().minus(before).cpu, o.Last()
		var wire int64
		for _, object := range result.Manifest.Objects {
			wire += object.WireSize
		}
		fmt.Printf("  %s build: %.2f s from ledger to published (read and decide %.2f, image, signature, check and store %.2f), then %.2f s to write down what changed; %.2f s in all, %.2f s CPU; %d bytes on the wire\n",
			name, (times.Decide + times.Publish).Seconds(), times.Decide.Seconds(), times.Publish.Seconds(), times.Record.Seconds(), time.Since(start).Seconds(), cpu.Seconds(), wire)
		fmt.Printf("    levels 1, 2, 3: %s listings\n", entries(o, result))
	}
	fmt.Printf("  peak memory: %s, with %d routes and %d systems\n", peak(), table.Len(), len(table.Systems()))
	return nil
}

// entries returns the listings of each level as published.
func entries(o *origin.Origin, r publish.Result) string {
	s, err := publish.Open(context.Background(), o.Store, r.Manifest)
	if err != nil {
		return err.Error()
	}
	var texts []string
	for _, c := range s.Collateral() {
		texts = append(texts, fmt.Sprint(c.Entries))
	}
	return strings.Join(texts, ", ")
}

// peak returns the largest resident size of this process so far.
func peak() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "not known here"
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kb int
			if _, err := fmt.Sscan(value, &kb); err == nil {
				return fmt.Sprintf("%d MB", kb>>10)
			}
		}
	}
	return "not known here"
}
