package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// demoRoutes are routes in documentation space (RFC 5737, RFC 3849) of
// documentation systems (RFC 5398).
const demoRoutes = `192.0.2.0/24	64500	EXAMPLE-QUIET
198.51.100.0/24	64501	EXAMPLE-CLOUD
198.51.100.64/26	64501	EXAMPLE-CLOUD
203.0.113.0/25	64502	EXAMPLE-HOSTING
2001:db8:4000::/36	64502	EXAMPLE-HOSTING
2001:db8:25::/48	64503	EXAMPLE-SIX
`

// Times of the simulation. A report that was seen almost a window ago weighs
// for the rest of it alone, so listings end within minutes.
const (
	simulationTick = time.Second
	campaign       = 120 // ticks from one campaign to the next
	campaignTicks  = 50  // ticks that a campaign sends for
	campaignSends  = 3   // new abusers a tick: a hundred, and so Level 3, after some 35
	lifeMin        = 55  // seconds for which a report weighs, at least
	lifeSpread     = 20
	firstLife      = 45 // for what is there at the start
)

// A stage is where simulated abuse comes from.
type stage struct {
	quiet    []netip.Prefix // now and then one address: Level 1
	cloud    []netip.Prefix // a handful at a time: Level 2
	campaign []netip.Prefix // many: Level 3
}

// demoStage lies in demoRoutes.
var demoStage = stage{
	quiet:    []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:25::/48")},
	cloud:    []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("198.51.100.64/26")},
	campaign: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("2001:db8:4000::/46")},
}

// stageIn chooses a stage among real routes: two /24s, and all prefixes of a
// system that a hundred abusers list.
func stageIn(t *routes.Table, p *policy.Profile, random *rand.Rand) (stage, error) {
	var nets []netip.Prefix
	f := t.Family(false)
	for i := range f.Len() {
		if f.Bits(i) == 24 && f.Parent(i) < 0 {
			nets = append(nets, f.Prefix(i))
		}
	}
	var systems []routes.System
	for _, s := range t.Systems() {
		if s.Addresses >= 1024 && p.SystemThreshold(s) <= 100 {
			systems = append(systems, s)
		}
	}
	if len(nets) < 2 || len(systems) == 0 {
		return stage{}, errors.New("simulation: the routes have no two /24s, or no system that a hundred abusers would list")
	}
	a := random.IntN(len(nets))
	b := (a + 1 + random.IntN(len(nets)-1)) % len(nets)
	return stage{
		quiet: nets[a : a+1], cloud: nets[b : b+1],
		campaign: t.Prefixes(systems[random.IntN(len(systems))].ASN),
	}, nil
}

// simulated reporters, each with a kind of evidence of its own.
var simulated = []struct {
	name string
	kind string
}{{"trap-one", "spamtrap"}, {"mailbox-two", "user"}, {"shell-three", "auth"}}

// A simulation reports abuse that nobody has sent.
type simulation struct {
	stage
	random *rand.Rand
	tick   int
	sent   int
}

// due returns the reports of one tick, by reporter.
func (s *simulation) due(now time.Time) [][]report.Report {
	all := make([][]report.Report, len(simulated))
	add := func(prefixes []netip.Prefix, life int) {
		who := s.random.IntN(len(simulated))
		kind, _ := snapshot.ParseKind(simulated[who].kind)
		s.sent++
		all[who] = append(all[who], report.Report{
			Address: s.addressIn(prefixes[s.random.IntN(len(prefixes))]),
			Seen:    now.Unix() - policy.Window + int64(life), Kind: kind, Evidence: fmt.Sprintf("simulated-%d", s.sent),
			Reporter: simulated[who].name,
		})
	}
	life := func() int { return lifeMin + s.random.IntN(lifeSpread) }
	if s.tick == 0 { // something is listed from the first answer on
		for range 8 {
			add(s.cloud, firstLife+s.random.IntN(lifeSpread))
		}
		add(s.quiet, life())
		add(s.quiet, life())
	}
	if s.tick%7 == 0 {
		add(s.quiet, life())
	}
	if s.tick%campaign > campaign/2 && s.tick%5 == 0 {
		add(s.cloud, life())
	}
	if s.tick%campaign < campaignTicks {
		for range campaignSends {
			add(s.campaign, campaign/2+s.random.IntN(lifeSpread))
		}
	}
	s.tick++
	return all
}

// addressIn returns an address of the prefix.
func (s *simulation) addressIn(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		n := binary.BigEndian.Uint32(b[:]) | s.random.Uint32()>>p.Bits()
		binary.BigEndian.PutUint32(b[:], n)
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	n := binary.BigEndian.Uint64(b[:8]) | s.random.Uint64()>>p.Bits()
	binary.BigEndian.PutUint64(b[:8], n)
	b[15] = 1
	return netip.AddrFrom16(b)
}

// begin puts the first reports into a new ledger, and makes the reporters'
// keys. It returns their secrets.
func (s *simulation) begin(ctx context.Context, l ledger.Ledger, now time.Time) (secrets []string, err error) {
	for _, r := range simulated {
		key, secret := api.NewKey(ledger.Reporter, r.name, now.Unix())
		if err := l.CreateKey(ctx, key, "simulation"); err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	for _, reports := range s.due(now) {
		if len(reports) == 0 {
			continue
		}
		if _, err := l.AppendReports(ctx, reports); err != nil {
			return nil, err
		}
	}
	return secrets, nil
}

// run sends the reports of each tick to the API, as reporters do, until ctx ends.
func (s *simulation) run(ctx context.Context, url string, secrets []string, log *slog.Logger) {
	tick := time.NewTicker(simulationTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for who, reports := range s.due(now) {
				if err := post(ctx, url, secrets[who], reports); err != nil && ctx.Err() == nil {
					log.Warn("simulated report not taken", "err", err)
				}
			}
		}
	}
}

// post sends reports to the API.
func post(ctx context.Context, url, secret string, reports []report.Report) error {
	if len(reports) == 0 {
		return nil
	}
	var body []byte
	for _, r := range reports {
		body = append(r.AppendNDJSON(body), '\n')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/reports", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", reportTypes["ndjson"])
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
