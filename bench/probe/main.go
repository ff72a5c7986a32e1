// Command probe measures the core where it stands: built natively it times
// native code, built for wasip1 it times the guest's. It asks the same questions
// of the same image in both, so that the two can be compared.
//
//	probe [-profile FILE] IMAGE [FILTER]
//
// It prints one line per figure: name, value, unit. With -profile it takes longer
// and writes a CPU profile.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"testing"
	"time"

	"ucedge/core"
	"ucedge/snapshot"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// now is the moment of every question: no listing of the corpora ends.
const now = 1_800_000_000

func run(args []string) error {
	flags := flag.NewFlagSet("probe", flag.ExitOnError)
	profile := flags.String("profile", "", "file for a CPU profile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	if len(args) != 1 && len(args) != 2 {
		return fmt.Errorf("got %d arguments, want an image and perhaps its filter", len(args))
	}
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		atLeast = time.Second // so that most of the profile is of what is measured
	}
	// As the guest does: without background work the collector would begin a
	// cycle and never end it, and every store would pass its write barrier.
	debug.SetGCPercent(-1)
	image, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	start := time.Now()
	s, err := snapshot.Open(image)
	if err != nil {
		return err
	}
	report("open image", float64(time.Since(start))/1e6, "ms")
	if err := lookups(s, "tree"); err != nil {
		return err
	}
	if len(args) == 2 {
		if s, err = filtered(s, args[1]); err != nil {
			return err
		}
		if err := lookups(s, "filter"); err != nil {
			return err
		}
	}
	return exchanges(s)
}

func filtered(s *snapshot.Snapshot, name string) (*snapshot.Snapshot, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := snapshot.OpenFilter(b)
	if err != nil {
		return nil, err
	}
	return s.WithFilter(f)
}

func report(name string, value float64, unit string) {
	fmt.Printf("%s\t%.4g\t%s\n", name, value, unit)
}

// samples is how many different addresses a figure is the mean of: more than
// the caches of a core hold the paths to.
const samples = 1 << 14

// lookups times what one look-up takes at each level that lists anything.
func lookups(s *snapshot.Snapshot, how string) error {
	for level := snapshot.Address; level <= snapshot.System; level++ {
		listed, unlisted := addresses(s, level)
		if len(listed) == 0 {
			continue
		}
		for _, set := range []struct {
			name string
			want bool
			all  []netip.Addr
		}{{"listed", true, listed}, {"not listed", false, unlisted}} {
			for _, a := range set.all {
				if s.Lookup(level, a, now).Listed != set.want {
					return fmt.Errorf("level %d, %v: got the opposite of %s", level, a, set.name)
				}
			}
			var m snapshot.Match // as the core has one at hand
			report(fmt.Sprintf("lookup level %d %s, %s", level, set.name, how), perCall(func(i int) {
				s.LookupInto(&m, level, set.all[i%len(set.all)], now)
			}), "ns")
		}
	}
	return nil
}

// addresses returns addresses that the level lists, taken evenly from all of
// it, and random public ones that it does not.
func addresses(s *snapshot.Snapshot, level snapshot.Level) (listed, unlisted []netip.Addr) {
	random := rand.New(rand.NewPCG(1, uint64(level)))
	for l := range s.Listings(level) {
		if a := l.Prefix.Addr(); !l.Excluded && a.Is4() && s.Lookup(level, a, now).Listed {
			listed = append(listed, a)
		}
	}
	random.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	listed = slices.Clip(listed[:min(len(listed), samples)])
	for len(unlisted) < samples {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], random.Uint32())
		if a := netip.AddrFrom4(b); a.IsGlobalUnicast() && !s.Lookup(level, a, now).Listed {
			unlisted = append(unlisted, a)
		}
	}
	return listed, unlisted
}

// atLeast is how long a round takes, but for the first ones.
var atLeast = 20 * time.Millisecond

// perCall returns the nanoseconds of one call: the least of some rounds, since
// everything that disturbs a round makes it longer.
func perCall(call func(i int)) float64 {
	const rounds = 3
	best := 0.0
	n := samples
	for range rounds {
		start := time.Now()
		for i := range n {
			call(i)
		}
		took := time.Since(start)
		if each := float64(took) / float64(n); best == 0 || each < best {
			best = each
		}
		if took < atLeast {
			n *= 2
		}
	}
	return best
}

// exchanges times whole DNS answers and HTTP exchanges, and counts what they
// allocate.
func exchanges(s *snapshot.Snapshot) error {
	c := core.New(s, core.Manifest{List: "bench", Serial: 1, Built: now, Next: now + 600, Expires: now + 86400})
	for _, z := range s.Zones() {
		if z.Level == snapshot.Combined {
			continue
		}
		listed, unlisted := addresses(s, z.Level)
		if len(listed) == 0 {
			continue
		}
		for _, set := range []struct {
			name string
			all  []netip.Addr
		}{{"listed", listed}, {"not listed", unlisted}} {
			answers(c, fmt.Sprintf("level %d %s", z.Level, set.name), z.Suffix, set.all)
		}
	}
	return nil
}

// answers times the two calls that a host makes.
func answers(c *core.Core, name, suffix string, addresses []netip.Addr) {
	var queries [][]byte
	for _, a := range addresses {
		queries = append(queries, query(a, suffix))
	}
	buf := make([]byte, 0, 1024)
	ask := func(i int) { buf = c.AppendAnswer(buf[:0], queries[i%len(queries)], now, core.Open) }
	report("DNS answer "+name, perCall(ask), "ns")
	report("DNS answer allocations "+name, testing.AllocsPerRun(1000, counted(ask)), "per answer")

	req := core.Request{Now: now, Method: []byte("POST"), Target: []byte("/dns-query"), ContentType: []byte("application/dns-message")}
	var resp core.Response
	post := func(i int) {
		req.Body = queries[i%len(queries)]
		c.Serve(&req, &resp)
	}
	report("HTTP exchange "+name, perCall(post), "ns")
	report("HTTP exchange allocations "+name, testing.AllocsPerRun(1000, counted(post)), "per exchange")
}

// counted gives call a running number.
func counted(call func(i int)) func() {
	i := 0
	return func() { call(i); i++ }
}

// query returns an A query for the reversed IPv4 address below suffix.
func query(a netip.Addr, suffix string) []byte {
	msg := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	octets := a.As4()
	slices.Reverse(octets[:])
	for _, o := range octets {
		text := fmt.Append(nil, o)
		msg = append(append(msg, byte(len(text))), text...)
	}
	for len(suffix) > 0 {
		end := slices.Index([]byte(suffix), '.')
		if end < 0 {
			end = len(suffix)
		}
		msg = append(append(msg, byte(end)), suffix[:end]...)
		suffix = suffix[min(end+1, len(suffix)):]
	}
	return append(msg, 0, 0, 1, 0, 1)
}
