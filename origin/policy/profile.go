package policy

import (
	"embed"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/BurntSushi/toml"

	"ucedge/origin/routes"
	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

// Window is how long an impact weighs, in seconds: an address is an abuser
// while its last impact is younger (POLICY, Words).
const Window = 7 * 24 * 3600

// A Counting says what Levels 2 and 3 add up.
type Counting string

const (
	ByAbusers Counting = "abusers" // distinct addresses and /64s
	ByImpacts Counting = "impacts" // their impacts, spaced
)

// A SystemRule is a way to judge an AS.
type SystemRule string

const (
	ByShare SystemRule = "share" // count against a share of its addresses, between two bounds
	ByScore SystemRule = "score" // count and spamscore, both against a bound
)

// A Profile is the rule by which listings are decided, as data. Profiles are
// made by ParseProfile or Named, which check every bound.
type Profile struct {
	Name           string   `toml:"name"`
	Counts         Counting `toml:"counts"`
	SpacingSeconds int64    `toml:"impact_spacing_seconds"` // impacts of one address closer than this count as one
	MinReporters   int      `toml:"min_reporters"`          // behind a listing of Level 2 or 3
	Documentation  bool     `toml:"documentation"`          // documentation ranges may be listed (demonstrations)

	Allocation map[string]uint32 `toml:"allocation"` // prefix length in IPv4 -> threshold
	System     SystemTable       `toml:"system"`
	Removal    RemovalLimits     `toml:"removal"`
	Budget     Budget            `toml:"budget"`

	text string
	rows [33]uint32 // thresholds by IPv4 length; 0 never lists
}

// A SystemTable is the rule of Level 3. A field that the rule does not use is
// zero.
type SystemTable struct {
	Rule          SystemRule `toml:"rule"`
	Counts        Counting   `toml:"counts"`
	Floor         uint64     `toml:"floor"` // least count
	Ceiling       uint64     `toml:"ceiling"`
	SharePerMille uint64     `toml:"share_per_mille"`
	ScoreTenths   uint64     `toml:"score_tenths"`
	MinNets       int        `toml:"min_nets"` // allocations of the AS on Level 2
}

// Limits of a profile. They only keep arithmetic exact; sense is its author's.
const (
	widestRow       = 8
	narrowestRow    = 27
	minReportersMax = reportersKept
	numberMax       = 1 << 31
)

//go:embed profiles
var profiles embed.FS

// Names returns the names of the profiles that come with the program, the
// default first.
func Names() []string { return []string{"classic", "impacts", "careful"} }

// Named returns one of the profiles that come with the program.
func Named(name string) (*Profile, error) {
	text, err := profiles.ReadFile("profiles/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("profile %q is not one of %q", name, Names())
	}
	return parse(string(text))
}

// ParseProfile parses and checks the text of a profile. Keys that it does not
// know are refused: a misspelt threshold must not pass as none. So is the name
// of a profile that comes with the program for any other rule than that one's,
// since the name is what snapshots tell.
func ParseProfile(text string) (*Profile, error) {
	p, err := parse(text)
	if err != nil {
		return nil, err
	}
	if slices.Contains(Names(), p.Name) {
		if known, err := Named(p.Name); err != nil || !p.sameRule(known) {
			return nil, fmt.Errorf("profile %q: the profile of that name is another one; give yours a name of its own", p.Name)
		}
	}
	return p, nil
}

// sameRule says whether two profiles differ in their comments at most, and in
// whether documentation ranges may be listed.
func (p *Profile) sameRule(q *Profile) bool {
	a, b := *p, *q
	a.text, b.text = "", ""
	a.Documentation, b.Documentation = false, false
	return reflect.DeepEqual(a, b)
}

// parse is ParseProfile for any name.
func parse(text string) (*Profile, error) {
	if len(text) > snapshot.ProfileMax {
		return nil, fmt.Errorf("profile: %d bytes are more than a snapshot carries, which is %d", len(text), snapshot.ProfileMax)
	}
	p := &Profile{text: text}
	md, err := toml.Decode(text, p)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if extra := md.Undecoded(); len(extra) > 0 {
		return nil, fmt.Errorf("profile %q: unknown key %q", p.Name, extra[0])
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("profile %q: %w", p.Name, err)
	}
	return p, nil
}

// check validates the profile and fills its rows.
func (p *Profile) check() error {
	if err := manifest.CheckProfileName(p.Name); err != nil {
		return err
	}
	switch {
	case p.Name == "imported":
		return fmt.Errorf("name %q is reserved", p.Name)
	case p.Counts != ByAbusers && p.Counts != ByImpacts:
		return fmt.Errorf("counts %q is neither abusers nor impacts", p.Counts)
	case p.SpacingSeconds < 0 || p.SpacingSeconds > Window:
		return fmt.Errorf("impact_spacing_seconds %d is outside 0 to %d", p.SpacingSeconds, Window)
	case p.MinReporters < 1 || p.MinReporters > minReportersMax:
		return fmt.Errorf("min_reporters %d is outside 1 to %d", p.MinReporters, minReportersMax)
	}
	if err := p.fillRows(); err != nil {
		return err
	}
	if err := p.System.check(); err != nil {
		return fmt.Errorf("system: %w", err)
	}
	if err := p.Removal.check(); err != nil {
		return fmt.Errorf("removal: %w", err)
	}
	return p.Budget.check()
}

// fillRows takes the thresholds, which must be there for each row and must not
// fall as prefixes get wider.
func (p *Profile) fillRows() error {
	for bits := narrowestRow; bits >= widestRow; bits-- {
		t, ok := p.Allocation[strconv.Itoa(bits)]
		if !ok || t == 0 || t > numberMax {
			return fmt.Errorf("allocation: no threshold for /%d", bits)
		}
		if t < p.rows[bits+1] {
			return fmt.Errorf("allocation: threshold %d for /%d is less than %d for /%d", t, bits, p.rows[bits+1], bits+1)
		}
		p.rows[bits] = t
		if bits == narrowestRow {
			for i := bits + 1; i <= 32; i++ {
				p.rows[i] = t
			}
		}
	}
	if len(p.Allocation) != narrowestRow-widestRow+1 {
		return fmt.Errorf("allocation: has %d rows, want /%d to /%d", len(p.Allocation), widestRow, narrowestRow)
	}
	return nil
}

// check validates the rule of Level 3.
func (s *SystemTable) check() error {
	switch {
	case s.Counts != ByAbusers && s.Counts != ByImpacts:
		return fmt.Errorf("counts %q is neither abusers nor impacts", s.Counts)
	case s.Floor == 0 || s.Floor > numberMax || s.Ceiling > numberMax || s.ScoreTenths > numberMax:
		return fmt.Errorf("floor %d must be from 1 to %d, ceiling and score_tenths not above", s.Floor, numberMax)
	case s.Rule == ByShare && (s.Ceiling < s.Floor || s.SharePerMille == 0 || s.SharePerMille > 1000):
		return fmt.Errorf("rule share needs ceiling at or above floor, and share_per_mille from 1 to 1000")
	case s.Rule == ByScore && s.ScoreTenths == 0:
		return fmt.Errorf("rule score needs score_tenths")
	case s.Rule != ByShare && s.Rule != ByScore:
		return fmt.Errorf("rule %q is neither share nor score", s.Rule)
	case s.MinNets < 0:
		return fmt.Errorf("min_nets %d is negative", s.MinNets)
	}
	return nil
}

// documentationLine is the line of a profile that refuses documentation ranges.
var documentationLine = regexp.MustCompile(`(?m)^([ \t]*documentation[ \t]*=[ \t]*)false\b`)

// WithDocumentation returns the same rule, for demonstrations: documentation
// ranges may be listed under it, and its text says so, in the line that refused
// them or, without one, in one of its own.
func (p *Profile) WithDocumentation() (*Profile, error) {
	if p.Documentation {
		return p, nil
	}
	text := documentationLine.ReplaceAllString(p.text, "${1}true")
	if text == p.text {
		text = "documentation = true\n" + text
	}
	return ParseProfile(text)
}

// Snapshot returns the profile as a snapshot carries it.
func (p *Profile) Snapshot() snapshot.Profile { return snapshot.Profile{Name: p.Name, Text: p.text} }

// Row returns the IPv4 length that stands for a prefix length: for IPv6
// 32 - ceil((64 - n) / 2), so that /48 is judged like a /24 (POLICY, Level 2).
func Row(v6 bool, bits int) int {
	if !v6 {
		return bits
	}
	return 32 - (64-min(bits, 64)+1)/2
}

// Threshold returns the count from which an allocation is listed; 0 says that
// no count lists it, because it is wider than the table of the profile.
func (p *Profile) Threshold(prefix netip.Prefix) uint32 {
	return p.threshold(prefix.Addr().Is6(), prefix.Bits())
}

func (p *Profile) threshold(v6 bool, bits int) uint32 {
	row := Row(v6, bits)
	if row < 0 {
		return 0
	}
	return p.rows[row]
}

// Size returns the number of addresses by which an AS is judged: those of IPv4,
// or 256 for each /48 if it has none.
func Size(s routes.System) uint64 {
	if s.Addresses > 0 {
		return s.Addresses
	}
	if s.Slash48s > math.MaxUint64/256 {
		return math.MaxUint64
	}
	return s.Slash48s * 256
}

// SystemThreshold returns the count from which an AS is listed, as far as the
// count decides: min_nets and min_reporters are asked for besides.
func (p *Profile) SystemThreshold(s routes.System) uint64 {
	size := Size(s)
	if p.System.Rule == ByShare {
		share := ceilMulDiv(size, p.System.SharePerMille, 1000)
		return max(p.System.Floor, min(p.System.Ceiling, share))
	}
	// The least count whose spamscore, rounded, reaches the bound b:
	// (2c*10^6 + size) / 2size >= b  <=>  c >= (2b-1)*size / 2*10^6.
	return max(p.System.Floor, ceilMulDiv(2*p.System.ScoreTenths-1, size, 2_000_000))
}

// ScoreTenths returns the spamscore in tenths: count / size x 100 000, rounded
// to one decimal. A system without addresses scores 0.
func ScoreTenths(count, size uint64) uint64 {
	if size == 0 {
		return 0
	}
	count = min(count, math.MaxUint64/4_000_000)
	size = min(size, math.MaxUint64/4)
	return (2*count*1_000_000 + size) / (2 * size)
}
