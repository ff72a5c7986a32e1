package publish

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"ucedge/snapshot/manifest"
)

// Environment of a publisher process: its folder and its secret key.
const killDir, killKey = "UCEDGE_TEST_PUBLISH_DIR", "UCEDGE_TEST_PUBLISH_KEY"

// TestMain is a publisher that never ends if it is asked to be one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, publishForever(dir, os.Getenv(killKey)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func publishForever(dir, secret string) error {
	signers, err := manifest.ParseSigners(secret)
	if err != nil {
		return err
	}
	s, err := NewFolder(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := Publish(context.Background(), s, listOf(0, 100+i%50), signers, options(start)); err != nil {
			return err
		}
		fmt.Println("published")
	}
}

// killAfter starts a publisher, waits until it has published once, and kills
// it d later, in the middle of whatever it does then.
func killAfter(t *testing.T, d time.Duration, dir, secret string) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), killDir+"="+dir, killKey+"="+secret)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Errorf("the publisher did not publish: %v", err)
	}
	time.Sleep(d)
	if err := c.Process.Kill(); err != nil {
		t.Errorf("the publisher ended by itself: %v", err)
	}
	c.Wait() // says that it was killed
}
