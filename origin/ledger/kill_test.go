package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

// childLedger names the ledger to append to, in the environment of a test
// binary that is to be killed.
const childLedger = "UCEDGE_TEST_CHILD_LEDGER"

func TestMain(m *testing.M) {
	if file := os.Getenv(childLedger); file != "" {
		appendUntilKilled(file)
		return
	}
	os.Exit(m.Run())
}

// appendUntilKilled appends batches from several goroutines, and prints each
// evidence id and serial after it was acknowledged.
func appendUntilKilled(file string) {
	ctx := context.Background()
	l, err := ledger.Open(ctx, file)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	round := time.Now().UnixNano()
	lines := make(chan string)
	for sender := range 3 {
		go func() {
			for i := 0; ; i++ {
				lines <- appendBatch(ctx, l, fmt.Sprintf("%d-%d-%d", round, sender, i), 1+i%50)
			}
		}()
	}
	for line := range lines { // one goroutine, one write a line: no line is torn by another
		fmt.Print(line)
	}
}

// appendBatch appends n reports and every so often takes a serial or compacts.
// It returns the lines that acknowledge them.
func appendBatch(ctx context.Context, l *ledger.SQLite, id string, n int) string {
	var batch []report.Report
	var lines strings.Builder
	for i := range n {
		evidence := fmt.Sprintf("%s-%d", id, i)
		batch = append(batch, report.Report{
			Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), Seen: 1_795_363_200, Reporter: "child", Kind: snapshot.Scan, Evidence: evidence,
		})
		fmt.Fprintln(&lines, "stored", evidence)
	}
	if _, err := l.AppendReports(ctx, batch); err != nil {
		return fmt.Sprintln("error", err)
	}
	if n%10 == 0 {
		serial, err := l.TakeSerial(ctx, 1000)
		if err != nil {
			return fmt.Sprintln("error", err)
		}
		fmt.Fprintln(&lines, "serial", serial)
	}
	if n == 50 {
		if _, err := l.Compact(ctx, 1000); err != nil {
			return fmt.Sprintln("error", err)
		}
	}
	return lines.String()
}

// TestKill kills a process that appends, again and again, at random instants:
// after each death every report that it acknowledged is in the ledger, and no
// serial that it printed is given again. UCEDGE_KILL_ROUNDS sets the rounds.
func TestKill(t *testing.T) {
	rounds := 50
	if set := os.Getenv("UCEDGE_KILL_ROUNDS"); set != "" {
		n, err := strconv.Atoi(set)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	file := filepath.Join(t.TempDir(), "ledger")
	stored, lastSerial := map[string]bool{}, int64(0)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	empty := 0
	for round := range rounds {
		ids, serials := killedRound(t, file, time.Duration(1+random.IntN(60))*time.Millisecond, random.IntN(8) == 0)
		for _, id := range ids {
			stored[id] = true
		}
		slices.Sort(serials) // goroutines print them in any order
		for _, serial := range serials {
			if serial <= lastSerial {
				t.Fatalf("round %d: serial %d was given after %d", round, serial, lastSerial)
			}
			lastSerial = serial
		}
		if len(ids) == 0 {
			empty++
		}
		checkStored(t, file, stored, lastSerial)
	}
	t.Logf("%d rounds, %d of them killed before the first acknowledgement; %d reports acknowledged", rounds, empty, len(stored))
	if empty > rounds/2 || len(stored) == 0 {
		t.Errorf("%d of %d rounds acknowledged nothing: the test shows too little", empty, rounds)
	}
}

// killedRound runs a child, kills it some time after its first acknowledgement
// or, if early, after its start, and returns what it acknowledged.
func killedRound(t *testing.T, file string, after time.Duration, early bool) (ids []string, serials []int64) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childLedger+"="+file)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { child.Process.Kill() }
	var timer *time.Timer
	if early {
		timer = time.AfterFunc(after, kill)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line without its end was not acknowledged
		}
		if timer == nil {
			timer = time.AfterFunc(after, kill)
		}
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "stored":
			ids = append(ids, rest)
		case "serial":
			serial, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			serials = append(serials, serial)
		default:
			kill()
			t.Fatalf("child says %q", line)
		}
	}
	child.Wait() // killed, so always an error
	return ids, serials
}

// checkStored opens the ledger as a new process would and looks for every
// acknowledged report and for a serial that is new.
func checkStored(t *testing.T, file string, stored map[string]bool, lastSerial int64) {
	t.Helper()
	ctx := context.Background()
	l, err := ledger.Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found, err := l.Reports(ctx, netip.MustParsePrefix("0.0.0.0/0"), 0, ledger.MaxTime)
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool, len(found))
	for _, r := range found {
		if there[r.Evidence] {
			t.Fatalf("report %q is there twice", r.Evidence)
		}
		there[r.Evidence] = true
	}
	for id := range stored {
		if !there[id] {
			t.Fatalf("report %q was acknowledged and is lost", id)
		}
	}
	serial, err := l.TakeSerial(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if int64(serial) <= lastSerial {
		t.Fatalf("serial %d is given after %d", serial, lastSerial)
	}
}
