// Command world puts the world of package edgetest into a folder, signed, for a
// host that is not written in Go, and prints the public key that the host must
// trust:
//
//	key=$(go run ./edge/edgetest/world FOLDER)
//	… start the host on FOLDER with that key …
//	UCEDGE_URL=http://127.0.0.1:8787 go test ./edge/edgetest -run TestURL
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"ucedge/edge/edgetest"
)

func main() {
	state := flag.String("state", string(edgetest.Ready), "the state for which the manifest has its times: ready or stale")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: world [-state STATE] FOLDER")
		os.Exit(2)
	}
	public, err := edgetest.Publish(flag.Arg(0), edgetest.State(*state), time.Now().Unix())
	if err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
	fmt.Println(public)
}
