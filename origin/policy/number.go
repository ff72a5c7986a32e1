package policy

import (
	"math"
	"math/bits"
)

// ceilMulDiv returns a * b / c, rounded up, or the greatest number if that is
// too small to hold it.
func ceilMulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxUint64
	}
	q, r := bits.Div64(hi, lo, c)
	if r != 0 {
		q++
	}
	return q
}

// clamp32 returns n, or the greatest uint32.
func clamp32(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
