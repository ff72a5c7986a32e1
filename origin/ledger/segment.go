package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// The reports of one commit are stored as one segment: rows of fixed length,
// packed, and apart from them their evidence ids, which few readers want. Two
// reasons: a row of SQL costs several microseconds to write and one to read, a
// packed row a few nanoseconds; and an index on the keys would touch one page
// for each report, so that the log grows by 4 kB where a report has 45 bytes.

// Offsets within a packed row, bytes.
const (
	rowAddress  = 0  // 16: IPv4 mapped into IPv6
	rowKey      = 16 // 16: report.Key
	rowSeen     = 32 // 4: seconds, big endian
	rowReporter = 36 // 4: number of the reporter, big endian
	rowKind     = 40 // 1: snapshot.Kinds, and rowWaits if the report waits
	rowLength   = 41
)

// rowWaits marks a report that counts only once its reporter is released.
const rowWaits = 1 << 7

// segmentRows is how many rows a segment has at most: 2.7 MB, so that a reader
// holds little and compaction stops the writer only briefly.
const segmentRows = 1 << 16

// errDamaged is wrapped by every error that says the stored bytes are wrong.
var errDamaged = errors.New("segment is damaged")

// A row is one packed report.
type row []byte

func (r row) address() netip.Addr {
	return netip.AddrFrom16([16]byte(r[rowAddress : rowAddress+16])).Unmap()
}
func (r row) key() report.Key      { return report.Key(r[rowKey : rowKey+16]) }
func (r row) seen() int64          { return int64(binary.BigEndian.Uint32(r[rowSeen:])) }
func (r row) reporter() uint32     { return binary.BigEndian.Uint32(r[rowReporter:]) }
func (r row) kind() snapshot.Kinds { return snapshot.Kinds(r[rowKind] &^ rowWaits) }
func (r row) waits() bool          { return r[rowKind]&rowWaits != 0 }

// appendRow packs a report. Mark is 0 or rowWaits.
func appendRow(dst []byte, r *report.Report, key report.Key, reporter uint32, mark byte) []byte {
	address := r.Address.As16()
	dst = append(append(dst, address[:]...), key[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Seen))
	dst = binary.BigEndian.AppendUint32(dst, reporter)
	return append(dst, byte(r.Kind)|mark)
}

// A segment collects rows in memory until they are written.
type segment struct {
	rows     []byte // packed
	evidence []byte // for each row the length (uvarint) and bytes of its evidence id
	any      bool   // any evidence id is not empty
	first    int64  // least time seen
	last     int64  // greatest
}

// note takes a row that was appended to rows into account.
func (s *segment) note(seen int64, evidence []byte) {
	if s.count() == 1 || seen < s.first {
		s.first = seen
	}
	s.last = max(s.last, seen)
	s.evidence = binary.AppendUvarint(s.evidence, uint64(len(evidence)))
	s.evidence = append(s.evidence, evidence...)
	s.any = s.any || len(evidence) > 0
}

func (s *segment) count() int { return len(s.rows) / rowLength }

// reset empties s and keeps its memory.
func (s *segment) reset() {
	*s = segment{rows: s.rows[:0], evidence: s.evidence[:0]}
}

// eachRow calls visit for each row of a stored segment. An empty evidence is
// one without ids, or one that was not read.
func eachRow(rows, evidence []byte, visit func(row, []byte) error) error {
	if len(rows)%rowLength != 0 {
		return fmt.Errorf("%d bytes of rows: %w", len(rows), errDamaged)
	}
	for withIDs := len(evidence) > 0; len(rows) > 0; rows = rows[rowLength:] {
		var id []byte
		if withIDs {
			n, width := binary.Uvarint(evidence)
			if width <= 0 || n > uint64(len(evidence)-width) {
				return fmt.Errorf("evidence ends early: %w", errDamaged)
			}
			id, evidence = evidence[width:width+int(n)], evidence[width+int(n):]
		}
		if err := visit(row(rows[:rowLength]), id); err != nil {
			return err
		}
	}
	return nil
}
