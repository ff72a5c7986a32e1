package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Asking over UDP.
const (
	window       = 100                    // questions under way
	patience     = 300 * time.Millisecond // until what is under way is sent again
	triesMax     = 20                     // sendings again without any answer
	receiveBytes = 1 << 20                // socket buffer; a window of answers fits many times
)

// An asker keeps a window of questions under way on one socket. The ID of a
// message is its place in the window, and a count that tells it from the one
// before there.
type asker struct {
	conn    net.Conn
	until   time.Time // of the read deadline
	suffix  func(q *question) string
	slots   [window]slot
	out, in []byte
}

type slot struct {
	q  *question // nil: free
	id uint16
}

// askAll asks the questions and hands every answer to got, in any order.
func (w *world) askAll(address string, questions []question, got func(q *question, answer []byte)) error {
	conn, err := net.Dial("udp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.(*net.UDPConn).SetReadBuffer(receiveBytes)
	a := &asker{conn: conn, suffix: func(q *question) string { return w.zones[q.zone].Suffix }, in: make([]byte, 4096)}
	next := 0
	for i := range a.slots {
		a.slots[i].id = uint16(i)
		if next, err = a.refill(i, questions, next); err != nil {
			return err
		}
	}
	for done, tries := 0, 0; done < len(questions); {
		i, answer, err := a.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if tries++; tries > triesMax {
				return fmt.Errorf("no answer to %q", a.pending())
			}
			err = a.sendAgain()
		case err == nil && i >= 0:
			got(a.slots[i].q, answer)
			tries = 0
			done++
			next, err = a.refill(i, questions, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refill puts the next question, if there is one, into a free place.
func (a *asker) refill(i int, questions []question, next int) (int, error) {
	a.slots[i].q = nil
	if next == len(questions) {
		return next, nil
	}
	if a.slots[i].id += window; a.slots[i].id < window || int(a.slots[i].id)%window != i {
		a.slots[i].id = uint16(i) // past 65,535
	}
	return next + 1, a.send(i, &questions[next])
}

func (a *asker) send(i int, q *question) error {
	a.slots[i].q = q
	a.out = q.wire(a.out[:0], a.slots[i].id, a.suffix(q))
	_, err := a.conn.Write(a.out)
	return err
}

func (a *asker) sendAgain() error {
	for i := range a.slots {
		if q := a.slots[i].q; q != nil {
			if err := a.send(i, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// receive returns an answer and its place in the window, or -1 for one that
// nobody waits for any more.
func (a *asker) receive() (i int, answer []byte, err error) {
	if now := time.Now(); a.until.Sub(now) < patience/2 {
		a.until = now.Add(patience)
		if err := a.conn.SetReadDeadline(a.until); err != nil {
			return -1, nil, err
		}
	}
	n, err := a.conn.Read(a.in)
	if err != nil {
		return -1, nil, err
	}
	if n < 12 {
		return -1, nil, io.ErrUnexpectedEOF
	}
	id := binary.BigEndian.Uint16(a.in)
	i = int(id) % window
	if a.slots[i].q == nil || a.slots[i].id != id {
		return -1, nil, nil
	}
	return i, a.in[:n], nil
}

func (a *asker) pending() string {
	for i := range a.slots {
		if q := a.slots[i].q; q != nil {
			return q.labels + a.suffix(q)
		}
	}
	return ""
}
