package policy

import (
	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A hit is one impact in the window, packed for sorting.
type hit struct {
	key      uint64
	when     uint32 // second of the window << 8 | kind
	reporter uint32
}

// second returns the impact's second within the window, from 1 to Window.
func (h hit) second() int64 { return int64(h.when >> 8) }

// An abuser is a unit with an impact in the window.
type abuser struct {
	key   uint64
	last  int64         // second of the last impact
	first snapshot.Hour // hour of the first one in the window
	count uint32        // impacts that count
	kinds snapshot.Kinds
}

// reportersKept is how many reporters are told apart. Policy only asks whether
// there are at least so many.
const reportersKept = 4

// reporters is a set of up to reportersKept reporters. Which ones it holds may
// depend on the order of adding; how many never does.
type reporters struct {
	ids [reportersKept]uint32
	n   uint8
}

func (r *reporters) add(id uint32) {
	if r.n == reportersKept {
		return
	}
	for _, x := range r.ids[:r.n] {
		if x == id {
			return
		}
	}
	r.ids[r.n] = id
	r.n++
}

func (r *reporters) merge(o *reporters) {
	for _, id := range o.ids[:o.n] {
		r.add(id)
	}
}

// gather makes the abusers of one family, in ascending order, and, if the
// profile asks for it, their reporters beside them.
func gather(in Input, v6 bool, d drops, g *guard) ([]abuser, []reporters) {
	hits := window(in, v6)
	sortHits(hits, v6)
	n := 0
	for i := range hits {
		if i == 0 || hits[i].key != hits[i-1].key {
			n++
		}
	}
	all := make([]abuser, 0, n)
	var who []reporters
	if in.Profile.MinReporters > 1 {
		who = make([]reporters, 0, n)
	}
	start := in.Now - Window
	for len(hits) > 0 {
		n := 1
		for n < len(hits) && hits[n].key == hits[0].key {
			n++
		}
		u := routes.Unit{Key: hits[0].key, V6: v6}
		own := d.standing(u, hits[:n], start)
		hits = hits[n:]
		if len(own) == 0 {
			continue
		}
		if _, never := g.never(u.Prefix()); never {
			continue
		}
		all = append(all, sumUp(own, start, in.Profile.SpacingSeconds))
		if who != nil {
			who = append(who, reportersOf(own))
		}
	}
	return all, who
}

// window packs the impacts of one family that are in the window: seen no later
// than now and younger than seven days.
func window(in Input, v6 bool) []hit {
	inside := func(i *Impact) bool {
		return i.Unit.V6 == v6 && i.Seen <= in.Now && i.Seen > in.Now-Window
	}
	n := 0
	for i := range in.Impacts {
		if inside(&in.Impacts[i]) {
			n++
		}
	}
	hits := make([]hit, 0, n)
	for i := range in.Impacts {
		if p := &in.Impacts[i]; inside(p) {
			second := uint32(p.Seen - (in.Now - Window))
			hits = append(hits, hit{p.Unit.Key, second<<8 | uint32(p.Kind), p.Reporter})
		}
	}
	return hits
}

// standing returns those of a unit's hits, in order of time, that no removal
// has set aside; none if all of them come from withdrawn reporters.
func (d drops) standing(u routes.Unit, hits []hit, start int64) []hit {
	if len(d.removed) > 0 {
		if at, ok := d.removed[u]; ok {
			for len(hits) > 0 && start+hits[0].second() <= at {
				hits = hits[1:]
			}
		}
	}
	if len(d.withdrawn) == 0 {
		return hits
	}
	for _, h := range hits {
		if !d.withdrawn[h.reporter] {
			return hits
		}
	}
	return nil
}

// sumUp makes one abuser of its hits, which are in order of time.
func sumUp(hits []hit, start, spacing int64) abuser {
	a := abuser{
		key:   hits[0].key,
		first: hourOf(start + hits[0].second()),
		last:  start + hits[len(hits)-1].second(),
	}
	counted := int64(-1)
	for _, h := range hits {
		a.kinds |= snapshot.Kinds(h.when)
		if counted < 0 || h.second()-counted >= spacing {
			a.count++
			counted = h.second()
		}
	}
	return a
}

// hourOf returns the hour that a second lies in.
func hourOf(second int64) snapshot.Hour { return snapshot.Hour(max(0, second) / 3600) }

func reportersOf(hits []hit) reporters {
	var r reporters
	for _, h := range hits {
		r.add(h.reporter)
	}
	return r
}

const (
	digitBits = 11
	digits    = 1 << digitBits
)

// sortHits sorts by key and then by time, with a radix sort: five million hits
// take a tenth of what comparing them takes.
func sortHits(hits []hit, v6 bool) {
	keyPasses := 3
	if v6 {
		keyPasses = 6
	}
	other := make([]hit, len(hits))
	from, to := hits, other
	for pass := -2; pass < keyPasses; pass++ {
		var counts [digits]int
		for i := range from {
			counts[from[i].digit(pass)]++
		}
		if len(from) > 0 && counts[from[0].digit(pass)] == len(from) {
			continue // all alike
		}
		sum := 0
		for i, n := range counts {
			counts[i] = sum
			sum += n
		}
		for i := range from {
			d := from[i].digit(pass)
			to[counts[d]] = from[i]
			counts[d]++
		}
		from, to = to, from
	}
	if len(hits) > 0 && &from[0] != &hits[0] {
		copy(hits, from)
	}
}

// digit returns one digit of the order; passes below zero are the time.
func (h *hit) digit(pass int) int {
	if pass < 0 {
		return int(h.when>>(8+digitBits*(pass+2))) % digits
	}
	return int(h.key>>(digitBits*pass)) % digits
}
