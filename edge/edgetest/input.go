package edgetest

import (
	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// World returns a small list on documentation ranges (RFC 5737, RFC 3849,
// RFC 9637) and documentation AS numbers (RFC 5398), as it stands at now,
// seconds since the Unix epoch. Each entry is there for a case: the comment
// says which.
func World(now int64) build.Input {
	hour := snapshot.HourOf(now)
	var all []snapshot.Listing
	all = append(all, addresses(hour)...)
	all = append(all, allocations(hour)...)
	all = append(all, systems()...)
	return build.Input{
		Zones:    zones(),
		Listings: all,
		Profile:  snapshot.Profile{Name: "classic", Text: "# thresholds of the classic profile\n"},
	}
}
