package trial

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ucedge/snapshot"
)

// Halved returns a copy of an image that lists 2^29 addresses, which claims that
// they are half as many. All its checksums are right.
func Halved(tb testing.TB, image []byte) []byte {
	tb.Helper()
	s, err := snapshot.Open(image)
	if err != nil {
		tb.Fatal(err)
	}
	image = bytes.Clone(image)
	for i, x := range s.Sections() {
		if x.Kind != snapshot.KindCollateral {
			continue
		}
		body := image[x.Offset : x.Offset+x.Length]
		at := bytes.Index(body, binary.AppendUvarint(nil, 1<<29))
		if at < 0 {
			tb.Fatal("the image does not claim to list 2^29 addresses")
		}
		copy(body[at:], binary.AppendUvarint(nil, 1<<28)) // of the same length
		row := image[snapshot.HeaderSize+i*snapshot.SectionSize:]
		binary.LittleEndian.PutUint64(row[16:], snapshot.Checksum(body))
	}
	binary.LittleEndian.PutUint64(image[24:], snapshot.HeaderSum(image, len(s.Sections())))
	return image
}
