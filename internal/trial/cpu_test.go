//go:build unix

package trial

import (
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	before := CPUTime(t)
	for end := time.Now().Add(10 * time.Second); CPUTime(t) == before; {
		if time.Now().After(end) {
			t.Fatal("ten seconds of work took no time of a processor")
		}
	}
}
