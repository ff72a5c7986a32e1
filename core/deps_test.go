package core

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// banned are the packages that must not get into the guest, each with the
// reason.
var banned = map[string]string{
	"fmt":                   "costs the guest 180 KB gzipped, and formats by reflection",
	"net/http":              "transport belongs to edge",
	"net":                   "a guest has no network",
	"encoding/json":         "costs 200 KB gzipped and ten times the time of appending by hand",
	"github.com/miekg/dns":  "7 to 18 µs a message in a guest, against half a microsecond for the direct encoder",
	"time":                  "a guest has no clock; time is an argument",
	"os":                    "a guest has no files",
	"log":                   "a guest has nobody to tell",
	"text/template":         "templates of a listing have six words, and come from outside",
	"regexp":                "names are read byte by byte",
	"math/rand/v2":          "the same input gives the same bytes",
	"crypto/sha256":         "hosts verify natively: 128 to 846 ms for 10 MiB in a guest",
	"compress/gzip":         "hosts decompress natively",
	"ucedge/snapshot/build": "a guest reads images and never writes them",
}

// TestBans holds the bans for the guest, and so for core and the snapshot
// reader, as they are built for it.
func TestBans(t *testing.T) {
	deps := goList(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-deps", "ucedge/wasm/guest")
	seen := map[string]bool{}
	for _, dep := range deps {
		seen[dep] = true
		if reason, hit := banned[dep]; hit {
			t.Errorf("the guest imports %s: %s", dep, reason)
		}
	}
	for _, want := range []string{"ucedge/core", "ucedge/snapshot", "ucedge/wasm/abi"} {
		if !seen[want] {
			t.Errorf("the guest does not import %s: is this still the guest?", want)
		}
	}
}

// An arrow says what a part of the tree may import of the others. The longest
// path that fits a package decides.
type arrow struct {
	from string
	to   []string
	why  string
}

// arrows are the imports that go between rooms (DESIGN §1). A room may always
// import what is inside itself.
var arrows = []arrow{
	{"ucedge/snapshot", nil, "the file format is a leaf"},
	{"ucedge/snapshot/build", []string{"ucedge/snapshot"}, "the writer knows the format and nobody else"},
	{"ucedge/snapshot/manifest", []string{"ucedge/snapshot"}, "signed text knows what it names and nobody else"},
	{"ucedge/core", []string{"ucedge/snapshot"}, "answers come from the reader alone"},
	{"ucedge/wasm/abi", nil, "both sides share it, so it belongs to neither"},
	{"ucedge/wasm/guest", []string{"ucedge/core", "ucedge/snapshot", "ucedge/wasm/abi"}, "thin exports over core"},
	{"ucedge/wasm", nil, "it carries bytes"},
	{"ucedge/edge", []string{"ucedge/core", "ucedge/snapshot", "ucedge/snapshot/manifest", "ucedge/wasm/abi", "ucedge/internal/compiled", "ucedge/internal/inbound"}, "an edge never meets the origin: a file and a signed text lie between them"},
	{"ucedge/edge/edgetest", []string{"ucedge/snapshot", "ucedge/snapshot/build", "ucedge/snapshot/manifest", "ucedge/wasm/abi"}, "the suite makes its own world, and knows a host by its URL alone"},
	{"ucedge/edge/worker/test", []string{"ucedge/edge/edgetest", "ucedge/snapshot", "ucedge/snapshot/build"}, "it writes the images that the tests of the worker sign"},
	{"ucedge/origin", []string{"ucedge/snapshot", "ucedge/snapshot/build", "ucedge/snapshot/manifest", "ucedge/internal/compiled", "ucedge/internal/inbound"}, "an origin never meets the edge: a file and a signed text lie between them"},
	{"ucedge/origin/routes/routestest", []string{"ucedge/origin/routes", "ucedge/snapshot", "ucedge/internal/trial"}, "it lends the real routes to tests"},
	{"ucedge/internal/compiled", nil, "edge and ledger keep compiled code alike, and share nothing else"},
	{"ucedge/internal/inbound", nil, "it counts connections for whoever listens"},
	{"ucedge/internal/data", nil, "tests and benchmarks of every room share it"},
	{"ucedge/internal/trial", []string{"ucedge/internal/data", "ucedge/snapshot"}, "tests of every room share it"},
}

// TestArrows holds the arrows for every package of the module, tests left out.
// Packages of no row, the commands and the benchmarks, may import what they
// like; nobody imports the commands. Packages that do not build yet are listed
// all the same.
func TestArrows(t *testing.T) {
	checked := 0
	for _, line := range goList(t, nil, "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "ucedge/...") {
		fields := strings.Fields(line)
		from := fields[0]
		row := arrowOf(from)
		for _, to := range fields[1:] {
			if !strings.HasPrefix(to, "ucedge/") {
				continue
			}
			checked++
			if strings.HasPrefix(to, "ucedge/cmd/") && !strings.HasPrefix(from, "ucedge/cmd/") {
				t.Errorf("%s imports %s: nobody imports a command", from, to)
			}
			if row != nil && !row.allows(to) {
				t.Errorf("%s imports %s: %s", from, to, row.why)
			}
		}
	}
	if checked < 3 {
		t.Fatalf("%d imports within the module: is this still the module?", checked)
	}
}

// arrowOf returns the row for a package, or nil.
func arrowOf(from string) (best *arrow) {
	for i := range arrows {
		row := &arrows[i]
		if (from == row.from || strings.HasPrefix(from, row.from+"/")) && (best == nil || len(row.from) > len(best.from)) {
			best = row
		}
	}
	return best
}

func (a *arrow) allows(to string) bool {
	if strings.HasPrefix(to, a.from+"/") && arrowOf(to) == a {
		return true
	}
	for _, allowed := range append(a.to, a.from) {
		if to == allowed {
			return true
		}
	}
	return false
}

// unsafeIn are the packages with unsafe code, and why.
var unsafeIn = map[string]string{
	"ucedge/wasm/guest": "it shares its memory with the host",
}

// TestUnsafe holds that unsafe code of the project is in these alone.
func TestUnsafe(t *testing.T) {
	for _, environment := range [][]string{nil, {"GOOS=wasip1", "GOARCH=wasm"}} {
		for _, line := range goList(t, environment, "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "ucedge/...") {
			fields := strings.Fields(line)
			for _, to := range fields[1:] {
				if _, allowed := unsafeIn[fields[0]]; to == "unsafe" && !allowed {
					t.Errorf("%s imports unsafe, which only these may: %v", fields[0], unsafeIn)
				}
			}
		}
	}
}

// goList runs go list and returns its lines.
func goList(t *testing.T, environment []string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
