package policy

import (
	"fmt"
	"strings"
	"time"
)

// tenths writes a number of tenths with one decimal.
func tenths(n uint64) string { return fmt.Sprintf("%d.%d", n/10, n%10) }

// conclude fills in the narrowest level that lists the address, and the advice.
func (d *Derivation) conclude() {
	net, system := firstListed(d.Allocations), firstListed(d.Systems)
	exempt := d.Exempt == ExemptInForce
	switch {
	case d.Never != "":
		d.advise("%v is never listed: %s.", d.Address, d.Never)
		if !d.around.IsZero() {
			d.advise("The other addresses of %v are on Level 1 until %s.", d.Unit, stamp(d.around))
		}
		return
	case d.Level1.Listed:
		d.LevelListed = 1
		d.adviseOwner(net != nil || system != nil)
	case exempt:
		d.advise("%v is exempt: Levels 2 and 3 do not list it, whatever happens around it.", d.Address)
		return
	case net != nil:
		d.LevelListed = 2
		d.adviseNeighbour()
	case system != nil:
		d.LevelListed = 3
		d.adviseNeighbour()
	default:
		d.advise("%v is not listed. Nothing needs to be done.", d.Address)
		return
	}
	for _, c := range d.listed() {
		d.advise("%s", c.end())
	}
}

func (d *Derivation) advise(format string, args ...any) {
	d.Advice = append(d.Advice, fmt.Sprintf(format, args...))
}

// firstListed returns the first listed candidate, or nil.
func firstListed(all []Candidate) *Candidate {
	for i := range all {
		if all[i].Listed {
			return &all[i]
		}
	}
	return nil
}

// listed returns the listed candidates of both levels.
func (d *Derivation) listed() []Candidate {
	var all []Candidate
	for _, list := range [][]Candidate{d.Allocations, d.Systems} {
		for _, c := range list {
			if c.Listed {
				all = append(all, c)
			}
		}
	}
	return all
}

// adviseOwner speaks to whoever uses a Level 1 address.
func (d *Derivation) adviseOwner(wider bool) {
	d.advise("Find and stop what sends abuse from %v. The listing ends by itself by %s if no further impact comes in; no fee and no request is needed.",
		d.Unit, stamp(d.Level1.Ends))
	if wider {
		d.advise("A request to lift a Level 2 listing is refused while %v is itself on Level 1.", d.Address)
	}
}

// adviseNeighbour speaks to somebody who is listed for what others do.
func (d *Derivation) adviseNeighbour() {
	first := d.listed()[0]
	if first.ByHand {
		d.advise("This is not your fault: no impact of %v counts. An operator of the list has listed %s.", d.Address, first.subject())
		return
	}
	d.advise("This is not your fault: no impact of %v counts. It is listed because of other addresses of the same provider.", d.Address)
	d.advise("Who can end it: %s, by stopping the abuse from its network. Write to them, or send your mail through another network meanwhile.", d.who())
}

// who names the provider of the narrowest listed candidate.
func (d *Derivation) who() string {
	for _, c := range d.listed() {
		if c.ASN != 0 {
			return c.provider()
		}
	}
	return "the provider of this network"
}

// provider names the AS of a candidate.
func (c *Candidate) provider() string {
	if c.ASName == "" {
		return fmt.Sprintf("AS%d", c.ASN)
	}
	return fmt.Sprintf("%s/AS%d", c.ASName, c.ASN)
}

// subject names what the candidate is.
func (c *Candidate) subject() string {
	switch {
	case !c.Prefix.IsValid():
		return c.provider()
	case c.ASN == 0:
		return c.Prefix.String()
	}
	return fmt.Sprintf("%v of %s", c.Prefix, c.provider())
}

// end says when a listed candidate leaves.
func (c *Candidate) end() string {
	if c.ByHand {
		return fmt.Sprintf("%s was listed by an operator and leaves by %s.", c.subject(), stamp(c.Ends))
	}
	s := fmt.Sprintf("%s leaves by itself when its %s fall from %d to %d or fewer", c.subject(), c.Counts, c.Count, c.LeavesAt)
	if !c.Forecast.IsZero() {
		s += ": by " + stamp(c.Forecast) + " if no further impact comes in"
	}
	return s + "."
}

// stamp writes an hour for a person.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Text writes the derivation for a person, in lines that end with a line feed.
func (d *Derivation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v at %s by profile %s\n\n", d.Address, stamp(d.Now), d.Profile)
	for _, line := range d.Advice {
		fmt.Fprintln(&b, line)
	}
	verdict := d.Level1.text()
	if !d.around.IsZero() {
		verdict = fmt.Sprintf("listed without %v until %s", d.Address, stamp(d.around))
	}
	fmt.Fprintf(&b, "\nLevel 1, %v: %s\n", d.Unit, verdict)
	for _, e := range d.Impacts {
		fmt.Fprintf(&b, "  %s  %-12s%s\n", stamp(e.Hour), e.Kind, e.text())
	}
	if d.Exempt != "" {
		fmt.Fprintf(&b, "Exemption from Levels 2 and 3: %s\n", d.Exempt)
	}
	section(&b, "Level 2, allocations:", "no announced prefix covers the address", d.Allocations)
	section(&b, "Level 3, autonomous systems:", "no system announces the address", d.Systems)
	return b.String()
}

func section(b *strings.Builder, title, none string, all []Candidate) {
	fmt.Fprintln(b, title)
	if len(all) == 0 {
		fmt.Fprintf(b, "  %s\n", none)
	}
	for i := range all {
		fmt.Fprintf(b, "  %s\n", all[i].text())
	}
}

func (l *Level1) text() string {
	switch {
	case l.ByHand && l.Count == 0:
		return "listed by an operator until " + stamp(l.Ends)
	case l.Listed:
		return fmt.Sprintf("listed for %s until %s", plural(uint64(l.Count), "impact"), stamp(l.Ends))
	}
	return "not listed"
}

func (e *Evidence) text() string {
	switch {
	case e.Counts && e.Times == 1:
		return "counts"
	case e.Counts:
		return fmt.Sprintf("%d count", e.Times)
	case e.Times == 1:
		return "does not count: " + e.Why
	}
	return fmt.Sprintf("%d do not count: %s", e.Times, e.Why)
}

// text writes one line about a candidate.
func (c *Candidate) text() string {
	var b strings.Builder
	b.WriteString(c.subject())
	if c.Own {
		b.WriteString(" (around an abuser; not announced itself)")
	}
	if c.ByHand {
		fmt.Fprintf(&b, ": listed by an operator until %s", stamp(c.Ends))
		return b.String()
	}
	fmt.Fprintf(&b, ": %s", plural(c.Count, strings.TrimSuffix(string(c.Counts), "s")))
	if c.Addresses > 0 {
		fmt.Fprintf(&b, " in %s", plural(c.Addresses, "address"))
	}
	if c.Threshold > 0 {
		fmt.Fprintf(&b, ", listed from %d", c.Threshold)
	}
	if c.Score != "" {
		fmt.Fprintf(&b, ", spamscore %s", c.Score)
	}
	if c.Listed {
		fmt.Fprintf(&b, ": listed, leaves at %d", c.LeavesAt)
	} else {
		fmt.Fprintf(&b, ": not listed, %s", c.WhyNot)
	}
	return b.String()
}

// plural writes a number with its noun.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
