package web

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"ucedge/core"
)

// TestPolicyNamesWhatThePageHolds holds the hashes in the policy that core
// sends along to the page's one script and its one style.
func TestPolicyNamesWhatThePageHolds(t *testing.T) {
	page := string(Page)
	for _, tag := range []string{"script", "style"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		inside, after, found := strings.Cut(rest, "</"+tag+">")
		if !found || strings.Contains(after, "<"+tag) {
			t.Fatalf("the page does not have one <%s>", tag)
		}
		sum := sha256.Sum256([]byte(inside))
		want := tag + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		if !strings.Contains(core.PagePolicy, want) {
			t.Errorf("core.PagePolicy has no %s", want)
		}
	}
}

// TestPageAsksNobodyElse looks for what would load something from elsewhere, or
// run outside of the script.
func TestPageAsksNobodyElse(t *testing.T) {
	for _, bad := range []string{`(?i)<[a-z]+[^>]*\s(src|srcset|on[a-z]+|style)\s*=`, `(?i)href="(https?:)?//`, `innerHTML`, `@import`, `url\(`} {
		if found := regexp.MustCompile(bad).FindString(string(Page)); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}
