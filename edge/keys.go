package edge

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/time/rate"
)

// A Key is what is known of a client's key. The key itself is not.
type Key struct {
	Name string     // who it was given to; for logs and metrics
	Rate rate.Limit // requests a second; 0 is the rate of everybody
	hash [sha256.Size]byte
}

// Keys is a set of keys. It is immutable. The nil Keys has none.
type Keys struct {
	// byStart finds a key by the first bytes of its hash. The time that takes
	// tells nothing: who could choose those bytes has inverted SHA-256.
	byStart map[uint64][]*Key
}

// ParseKeys reads keys, one a line: a name, the SHA-256 of the key in hex, and
// if it differs from everybody's, how many requests a second it allows. Empty
// lines and lines that begin with # say nothing.
//
//	mx1.example 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 50
func ParseKeys(r io.Reader) (*Keys, error) {
	keys := &Keys{byStart: make(map[uint64][]*Key)}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := parseKey(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if keys.find(key.hash) != nil {
			return nil, fmt.Errorf("line %d: key %q: another name has the same hash", n, key.Name)
		}
		start := binary.LittleEndian.Uint64(key.hash[:])
		keys.byStart[start] = append(keys.byStart[start], key)
	}
	return keys, lines.Err()
}

func parseKey(fields []string) (*Key, error) {
	if len(fields) != 2 && len(fields) != 3 {
		return nil, fmt.Errorf("%d fields, want a name, a hash and perhaps a rate", len(fields))
	}
	key := &Key{Name: fields[0]}
	hash, err := hex.DecodeString(fields[1])
	if err != nil || len(hash) != len(key.hash) {
		return nil, fmt.Errorf("key %q: hash is not 64 hex digits", key.Name)
	}
	copy(key.hash[:], hash)
	if len(fields) == 3 {
		perSecond, err := strconv.ParseFloat(fields[2], 64)
		if err != nil || !(perSecond > 0) || perSecond > float64(rateMax) {
			return nil, fmt.Errorf("key %q: rate %q is not between 0 and %v", key.Name, fields[2], float64(rateMax))
		}
		key.Rate = rate.Limit(perSecond)
	}
	return key, nil
}

// ReadKeys reads the keys in the file of that name.
func ReadKeys(name string) (*Keys, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	keys, err := ParseKeys(f)
	if err != nil {
		return nil, fmt.Errorf("key file %q: %w", name, err)
	}
	return keys, nil
}

// Find returns what is known of key, or nil if it is not one of k.
func (k *Keys) Find(key []byte) *Key {
	return k.find(sha256.Sum256(key))
}

func (k *Keys) find(hash [sha256.Size]byte) *Key {
	if k == nil {
		return nil
	}
	for _, key := range k.byStart[binary.LittleEndian.Uint64(hash[:])] {
		if subtle.ConstantTimeCompare(key.hash[:], hash[:]) == 1 {
			return key
		}
	}
	return nil
}

// Len returns the number of keys.
func (k *Keys) Len() int {
	n := 0
	for _, keys := range k.byStart {
		n += len(keys)
	}
	return n
}
