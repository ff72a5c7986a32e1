package edgetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkBody compares a body with what the exchange expects. The transcript
// line is exact unless the expectation holds a range.
func checkBody(x exchange, r *reply, v vars) (transcript, problem string) {
	switch x.kind {
	case "answer":
		return checkAnswer(x.want, r.body, v)
	case "json":
		return checkJSON(x.want, r.body, v)
	case "members":
		return checkMembers(x.want, r.body, v)
	case "text":
		want := strings.Join(x.want, "\n")
		masked, ok := pattern(want).match(strings.TrimSuffix(string(r.body), "\n"), v)
		if !ok {
			problem = fmt.Sprintf("body:\n got %q\nwant %q", r.body, want)
		}
		return masked, problem
	case "empty":
		if len(r.body) > 0 {
			problem = "body: got " + printable(r.body) + ", want none"
		}
	}
	return printable(r.body), problem
}

// checkAnswer compares a DNS message with its lines.
func checkAnswer(want []string, body []byte, v vars) (transcript, problem string) {
	got, err := render(body)
	if err != nil {
		return hex.EncodeToString(body), err.Error()
	}
	filled := strings.Split(v.fill(strings.Join(want, "\n")), "\n")
	masked := make([]string, len(got))
	same := len(got) == len(filled)
	for i := range got {
		ok := false
		if masked[i] = got[i]; i < len(filled) {
			masked[i], ok = pattern(filled[i]).match(got[i], v)
		}
		same = same && ok
	}
	if !same {
		return hex.EncodeToString(body), fmt.Sprintf("answer:\n got  %s\n want %s",
			strings.Join(got, "\n      "), strings.Join(filled, "\n      "))
	}
	if slices.ContainsFunc(filled, func(line string) bool { return pattern(line).hasRange() }) {
		return strings.Join(masked, "\n"), ""
	}
	return hex.EncodeToString(body), ""
}

// checkJSON compares JSON byte for byte, white space between tokens left out.
func checkJSON(want []string, body []byte, v vars) (transcript, problem string) {
	var got bytes.Buffer
	if err := json.Compact(&got, body); err != nil {
		return printable(body), fmt.Sprintf("body is not JSON: %v: %s", err, printable(body))
	}
	var line strings.Builder
	for _, l := range want {
		line.WriteString(strings.TrimSpace(l))
	}
	masked, ok := pattern(line.String()).match(got.String(), v)
	if !ok {
		problem = fmt.Sprintf("json:\n got  %s\n want %s", got.String(), v.fill(line.String()))
	}
	return masked, problem
}

// checkMembers compares JSON with members that it must have at least.
func checkMembers(want []string, body []byte, v vars) (transcript, problem string) {
	got, err := decode(string(body))
	if err != nil {
		return printable(body), fmt.Sprintf("body is not JSON: %v: %s", err, printable(body))
	}
	expected, err := decode(strings.Join(want, "\n"))
	if err != nil {
		return printable(body), fmt.Sprintf("the case's JSON: %v", err)
	}
	if err := includes(got, expected, v); err != nil {
		return printable(body), fmt.Sprintf("json: %v, in\n%s", err, printable(body))
	}
	return members(got, expected, v), ""
}

func decode(text string) (value any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// includes reports the first member of want that got lacks or has otherwise.
// Arrays must have equal lengths; the string "{absent}" wants no such member.
func includes(got, want any, v vars) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf(": got %v, want an object", got)
		}
		for name, value := range want {
			if err := memberIs(object, name, value, v); err != nil {
				return err
			}
		}
	case []any:
		array, ok := got.([]any)
		if !ok || len(array) != len(want) {
			return fmt.Errorf(": got %v, want an array of %d", got, len(want))
		}
		for i := range want {
			if err := includes(array[i], want[i], v); err != nil {
				return fmt.Errorf("[%d]%w", i, err)
			}
		}
	default:
		if _, ok := matchScalar(got, want, v); !ok {
			return fmt.Errorf(": got %#v, want %v", got, v.fill(fmt.Sprint(want)))
		}
	}
	return nil
}

func memberIs(object map[string]any, name string, want any, v vars) error {
	got, present := object[name]
	switch {
	case want == "{absent}" && present:
		return fmt.Errorf(".%s: got %v, want no such member", name, got)
	case want == "{absent}":
		return nil
	case !present:
		return fmt.Errorf(".%s: got no such member, want %v", name, want)
	}
	if err := includes(got, want, v); err != nil {
		return fmt.Errorf(".%s%w", name, err)
	}
	return nil
}

// matchScalar compares what is neither object nor array. A pattern in a string
// also matches a number.
func matchScalar(got, want any, v vars) (string, bool) {
	p, isText := want.(string)
	switch got := got.(type) {
	case string:
		if isText {
			return pattern(p).match(got, v)
		}
	case json.Number:
		if isText && strings.HasPrefix(p, "{") {
			return pattern(p).match(got.String(), v)
		}
	case map[string]any, []any:
		return "", isText && p == "{*}"
	}
	return fmt.Sprint(got), got == want
}

// members gives got with the numbers masked that want gives as a range.
func members(got, want any, v vars) string {
	text, err := json.Marshal(mask(got, want, v))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func mask(got, want any, v vars) any {
	switch want := want.(type) {
	case map[string]any:
		object := got.(map[string]any)
		for name, value := range want {
			if _, ok := object[name]; ok {
				object[name] = mask(object[name], value, v)
			}
		}
	case []any:
		array := got.([]any)
		for i := range want {
			array[i] = mask(array[i], want[i], v)
		}
	case string:
		if pattern(want).hasRange() {
			masked, _ := matchScalar(got, want, v)
			return masked
		}
	}
	return got
}

// printable gives bytes as text if they are, else as hexadecimal; long ones by
// their beginning and their hash.
func printable(body []byte) string {
	const most = 2000
	if len(body) > most {
		return fmt.Sprintf("%d bytes %x…, SHA-256 %x", len(body), body[:32], sha256.Sum256(body))
	}
	if utf8.Valid(body) && !bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
		return string(body)
	}
	return hex.EncodeToString(body)
}
