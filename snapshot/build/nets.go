package build

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// encodeNets writes the four columns of a section of nets: lengths, ends of
// prefixes before each one, gaps, references to facts.
func (p *part) encodeNets(t *tables) []byte {
	lengths := make([]byte, 0, len(p.nets))
	var ups, gaps, refs []byte
	var around []netip.Prefix // the last prefix, and those that hold it
	for i := range p.nets {
		prefix := p.nets[i].Prefix
		var low number
		up := 0
		for ; len(around) > 0 && !around[len(around)-1].Overlaps(prefix); up++ {
			low = after(around[len(around)-1])
			around = around[:len(around)-1]
		}
		if up == 0 && len(around) > 0 {
			low = numberOf(around[len(around)-1].Addr())
		}
		around = append(around, prefix)
		lengths = append(lengths, byte(prefix.Bits()))
		ups = binary.AppendUvarint(ups, uint64(up))
		gaps = gap(low, prefix).append(gaps)
		refs = binary.AppendUvarint(refs, t.ref(&p.nets[i]))
	}
	return append(append(append(lengths, ups...), gaps...), refs...)
}

// A number is one of 128 bits: an address, or how many lie apart.
type number struct{ hi, lo uint64 }

func numberOf(a netip.Addr) number {
	if a.Is4() {
		return number{0, Key(a)}
	}
	b := a.As16()
	return number{Key(a), binary.BigEndian.Uint64(b[8:])}
}

// after returns the first address after p. As another prefix follows, there is
// one.
func after(p netip.Prefix) number {
	unit := number{0, 1}.left(hostBits(p))
	first := numberOf(p.Addr())
	lo, carry := bits.Add64(first.lo, unit.lo, 0)
	return number{first.hi + unit.hi + carry, lo}
}

func hostBits(p netip.Prefix) uint { return uint(p.Addr().BitLen() - p.Bits()) }

// gap returns how many prefixes of the length of p lie between low, rounded up
// to one, and p, which does not start below it.
func gap(low number, p netip.Prefix) number {
	host := hostBits(p)
	first, from := numberOf(p.Addr()).right(host), low.right(host)
	if from.left(host) != low {
		lo, carry := bits.Add64(from.lo, 1, 0)
		from = number{from.hi + carry, lo}
	}
	lo, borrow := bits.Sub64(first.lo, from.lo, 0)
	return number{first.hi - from.hi - borrow, lo}
}

func (n number) left(by uint) number {
	return number{n.hi<<by | n.lo>>(64-by) | n.lo<<(by-64), n.lo << by}
}

func (n number) right(by uint) number {
	return number{n.hi >> by, n.lo>>by | n.hi<<(64-by) | n.hi>>(by-64)}
}

// append appends n as a varint.
func (n number) append(b []byte) []byte {
	for n.hi != 0 {
		b = append(b, byte(n.lo)|0x80)
		n = n.right(7)
	}
	return binary.AppendUvarint(b, n.lo)
}
