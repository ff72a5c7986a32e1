package h2

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// The Huffman code of RFC 7541 B is canonical: codes of one length are
// consecutive numbers in the order of their symbols, and longer ones are
// larger. So a code is found by its length. Nearly all letters of a request
// have codes of at most 8 bits, which one table resolves.
var (
	// shortCodes gives, for the next 8 bits, the symbol and the length of its
	// code, or length 0 if that is longer.
	shortCodes [256]struct{ symbol, bits byte }
	// longCodes are the codes of each length: the numbers from first to below
	// end are those of the symbols from there on in longSymbols.
	longCodes [31]struct {
		first, end uint32
		at         int
	}
	longSymbols []byte
)

// init takes the code from golang.org/x/net, which encodes: eight times one
// symbol fill whole bytes.
func init() {
	for length := 5; length < len(longCodes); length++ {
		longCodes[length].at = len(longSymbols)
		for symbol := range 256 {
			text := string(bytes.Repeat([]byte{byte(symbol)}, 8))
			if hpack.HuffmanEncodeLength(text) == uint64(length) {
				addCode(byte(symbol), length, hpack.AppendHuffmanString(nil, text))
			}
		}
	}
}

// addCode notes the code of a symbol, with which the encoded text begins.
func addCode(symbol byte, length int, encoded []byte) {
	number := (uint32(encoded[0])<<24 | uint32(encoded[1])<<16 | uint32(encoded[2])<<8 | uint32(encoded[3])) >> (32 - length)
	codes := &longCodes[length]
	if codes.end == 0 {
		codes.first = number
	}
	codes.end = number + 1
	longSymbols = append(longSymbols, symbol)
	for rest := uint32(0); length <= 8 && rest < 1<<(8-length); rest++ {
		short := &shortCodes[number<<(8-length)|rest]
		short.symbol, short.bits = symbol, byte(length)
	}
}

// appendHuffman decodes a string (RFC 7541 5.2). What is left at its end must
// be less than a byte of ones.
func appendHuffman(dst, encoded []byte) ([]byte, bool) {
	var bits uint64 // the lowest n are to be decoded
	n := 0
	for len(encoded) > 0 || n >= 8 {
		for n <= 32 && len(encoded) > 0 {
			bits, encoded, n = bits<<8|uint64(encoded[0]), encoded[1:], n+8
		}
		if n < 8 {
			break
		}
		if short := shortCodes[byte(bits>>(n-8))]; short.bits > 0 {
			dst = append(dst, short.symbol)
			n -= int(short.bits)
			continue
		}
		symbol, length := longCode(bits, n)
		if length == 0 {
			return dst, false
		}
		dst = append(dst, symbol)
		n -= length
	}
	return appendHuffmanEnd(dst, bits, n)
}

// appendHuffmanEnd decodes the last bits, fewer than 8.
func appendHuffmanEnd(dst []byte, bits uint64, n int) ([]byte, bool) {
	for n > 0 {
		padded := byte(bits<<(8-n)) | (1<<(8-n) - 1)
		short := shortCodes[padded]
		if short.bits == 0 || int(short.bits) > n {
			return dst, padded == 0xff
		}
		dst = append(dst, short.symbol)
		n -= int(short.bits)
	}
	return dst, true
}

// longCode returns the symbol whose code begins the lowest n bits, and its
// length, or 0 if there is none: the end of a string has none in it.
func longCode(bits uint64, n int) (symbol byte, length int) {
	for length = 9; length < len(longCodes) && length <= n; length++ {
		number := uint32(bits>>(n-length)) & (1<<length - 1)
		if codes := &longCodes[length]; number >= codes.first && number < codes.end {
			return longSymbols[codes.at+int(number-codes.first)], length
		}
	}
	return 0, 0
}
