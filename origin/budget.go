package origin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/state"
)

// budgetParts is in how many parts a reporter takes its hourly budget. Each is
// one row of the ledger before the first report of it passes, so that a restart
// gives nothing back. One that was a death costs a reporter a part at most.
const budgetParts = 16

// waitMax is how many reports of a reporter may wait in a window: some 50 MB of
// the ledger. Past it nothing more of that reporter is taken, or one whose key
// was stolen could fill the disk.
const waitMax = 1 << 20

// A budget decides which reports are past the budget of their reporter. The
// impacts in the window are those of the ledger as decided last, and what has
// come in since; new addresses are counted by the hour of arrival, and the
// ledger knows how far. It is an api.Admission.
type budget struct {
	limits policy.Budget
	live   *state.Live
	ledger ledger.Ledger
	clock  func() time.Time

	mu    sync.Mutex
	hour  int64
	all   uint64
	usage map[string]*used
	// By reporter, those in the window that wait. It is counted anew when one
	// has too many; what was released before that is in it.
	waiting map[string]int
	most    int // of them; waitMax
}

// used is what one reporter has used.
type used struct {
	impacts     uint64
	newThisHour uint64
	taken       uint64 // of this hour's new addresses: what the ledger knows of
}

// newBudget returns a budget that goes on where the ledger says that it was.
func newBudget(limits policy.Budget, live *state.Live, l ledger.Ledger, clock func() time.Time) (*budget, error) {
	b := &budget{limits: limits, live: live, ledger: l, clock: clock, usage: map[string]*used{}, most: waitMax}
	b.turn()
	if err := b.countWaiting(); err != nil {
		return nil, err
	}
	told := map[string]bool{} // the last row of a reporter says it
	page := ledger.Page{Kinds: []ledger.DecisionKind{ledger.BudgetTaken}, Since: b.hour * 3600, Limit: ledger.MaxPage}
	for {
		rows, err := l.Audit(context.Background(), page)
		if err != nil {
			return nil, fmt.Errorf("read what reporters have used of their budgets: %w", err)
		}
		for _, row := range rows {
			if !told[row.Reporter] {
				told[row.Reporter] = true
				u := b.of(row.Reporter)
				u.taken, u.newThisHour = uint64(row.Count), uint64(row.Count)
			}
		}
		if len(rows) < ledger.MaxPage {
			return b, nil
		}
		page.Before = rows[len(rows)-1].ID
	}
}

// Admit returns why a report must wait for an operator, or "".
func (b *budget) Admit(r report.Report) (wait string) {
	fresh := !b.live.Known(r.Address)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn()
	u := b.of(r.Reporter)
	reporters := len(b.usage)
	after, wait := b.limits.Admit(policy.Usage{NewThisHour: u.newThisHour, Impacts: u.impacts, All: b.all, Reporters: reporters}, fresh)
	if wait == "" && after.NewThisHour > u.taken {
		wait = b.take(r.Reporter, u)
	}
	if wait == "" {
		u.newThisHour, u.impacts, b.all = after.NewThisHour, after.Impacts, after.All
	} else {
		b.waiting[r.Reporter]++
	}
	return wait
}

// Full returns why nothing more of a reporter is taken, or "".
func (b *budget) Full(reporter string) (reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.waiting[reporter]; n >= b.most {
		return fmt.Sprintf("%d reports of %s wait for an operator (ucedge origin release): until then no more are taken", n, reporter)
	}
	return ""
}

// countWaiting asks the ledger how many reports wait.
func (b *budget) countWaiting() error {
	now := b.clock().Unix()
	waiting, err := b.ledger.Waiting(context.Background(), now-policy.Window, now+report.DefaultAhead)
	if err != nil {
		return fmt.Errorf("count what waits for an operator: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = waiting
	return nil
}

// take writes down the next part of a reporter's hour, or says why the report
// must wait. Without a limit there is nothing to write down.
func (b *budget) take(reporter string, u *used) (wait string) {
	limit := b.limits.NewPerHour
	if limit == 0 {
		return ""
	}
	taken := min(limit, u.taken+max(1, limit/budgetParts))
	if err := b.ledger.AppendDecisions(context.Background(), []ledger.Decision{b.row(reporter, taken)}); err != nil {
		return fmt.Sprintf("its reporter's budget could not be written down: %v", err)
	}
	u.taken = taken
	return ""
}

// row is what the ledger is told.
func (b *budget) row(reporter string, taken uint64) ledger.Decision {
	return ledger.Decision{At: b.clock().Unix(), Kind: ledger.BudgetTaken, Reporter: reporter, Count: int64(taken)}
}

// settle gives back what was taken and not used: the origin ends, and its next
// start is to begin where it was.
func (b *budget) settle(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn()
	var rows []ledger.Decision
	for _, name := range slices.Sorted(maps.Keys(b.usage)) {
		if u := b.usage[name]; u.newThisHour < u.taken {
			rows = append(rows, b.row(name, u.newThisHour))
		}
	}
	if err := b.ledger.AppendDecisions(ctx, rows); err != nil {
		return err
	}
	for _, row := range rows {
		b.usage[row.Reporter].taken = uint64(row.Count)
	}
	return nil
}

// turn begins a new hour.
func (b *budget) turn() {
	hour := b.clock().Unix() / 3600
	if hour == b.hour {
		return
	}
	b.hour = hour
	for _, u := range b.usage {
		u.newThisHour, u.taken = 0, 0
	}
}

func (b *budget) of(reporter string) *used {
	u, ok := b.usage[reporter]
	if !ok {
		u = new(used)
		b.usage[reporter] = u
	}
	return u
}

// renew takes the impacts of each reporter from what was decided last, and asks
// again what waits if a reporter had too much.
func (b *budget) renew() error {
	if b.renewImpacts() {
		return b.countWaiting()
	}
	return nil
}

func (b *budget) renewImpacts() (full bool) {
	impacts := b.live.Impacts()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = 0
	for name, u := range b.usage {
		u.impacts = 0
		if _, ok := impacts[name]; !ok && u.newThisHour == 0 {
			delete(b.usage, name)
		}
	}
	for name, n := range impacts {
		b.of(name).impacts = n
		b.all += n
	}
	for _, n := range b.waiting {
		full = full || n >= b.most
	}
	return full
}
