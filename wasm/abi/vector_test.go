package abi_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ucedge/wasm/abi"
)

var update = flag.Bool("update", false, "write the vectors anew")

// vectorsFile holds frames and what is in them, for hosts in other languages:
// edge/worker's tests read it, too.
var vectorsFile = filepath.Join("testdata", "frames.json")

// vectors are the frames of each kind. Bodies and frames are in hexadecimal.
type vectors struct {
	Requests  []requestVector  `json:"requests"`
	Responses []responseVector `json:"responses"`
	Manifests []manifestVector `json:"manifests"`
}

type requestVector struct {
	Name        string `json:"name"`
	Now         int64  `json:"now"`
	Gate        uint8  `json:"gate"`
	Method      string `json:"method"`
	Target      string `json:"target"`
	Accept      string `json:"accept"`
	ContentType string `json:"contentType"`
	IfNoneMatch string `json:"ifNoneMatch"`
	Body        string `json:"body"`
	Frame       string `json:"frame"`
}

type responseVector struct {
	Name   string      `json:"name"`
	Status int         `json:"status"`
	Ref    uint8       `json:"ref"`
	Fields [][2]string `json:"fields"`
	Body   string      `json:"body"`
	Frame  string      `json:"frame"`
}

type manifestVector struct {
	Name    string `json:"name"`
	Serial  uint32 `json:"serial"`
	Built   int64  `json:"built"`
	Next    int64  `json:"next"`
	Expires int64  `json:"expires"`
	List    string `json:"list"`
	Host    string `json:"host"`
	Frame   string `json:"frame"`
}

// newVectors returns the vectors without their frames.
func newVectors() vectors {
	const noon = 1_795_348_800 // 2026-11-22T12:00:00Z
	long := hex.EncodeToString(bytes.Repeat([]byte{0, 0x7f, 0x80, 0xff}, 100))
	return vectors{
		Requests: []requestVector{
			{Name: "nothing"},
			{Name: "a GET", Now: noon, Method: "GET", Target: "/dns-query?dns=AAABAAAB", Accept: "application/dns-message"},
			{Name: "a POST", Now: noon, Gate: 3, Method: "POST", Target: "/dns-query", ContentType: "application/dns-message", Body: "000001000001"},
			{Name: "a filter that is known", Now: noon, Method: "HEAD", Target: "/v1/filter", IfNoneMatch: `"0123", W/"4567"`},
			{Name: "every part", Now: noon, Gate: 2, Method: "POST", Target: "/v1/check?x=1", Accept: "*/*", ContentType: "text/plain", IfNoneMatch: "*", Body: long},
			{Name: "after 2106", Now: 1 << 33, Method: "GET", Target: "/"},
			{Name: "before 1970", Now: -1, Method: "GET", Target: "/"},
			{Name: "letters of two, three and four bytes", Now: noon, Method: "GET", Target: "/é?name=漢&x=😀.", Accept: "ÿ"},
			{Name: "a letter of two bytes last", Now: noon, Method: "GET", Target: strings.Repeat("/a", 50) + "é", Accept: "a/b"},
		},
		Responses: []responseVector{
			{Name: "no more than a status", Status: 204, Fields: [][2]string{}},
			{Name: "an answer", Status: 200, Fields: [][2]string{
				{"content-type", "application/dns-message"}, {"access-control-allow-origin", "*"}, {"cache-control", "max-age=60"},
			}, Body: "00008580000100010000000001"},
			{Name: "the filter", Status: 200, Ref: 1, Fields: [][2]string{{"etag", `"0123"`}}},
			{Name: "the page", Status: 200, Ref: 2, Fields: [][2]string{{"content-type", "text/html; charset=utf-8"}}},
			{Name: "an empty value", Status: 429, Fields: [][2]string{{"retry-after", "5"}, {"x-empty", ""}}, Body: long},
			{Name: "a value of 300 bytes", Status: 599, Fields: [][2]string{{"x-long", strings.Repeat("0123456789", 30)}}, Body: "ff"},
		},
		Manifests: []manifestVector{
			{Name: "nothing"},
			{Name: "without a host", Serial: 7, Built: noon, Next: noon + 300, Expires: noon + 604800, List: "bl.example"},
			{Name: "with a host", Serial: 1<<32 - 1, Built: noon, Next: noon + 300, Expires: noon + 604800, List: "bl.example", Host: "doh.bl.example"},
			{Name: "times past 2106 and before 1970", Serial: 1, Built: -1, Next: 1 << 33, Expires: 1 << 40, List: "bl.example"},
			{Name: "a list of other letters", Serial: 1, List: "bl.exämple", Host: "dóh.example"},
		},
	}
}

func (v requestVector) value(t *testing.T) abi.Request {
	return abi.Request{
		Now: v.Now, Gate: v.Gate, Method: []byte(v.Method), Target: []byte(v.Target), Accept: []byte(v.Accept),
		ContentType: []byte(v.ContentType), IfNoneMatch: []byte(v.IfNoneMatch), Body: unhex(t, v.Body),
	}
}

func (v responseVector) value(t *testing.T) abi.Response {
	r := abi.Response{Status: v.Status, Ref: v.Ref, Body: unhex(t, v.Body)}
	for _, field := range v.Fields {
		r.Fields = append(r.Fields, abi.Field{Name: []byte(field[0]), Value: []byte(field[1])})
	}
	return r
}

func (v manifestVector) value() abi.Manifest {
	return abi.Manifest{Serial: v.Serial, Built: v.Built, Next: v.Next, Expires: v.Expires, List: v.List, Host: v.Host}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors holds that the frames of the file are those that this package
// appends and parses.
func TestVectors(t *testing.T) {
	want := newVectors()
	for i := range want.Requests {
		v := &want.Requests[i]
		in := v.value(t)
		frame := abi.AppendRequest(nil, &in)
		v.Frame = hex.EncodeToString(frame)
		var out abi.Request
		if err := abi.ParseRequest(frame, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("request %q:\ngot  %+v, %v\nwant %+v", v.Name, out, err, in)
		}
	}
	for i := range want.Responses {
		v := &want.Responses[i]
		in := v.value(t)
		frame := abi.AppendResponse(nil, &in)
		v.Frame = hex.EncodeToString(frame)
		var out abi.Response
		if err := abi.ParseResponse(frame, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("response %q:\ngot  %+v, %v\nwant %+v", v.Name, out, err, in)
		}
	}
	for i := range want.Manifests {
		v := &want.Manifests[i]
		in := v.value()
		frame := abi.AppendManifest(nil, &in)
		v.Frame = hex.EncodeToString(frame)
		if out, err := abi.ParseManifest(frame); err != nil || out != in {
			t.Errorf("manifest %q:\ngot  %+v, %v\nwant %+v", v.Name, out, err, in)
		}
	}
	text, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(vectorsFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(vectorsFile); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%s is not what this package makes (%v); go test ./wasm/abi -run Vectors -update writes it", vectorsFile, err)
	}
}
