package policy

import "net/netip"

// A Removal is one granted express removal: the impacts of the address up to
// then are set aside.
type Removal struct {
	Address netip.Addr
	At      int64
}

type RemovalLimits struct {
	AddressDays     int64 `toml:"address_days"`
	NetLimit        int   `toml:"net_limit"`
	AllocationLimit int   `toml:"allocation_limit"`
	SystemDayLimit  int   `toml:"system_day_limit"`
	QuietSeconds    int64 `toml:"quiet_seconds"`
	RelapseDays     int64 `toml:"relapse_days"`
	BarDays         int64 `toml:"bar_days"`
}

func (l *RemovalLimits) check() error { return nil }

type Budget struct {
	NewPerHour   int    `toml:"new_addresses_per_hour"`
	SharePercent uint64 `toml:"share_percent"`
	ShareFrom    uint64 `toml:"share_from"`
}

func (b *Budget) check() error { return nil }
