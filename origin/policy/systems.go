package policy

import (
	"slices"

	"ucedge/origin/routes"
	"ucedge/snapshot"
)

// A systemTally is what one AS adds up to, at its place in the routes table.
type systemTally struct {
	tally
	nets   int // its allocations on Level 2
	listed bool
}

// systemTally returns the tally of the system at that place.
func (r *Result) systemTally(place int) *systemTally {
	if r.systems == nil {
		r.systems = make([]systemTally, len(r.Routes.Systems()))
	}
	return &r.systems[place]
}

// judgeSystems makes the listings of Level 3: every announced prefix of a
// listed AS. A prefix of several listed ones is listed for the lowest number.
func (r *Result) judgeSystems() {
	var listedBy [2][]int32 // place of the system + 1 for each route
	for i := range r.families {
		listedBy[i] = make([]int32, len(r.families[i].routes))
	}
	listed := 0
	for place, s := range r.Routes.Systems() {
		t := r.systemTally(place)
		for a := range r.Routes.Announcements(place) {
			if a.Outermost {
				t.merge(&r.family(a.V6).routes[a.Index])
			}
		}
		if t.listed = r.listsSystem(s, t); !t.listed {
			continue
		}
		for a := range r.Routes.Announcements(place) {
			if by := &listedBy[side(a.V6)][a.Index]; *by == 0 {
				*by = int32(place) + 1
				listed++
			}
		}
	}
	r.nets = slices.Grow(r.nets, listed)
	for i := range r.families { // routes are in the order of listings
		for route, by := range listedBy[i] {
			if by > 0 {
				r.listSystemRoute(r.families[i].v6, route, int(by)-1)
			}
		}
	}
}

// listsSystem reports whether the profile lists a system with that tally.
func (r *Result) listsSystem(s routes.System, t *systemTally) bool {
	count := t.count(r.Profile.System.Counts)
	return count > 0 && count >= r.Profile.SystemThreshold(s) && t.nets >= r.Profile.System.MinNets && t.enough(r.Profile)
}

// listSystemRoute lists one prefix of a listed system.
func (r *Result) listSystemRoute(v6 bool, route, place int) {
	p := r.Routes.Family(v6).Prefix(route)
	if _, never := r.guard.never(p); never {
		return
	}
	s, t := r.Routes.Systems()[place], &r.systems[place]
	l := snapshot.Listing{Level: snapshot.System, Prefix: p}
	l.Facts = t.facts(t.count(r.Profile.System.Counts), r.Profile.SystemThreshold(s))
	l.ASN, l.ASName = s.ASN, s.Name
	r.nets = append(r.nets, l)
}
