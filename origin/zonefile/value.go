package zonefile

import (
	"strings"

	"ucedge/snapshot"
)

// defaultCode is the A record of entries that nothing else is said of.
var defaultCode = [4]byte{127, 0, 0, 2}

// A value is an A code and a text as an entry has them, its own or by default.
// The text is raw: its $ words are still to be expanded, since rbldnsd lets
// them be set after the lines that use them.
type value struct {
	set  *dataset
	code [4]byte
	text string
}

// The numbers of values that are none.
const (
	excludedValue uint32 = 0 // of an exclusion
	noValue       uint32 = 1<<32 - 1
)

// A valueTable numbers distinct values.
type valueTable struct {
	list  []value
	index map[string]uint32
	key   []byte
	bytes int // of all texts
}

// add returns the number of a value, the same for the same value.
func (t *valueTable) add(set *dataset, code [4]byte, text []byte) uint32 {
	t.key = append(t.key[:0], byte(set.id>>24), byte(set.id>>16), byte(set.id>>8), byte(set.id))
	t.key = append(t.key, code[:]...)
	t.key = append(t.key, text...)
	if n, ok := t.index[string(t.key)]; ok {
		return n
	}
	if len(t.list) == 0 {
		t.list = append(t.list, value{}) // excludedValue
	}
	n := uint32(len(t.list))
	key := string(t.key)
	t.list = append(t.list, value{set, code, key[8:]})
	t.index[key] = n
	t.bytes += len(text)
	return n
}

// A rawValue is what one line says of A and TXT.
type rawValue struct {
	code [4]byte
	text []byte
}

// parseValue reads "TXT", ":A", ":A:" or ":A:TXT". What it leaves out is the
// default; ":A:" means no text.
func parseValue(b []byte, code [4]byte, text string) (v rawValue, reason string) {
	if b[0] != ':' {
		return rawValue{code, b}, ""
	}
	a, octets, rest := octets4(b[1:])
	code, ok := codeOf(a, octets)
	if !ok {
		return v, "invalid A record"
	}
	rest = trimBlanks(rest)
	switch {
	case len(rest) == 0:
		return rawValue{code, []byte(text)}, ""
	case rest[0] == ':':
		return rawValue{code, trimBlanks(rest[1:])}, ""
	}
	return v, "value that is neither :A nor :A:TXT"
}

// codeOf returns the A record written as that many octets: the last of them
// stands at the end, one alone after 127.0.0.
func codeOf(a uint32, octets int) (code [4]byte, ok bool) {
	if octets == 0 || a == 0 {
		return code, false
	}
	for i := range octets - 1 {
		code[i] = byte(a >> (24 - 8*i))
	}
	code[3] = byte(a >> (32 - 8*octets))
	if octets == 1 {
		code[0] = 127
	}
	return code, true
}

// template returns the text of v as a template, with its $ words expanded; it
// is empty if v has no text.
func (v value) template() string {
	base := v.set.outer.base
	if base == "" {
		base = v.set.base
	}
	if own, plain := strings.CutPrefix(v.text, "="); plain {
		return v.expand(own, own)
	}
	if base != "" {
		if v.text == "" {
			return v.expand(base, "$")
		}
		return v.expand(base, v.text)
	}
	return v.expand(v.text, v.text)
}

// expand replaces the $ words of text: $$ is a dollar sign, $0 to $9 are the
// dataset's words, $= is the raw text of the entry ("$" is the address), and a
// $ alone is the address.
func (v value) expand(text, entry string) string {
	var out bounded
	for !out.full {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			out.literal(text)
			break
		}
		out.literal(text[:i])
		text = text[i+1:]
		switch {
		case strings.HasPrefix(text, "$"):
			out.literal("$")
			text = text[1:]
		case strings.HasPrefix(text, "="):
			if entry == "$" {
				out.address()
			} else {
				out.literal(entry)
			}
			text = text[1:]
		case len(text) > 0 && text[0]-'0' <= 9 && v.word(text[0]) != "":
			out.literal(v.word(text[0]))
			text = text[1:]
		case len(text) > 0 && text[0]-'0' <= 9:
			out.literal("$")
		default:
			out.address()
		}
	}
	return out.String()
}

// A bounded builds a template of at most snapshot.TemplateMax bytes, so that
// $ words that repeat each other cannot grow without end. What is past that is
// cut; answers carry far less.
type bounded struct {
	strings.Builder
	full bool
}

func (b *bounded) literal(text string) {
	for i := 0; i < len(text) && !b.full; i++ {
		if text[i] == '{' || text[i] == '}' {
			b.add(text[i:i+1] + text[i:i+1])
		} else {
			b.add(text[i : i+1])
		}
	}
}

func (b *bounded) address() { b.add("{ip}") }

func (b *bounded) add(piece string) {
	if b.full = b.full || b.Len()+len(piece) > snapshot.TemplateMax; !b.full {
		b.WriteString(piece)
	}
}

// word returns what $digit stands for; a file's common part goes first.
func (v value) word(digit byte) string {
	if w := v.set.outer.vars[digit-'0']; w != "" {
		return w
	}
	return v.set.vars[digit-'0']
}
