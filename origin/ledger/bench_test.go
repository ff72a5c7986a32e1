package ledger_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"ucedge/origin/ledger"
	"ucedge/origin/report"
	"ucedge/snapshot"
)

// batch returns n reports of random addresses and ids, one in ten IPv6.
func batch(random *rand.Rand, n int) []report.Report {
	out := make([]report.Report, n)
	var id [8]byte
	for i := range out {
		binary.BigEndian.PutUint64(id[:], random.Uint64())
		address := netip.AddrFrom4([4]byte{198, id[0]&1 + 18, id[1], id[2]})
		if i%10 == 0 {
			address = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 4: id[3], 5: id[4], 6: id[5], 15: 1})
		}
		out[i] = report.Report{
			Address: address, Seen: 1_795_000_000 + random.Int64N(500_000), Reporter: "feed-" + string('a'+rune(i%7)),
			Kind: 1 << (i % 6), Evidence: fmt.Sprintf("%x", id),
		}
	}
	return out
}

// BenchmarkAppend asks how many reports a second are on stable storage, by the
// size of the batches and the number of senders. Batches are made beforehand.
// sync/s is the number of bare writes of 8 kB and fsyncs of the same disk.
func BenchmarkAppend(b *testing.B) {
	for _, row := range []struct{ size, senders int }{{10_000, 1}, {10_000, 4}, {1000, 4}, {100, 16}, {1, 64}} {
		b.Run(fmt.Sprintf("batch=%d/senders=%d", row.size, row.senders), func(b *testing.B) {
			l := openIn(b, b.TempDir(), "ledger")
			random := rand.New(rand.NewPCG(uint64(row.size), uint64(row.senders)))
			batches := make(chan []report.Report, 64)
			var wait sync.WaitGroup
			for range row.senders {
				wait.Go(func() {
					for reports := range batches {
						receipt, err := l.AppendReports(context.Background(), reports)
						if err != nil || receipt.Accepted != len(reports) {
							b.Errorf("receipt %+v: %v", receipt, err)
						}
					}
				})
			}
			n := 0
			for b.Loop() {
				batches <- batch(random, row.size)
				n++
			}
			close(batches)
			wait.Wait()
			b.ReportMetric(float64(n*row.size)/b.Elapsed().Seconds(), "reports/s")
			b.ReportMetric(syncsPerSecond(b), "syncs/s")
		})
	}
}

func syncsPerSecond(b *testing.B) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "sync"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 8192)
	start, n := time.Now(), 0
	for ; time.Since(start) < 200*time.Millisecond; n++ {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkImpacts asks how long the impacts of a window take, and the opening
// of the ledger. UCEDGE_BENCH_REPORTS sets how many there are.
func BenchmarkImpacts(b *testing.B) {
	total := 1_000_000
	if set := os.Getenv("UCEDGE_BENCH_REPORTS"); set != "" {
		n, err := strconv.Atoi(set)
		if err != nil {
			b.Fatal(err)
		}
		total = n
	}
	folder := b.TempDir()
	l := openIn(b, folder, "ledger")
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	for sent := 0; sent < total; sent += 10_000 {
		if _, err := l.AppendReports(context.Background(), batch(random, 10_000)); err != nil {
			b.Fatal(err)
		}
	}
	filled := time.Since(start)
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			found, err := l.Impacts(context.Background(), netip.Prefix{}, 0, ledger.MaxTime)
			if err != nil {
				b.Fatal(err)
			}
			n, kinds := 0, snapshot.Kinds(0)
			for r := range found {
				n++
				kinds |= r.Kind
			}
			if n != total || kinds == 0 {
				b.Fatalf("%d impacts, want %d", n, total)
			}
		}
		b.ReportMetric(float64(total)/filled.Seconds(), "filled/s")
		b.ReportMetric(float64(size(b, filepath.Join(folder, "ledger")))/float64(total), "bytes/report")
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			again, err := ledger.Open(context.Background(), filepath.Join(folder, "ledger"))
			if err != nil {
				b.Fatal(err)
			}
			again.Close()
		}
	})
}

func size(b *testing.B, file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}
