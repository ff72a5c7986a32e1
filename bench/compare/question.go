package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"ucedge/snapshot"
)

// A nature is why a name is asked for.
type nature uint8

const (
	address nature = iota // a whole address
	partial               // fewer octets or nibbles than an address has
	zeros                 // octets with leading zeros
)

// A question is one name and type to ask for.
type question struct {
	labels string     // in front of the suffix, with the final dot
	addr   netip.Addr // the address, unless it is a partial name
	zone   uint8      // its place among the zones of the world
	nature nature
	qtype  uint16
}

// questions returns what to ask: each name for A and then for TXT.
func (w *world) questions(random int) []question {
	dice := rand.New(rand.NewPCG(1, 2026))
	var all []question
	for i, z := range w.zones {
		asked := w.addresses(z, random, dice)
		for n, a := range asked {
			all = askAddress(all, i, a)
			if n%step == 0 {
				all = parts(all, i, a, dice)
			}
		}
	}
	return all
}

// step is the distance between the addresses of which partial names and
// leading zeros are asked too.
const step = 37

func ask(all []question, zone int, n nature, labels string) []question {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT} {
		all = append(all, question{labels: labels, zone: uint8(zone), nature: n, qtype: qtype})
	}
	return all
}

func askAddress(all []question, zone int, a netip.Addr) []question {
	all = ask(all, zone, address, reversed(a))
	all[len(all)-1].addr, all[len(all)-2].addr = a, a
	return all
}

// addresses returns, each once, the ends of every listing and exclusion of the
// zone's level and their neighbours, random addresses, and the test points.
func (w *world) addresses(z snapshot.Zone, random int, dice *rand.Rand) []netip.Addr {
	list := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	six := false
	for _, l := range w.listings {
		if l.Level != z.Level {
			continue
		}
		six = six || l.Prefix.Addr().Is6()
		first, last := l.Prefix.Addr(), last(l.Prefix)
		list = append(list, first.Prev(), first, last, last.Next())
	}
	for range random {
		list = append(list, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, dice.Uint32()))))
	}
	for i := 0; six && i < random/10; i++ {
		b := netip.MustParseAddr("2600::").As16()
		binary.BigEndian.PutUint32(b[4:], dice.Uint32())
		b[3] = byte(dice.IntN(8))
		list = append(list, netip.AddrFrom16(b))
	}
	list = slices.DeleteFunc(list, func(a netip.Addr) bool { return !a.IsValid() })
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// reversed returns the labels of an address: its octets or nibbles, the last one
// first.
func reversed(a netip.Addr) string {
	var b strings.Builder
	for _, octet := range slices.Backward(a.AsSlice()) {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", octet)
		} else {
			fmt.Fprintf(&b, "%x.%x.", octet&15, octet>>4)
		}
	}
	return b.String()
}

// parts adds names above the address, each with the first and last address below
// it, and the address with leading zeros.
func parts(all []question, zone int, a netip.Addr, dice *rand.Rand) []question {
	labels := strings.SplitAfter(reversed(a), ".")
	labels = labels[:len(labels)-1]
	cuts := []int{1, 2, 3}
	if a.Is6() {
		cuts = []int{1 + dice.IntN(len(labels)-1)}
	}
	for _, cut := range cuts {
		all = ask(all, zone, partial, strings.Join(labels[cut:], ""))
		below := netip.PrefixFrom(a, a.BitLen()/len(labels)*(len(labels)-cut)).Masked()
		all = askAddress(all, zone, below.Addr())
		all = askAddress(all, zone, last(below))
	}
	if a.Is6() {
		return all
	}
	i := dice.IntN(len(labels))
	labels[i] = "0" + labels[i]
	return ask(all, zone, zeros, strings.Join(labels, ""))
}

// below returns the prefixes that a partial name can stand for: its labels as
// octets, and as nibbles.
func below(labels string) []netip.Prefix {
	fields := strings.Split(strings.TrimSuffix(labels, "."), ".")
	slices.Reverse(fields)
	var prefixes []netip.Prefix
	if octets, ok := digits(fields, 10, 255); ok && len(octets) < 4 {
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte(append(octets, 0, 0, 0, 0)[:4])), 8*len(octets)))
	}
	if nibbles, ok := digits(fields, 16, 15); ok && len(nibbles) < 32 {
		var b [16]byte
		for i, n := range nibbles {
			b[i/2] |= n << (4 - i%2*4)
		}
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom16(b), 4*len(nibbles)))
	}
	return prefixes
}

// digits reads labels as numbers of a base, which must be written as DNS lists
// write them.
func digits(labels []string, base, most int) ([]byte, bool) {
	var numbers []byte
	for _, label := range labels {
		n, err := strconv.ParseUint(label, base, 8)
		if err != nil || int(n) > most || strconv.FormatUint(n, base) != label {
			return nil, false
		}
		numbers = append(numbers, byte(n))
	}
	return numbers, true
}

// wire appends the question as a DNS message without EDNS.
func (q *question) wire(dst []byte, id uint16, suffix string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for _, name := range []string{q.labels, suffix + "."} {
		for len(name) > 0 {
			i := strings.IndexByte(name, '.')
			dst = append(dst, byte(i))
			dst = append(dst, name[:i]...)
			name = name[i+1:]
		}
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, q.qtype)
	return binary.BigEndian.AppendUint16(dst, dns.ClassINET)
}
