package h2

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Dialogues are in testdata/*.txt. A case begins with -- name --, then lines
// that the client sends and lines that the server must have sent by then, all
// of it in time that does not pass by itself:
//
//	> headers 1 end GET /     a header; the words are flags, the rest is the request
//	< headers 1 200 end       what came, in order; "..." is any frames
//	wait 5s                   time passes
//
// A number and an asterisk repeat a line; commands of a line are divided by
// semicolons; # is the next stream. Words that commands know are in send.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases := strings.Split("\n"+string(text), "\n-- ")
		for _, c := range cases[1:] {
			name, lines, _ := strings.Cut(c, " --\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { runDialogue(t, lines) })
			})
		}
	}
}

func runDialogue(t *testing.T, lines string) {
	d := newDialogue(t)
	defer d.end()
	var want []string
	check := func() {
		if want != nil {
			d.expect(want)
		}
		want = nil
	}
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		said, isSaid := strings.CutPrefix(line, "> ")
		pause, isPause := strings.CutPrefix(line, "wait ")
		wanted, isWanted := strings.CutPrefix(line, "<")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isWanted:
			want = append(want, strings.TrimSpace(wanted))
		case isSaid:
			check()
			d.say(said)
		case isPause:
			check()
			took, err := time.ParseDuration(pause)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(took)
		default:
			t.Fatalf("a line that is none: %q", line)
		}
	}
	check()
}

// A dialogue is a connection between a server and the client of a test.
type dialogue struct {
	t       *testing.T
	client  net.Conn
	server  *Server
	conn    *conn
	ended   chan struct{}
	next    int // stream
	block   bytes.Buffer
	encoder *hpack.Encoder

	mu     sync.Mutex
	heard  []string
	deaf   bool
	listen *sync.Cond
}

func newDialogue(t *testing.T) *dialogue {
	client, server := net.Pipe()
	d := &dialogue{t: t, client: client, server: testServer(talker{}), ended: make(chan struct{}), next: 1}
	d.server.Streams = 40
	d.listen = sync.NewCond(&d.mu)
	d.encoder = hpack.NewEncoder(&d.block)
	d.conn = newConn(d.server, server)
	d.conn.preface = clientPreface
	d.server.add(d.conn)
	go func() {
		defer close(d.ended)
		d.conn.serve()
		server.Close()
	}()
	go d.hear()
	return d
}

// end closes the connection and looks whether anything is left of it.
func (d *dialogue) end() {
	d.mu.Lock()
	d.deaf = false
	d.mu.Unlock()
	d.listen.Broadcast()
	d.client.Close()
	<-d.ended
	held := 0
	for _, s := range d.conn.streams {
		held += s.held
	}
	if d.conn.held != held || d.conn.held > heldMax+1<<20 {
		d.t.Errorf("the connection counts %d bytes, its streams %d", d.conn.held, held)
	}
}

// hear notes every frame that the server sends.
func (d *dialogue) hear() {
	framer := http2.NewFramer(io.Discard, d.client)
	var fields []string
	decoder := hpack.NewDecoder(tableMax, func(f hpack.HeaderField) {
		switch f.Name {
		case ":status":
			fields = append(fields, f.Value)
		case "content-length", "method", "target", "body", "fields", "trouble":
			fields = append(fields, f.Name+"="+f.Value)
		}
	})
	for {
		d.mu.Lock()
		for d.deaf {
			d.listen.Wait()
		}
		d.mu.Unlock()
		f, err := framer.ReadFrame()
		text := "closed"
		if err == nil {
			text = frameText(f, decoder, &fields)
		}
		d.mu.Lock()
		d.heard = append(d.heard, text)
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// frameText renders a frame.
func frameText(f http2.Frame, decoder *hpack.Decoder, fields *[]string) string {
	flag := func(set bool, word string) string {
		if set {
			return " " + word
		}
		return ""
	}
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		text := "settings" + flag(f.IsAck(), "ack")
		f.ForeachSetting(func(s http2.Setting) error {
			text += fmt.Sprintf(" %d=%d", s.ID, s.Val)
			return nil
		})
		return text
	case *http2.HeadersFrame:
		*fields = nil
		decoder.Write(f.HeaderBlockFragment())
		if !f.HeadersEnded() {
			return fmt.Sprintf("headers %d begin", id) + flag(f.StreamEnded(), "end")
		}
		decoder.Close()
		return fmt.Sprintf("headers %d ", id) + strings.Join(*fields, " ") + flag(f.StreamEnded(), "end")
	case *http2.ContinuationFrame:
		decoder.Write(f.HeaderBlockFragment())
		if !f.HeadersEnded() {
			return fmt.Sprintf("continuation %d", id)
		}
		decoder.Close()
		return fmt.Sprintf("continuation %d ", id) + strings.Join(*fields, " ")
	case *http2.DataFrame:
		return fmt.Sprintf("data %d %d", id, len(f.Data())) + flag(f.StreamEnded(), "end")
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("reset %d %v", id, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("goaway %d %v", f.LastStreamID, f.ErrCode)
	case *http2.PingFrame:
		return "ping" + flag(f.IsAck(), "ack") + " " + string(f.Data[:])
	case *http2.WindowUpdateFrame:
		return fmt.Sprintf("window %d %d", id, f.Increment)
	}
	return fmt.Sprint("frame ", f.Header())
}

// expect compares what has been heard since the last time.
func (d *dialogue) expect(want []string) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	got := d.heard
	d.heard = nil
	d.mu.Unlock()
	if !matches(got, want) {
		d.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(shortened(got), "\n  "), strings.Join(want, "\n  "))
	}
}

// matches reports whether got is want, in which "..." is any frames, "" none,
// and a line that ends in * any rest.
func matches(got, want []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	switch word := want[0]; {
	case word == "":
		return matches(got, want[1:])
	case word == "...":
		for i := range len(got) + 1 {
			if matches(got[i:], want[1:]) {
				return true
			}
		}
		return false
	case len(got) == 0:
		return false
	case strings.HasSuffix(word, "*"):
		return strings.HasPrefix(got[0], word[:len(word)-1]) && matches(got[1:], want[1:])
	default:
		return got[0] == word && matches(got[1:], want[1:])
	}
}

// shortened leaves the middle of a long list out.
func shortened(lines []string) []string {
	if len(lines) < 40 {
		return lines
	}
	return append(append(append([]string(nil), lines[:20]...), fmt.Sprintf("... %d more", len(lines)-40)), lines[len(lines)-20:]...)
}

// say sends what one line says.
func (d *dialogue) say(line string) {
	times := 1
	if count, rest, found := strings.Cut(line, "* "); found {
		if n, err := strconv.Atoi(count); err == nil {
			times, line = n, rest
		}
	}
	for range times {
		var out []byte
		for command := range strings.SplitSeq(line, ";") {
			out = append(out, d.command(strings.Fields(command))...)
		}
		if strings.Contains(line, "#") {
			d.next += 2
		}
		if _, err := d.client.Write(out); err != nil {
			return // the server has had enough, as is to be expected next
		}
	}
}

// command returns the bytes of one command.
func (d *dialogue) command(words []string) []byte {
	for i, w := range words {
		if w == "#" {
			words[i] = strconv.Itoa(d.next)
		}
	}
	verb, args := words[0], words[1:]
	switch verb {
	case "hello":
		return appendFrameHeader([]byte(clientPreface), kindSettings, 0, 0, 0)
	case "raw": // text in quotes, or hexadecimal
		if text, err := strconv.Unquote(strings.Join(args, " ")); err == nil {
			return []byte(text)
		}
		return d.hex(args)
	case "frame": // kind, flags, stream, hexadecimal
		payload := d.hex(args[3:])
		return append(appendFrameHeader(nil, kind(d.number(args[0])), byte(d.number(args[1])), uint32(d.number(args[2])), len(payload)), payload...)
	case "headers", "continuation":
		return d.headers(verb, uint32(d.number(args[0])), args[1:])
	case "data":
		return d.data(uint32(d.number(args[0])), args[1:])
	case "settings":
		return d.settings(args)
	case "ping":
		return append(appendFrameHeader(nil, kindPing, 0, 0, 8), args[0]...)
	case "pong":
		return append(appendFrameHeader(nil, kindPing, flagAck, 0, 8), args[0]...)
	case "reset":
		return appendNumber(nil, kindReset, uint32(d.number(args[0])), uint32(codeCancel))
	case "window":
		return appendNumber(nil, kindWindowUpdate, uint32(d.number(args[0])), uint32(d.number(args[1])))
	case "goaway":
		return appendGoAway(nil, 0, codeNone)
	case "drain":
		d.server.Drain()
		return nil
	case "deaf", "listen": // whether the client reads
		d.mu.Lock()
		d.deaf = verb == "deaf"
		d.mu.Unlock()
		d.listen.Broadcast()
		return nil
	}
	d.t.Fatalf("no command %q", verb)
	return nil
}

func (d *dialogue) number(text string) int {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return int(n)
}

func (d *dialogue) hex(words []string) []byte {
	b, err := hex.DecodeString(strings.Join(words, ""))
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// headers returns a header: flags, then perhaps method and target, then fields
// as name:value, in which _ is a space and N*x many letters.
func (d *dialogue) headers(verb string, id uint32, words []string) []byte {
	k, flags, padding := kindHeaders, byte(flagEndHeaders), -1
	if verb == "continuation" {
		k = kindContinuation
	}
	d.block.Reset()
	write := func(name, value string) {
		if count, letter, found := strings.Cut(value, "*"); found && letter != "" {
			value = strings.Repeat(letter, d.number(count))
		}
		d.encoder.WriteField(hpack.HeaderField{Name: name, Value: strings.ReplaceAll(value, "_", " ")})
	}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if w == "end" {
			flags |= flagEndStream
		} else if w == "open" {
			flags &^= flagEndHeaders
		} else if n, found := strings.CutPrefix(w, "pad="); found {
			padding = d.number(n)
		} else if strings.ToUpper(w) == w && !strings.Contains(w, ":") && len(words) > 0 {
			write(":method", w)
			write(":scheme", "https")
			write(":path", words[0])
			words = words[1:]
		} else if i := strings.LastIndex(w, ":"); i > 0 {
			write(w[:i], w[i+1:])
		} else {
			d.t.Fatalf("no word of a header: %q", w)
		}
	}
	block := d.block.Bytes()
	var out []byte
	for ; len(block) > frameMax; block = block[frameMax:] {
		out = append(out, d.padded(k, flags&^flagEndHeaders, id, padding, block[:frameMax])...)
		k, flags = kindContinuation, flags&^flagEndStream
	}
	return append(out, d.padded(k, flags, id, padding, block)...)
}

// data returns DATA: flags, and how many bytes.
func (d *dialogue) data(id uint32, words []string) []byte {
	flags, padding, size := byte(0), -1, 0
	for _, w := range words {
		if w == "end" {
			flags |= flagEndStream
		} else if n, found := strings.CutPrefix(w, "pad="); found {
			padding = d.number(n)
		} else {
			size = d.number(w)
		}
	}
	var out []byte
	for ; size > frameMax; size -= frameMax {
		out = append(out, d.padded(kindData, 0, id, -1, make([]byte, frameMax))...)
	}
	return append(out, d.padded(kindData, flags, id, padding, make([]byte, size))...)
}

func (d *dialogue) padded(k kind, flags byte, id uint32, padding int, payload []byte) []byte {
	if padding < 0 {
		return append(appendFrameHeader(nil, k, flags, id, len(payload)), payload...)
	}
	out := appendFrameHeader(nil, k, flags|flagPadded, id, 1+len(payload)+padding)
	return append(append(append(out, byte(padding)), payload...), make([]byte, padding)...)
}

// settings returns SETTINGS of number=value, or ack.
func (d *dialogue) settings(words []string) []byte {
	var payload []byte
	flags := byte(0)
	for _, w := range words {
		id, value, found := strings.Cut(w, "=")
		if !found {
			flags = flagAck
			continue
		}
		payload = appendSetting(payload, uint16(d.number(id)), d.number(value))
	}
	return append(appendFrameHeader(nil, kindSettings, flags, 0, len(payload)), payload...)
}

// A talker answers what a test asks for:
//
//	/copied/N    a body of N bytes
//	/lasting/N   one that never changes
//	/silent      nothing
//	/wide/N      a field of N bytes
//	else         what it was asked, in fields
type talker struct{}

func (talker) Answer(r *Request, w *Writer) {
	path, count, _ := strings.Cut(strings.TrimPrefix(string(r.Target), "/"), "/")
	n, _ := strconv.Atoi(count)
	switch path {
	case "silent":
		return
	case "copied", "lasting":
		w.Status(200)
		w.Length(n)
		w.End(bytes.Repeat([]byte{'x'}, n), path == "lasting")
		return
	case "wide":
		w.Status(200)
		w.Field([]byte("wide"), bytes.Repeat([]byte{'x'}, n))
		w.End([]byte("x"), false)
		return
	}
	status := 200
	if r.Trouble != 0 {
		status = r.Trouble
	}
	w.Status(status)
	var fields []string
	for _, f := range r.Fields {
		fields = append(fields, string(f.Name)+":"+string(f.Value))
	}
	for _, f := range [][2]string{
		{"method", string(r.Method)}, {"target", string(r.Target)}, {"body", strconv.Itoa(len(r.Body))}, {"fields", strings.Join(fields, ",")},
	} {
		if f[1] != "" && f[1] != "0" && len(f[1]) < 200 {
			w.Field([]byte(f[0]), []byte(f[1]))
		}
	}
	w.End(nil, false)
}
