package trap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/origin/state"
	"ucedge/snapshot"
)

// TestOriginSink delivers mail through a trap to an origin over HTTP.
func TestOriginSink(t *testing.T) {
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	never := false
	clock := func() time.Time { return noon }
	h, err := api.New(api.Settings{
		Ledger: l, Policy: state.NewLive(l, state.Settings{}, noon.Unix), Clock: clock,
		Reserved: func(netip.Addr) (string, bool) { return "test", never },
	})
	if err != nil {
		t.Fatal(err)
	}
	origin := httptest.NewServer(h)
	defer origin.Close()
	key, secret := api.NewKey(ledger.Reporter, "trap-a", noon.Unix())
	if err := l.CreateKey(context.Background(), key, "test"); err != nil {
		t.Fatal(err)
	}
	sink, err := NewOriginSink(origin.URL+"/", secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := start(t, func(s *Settings) { s.Sink = sink })
	for range 2 {
		if err := deliver(address, "bait@trap.example"); err != nil {
			t.Fatal(err)
		}
	}
	found, err := l.Reports(context.Background(), netip.MustParsePrefix("127.0.0.1/32"), 0, ledger.MaxTime)
	if err != nil || len(found) != 1 || found[0].Reporter != "trap-a" {
		t.Errorf("ledger has %v, %v", found, err)
	}
	never = true
	if err := sink.Deliver(context.Background(), found[0]); !errors.Is(err, ErrRefused) {
		t.Errorf("never listed: %v, want %v", err, ErrRefused)
	}
	never = false
	if err := l.RevokeKey(context.Background(), key.ID, noon.Unix(), "test"); err != nil {
		t.Fatal(err)
	}
	if err := sink.Deliver(context.Background(), found[0]); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("revoked key: %v, want an error that is tried again", err)
	}
}

// TestJudge: only the origin's own words are an acknowledgement.
func TestJudge(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		want   string
	}{
		{200, `{"accepted":1,"duplicates":0,"refused":[]}`, "stored"},
		{200, `{"accepted":0,"duplicates":1,"refused":[]}`, "stored"},
		{200, `{"accepted":0,"duplicates":0,"refused":[]}`, "again"},
		{200, `{}`, "again"},
		{200, `<html>Welcome</html>`, "again"},
		{200, ``, "again"},
		{422, `{"accepted":0,"duplicates":0,"refused":[{"line":1,"reason":"old"}]}`, "refused"},
		{422, `{}`, "again"},
		{400, `{"error":"x"}`, "again"},
		{403, `{"error":"x"}`, "again"},
		{503, `{"error":"x"}`, "again"},
		{503, `{"accepted":1}`, "again"},
	} {
		err := judge(row.status, []byte(row.body))
		got := map[bool]string{true: "stored", false: "again"}[err == nil]
		if errors.Is(err, ErrRefused) {
			got = "refused"
		}
		if got != row.want {
			t.Errorf("%d %s: %s (%v), want %s", row.status, row.body, got, err, row.want)
		}
	}
	if _, err := NewOriginSink("origin", "", nil); err == nil {
		t.Error("a base without host is taken")
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	sink, err := NewOriginSink(gone.URL, "s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Deliver(context.Background(), anyReport()); err == nil || errors.Is(err, ErrRefused) {
		t.Error(fmt.Errorf("no origin: %w", err))
	}
}

// anyReport is a report like any other.
func anyReport() report.Report {
	return report.Report{Address: netip.MustParseAddr("192.0.2.1"), Seen: noon.Unix(), Reporter: "trap-a", Kind: snapshot.Spamtrap}
}
