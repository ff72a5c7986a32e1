package core

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestOpenAPI holds openapi.yaml to the routes, and to what the dialogues show:
// every path and method is there and no other, and so is every status and
// every member that a dialogue has.
func TestOpenAPI(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documented, members := readOpenAPI(t, string(text))
	var want []string
	for _, r := range routes {
		want = append(want, "get "+r.path)
		if r.allow == allowGetPost {
			want = append(want, "post "+r.path)
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(documented)); !slices.Equal(got, want) {
		t.Errorf("operations:\ngot  %q\nwant %q", got, want)
	}
	shown := 0
	for _, d := range shownExchanges(t) {
		operation := strings.ToLower(strings.Replace(d.method, "HEAD", "GET", 1)) + " " + d.path
		statuses, ok := documented[operation]
		if !ok || d.status == "405" {
			continue // what every path gives is said once, at the top
		}
		shown++
		if !slices.Contains(statuses, d.status) {
			t.Errorf("%s gives %s, which is not documented", operation, d.status)
		}
		for _, member := range d.members {
			if !members[member] {
				t.Errorf("%s gives %q, which is not documented", operation, member)
			}
		}
	}
	if shown < 50 {
		t.Errorf("%d exchanges in the dialogues, want more", shown)
	}
}

// readOpenAPI reads operations with their statuses, and the names of all
// members, from the document's own indentation.
func readOpenAPI(t *testing.T, text string) (operations map[string][]string, members map[string]bool) {
	t.Helper()
	operations, members = map[string][]string{}, map[string]bool{}
	path, operation := "", ""
	member := regexp.MustCompile(`^ {8,}(\w+):`)
	status := regexp.MustCompile(`^ {8}"(\d{3})":`)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "  /"):
			path = strings.TrimSuffix(strings.TrimSpace(line), ":")
		case line == "    get:" || line == "    post:":
			operation = strings.TrimSuffix(strings.TrimSpace(line), ":") + " " + path
			operations[operation] = nil
		case strings.HasPrefix(line, "components:"):
			operation = ""
		}
		if found := status.FindStringSubmatch(line); found != nil && operation != "" {
			operations[operation] = append(operations[operation], found[1])
		}
		if found := member.FindStringSubmatch(line); found != nil {
			members[found[1]] = true
		}
	}
	return operations, members
}

// A shownExchange is one HTTP exchange of the dialogues.
type shownExchange struct {
	method, path, status string
	members              []string // of its JSON body, at every depth
}

func shownExchanges(t *testing.T) (shown []shownExchange) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "\n\n") {
			if d, ok := readExchange(block); ok {
				shown = append(shown, d)
			}
		}
	}
	return shown
}

func readExchange(block string) (d shownExchange, ok bool) {
	var body strings.Builder
	for line := range strings.Lines(block) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "> ") && d.method == "":
			fields := strings.Fields(line)
			d.method = fields[1]
			d.path, _, _ = strings.Cut(fields[2], "?")
		case strings.HasPrefix(line, "< ") && d.status == "":
			d.status = line[2:]
		case line == "<":
			body.WriteString("\n")
		case strings.HasPrefix(line, "< ") && body.Len() > 0:
			body.WriteString(line[2:])
		}
	}
	var value any
	if json.Unmarshal([]byte(body.String()), &value) == nil {
		d.members = membersOf(value)
	}
	return d, d.status != ""
}

func membersOf(value any) (names []string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			names = append(append(names, name), membersOf(inner)...)
		}
	case []any:
		for _, inner := range v {
			names = append(names, membersOf(inner)...)
		}
	}
	return names
}
