package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// childArgs holds the arguments of a test binary that is to be the command.
const childArgs = "UCEDGE_TEST_ARGS"

func TestMain(m *testing.M) {
	if args := os.Getenv(childArgs); args != "" {
		os.Args = append(os.Args[:1], strings.Split(args, "\n")...)
		os.Unsetenv(childArgs)
		main()
	}
	testscript.Main(m, map[string]func(){"ucedge": main})
}

// TestDialogues runs the dialogues in testdata. $PORT1 to $PORT3 are free
// ports, $NOW is the time, $ZONES the folder of zone files.
func TestDialogues(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			dir, err := os.Getwd()
			if err != nil {
				return err
			}
			env.Setenv("ZONES", dir+"/testdata/zones")
			env.Setenv("NOW", time.Now().UTC().Format(time.RFC3339))
			for i := range 3 {
				port, err := freePort()
				if err != nil {
					return err
				}
				env.Setenv(fmt.Sprintf("PORT%d", i+1), port)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "exits": exits, "settles": settles},
	})
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// awaitMax is how long a server may take to answer.
const awaitMax = 30 * time.Second

// await waits until a URL answers with 200 and, if more words follow, with a
// body that has each of them.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await URL [text...]")
	}
	last := "nothing"
	for end := time.Now().Add(awaitMax); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body := new(strings.Builder)
		_, err = fmt.Fprint(body, resp.Status)
		if err == nil {
			_, err = copyBody(body, resp)
		}
		if last = body.String(); err == nil && resp.StatusCode == http.StatusOK && hasAll(last, args[1:]) {
			return
		}
	}
	ts.Fatalf("%s did not answer with %q in %v; last: %s", args[0], args[1:], awaitMax, last)
}

func hasAll(text string, wanted []string) bool {
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// exits runs the command and compares its exit code: exits 2 origin audit --kind x.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE arguments...")
	}
	if code := exitCode(ts, args[1:]); code != args[0] {
		ts.Fatalf("ucedge %s: exit code %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// settles is exits for what another process is still about to do.
func settles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: settles CODE arguments...")
	}
	code := ""
	for end := time.Now().Add(awaitMax); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if code = exitCode(ts, args[1:]); code == args[0] {
			return
		}
	}
	ts.Fatalf("ucedge %s: exit code %s after %v, want %s", strings.Join(args[1:], " "), code, awaitMax, args[0])
}

func exitCode(ts *testscript.TestScript, args []string) string {
	if err := ts.Exec("ucedge", args...); err != nil {
		return strings.TrimPrefix(err.Error(), "exit status ")
	}
	return "0"
}

// TestHelp holds every command to a help text with an example that begins as
// it is typed.
func TestHelp(t *testing.T) {
	checked := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			return // cobra's own
		}
		checked++
		if !strings.Contains(cmd.Example, cmd.CommandPath()) && !cmd.HasSubCommands() {
			t.Errorf("%s: the example %q does not show the command", cmd.CommandPath(), cmd.Example)
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: no short text or no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
	if checked < 25 {
		t.Errorf("%d commands checked: is this still the tree?", checked)
	}
}

func copyBody(w *strings.Builder, resp *http.Response) (int64, error) {
	defer resp.Body.Close()
	return io.Copy(w, io.LimitReader(resp.Body, 1<<20))
}
