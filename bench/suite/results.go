package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// results is what a run has measured so far.
type results struct {
	Time     time.Time `json:"time"`
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	CPUs     int       `json:"cpus"`
	CPU      string    `json:"cpu,omitempty"`
	Load     string    `json:"load,omitempty"` // load averages before the run: far above 0, times say little
	Figures  []figure  `json:"figures"`
	Skipped  []string  `json:"skipped,omitempty"` // what was absent, and what that cost

	section string
}

// A figure is one measured number.
type figure struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Aim     string  `json:"aim,omitempty"` // what was aimed at, in words
}

func newResults() *results {
	return &results{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: processor(), Load: loadAverages(),
	}
}

// processor returns the name of the processor, where the system tells it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(strings.TrimSpace(name), ": \t")
		}
	}
	return ""
}

// loadAverages returns how many tasks wanted to run in the last 1, 5 and 15
// minutes, where the system tells it.
func loadAverages() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return ""
	}
	return strings.Join(fields[:3], " ")
}

// add notes one figure and shows it.
func (r *results) add(name string, value float64, unit string) { r.aimed(name, value, unit, "") }

// aimed notes one figure beside what was aimed at.
func (r *results) aimed(name string, value float64, unit, aim string) {
	f := figure{Section: r.section, Name: name, Value: value, Unit: unit, Aim: aim}
	r.Figures = append(r.Figures, f)
	progress("   %-64s %12s %s", name, f.number(), unit)
}

// skip notes what could not be measured.
func (r *results) skip(format string, args ...any) {
	line := r.section + ": " + fmt.Sprintf(format, args...)
	r.Skipped = append(r.Skipped, line)
	progress("   SKIPPED %s", line)
}

// number gives the value with as many digits as it deserves.
func (f figure) number() string {
	switch {
	case f.Value == float64(int64(f.Value)):
		return fmt.Sprintf("%d", int64(f.Value))
	case f.Value >= 100:
		return fmt.Sprintf("%.0f", f.Value)
	case f.Value >= 10:
		return fmt.Sprintf("%.1f", f.Value)
	}
	return fmt.Sprintf("%.2f", f.Value)
}

// write puts the results into dir.
func (r *results) write(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "suite.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "suite.md"), r.table(), 0o644)
}

// table gives the results as Markdown.
func (r *results) table() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Figures of %s\n\n%s on %s, %d CPUs (%s), load averages before the run %s. Made by `make bench`.\n",
		r.Time.Format(time.DateOnly), r.Go, r.Platform, r.CPUs, r.CPU, r.Load)
	section := ""
	for _, f := range r.Figures {
		if f.Section != section {
			section = f.Section
			fmt.Fprintf(&b, "\n## %s\n\n| what | value | unit | aim |\n|---|---:|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Name, f.number(), f.Unit, f.Aim)
	}
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&b, "\n## skipped\n\n")
	}
	for _, line := range r.Skipped {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	return b.Bytes()
}
