package routes

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Limits of reading. They bound memory against a damaged or hostile file and
// leave room for several times the tables of 2026.
const (
	plainBytesMax = 8 << 30   // after decompression; streamed formats
	mmdbBytesMax  = 512 << 20 // an MMDB is held whole while it is read
	zstdMemoryMax = 256 << 20 // window of a zstd frame
	lineBytesMax  = 64 << 10  // a longer line is a bad line
	originsMax    = 64        // of one line or record, and of one prefix
	rangeMax      = 256       // of the widest routes in one range: all of IPv4, a /8 of IPv6
	namesMax      = 1 << 20   // systems with a name, eight times those of 2026
	holderMax     = 255       // bytes of the id of a holder in a delegated file

	problemsKept  = 20 // bad lines that Stats names
	badAlways     = 10 // this many bad lines are accepted in any file
	badShareOneIn = 50 // beyond that, more bad lines than one in this many refuse the file
)

// A Format is a kind of routing file.
type Format string

// The formats that Read detects.
const (
	Prefixes  Format = "prefixes"  // prefix, ASN, name; TAB or comma
	Pfx2AS    Format = "pfx2as"    // address, length, ASN; TAB
	Ranges    Format = "ranges"    // first, last, ASN, name; TAB (iptoasn: country before the name) or comma
	Delegated Format = "delegated" // RIR statistics exchange, extended
	MRT       Format = "mrt"       // RFC 6396 TABLE_DUMP_V2
	MMDB      Format = "mmdb"      // MaxMind DB with ASN records
)

// Stats tells what became of one file.
type Stats struct {
	Format   Format
	Lines    int // lines or records read
	Routes   int // prefixes taken
	Skipped  int // good lines that give no route: unrouted, reserved, or outside the lengths of a table
	Bad      int // lines or records refused
	Problems []Problem
}

// A Problem is one refused line or record, counted from 1.
type Problem struct {
	Line   int
	Reason string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Reason) }

// ErrBad is wrapped by the error of a file whose content is refused.
var ErrBad = errors.New("not a usable routing file")

// bad counts a refused line.
func (s *Stats) bad(line int, err error) {
	s.Bad++
	if len(s.Problems) < problemsKept {
		s.Problems = append(s.Problems, Problem{line, err.Error()})
	}
}

// took counts the outcome of adding a route. The error is that of a full table.
func (s *Stats) took(n int, err error) error {
	s.Routes += n
	var out *RangeError
	switch {
	case err == nil && n == 0, errors.As(err, &out):
		s.Skipped++
	case err != nil:
		return err
	}
	return nil
}

// verdict returns an error if the file as a whole must be refused.
func (s *Stats) verdict() error {
	switch {
	case s.Bad > badAlways && s.Bad > s.Lines/badShareOneIn:
		return fmt.Errorf("%w: %d of %d lines are bad, the first: %v", ErrBad, s.Bad, s.Lines, s.Problems[0])
	case s.Routes == 0 && s.Bad > 0:
		return fmt.Errorf("%w: no route in it; %v", ErrBad, s.Problems[0])
	case s.Routes == 0:
		return fmt.Errorf("%w: no route in it", ErrBad)
	}
	return nil
}

// Read adds the routes of one file, in any of the formats, plain or compressed
// with gzip, zstd or bzip2. On an error the Builder must be dropped: it may
// hold part of the file.
func (b *Builder) Read(r io.Reader) (Stats, error) {
	plain, done, err := decompress(r)
	if err != nil {
		return Stats{}, err
	}
	defer done()
	var s Stats
	br := bufio.NewReaderSize(plain, lineBytesMax)
	if err := b.readPlain(br, &s); err != nil {
		return s, err
	}
	return s, s.verdict()
}

// readPlain detects the format and reads it.
func (b *Builder) readPlain(br *bufio.Reader, s *Stats) error {
	head, err := br.Peek(4096)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case isMRT(head):
		s.Format = MRT
		return b.readMRT(br, s)
	case isBinary(head):
		s.Format = MMDB
		whole, err := io.ReadAll(io.LimitReader(br, mmdbBytesMax+1))
		if err != nil {
			return err
		}
		return b.readMMDB(whole, s)
	}
	return b.readText(br, s)
}

// isBinary reports whether bytes occur that no text has.
func isBinary(head []byte) bool {
	return bytes.IndexFunc(head, func(r rune) bool { return r < '\t' }) >= 0
}

// decompress undoes the compression that the first bytes name.
func decompress(r io.Reader) (plain io.Reader, done func(), err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	done = func() {}
	plain = br
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if plain, err = gzip.NewReader(br); err != nil {
			return nil, nil, err
		}
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(zstdMemoryMax), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		plain, done = z, z.Close
	case bytes.HasPrefix(head, []byte("BZh")):
		plain = bzip2.NewReader(br)
	}
	return &limited{plain, plainBytesMax}, done, nil
}

// limited is a reader that gives an error, not an end, at its limit: a table
// cut off in silence would be a wrong table.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrBad, int64(plainBytesMax))
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// Read makes a table of one file that stands for the given time.
func Read(r io.Reader, dated time.Time) (*Table, Stats, error) {
	var b Builder
	s, err := b.Read(r)
	if err != nil {
		return nil, s, err
	}
	return b.Table(dated), s, nil
}

// Load makes one table of several files, for example one for each family, with
// the statistics of each file read. It is dated like the oldest of them.
func Load(paths ...string) (*Table, []Stats, error) {
	var b Builder
	var all []Stats
	var dated time.Time
	for _, path := range paths {
		s, modified, err := b.load(path)
		all = append(all, s)
		if err != nil {
			return nil, all, fmt.Errorf("read routes %q: %w", path, err)
		}
		if dated.IsZero() || modified.Before(dated) {
			dated = modified
		}
	}
	return b.Table(dated), all, nil
}

// load reads one file and returns its time of last change.
func (b *Builder) load(path string) (Stats, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return Stats{}, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Stats{}, time.Time{}, err
	}
	s, err := b.Read(f)
	return s, info.ModTime(), err
}
