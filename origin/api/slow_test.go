package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ucedge/origin/api"
	"ucedge/origin/ledger"
	"ucedge/origin/state"
)

// oneConn is a listener that gives one connection, in memory, so that time can
// be a bubble's.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// Deadlines of the server in these tests.
const serverRead, serverWrite = 30 * time.Second, time.Minute

// slowly sends a body of reports in pieces, with a pause after each, and returns
// the status and when it came.
func slowly(t *testing.T, piece func(i int) string, pause time.Duration) (status int, body string, took time.Duration) {
	t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	key, secret := api.NewKey(ledger.Reporter, "feed-a", noon.Unix())
	if err := l.CreateKey(context.Background(), key, "test"); err != nil {
		t.Fatal(err)
	}
	near := dial(t, l, api.Limits{})
	start, sent := time.Now(), make(chan struct{})
	go func() {
		defer close(sent)
		fmt.Fprintf(near, "POST /v1/reports HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", secret)
		for i := 0; ; i++ {
			text := piece(i)
			if _, err := fmt.Fprintf(near, "%x\r\n%s\r\n", len(text), text); err != nil || text == "" {
				return
			}
			time.Sleep(pause)
		}
	}()
	defer func() { near.Close(); <-sent }()
	response, err := http.ReadResponse(bufio.NewReader(near), nil)
	if err != nil {
		t.Fatal(err)
	}
	took = time.Since(start)
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text), took
}

// dial returns a connection to an origin whose server has deadlines.
func dial(t *testing.T, l ledger.Ledger, limits api.Limits) net.Conn {
	t.Helper()
	h, err := api.New(api.Settings{
		Ledger: l, Policy: state.NewLive(l, state.Settings{}, noon.Unix), Clock: func() time.Time { return noon }, Limits: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadTimeout: serverRead, WriteTimeout: serverWrite}
	near, far := net.Pipe()
	listener := make(oneConn, 1)
	listener <- far
	close(listener)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return near
}

// TestSlowBody: a body may take hours, neither silence nor a trickle may.
func TestSlowBody(t *testing.T) {
	for _, row := range []struct {
		name   string
		piece  func(i int) string
		pause  time.Duration
		status int
		word   string
		least  time.Duration
		most   time.Duration
	}{
		{"an hour", func(i int) string {
			if i == 360 {
				return ""
			}
			return strings.Repeat("\n", 48<<10) + strings.Replace(line, "a1", fmt.Sprint(i), 1)
		}, 10 * time.Second, 200, `"accepted":360`, time.Hour, time.Hour + time.Minute},
		{"a trickle", func(int) string { return "\n" }, 29 * time.Second, 408, "4096 bytes a second", 29 * time.Second, time.Minute},
		{"a trickle after much", func(i int) string {
			if i == 0 {
				return line + strings.Repeat("\n", 1<<20)
			}
			return "\n"
		}, 29 * time.Second, 408, `"accepted":1`, 4 * time.Minute, 6 * time.Minute},
		{"silence after much", func(i int) string {
			return line + strings.Repeat("\n", 1<<20)
		}, time.Hour, 408, `"accepted":1`, 30 * time.Second, 31 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				status, body, took := slowly(t, row.piece, row.pause)
				if status != row.status || !strings.Contains(body, row.word) {
					t.Errorf("answer is %d %s, want %d with %q", status, body, row.status, row.word)
				}
				if took < row.least || took > row.most {
					t.Errorf("answer came after %v, want %v to %v", took, row.least, row.most)
				}
			})
		})
	}
}

// TestNobodyIsHeard: who has to wait for his turn does not keep a connection by
// announcing a body.
func TestNobodyIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := dial(t, slowAudit{}, api.Limits{ClientPerSecond: 0.001, ClientBurst: 1})
		start := time.Now()
		in := bufio.NewReader(near)
		io.WriteString(near, "GET /v1/form HTTP/1.1\r\nHost: a\r\n\r\n")
		if first, err := http.ReadResponse(in, nil); err != nil || first.StatusCode != 401 {
			t.Fatalf("first request: %v, %v", first, err)
		}
		io.WriteString(near, "POST /v1/form HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
		answers, _ := io.ReadAll(in)
		if took := time.Since(start); took > time.Second || !strings.Contains(string(answers), "429 ") {
			t.Errorf("connection was closed after %v: %s", took, answers)
		}
	})
}

// unread fails the test when it is read.
type unread struct{ *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body was read")
	return 0, io.EOF
}

// TestNoBodyIsReadInVain: whether a sender may send at all is asked first.
func TestNoBodyIsReadInVain(t *testing.T) {
	w := newWorld(t, func(s *api.Settings) { s.Limits.ClientPerSecond, s.Limits.ClientBurst = 0.001, 3 })
	const media = "application/x-www-form-urlencoded"
	form := func(key string) call {
		return call{method: "POST", path: "/v1/form", media: media, body: []byte("ip=192.0.2.2&service=mail&apikey=" + key)}
	}
	for range 10 {
		w.expect(form(w.reporter), 200) // a good key does not pay as a client
	}
	w.expectUnread("/v1/removals", "", "application/json", 401)
	w.expectUnread("/v1/form", w.operator, media, 403)
	w.expect(form("ucedge_guess"), 403)
	w.expectUnread("/v1/form", "ucedge_guess", media, 429)
	w.expectUnread("/v1/form", "", media, 429)
	w.expect(form(w.reporter), 429)
}

// expectUnread posts a body that must not be read, and wants a status.
func (w *world) expectUnread(path, secret, media string, status int) {
	w.Helper()
	request := httptest.NewRequest("POST", path, unread{w.T})
	request.RemoteAddr = "127.0.0.1:4711"
	request.Header.Set("Content-Type", media)
	if secret != "" {
		request.Header.Set("Authorization", "Bearer "+secret)
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, request)
	if answer.Code != status {
		w.Errorf("POST %s: status is %d, want %d: %s", path, answer.Code, status, answer.Body)
	}
}
