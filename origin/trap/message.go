package trap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"

	"ucedge/origin/report"
	"ucedge/snapshot"
)

// readHeader reads a message to its end and returns its header, of which no
// more than limit bytes are kept.
func readHeader(r io.Reader, limit int) ([]byte, error) {
	header, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if end := bytes.Index(header, []byte("\r\n\r\n")); end >= 0 {
		header = header[:end+2]
	}
	return header, nil
}

// evidenceID names one delivery: a peer that sends the same mail again within
// the hour, as it should when it was told to try later, is reported once.
func evidenceID(peer netip.Addr, header []byte, seen int64) string {
	address := peer.As16()
	digest := sha256.New()
	digest.Write(address[:])
	digest.Write(binary.BigEndian.AppendUint64(nil, uint64(seen/3600)))
	digest.Write(header)
	return "trap-" + hex.EncodeToString(digest.Sum(nil)[:16])
}

// report delivers the report about a peer, and before it keeps the header.
func (t *Trap) report(peer netip.Addr, header []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), t.Limits.DeliverTimeout)
	defer cancel()
	seen := t.Clock().Unix()
	r := report.Report{Address: peer, Seen: seen, Reporter: t.Reporter, Kind: snapshot.Spamtrap, Evidence: evidenceID(peer, header, seen)}
	if t.SealTo != nil {
		sealed, err := t.SealTo.Seal(header)
		if err == nil {
			err = t.Keeper.Keep(r.Evidence, sealed)
		}
		if err != nil {
			return err
		}
	}
	err := t.Sink.Deliver(ctx, r)
	if errors.Is(err, ErrRefused) {
		t.Log.Warn("report refused", "peer", peer, "error", err)
		return nil // to try again would not help
	}
	return err
}
