package edgetest_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ucedge/edge/edgetest"
)

// TestPageInBrowser opens the look-up page in a real browser, which obeys the
// policy that comes with it, and reads what a person would.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := findBrowser(t)
	profile, err := os.MkdirTemp("", "page-") // not t.TempDir: a browser may write to it after its end
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile)
	bound := startEdge(t, engines["native"](t), edgetest.Ready, time.Now().Unix())
	for _, c := range []struct{ ip, heading, text string }{
		{"192.0.2.12", "192.0.2.12 is listed on Levels 1, 2 and 3", "192.0.2.12 is itself on Level 1"},
		{"192.0.2.2", "192.0.2.2 is listed with its network, on Levels 2 and 3", "This is not the fault of 192.0.2.2"},
		{"192.0.2.12", "192.0.2.12 is listed on Levels 1, 2 and 3", "17 impacts"},
		{"192.0.2.2", "192.0.2.2 is listed with its network, on Levels 2 and 3", "6 abusers (listed from 5)"},
		{"192.88.99.1", "192.88.99.1 is not listed", "Copy for a support ticket"},
		{"2001:db8:0:1::5", "2001:db8:0:1::5 is listed on Levels 1 and 2", "the address 2001:db8:0:1::/64"},
		{"192.0.2.0/25", "192.0.2.0/25 is listed on Levels 2 and 3", "Who can end it"},
		{"<b>bogus", "“&lt;b&gt;bogus”: not an IP address or prefix", "snapshot "},
	} {
		page := seen(t, browser, profile, "http://"+bound.HTTP+"/?ip="+url.QueryEscape(c.ip))
		if heading := "<h2>" + c.heading + "</h2>"; !strings.Contains(page, heading) {
			t.Errorf("%q: the page has no %s:\n%s", c.ip, heading, answerOf(page))
		}
		if !strings.Contains(page, c.text) {
			t.Errorf("%q: the page does not say %q:\n%s", c.ip, c.text, answerOf(page))
		}
	}
}

// findBrowser returns the path of a browser that has no need of a screen.
func findBrowser(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no chromium here")
	return ""
}

// seen returns the document as it stands when the page's script is done.
func seen(t *testing.T, browser, profile, address string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+profile,
		"--virtual-time-budget=10000", "--dump-dom", address)
	page, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", browser, err)
	}
	return string(page)
}

// answerOf cuts out the part of the page that the script writes.
func answerOf(page string) string {
	_, answer, _ := strings.Cut(page, `<div id="answer"`)
	answer, _, _ = strings.Cut(answer, "<section>")
	return answer
}
