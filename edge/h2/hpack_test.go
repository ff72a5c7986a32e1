package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// decodeAll decodes a block with d, and returns the fields as text.
func decodeAll(d *decoder, block []byte) (fields []string, ok bool) {
	d.begin()
	for len(block) > 0 {
		f, rest, ok := d.next(block)
		if !ok {
			return nil, false
		}
		if !d.fresh {
			fields = append(fields, fmt.Sprintf("%q: %q", f.Name, f.Value))
		}
		block = rest
	}
	return fields, true
}

// An oracle is the decoder of golang.org/x/net.
type oracle struct {
	fields []string
	d      *hpack.Decoder
}

func newOracle() *oracle {
	o := new(oracle)
	o.d = hpack.NewDecoder(tableMax, func(f hpack.HeaderField) { o.fields = append(o.fields, fmt.Sprintf("%q: %q", f.Name, f.Value)) })
	return o
}

func (o *oracle) decode(block []byte) (fields []string, err error) {
	o.fields = nil
	if _, err := o.d.Write(block); err != nil {
		return nil, err
	}
	return o.fields, o.d.Close()
}

// FuzzDecode decodes blocks one after another, each behind its length. What it
// accepts, the oracle must read alike; it may refuse more, such as integers of
// five bytes.
func FuzzDecode(f *testing.F) {
	for _, blocks := range [][]string{
		{"\x82\x84\x86\x41\x0bexample.com", "\x82\x84\x86\xbe"},
		{"\x40\x01a\x01b\x40\x01c\x01d", "\xbf\xbe\x7f\x00\x01x", "\xbe\xc0"},
		{"\x20\x3f\xe1\x1f\x82", "\x3f\x11\x40\x01a\x01b\xbe", "\xbe"},
		{"\x82\x84\x86\x41\x07example", "\x3f\x3f\x3f\x3f\xbe"},
		{"\x00\x83\x94\xe7\x82\x8c\x1f\x90\x86", "\x10\x01a\x01b", "\x04\x02/x"},
	} {
		var in []byte
		for _, block := range blocks {
			in = append(append(in, byte(len(block))), block...)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		o := newOracle()
		d := decoder{limit: tableMax}
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			block := in[1 : 1+n]
			in = in[1+n:]
			got, ok := decodeAll(&d, block)
			if !ok {
				return
			}
			want, err := o.decode(block)
			if err != nil && strings.Contains(err.Error(), "table size update MUST occur") && block[0]&0xe0 == 0x20 {
				return // the oracle takes no second update unless its table is empty; RFC 7541 4.2 allows two
			}
			if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("block %x: got\n%s\nwant (error %v)\n%s", block, strings.Join(got, "\n"), err, strings.Join(want, "\n"))
			}
		}
		if d.used > d.limit || len(d.text) > 2*tableMax {
			t.Fatalf("the table counts %d of %d bytes, and holds %d", d.used, d.limit, len(d.text))
		}
	})
}

// FuzzHuffman compares with the decoder of golang.org/x/net.
func FuzzHuffman(f *testing.F) {
	for _, text := range []string{"", "/dns-query?dns=AAABAAABAAAAAAAAATIBMAEwAzEyNw", "\x00\xff\x16\n{}|~", "www.example.com"} {
		f.Add(hpack.AppendHuffmanString(nil, text))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		want, err := hpack.HuffmanDecodeToString(in)
		got, ok := appendHuffman(nil, in)
		if ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("%x: got %q (%v), want %q (error %v)", in, got, ok, want, err)
		}
	})
}

// TestHuffmanSymbols decodes every symbol at every place in a byte.
func TestHuffmanSymbols(t *testing.T) {
	for symbol := range 256 {
		for before := range 9 {
			text := strings.Repeat("0", before) + string([]byte{byte(symbol)}) + strings.Repeat("a", before%3)
			if got, ok := appendHuffman(nil, hpack.AppendHuffmanString(nil, text)); !ok || string(got) != text {
				t.Errorf("%q: got %q (%v)", text, got, ok)
			}
		}
	}
}

// randomFields returns fields of which some come again and again.
func randomFields(random *rand.Rand) (fields []Field) {
	for range random.IntN(12) {
		name := []string{":path", "accept", "cache-control", "x-one", "x-two", "content-type", strings.Repeat("n", random.IntN(300)+1)}[random.IntN(7)]
		value := []string{"", "a", "max-age=900", strings.Repeat("v", random.IntN(600)), fmt.Sprint(random.IntN(50))}[random.IntN(5)]
		fields = append(fields, Field{[]byte(name), []byte(value)})
	}
	return fields
}

// TestDecodeWhatOthersEncode reads what the encoder of golang.org/x/net writes.
func TestDecodeWhatOthersEncode(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	d := decoder{limit: tableMax}
	for n := range 5000 {
		block.Reset()
		if random.IntN(50) == 0 {
			encoder.SetMaxDynamicTableSize(uint32(random.IntN(tableMax + 1)))
		}
		var want []string
		for _, f := range randomFields(random) {
			encoder.WriteField(hpack.HeaderField{Name: string(f.Name), Value: string(f.Value), Sensitive: random.IntN(9) == 0})
			want = append(want, fmt.Sprintf("%q: %q", f.Name, f.Value))
		}
		got, ok := decodeAll(&d, block.Bytes())
		if !ok || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("block %d, %x: got (%v)\n%s\nwant\n%s", n, block.Bytes(), ok, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestOthersDecodeWhatWeEncode has the decoder of golang.org/x/net read blocks,
// while the client changes its table.
func TestOthersDecodeWhatWeEncode(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	o := newOracle()
	e := encoder{limit: tableMax}
	bytesSent, bytesMeant := 0, 0
	for n := range 5000 {
		if random.IntN(50) == 0 {
			limit := random.IntN(tableMax + 1)
			o.d.SetAllowedMaxDynamicTableSize(uint32(limit))
			e.setLimit(limit)
		}
		block := appendStatus(e.begin(nil), 200+random.IntN(300))
		want := []string{""}
		for _, f := range randomFields(random) {
			block = e.field(block, f.Name, f.Value)
			want = append(want, fmt.Sprintf("%q: %q", f.Name, f.Value))
			bytesMeant += len(f.Name) + len(f.Value)
		}
		bytesSent += len(block)
		got, err := o.decode(block)
		if err != nil || strings.Join(got[1:], "\n") != strings.Join(want[1:], "\n") {
			t.Fatalf("block %d, %x: got (error %v)\n%s\nwant\n%s", n, block, err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if bytesSent >= bytesMeant {
		t.Errorf("%d bytes were sent for %d bytes of fields: the table is not used", bytesSent, bytesMeant)
	}
}

// TestStatuses has every status read back.
func TestStatuses(t *testing.T) {
	for status := 100; status < 1000; status++ {
		got, err := newOracle().decode(appendStatus(nil, status))
		if want := fmt.Sprintf(`":status": "%d"`, status); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("got %v (error %v), want %s", got, err, want)
		}
	}
}
