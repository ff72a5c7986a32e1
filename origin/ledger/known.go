package ledger

import (
	"encoding/binary"

	"ucedge/origin/report"
)

// known is the set of keys of all stored reports, in memory: 16 bytes a key in
// an open table, at most three quarters full, so 5 million take 134 MB. The
// zero known is empty.
type known struct {
	slots   []report.Key // the zero key marks a free slot
	count   int
	hasZero bool // the key that looks like a free slot is in the set
}

// place returns where key is, or the free slot where it belongs. Keys are
// digests, so their first bytes spread evenly.
func (k *known) place(key report.Key) int {
	mask := uint64(len(k.slots) - 1)
	at := binary.LittleEndian.Uint64(key[:]) & mask
	for k.slots[at] != key && k.slots[at] != (report.Key{}) {
		at = (at + 1) & mask
	}
	return int(at)
}

func (k *known) has(key report.Key) bool {
	if key == (report.Key{}) {
		return k.hasZero
	}
	return len(k.slots) > 0 && k.slots[k.place(key)] == key
}

// add puts key into the set, whether or not it is there.
func (k *known) add(key report.Key) {
	if key == (report.Key{}) {
		k.hasZero = true
		return
	}
	if 4*(k.count+1) > 3*len(k.slots) {
		k.grow()
	}
	at := k.place(key)
	if k.slots[at] != key {
		k.slots[at] = key
		k.count++
	}
}

func (k *known) grow() {
	old := k.slots
	k.slots = make([]report.Key, max(1024, 2*len(old)))
	for _, key := range old {
		if key != (report.Key{}) {
			k.slots[k.place(key)] = key
		}
	}
}
