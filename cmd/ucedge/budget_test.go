package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// TestBudgetSurvivesKill kills an origin whose reporter has used up its hour:
// the next one lets nothing pass.
func TestBudgetSurvivesKill(t *testing.T) {
	c := newCrash(t)
	text, err := os.ReadFile("../../origin/policy/profiles/classic.toml")
	if err != nil {
		t.Fatal(err)
	}
	small := bytes.Replace(text, []byte("new_addresses_per_hour = 20000"), []byte("new_addresses_per_hour = 20"), 1)
	small = bytes.Replace(small, []byte(`name = "classic"`), []byte(`name = "small"`), 1) // another rule needs another name
	if !bytes.Contains(small, []byte("= 20\n")) {
		t.Fatal("the profile has no budget that this test knows")
	}
	if err := os.WriteFile(c.path("small.toml"), small, 0o600); err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Truncate(time.Hour)
	first, second := c.passed(0, 30), c.passed(30, 30)
	if !time.Now().Truncate(time.Hour).Equal(hour) {
		t.Skip("another hour has begun meanwhile")
	}
	if first != 20 || second != 0 {
		t.Errorf("%d of 30 reports passed, and %d of 30 more after a kill; want 20 and 0", first, second)
	}
}

// passed starts an origin, reports n addresses to it of which the first has
// that number, kills it, and returns how many did not have to wait.
func (c *crash) passed(from, n int) int {
	c.Helper()
	cmd, listening := c.start(time.Hour, "--profile", c.path("small.toml"))
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var body []byte
	for i := from; i < from+n; i++ {
		r := report.Report{Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), Seen: time.Now().Unix(), Kind: snapshot.Spamtrap, Evidence: fmt.Sprint(i)}
		body = append(r.AppendNDJSON(body), '\n')
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+<-listening+"/v1/reports", bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+c.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	var outcome struct{ Accepted, Waiting int }
	if err := json.NewDecoder(resp.Body).Decode(&outcome); err != nil || outcome.Accepted != n {
		c.Fatalf("%s: %d of %d accepted, %v", resp.Status, outcome.Accepted, n, err)
	}
	return outcome.Accepted - outcome.Waiting
}
