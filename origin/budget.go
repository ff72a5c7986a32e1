package origin

import (
	"sync"
	"time"

	"ucedge/origin/policy"
	"ucedge/origin/report"
	"ucedge/origin/state"
)

// A budget decides which reports are past the budget of their reporter. The
// impacts in the window are those of the ledger as decided last, and what has
// come in since; new addresses are counted by the hour of arrival, from the
// start of the process on. It is an api.Admission.
type budget struct {
	limits policy.Budget
	live   *state.Live
	clock  func() time.Time

	mu    sync.Mutex
	hour  int64
	all   uint64
	usage map[string]*used
}

// used is what one reporter has used.
type used struct {
	impacts     uint64
	newThisHour uint64
}

func newBudget(limits policy.Budget, live *state.Live, clock func() time.Time) *budget {
	return &budget{limits: limits, live: live, clock: clock, usage: map[string]*used{}}
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
	if wait == "" {
		u.newThisHour, u.impacts, b.all = after.NewThisHour, after.Impacts, after.All
	}
	return wait
}

// turn begins a new hour.
func (b *budget) turn() {
	hour := b.clock().Unix() / 3600
	if hour == b.hour {
		return
	}
	b.hour = hour
	for _, u := range b.usage {
		u.newThisHour = 0
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

// renew takes the impacts of each reporter from what was decided last.
func (b *budget) renew() {
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
}
