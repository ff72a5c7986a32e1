package core

import (
	"strings"
	"testing"

	"ucedge/origin/policy"
)

// TestCountsOf holds what the core reads in a profile to what the origin reads
// in it, with each pair of countings written in each way that is understood.
func TestCountsOf(t *testing.T) {
	for _, name := range policy.Names() {
		shipped, err := policy.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(shipped.Snapshot().Text, `name = "`+name+`"`, `name = "own"`, 1)
		plain := `counts = "` + string(shipped.Counts) + `"`
		if n := strings.Count(text, "\n"+plain+"\n"); n != 2 {
			t.Fatalf("profile %q has %d lines %s, want one for each level", name, n, plain)
		}
		for _, allocation := range []string{countsAbusers, countsImpacts} {
			for _, system := range []string{countsAbusers, countsImpacts} {
				for _, form := range []string{`counts = "x"`, `counts='x'`, `  counts  =  "x" # and a comment = "impacts"`, "counts = \"x\"\r"} {
					own := text
					for _, word := range []string{allocation, system} {
						own = strings.Replace(own, "\n"+plain+"\n", "\n"+strings.Replace(form, "x", word, 1)+"\n", 1)
					}
					checkCounts(t, own)
				}
			}
		}
		checkCounts(t, strings.Replace(text, "[system]", " [ system ] # Level 3", 1))
	}
	if got := countsOf(""); got != [4]string{"", countsImpacts, countsAbusers, countsAbusers} {
		t.Errorf("without a text: %q", got)
	}
}

func checkCounts(t *testing.T, text string) {
	t.Helper()
	p, err := policy.ParseProfile(text)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := countsOf(text), [4]string{"", countsImpacts, string(p.Counts), string(p.System.Counts)}; got != want {
		t.Errorf("got %q, want %q of\n%s", got, want, text)
	}
}

// FuzzCountsOf: whatever the text is, each level counts one of the two.
func FuzzCountsOf(f *testing.F) {
	for _, seed := range []string{"", "counts = \"impacts\"\n[system]\ncounts = 'impacts'", "[", "[[system]]\n=\n\"", "counts = \""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for level, counts := range countsOf(text) {
			if (counts == "") != (level == 0) || level == 1 && counts != countsImpacts || level > 1 && counts != countsAbusers && counts != countsImpacts {
				t.Errorf("level %d counts %q", level, counts)
			}
		}
	})
}
