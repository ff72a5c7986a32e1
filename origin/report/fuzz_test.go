package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// seed adds every golden file of a format.
func seed(f *testing.F, format string) {
	files, err := filepath.Glob(filepath.Join("testdata", format, "*.in"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds in %q", format)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
}

// checkAll holds what every format promises: a report obeys the rules as it
// stands, survives NDJSON, and an error is a refusal with a line that exists.
func checkAll(t *testing.T, body []byte, reports Reports) {
	rules := testRules()
	lines := bytes.Count(body, []byte("\n")) + 1
	for r, err := range reports {
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Line < 0 || refusal.Line > lines {
				t.Fatalf("error %v in a body of %d lines", err, lines)
			}
			if r != (Report{}) {
				t.Fatalf("refused, and yet %+v", r)
			}
			continue
		}
		if again, err := rules.Check(r); err != nil || again != r {
			t.Fatalf("%+v is no longer accepted: %+v, %v", r, again, err)
		}
		for again, err := range NDJSON(bytes.NewReader(r.AppendNDJSON(nil)), rules) {
			if err != nil || again != r {
				t.Fatalf("%+v through NDJSON is %+v, %v", r, again, err)
			}
		}
	}
}

func FuzzNDJSON(f *testing.F) {
	seed(f, "ndjson")
	f.Fuzz(func(t *testing.T, body []byte) {
		checkAll(t, body, NDJSON(bytes.NewReader(body), testRules()))
		checkJSON(t, body)
	})
}

// checkJSON: what the scanner takes as one object, encoding/json does too, and
// reads the same from it.
func checkJSON(t *testing.T, line []byte) {
	got := map[string]string{}
	err := parseObject(line, func(field int, value []byte) error {
		if _, twice := got[fieldNames[field]]; twice {
			return errRepeated
		}
		got[fieldNames[field]] = string(value)
		return nil
	})
	if err != nil {
		return
	}
	var want map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&want); err != nil || len(want) != len(got) {
		t.Fatalf("%q: scanner reads %q, encoding/json %v, %v", line, got, want, err)
	}
	for name, value := range want {
		text, isText := value.(string)
		if number, ok := value.(json.Number); ok && name == "seen" {
			text, isText = number.String(), true
		}
		if !isText || text != got[name] {
			t.Fatalf("%q: scanner reads %q, encoding/json %v", line, got, want)
		}
	}
}

func FuzzCSV(f *testing.F) {
	seed(f, "csv")
	f.Fuzz(func(t *testing.T, body []byte) {
		checkAll(t, body, CSV(bytes.NewReader(body), testRules()))
	})
}

func FuzzList(f *testing.F) {
	seed(f, "list")
	f.Fuzz(func(t *testing.T, body []byte) {
		checkAll(t, body, List(bytes.NewReader(body), testRules()))
	})
}

func FuzzMail(f *testing.F) {
	seed(f, "mail")
	seed(f, "mail-relay")
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, format := range []string{"mail", "mail-relay"} {
			checkAll(t, body, formats[format](body, testRules()))
		}
	})
}

func FuzzZoneFile(f *testing.F) {
	seed(f, "zonefile")
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, err := range formats["zonefile"](body, testRules()) {
			var refusal *Refusal
			if err != nil && !errors.As(err, &refusal) {
				return // a limit or what is no zone file at all
			}
		}
		checkAll(t, body, formats["zonefile"](body, testRules()))
	})
}

func BenchmarkParse(b *testing.B) {
	const records = 10_000
	for format, record := range map[string]string{
		"ndjson": `{"address":"192.0.2.1","seen":1795363200,"kind":"scan","evidence":"0123456789abcdef"}`,
		"csv":    `192.0.2.1,1795363200,scan,0123456789abcdef`,
		"list":   `192.0.2.1 1795363200 scan`,
	} {
		b.Run(format, func(b *testing.B) {
			body := bytes.Repeat([]byte(record+"\n"), records)
			if format == "csv" {
				body = append([]byte("address,seen,kind,evidence\n"), body...)
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range formats[format](body, testRules()) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "reports/s")
		})
	}
}
