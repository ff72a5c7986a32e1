package build

import (
	"encoding/binary"
	"math/big"
	"net/netip"
)

// encodeNets writes the four columns of a section of nets: lengths, ends of
// prefixes before each one, gaps, references to facts.
func (p *part) encodeNets(t *tables) []byte {
	var lengths, ups, gaps, refs []byte
	var around []netip.Prefix // the last prefix, and those that hold it
	for i := range p.nets {
		prefix := p.nets[i].Prefix
		low := new(big.Int)
		up := 0
		for ; len(around) > 0 && !around[len(around)-1].Overlaps(prefix); up++ {
			low = number(around[len(around)-1], 1)
			around = around[:len(around)-1]
		}
		if up == 0 && len(around) > 0 {
			low = number(around[len(around)-1], 0)
		}
		around = append(around, prefix)
		lengths = append(lengths, byte(prefix.Bits()))
		ups = binary.AppendUvarint(ups, uint64(up))
		gaps = appendBig(gaps, gap(low, prefix))
		refs = binary.AppendUvarint(refs, t.ref(&p.nets[i]))
	}
	return append(append(append(lengths, ups...), gaps...), refs...)
}

// number returns the first address of p, or of the prefix of the same length n
// places after it.
func number(p netip.Prefix, n int64) *big.Int {
	unit := new(big.Int).Lsh(big.NewInt(n), hostBits(p))
	return unit.Add(unit, new(big.Int).SetBytes(p.Addr().AsSlice()))
}

func hostBits(p netip.Prefix) uint { return uint(p.Addr().BitLen() - p.Bits()) }

// gap returns how many prefixes of the length of p lie between low, rounded up
// to one, and p.
func gap(low *big.Int, p netip.Prefix) *big.Int {
	host := hostBits(p)
	up := new(big.Int).Lsh(big.NewInt(1), host)
	low = up.Add(up.Sub(up, big.NewInt(1)), low)
	first := number(p, 0)
	return first.Sub(first.Rsh(first, host), low.Rsh(low, host))
}

// appendBig appends a varint of any size.
func appendBig(b []byte, n *big.Int) []byte {
	if n.IsUint64() {
		return binary.AppendUvarint(b, n.Uint64())
	}
	low := new(big.Int).And(n, big.NewInt(0x7f))
	return appendBig(append(b, byte(low.Uint64())|0x80), new(big.Int).Rsh(n, 7))
}
