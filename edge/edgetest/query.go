package edgetest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// newQuery makes a DNS query from its text: a name, a type (mnemonic or
// TYPEn), and any of these words:
//
//	id=N  rd  cd  ad  qr          header
//	opcode=N  class=CH  qd=0|2    what a query should not have
//	edns  edns=V  do  opt2        an OPT record, of version V, with DO, two of them
//	size=N                        its UDP payload size, else 4096
//	padding=N                     padding option (RFC 7830) of N bytes
//	ecs=PREFIX                    client subnet option (RFC 7871), ecs/SCOPE=PREFIX with a scope
//	option=CODE:HEX               any other option
//
// Words from do on imply edns.
func newQuery(text string) ([]byte, error) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return nil, fmt.Errorf("query %q has no type", text)
	}
	q := &query{msg: new(dns.Msg), questions: 1}
	qtype, err := parseType(words[1])
	if err != nil {
		return nil, err
	}
	q.msg.Question = []dns.Question{{Name: words[0], Qtype: qtype, Qclass: dns.ClassINET}}
	for _, w := range words[2:] {
		if err := q.addWord(w); err != nil {
			return nil, fmt.Errorf("query %q: word %q: %w", text, w, err)
		}
	}
	return q.pack()
}

// A query is a DNS query that is being put together.
type query struct {
	msg       *dns.Msg
	questions int
	optTwice  bool
}

// pack gives the message, with what miekg/dns would not write done by hand.
func (q *query) pack() ([]byte, error) {
	if opt := q.msg.IsEdns0(); opt != nil && q.optTwice {
		q.msg.Extra = append(q.msg.Extra, opt)
	}
	question := q.msg.Question[0]
	q.msg.Question = nil
	for range q.questions {
		q.msg.Question = append(q.msg.Question, question)
	}
	return q.msg.Pack()
}

func (q *query) addWord(word string) error {
	key, value, _ := strings.Cut(word, "=")
	if q.setFlag(key) {
		return nil
	}
	if base, scope, ok := strings.Cut(key, "/"); ok && base == "ecs" {
		return q.addSubnet(value, scope)
	}
	switch key {
	case "class":
		class, ok := dns.StringToClass[value]
		if !ok {
			return fmt.Errorf("unknown class")
		}
		q.msg.Question[0].Qclass = class
	case "ecs":
		return q.addSubnet(value, "0")
	case "option":
		return q.addOption(value)
	default:
		return q.setNumber(key, value)
	}
	return nil
}

// setFlag does the words that stand alone.
func (q *query) setFlag(word string) bool {
	switch word {
	case "rd":
		q.msg.RecursionDesired = true
	case "cd":
		q.msg.CheckingDisabled = true
	case "ad":
		q.msg.AuthenticatedData = true
	case "qr":
		q.msg.Response = true
	case "do":
		q.opt().SetDo()
	case "opt2":
		q.opt()
		q.optTwice = true
	default:
		return false
	}
	return true
}

// setNumber does the words that take a number, and plain edns.
func (q *query) setNumber(key, value string) error {
	if key == "edns" && value == "" {
		value = "0"
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return fmt.Errorf("not a number")
	}
	switch key {
	case "id":
		q.msg.Id = uint16(n)
	case "opcode":
		q.msg.Opcode = int(n)
	case "qd":
		q.questions = int(n)
	case "edns":
		q.opt().SetVersion(uint8(n))
	case "size":
		q.opt().SetUDPSize(uint16(n))
	case "padding":
		opt := q.opt()
		opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, n)})
	default:
		return fmt.Errorf("unknown word")
	}
	return nil
}

// opt returns the query's OPT record, made if there is none.
func (q *query) opt() *dns.OPT {
	if opt := q.msg.IsEdns0(); opt != nil {
		return opt
	}
	q.msg.SetEdns0(4096, false)
	return q.msg.IsEdns0()
}

func (q *query) addSubnet(prefix, scope string) error {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(scope, 10, 8)
	if err != nil {
		return err
	}
	family := uint16(1)
	if p.Addr().Is6() {
		family = 2
	}
	opt := q.opt()
	opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{
		Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(p.Bits()),
		SourceScope: uint8(n), Address: p.Addr().AsSlice(),
	})
	return nil
}

func (q *query) addOption(text string) error {
	code, data, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(code, 10, 16)
	if err != nil {
		return err
	}
	bytes, err := hex.DecodeString(data)
	if err != nil {
		return err
	}
	opt := q.opt()
	opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: uint16(n), Data: bytes})
	return nil
}

// parseType reads a mnemonic or TYPEn.
func parseType(word string) (uint16, error) {
	if t, ok := dns.StringToType[word]; ok {
		return t, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(word, "TYPE"), 10, 16)
	if err != nil {
		return 0, fmt.Errorf("unknown type %q", word)
	}
	return uint16(n), nil
}

// parseHex reads bytes as pairs of hexadecimal digits, white space between
// them free.
func parseHex(text string) ([]byte, error) {
	return hex.DecodeString(strings.Join(strings.Fields(text), ""))
}

var inBraces = regexp.MustCompile(`\{([0-9a-f]*:[0-9a-f:.]*(?:/\d+)?)\}`)

// nibbles puts reversed nibbles in place of each IPv6 address or prefix in
// braces. What is not one stays.
func nibbles(line string) string {
	return inBraces.ReplaceAllStringFunc(line, func(word string) string {
		address, bits, isPrefix := strings.Cut(word[1:len(word)-1], "/")
		if !isPrefix {
			bits = "128"
		}
		n, err1 := strconv.Atoi(bits)
		a, err2 := netip.ParseAddr(address)
		if err1 != nil || err2 != nil || n > 128 {
			return word
		}
		var labels []string
		for i := n/4 - 1; i >= 0; i-- {
			labels = append(labels, string("0123456789abcdef"[a.As16()[i/2]>>(4*(1-i%2))&15]))
		}
		return strings.Join(labels, ".")
	})
}

// questionEnd returns the offset behind the one question of a message, or 0
// if it has not exactly one that can be read.
func questionEnd(msg []byte) int {
	if len(msg) < 12 || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return 0
	}
	_, off, err := dns.UnpackDomainName(msg, 12)
	if err != nil || off+4 > len(msg) {
		return 0
	}
	return off + 4
}

// mixCase turns every second letter of the question's name to upper case, as a
// resolver does that checks whether the answer repeats it.
func mixCase(msg []byte) []byte {
	out := append([]byte(nil), msg...)
	end := questionEnd(msg)
	for i, n := 12, 0; i < end-4; i++ {
		if c := out[i]; c >= 'a' && c <= 'z' {
			if n++; n%2 == 1 {
				out[i] = c - 'a' + 'A'
			}
		}
	}
	return out
}
