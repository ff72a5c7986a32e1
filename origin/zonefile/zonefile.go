// Package zonefile reads and writes the zone files of rbldnsd: it turns the
// files of a list into zone settings and listings, and a snapshot back into
// files that rbldnsd loads.
//
// Most callers use Parse and Export. Promised: good lines are kept and bad ones
// reported with file, line and reason; a text survives import, export and
// import; memory is bounded by the named limits. Where rbldnsd would answer an
// address, so does the result, with these differences, each of them the rule of
// every ucedge zone: the most specific prefix answers alone, a zone has one A
// code, special-use space is not listed, and the test points 127.0.0.2 and
// ::ffff:7f00:2 are listed in every zone, 127.0.0.1 and ::ffff:7f00:1 in none.
// rbldnsd cuts texts at 254 bytes, our answers at 255 and the AS name first.
// Not promised: datasets of names (dnset, generic) and acl.
package zonefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"ucedge/origin/reserved"
	"ucedge/snapshot"
)

// A Kind is a dataset type of rbldnsd. The zero Kind, Auto, is told from the
// file: $DATASET means Combined, an address with a colon IP6Trie, any other
// IP4Set for Level 1 and IP4Trie for Levels 2 and 3.
type Kind uint8

// The dataset types that list addresses.
const (
	Auto     Kind = iota
	IP4Set        // addresses, CIDR, ranges; listings and exclusions meet octet by octet
	IP4Trie       // CIDR; the most specific entry answers
	IP4TSet       // whole addresses that share one A and TXT
	IP6Trie       // CIDR; the most specific entry answers
	IP6TSet       // /64s that share one A and TXT, exclusions of /128
	Combined      // several datasets and subzones in one file
)

var kindNames = [...]string{"auto", "ip4set", "ip4trie", "ip4tset", "ip6trie", "ip6tset", "combined"}

// String returns the name that rbldnsd uses, or "auto".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind returns the kind of that name, in any case.
func ParseKind(name string) (Kind, error) {
	for i, n := range kindNames {
		if strings.EqualFold(n, name) {
			return Kind(i), nil
		}
	}
	return Auto, fmt.Errorf("unknown dataset type %q", name)
}

// is6 reports whether entries of the dataset are IPv6.
func (k Kind) is6() bool { return k == IP6Trie || k == IP6TSet }

// Limits on what Parse takes in, unless Options lower them.
const (
	MaxLine      = 8192      // bytes of one line; a longer one is a problem
	MaxEntries   = 32 << 20  // entries of all files together, 32 bytes each; and different texts
	MaxTextBytes = 256 << 20 // of all different texts, as they stand and as they are expanded
	MaxDatasets  = 100       // of a combined file; each is merged into those before it
	MaxProblems  = 1000      // problems kept; all are counted
)

// ErrLimit is returned for files of which a limit was passed.
var ErrLimit = errors.New("more than is taken in")

// DefaultTTL is the TTL in seconds of a file that sets none: rbldnsd's own.
const DefaultTTL = 2100

// Options say how files are read.
type Options struct {
	// Zone holds the suffix and level of the zone, and the settings that apply
	// where the files are silent. For a combined file it is the base zone "@".
	Zone snapshot.Zone
	Kind Kind
	// Subzones gives the level of each subzone of a combined file. A subzone
	// that it does not name takes the level of the digit 1, 2 or 3 at the end
	// of its first label.
	Subzones map[string]snapshot.Level
	// Strict makes any problem an error.
	Strict bool
	// AllowSpecialUse keeps listings in special-use space.
	AllowSpecialUse bool
	// AllowHostBits masks 192.0.2.1/24 in place of refusing it (rbldnsd -e).
	AllowHostBits bool
	// AddressesOnly leaves out what addresses are listed with, codes and texts.
	AddressesOnly bool
	// MaxEntries and MaxTextBytes are lower limits than the constants of these
	// names, for files that nobody vouches for; zero is the constants.
	MaxEntries, MaxTextBytes int
	// Now is the time in seconds since the Unix epoch against which
	// $TIMESTAMP is checked; zero checks nothing.
	Now int64
}

// A Source is one file. Several sources are read as if they were one, except
// that a default A and TXT ends with its file.
type Source struct {
	Name   string
	Reader io.Reader
}

// A Problem is a line that could not be taken as it stands.
type Problem struct {
	File   string
	Line   int
	Reason string
	Kept   bool // the line counts, but not all that it says
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
}

// Dropped counts the entries that special-use space cost.
type Dropped struct {
	reserved.Range
	Listings int // listings that lie in the range, dropped
	Cut      int // wider listings, from which the range was cut out by an exclusion
}

// A Result is what the files say.
type Result struct {
	Kind     Kind               // of the files; never Auto
	Zones    []snapshot.Zone    // one, or one for each subzone of a combined file
	Listings []snapshot.Listing // by level, IPv4 before IPv6, by address, by length
	Serial   snapshot.Serial    // of $SOA, or zero
	Built    int64              // of $TIMESTAMP, seconds since the Unix epoch, or zero
	Expires  int64              // of $TIMESTAMP, or zero

	Problems     []Problem // the first MaxProblems, by file and line
	ProblemCount int
	SpecialUse   []Dropped // in the order of the registry table
}

// ErrExpired is returned for files whose $TIMESTAMP says that they must no
// longer be served, or are from the future.
var ErrExpired = errors.New("zone data is out of its time")

// A StrictError is returned if Options.Strict is set and there are problems.
type StrictError struct {
	Problems []Problem // the first MaxProblems
	Count    int
}

func (e *StrictError) Error() string {
	return fmt.Sprintf("%d problems in zone files, the first: %s", e.Count, e.Problems[0])
}

// Parse reads the files of one zone. An error means that there is no result:
// reading failed, a limit was passed (ErrLimit), the data is out of its time
// (ErrExpired), or Strict refused it (*StrictError). Bad lines are no error.
func Parse(opts Options, sources ...Source) (*Result, error) {
	p := newParser(opts)
	for _, s := range sources {
		if err := p.read(s); err != nil {
			return nil, err
		}
	}
	result, err := p.finish()
	if err != nil {
		return nil, err
	}
	if opts.Strict && result.ProblemCount > 0 {
		return nil, &StrictError{result.Problems, result.ProblemCount}
	}
	return result, nil
}

// read takes in one file, line by line.
func (p *parser) read(s Source) error {
	p.openFile(s.Name)
	in := bufio.NewReaderSize(s.Reader, MaxLine+1)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			p.line++
		}
		if err == bufio.ErrBufferFull {
			p.longLine(line)
			err = skipLine(in)
			line = nil
		}
		if n := len(line); n > 0 {
			if line[n-1] == '\n' {
				line = line[:n-1]
			}
			p.takeLine(line)
		}
		switch {
		case p.err != nil:
			return p.err
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read %q: %w", s.Name, err)
		}
	}
}

// longLine reports a line that passes MaxLine, unless it is a comment.
func (p *parser) longLine(start []byte) {
	start = trimBlanks(start)
	if len(start) > 0 && (start[0] == '#' || start[0] == ';') {
		return
	}
	p.problem("line of more than %d bytes", MaxLine)
}

// skipLine reads on to the end of a line that passes the buffer.
func skipLine(in *bufio.Reader) error {
	for {
		_, err := in.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}
