package snapshot

import "math"

// openZones reads the settings of all zones.
func openZones(x Section, b []byte) ([]Zone, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count < 1 || x.Count > ZonesMax {
		c.fail("number of zones out of range")
		return nil, c.err
	}
	zones := make([]Zone, x.Count)
	for i := range zones {
		readZone(&c, &zones[i])
		if c.err != nil {
			return nil, c.err
		}
		if problem := zones[i].problem(zones[:i]); problem != "" {
			c.fail(problem)
		}
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return zones, nil
}

func readZone(c *cursor, z *Zone) {
	z.Suffix = c.string(NameMax)
	z.Level = Level(c.byte())
	copy(z.Code[:], c.bytes(4))
	for _, n := range []*uint32{&z.TTL, &z.SOATTL, &z.Refresh, &z.Retry, &z.Expire, &z.Minimum, &z.NSTTL} {
		*n = uint32(c.uint(math.MaxUint32))
	}
	z.MName = c.string(255)
	z.RName = c.string(255)
	if n := c.uint(NSMax); n > 0 {
		z.NS = make([]string, n)
		for i := range z.NS {
			z.NS[i] = c.string(255)
		}
	}
	z.Text = c.string(TemplateMax)
	z.TestText = c.string(TemplateMax)
	z.URL = c.string(TemplateMax)
}

// CheckZones returns an error that names the first zone that an image cannot
// hold: one to eight zones, each suffix once, each level at most once.
func CheckZones(zones []Zone) error {
	if len(zones) < 1 || len(zones) > ZonesMax {
		return &FormatError{"zones", 0, "number of zones out of range"}
	}
	for i := range zones {
		if problem := zones[i].problem(zones[:i]); problem != "" {
			return &FormatError{"zones", 0, problem}
		}
	}
	return nil
}

// problem says what is wrong with z after the zones before it, or nothing.
func (z *Zone) problem(before []Zone) string {
	quoted := "zone \"" + z.Suffix + "\": "
	for i := range before {
		if before[i].Suffix == z.Suffix || before[i].Level == z.Level {
			return quoted + "suffix or level twice"
		}
	}
	switch {
	case z.Level > System:
		return quoted + "unknown level"
	case !isName(z.Suffix, NameMax):
		return quoted + "suffix is not a lower-case domain name"
	case z.Code[0] != 127:
		return quoted + "code outside 127.0.0.0/8"
	case z.Level == Combined && z.Code[3] > 253:
		return quoted + "code leaves no room for three levels"
	case z.MName != "" && !isName(z.MName, 253) || z.RName != "" && !isName(z.RName, 253):
		return quoted + "SOA name is not a lower-case domain name"
	case len(z.NS) > NSMax:
		return quoted + "too many name servers"
	case z.Text == "":
		return quoted + "no text"
	case max(len(z.Text), len(z.TestText), len(z.URL)) > TemplateMax:
		return quoted + "text too long"
	case max(z.TTL, z.SOATTL, z.Refresh, z.Retry, z.Expire, z.Minimum, z.NSTTL) > math.MaxInt32:
		return quoted + "TTL past 2^31-1 seconds (RFC 2181 8)"
	}
	for _, ns := range z.NS {
		if !isName(ns, 253) {
			return quoted + "name server is not a lower-case domain name"
		}
	}
	return ""
}

// isName says whether s is a domain name in lower case, without the final dot:
// labels of letters, digits, hyphens and underscores, 1 to 63 bytes each.
func isName(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	label := 0
	for i := range len(s) {
		switch b := s[i]; {
		case b == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '_':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0
}

func openProfile(x Section, b []byte) (Profile, error) {
	c := cursor{name: x.String(), b: b}
	p := Profile{Name: c.string(NameMax), Text: c.string(ProfileMax)}
	if x.Count != 1 {
		c.fail("not one profile")
	}
	if err := c.end(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

func openCollateral(x Section, b []byte) ([]Collateral, error) {
	c := cursor{name: x.String(), b: b}
	if x.Count != int(System) {
		c.fail("not one row for each level")
		return nil, c.err
	}
	rows := make([]Collateral, x.Count)
	for i := range rows {
		r := &rows[i]
		r.Level = Level(i + 1)
		for _, n := range []*uint64{&r.Entries, &r.Excluded, &r.Addresses, &r.Slash64s, &r.Abusers} {
			*n = c.uint(math.MaxUint64)
		}
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return rows, nil
}
