package policy

import "fmt"

// A Budget is what one reporter may send before its reports wait for an
// operator, so that one poisoned feed cannot list the world. A limit of 0 is
// none.
type Budget struct {
	NewPerHour   uint64 `toml:"new_addresses_per_hour"` // addresses that are not on Level 1 yet
	SharePercent uint64 `toml:"share_percent"`          // of all impacts in the window
	ShareFrom    uint64 `toml:"share_from"`             // impacts in all below which the share is not looked at
}

func (b *Budget) check() error {
	if b.SharePercent > 100 || b.NewPerHour > numberMax || b.ShareFrom > numberMax {
		return fmt.Errorf("budget: share_percent %d is above 100, or another number above %d", b.SharePercent, numberMax)
	}
	return nil
}

// A Usage is where a reporter stands when its next report comes in. Hours are
// those of arrival: the times in a report are the reporter's own to choose.
type Usage struct {
	NewThisHour uint64 // its accepted reports of this hour about addresses that were not on Level 1
	Impacts     uint64 // its accepted impacts in the window
	All         uint64 // everybody's
	Reporters   int    // reporters with an impact in the window, this one included
}

// Admit returns the usage with one more accepted report, or the reason why the
// report must wait. fresh says that the address is not on Level 1. A share
// means nothing while there is a single reporter, so it is not looked at then.
func (b Budget) Admit(u Usage, fresh bool) (after Usage, wait string) {
	if fresh && b.NewPerHour > 0 && u.NewThisHour >= b.NewPerHour {
		return u, fmt.Sprintf("reporter has named %d new addresses this hour, its budget", u.NewThisHour)
	}
	share := b.SharePercent > 0 && u.All >= b.ShareFrom && u.Reporters > 1
	if share && (u.Impacts+1)*100 > b.SharePercent*(u.All+1) {
		return u, fmt.Sprintf("reporter stands for more than %d %% of all impacts, its budget", b.SharePercent)
	}
	if fresh {
		u.NewThisHour++
	}
	u.Impacts++
	u.All++
	return u, ""
}
