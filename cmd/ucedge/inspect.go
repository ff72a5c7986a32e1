package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ucedge/snapshot"
	"ucedge/snapshot/manifest"
)

func newSnapshotInspect() *cobra.Command {
	var (
		pubs   []string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "inspect SNAPSHOT",
		Short: "Show what a snapshot holds: levels, counts, sizes, age, keys, collateral",
		Long: `Shows what a snapshot holds. SNAPSHOT is a publish folder or the file of an image.
Signatures are checked only against the keys given with --pub.`,
		Example: `  ucedge snapshot inspect publish --pub bl.example.pub
  ucedge snapshot inspect publish --json | jq .levels`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := verifiersFrom(pubs)
			if err != nil {
				return err
			}
			l, err := loadSnapshot(args[0], keys)
			if err != nil {
				return err
			}
			report := inspect(l, time.Now())
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(report)
			}
			return report.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVar(&pubs, "pub", nil, "file with a public key to check signatures with (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// An inspection is what a person wants to know of a snapshot.
type inspection struct {
	List     string           `json:"list,omitempty"`
	Serial   snapshot.Serial  `json:"serial,omitempty"`
	Built    *time.Time       `json:"built,omitempty"`
	Next     *time.Time       `json:"next,omitempty"`
	Expires  *time.Time       `json:"expires,omitempty"`
	Age      string           `json:"age,omitempty"`
	State    string           `json:"state"` // fresh, stale, expired, or unsigned
	Keys     []string         `json:"keys"`  // signatures that were checked
	Profile  string           `json:"profile"`
	Zones    []inspectedZone  `json:"zones"`
	Levels   []inspectedLevel `json:"levels"`
	Objects  []inspectedObj   `json:"objects,omitempty"`
	Sections []inspectedPart  `json:"sections"`
	Image    int64            `json:"image_bytes"`
	Filter   int              `json:"filter_bytes"`
}

type inspectedZone struct {
	Suffix string `json:"suffix"`
	Level  uint8  `json:"level"` // 0 answers for all
	Code   string `json:"code"`
	TTL    uint32 `json:"ttl"`
}

type inspectedLevel struct {
	Level       uint8   `json:"level"`
	Listings    uint64  `json:"listings"`
	Exclusions  uint64  `json:"exclusions"`
	Addresses   uint64  `json:"ipv4_addresses"`
	Slash64s    uint64  `json:"ipv6_slash64s"`
	Abusers     uint64  `json:"abusers_inside"`
	PerAbuser   float64 `json:"addresses_per_abuser,omitempty"`
	Bytes       int64   `json:"bytes"`
	BitsPerItem float64 `json:"bits_per_listing,omitempty"`
}

type inspectedObj struct {
	Role      string `json:"role"`
	Coding    string `json:"coding"`
	Bytes     int64  `json:"bytes"`
	WireBytes int64  `json:"wire_bytes"`
	Hash      string `json:"sha256"`
}

type inspectedPart struct {
	Name   string `json:"name"`
	Items  int    `json:"items"`
	Bytes  int64  `json:"bytes"`
	Offset int64  `json:"offset"`
}

func inspect(l *loaded, now time.Time) inspection {
	r := inspection{
		State:   "unsigned",
		Keys:    append([]string{}, l.keys...),
		Profile: l.snapshot.Profile().Name,
		Image:   int64(len(l.image)),
		Filter:  len(l.filter),
	}
	if l.signed != nil {
		r.addManifest(l.manifest, now)
	}
	for _, z := range l.snapshot.Zones() {
		code := fmt.Sprintf("%d.%d.%d.%d", z.Code[0], z.Code[1], z.Code[2], z.Code[3])
		r.Zones = append(r.Zones, inspectedZone{z.Suffix, uint8(z.Level), code, z.TTL})
	}
	perLevel := map[snapshot.Level]int64{}
	for _, s := range l.snapshot.Sections() {
		r.Sections = append(r.Sections, inspectedPart{s.String(), s.Count, s.Length, s.Offset})
		perLevel[s.Level] += s.Length
	}
	for _, c := range l.snapshot.Collateral() {
		r.Levels = append(r.Levels, levelOf(c, perLevel[c.Level]))
	}
	return r
}

func levelOf(c snapshot.Collateral, size int64) inspectedLevel {
	l := inspectedLevel{
		Level: uint8(c.Level), Listings: c.Entries, Exclusions: c.Excluded,
		Addresses: c.Addresses, Slash64s: c.Slash64s, Abusers: c.Abusers, Bytes: size,
	}
	if c.Abusers > 0 {
		l.PerAbuser = float64(c.Addresses) / float64(c.Abusers)
	}
	if n := c.Entries + c.Excluded; n > 0 {
		l.BitsPerItem = float64(size) * 8 / float64(n)
	}
	return l
}

func (r *inspection) addManifest(m manifest.Manifest, now time.Time) {
	at := func(unix int64) *time.Time { t := time.Unix(unix, 0).UTC(); return &t }
	r.List, r.Serial = m.List, m.Serial
	r.Built, r.Next, r.Expires = at(m.Built), at(m.Next), at(m.Expires)
	r.Age = now.Sub(*r.Built).Round(time.Second).String()
	switch {
	case !now.Before(*r.Expires):
		r.State = "expired"
	case now.After(r.Next.Add(r.Next.Sub(*r.Built))):
		r.State = "stale"
	default:
		r.State = "fresh"
	}
	for _, o := range m.Objects {
		r.Objects = append(r.Objects, inspectedObj{string(o.Role), string(o.Coding), o.Size, o.WireSize, o.Hash.String()})
	}
}

func (r inspection) print(w io.Writer) error {
	if r.Built != nil {
		fmt.Fprintf(w, "%s, serial %d, profile %s, %s\n", r.List, r.Serial, r.Profile, r.State)
		fmt.Fprintf(w, "built %s (%s ago), next %s, expires %s\n", r.Built.Format(time.RFC3339), r.Age, r.Next.Format(time.RFC3339), r.Expires.Format(time.RFC3339))
		signed := "signatures not checked (give --pub)"
		if len(r.Keys) > 0 {
			signed = "signed by " + strings.Join(r.Keys, ", ")
		}
		fmt.Fprintln(w, signed)
	} else {
		fmt.Fprintf(w, "bare image, profile %s\n", r.Profile)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nlevel\tlistings\texclusions\tIPv4 addresses\tIPv6 /64s\tabusers inside\taddresses/abuser\tbytes\tbits/listing\t")
	for _, l := range r.Levels {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%d\t%.2f\t\n", l.Level, l.Listings, l.Exclusions, l.Addresses, l.Slash64s, l.Abusers, l.PerAbuser, l.Bytes, l.BitsPerItem)
	}
	fmt.Fprintln(t, "\nsection\titems\tbytes\toffset\t")
	for _, s := range r.Sections {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", s.Name, s.Items, s.Bytes, s.Offset)
	}
	fmt.Fprintf(t, "image\t\t%d\t\t\nfilter\t\t%d\t\t\n", r.Image, r.Filter)
	if len(r.Objects) > 0 {
		fmt.Fprintln(t, "\nobject\tcoding\tbytes\twire bytes\t")
	}
	for _, o := range r.Objects {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t\n", o.Role, o.Coding, o.Bytes, o.WireBytes)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	z := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(z, "\nzone\tlevel\tcode\tTTL")
	for _, zone := range r.Zones {
		level := fmt.Sprint(zone.Level)
		if zone.Level == 0 {
			level = "all"
		}
		fmt.Fprintf(z, "%s\t%s\t%s\t%d\n", zone.Suffix, level, zone.Code, zone.TTL)
	}
	return z.Flush()
}
