package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"ucedge/core"
	"ucedge/edge/fuel"
	"ucedge/snapshot"
	"ucedge/wasm/abi"
)

// How many turns of loops a call may take (package fuel): so many, and so many
// more for each byte that the guest is handed. An answer takes some 250 in all,
// a thousand listed addresses of /v1/check 75 a byte for each level, and a
// snapshot of two million addresses opens in a twentieth of one a byte. A
// million turns are some 5 ms, for which a guest that does not return may hold
// up the whole process: Go collects no garbage meanwhile, and cannot stop it.
const (
	turnsFixed   = 1 << 20
	turnsPerByte = 1 << 10
)

// stderrMax is how much of a guest's dying words is kept: the message of a
// panic and the first frames of its stack. askedMax is how much of what it was
// asked: a DNS message is smaller.
const (
	stderrMax = 2 << 10
	askedMax  = 512
)

// A TrapError is a guest that stopped in the middle of a call, took too many
// turns, or whose answer broke the interface. The guest is gone; the engine
// puts a new one in its place.
type TrapError struct {
	Call   string // name of the export
	Serial snapshot.Serial
	Err    error
	Stderr string // what the guest wrote before, at most 2 KiB
	Asked  string // the DNS message, or method, target and body, so that somebody can ask it again; at most 512 bytes
}

func (e *TrapError) Error() string {
	text := fmt.Sprintf("guest trapped in %s, serial %d: %v", e.Call, e.Serial, e.Err)
	if e.Stderr != "" {
		text += fmt.Sprintf(": %q", e.Stderr)
	}
	if e.Asked != "" {
		text += fmt.Sprintf(", asked %q", e.Asked)
	}
	return text
}

// noteAsked notes in err, if it is a TrapError, what the guest was asked.
func noteAsked(err error, asked ...[]byte) {
	if trap := (*TrapError)(nil); errors.As(err, &trap) {
		text := bytes.Join(asked, []byte(" "))
		trap.Asked = string(text[:min(len(text), askedMax)])
	}
}

func (e *TrapError) Unwrap() error { return e.Err }

// A RefusalError is a guest that understood a call and said no, for example to
// a damaged image. The guest lives on.
type RefusalError struct {
	Call string // name of the export
	Text string // the guest's reason
}

func (e *RefusalError) Error() string { return "guest refused " + e.Call + ": " + e.Text }

// A VersionError is a guest module with another version of the interface.
type VersionError struct{ Guest, Host uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("guest has interface version %d, this host version %d", e.Guest, e.Host)
}

// A guest is one instance of the guest module. One call at a time.
type guest struct {
	module api.Module
	memory api.Memory
	fuel   api.MutableGlobal
	stderr *tail

	answer, serve, load, setManifest        export
	imageBuffer, requestBuffer, lastMessage export

	buffer uint64       // address of the request buffer
	large  bool         // it is not the one of abi.RequestBytes bytes
	stack  [4]uint64    // arguments and result of the call under way
	asked  abi.Request  // the exchange under way
	said   abi.Response // likewise; its slices are the guest's memory
}

// An export is a function of the guest. Its name is kept here because the names
// inside a module are usually stripped.
type export struct {
	function api.Function
	name     string
}

// exports looks the functions of the module up, checks its version and asks for
// its request buffer.
func (g *guest) exports() error {
	var version export
	for name, f := range map[string]*export{
		abi.ExportVersion:       &version,
		abi.ExportAnswer:        &g.answer,
		abi.ExportServe:         &g.serve,
		abi.ExportLoad:          &g.load,
		abi.ExportSetManifest:   &g.setManifest,
		abi.ExportImageBuffer:   &g.imageBuffer,
		abi.ExportRequestBuffer: &g.requestBuffer,
		abi.ExportLastError:     &g.lastMessage,
	} {
		if *f = (export{g.module.ExportedFunction(name), name}); f.function == nil {
			return fmt.Errorf("guest has no export %q", name)
		}
	}
	if g.memory = g.module.Memory(); g.memory == nil {
		return fmt.Errorf("guest has no export %q", "memory")
	}
	var ok bool
	if g.fuel, ok = g.module.ExportedGlobal(fuel.Export).(api.MutableGlobal); !ok {
		return fmt.Errorf("guest has no export %q", fuel.Export)
	}
	v, err := g.call(version, 0)
	if err != nil {
		return err
	}
	if uint32(v) != abi.Version {
		return &VersionError{Guest: uint32(v), Host: abi.Version}
	}
	return g.askBuffer(abi.RequestBytes)
}

// call calls f, which is handed so many bytes, and returns its result. It
// allocates nothing.
func (g *guest) call(f export, handed int, args ...uint64) (uint64, error) {
	turns := turnsFixed + turnsPerByte*uint64(handed)
	g.fuel.Set(turns)
	copy(g.stack[:], args)
	err := f.function.CallWithStack(context.Background(), g.stack[:])
	switch {
	case err == nil:
		return g.stack[0], nil
	case g.fuel.Get() == 0:
		err = fmt.Errorf("no end after %d turns of loops: %w", turns, err)
	}
	return 0, g.trap(f, err)
}

// trap returns the TrapError of a call of f that failed with err.
func (g *guest) trap(f export, err error) error {
	return &TrapError{Call: f.name, Err: err, Stderr: g.stderr.String()}
}

// view returns the bytes at result, an address and a length as the guest gives
// them. They are the guest's own, valid until its next call.
func (g *guest) view(f export, result uint64) ([]byte, error) {
	address, length := uint32(result>>32), uint32(result)
	b, ok := g.memory.Read(address, length)
	if !ok {
		return nil, g.trap(f, fmt.Errorf("result of %d bytes at %#x is outside its memory", length, address))
	}
	return b, nil
}

// room returns n bytes of the request buffer to write to. f is the call that
// they are for. The buffer of abi.RequestBytes bytes need not be asked for
// again, unless there was a larger one since.
func (g *guest) room(f export, n int) ([]byte, error) {
	if n > abi.RequestBytes || g.large {
		if err := g.askBuffer(n); err != nil {
			return nil, err
		}
	}
	return g.view(f, g.buffer<<32|uint64(n))
}

// askBuffer asks the guest for a request buffer of n bytes or more.
func (g *guest) askBuffer(n int) error {
	address, err := g.call(g.requestBuffer, n, uint64(max(n, abi.RequestBytes)))
	if err != nil {
		return err
	}
	if address == 0 {
		g.large = true // whatever it was, it is not to be relied on
		return &RefusalError{Call: abi.ExportRequestBuffer, Text: fmt.Sprintf("no room for %d bytes", n)}
	}
	g.buffer, g.large = address, n > abi.RequestBytes
	return nil
}

// appendAnswer appends the answer to query to dst.
func (g *guest) appendAnswer(dst, query []byte, now int64, gate core.Gate) ([]byte, error) {
	b, err := g.room(g.answer, len(query))
	if err != nil {
		return dst, err
	}
	copy(b, query)
	result, err := g.call(g.answer, len(query), uint64(len(query)), uint64(now), uint64(gate))
	if err != nil {
		return dst, err
	}
	answer, err := g.view(g.answer, result)
	return append(dst, answer...), err
}

// exchange serves one HTTP exchange.
func (g *guest) exchange(req *core.Request, resp *core.Response) error {
	requestFrame(&g.asked, req)
	size := abi.RequestSize(&g.asked)
	b, err := g.room(g.serve, size)
	if err != nil {
		return err
	}
	abi.AppendRequest(b[:0], &g.asked)
	result, err := g.call(g.serve, size, uint64(size))
	if err != nil {
		return err
	}
	frame, err := g.view(g.serve, result)
	if err != nil {
		return err
	}
	if err := abi.ParseResponse(frame, &g.said); err != nil {
		return g.trap(g.serve, err)
	}
	if s := g.said.Status; s < 200 || s > 599 {
		return g.trap(g.serve, fmt.Errorf("status %d is not that of a response", s))
	}
	copyResponse(resp, &g.said)
	return nil
}

// open gives the guest the objects of a generation and then its manifest frame.
func (g *guest) open(generation *Generation, manifest []byte) error {
	image, err := g.copyIn(generation.Image)
	if err != nil {
		return err
	}
	filter, err := g.copyIn(generation.Filter)
	if err != nil {
		return err
	}
	handed := len(generation.Image) + len(generation.Filter)
	if err := g.refusable(g.load, handed, image, uint64(len(generation.Image)), filter, uint64(len(generation.Filter))); err != nil {
		return err
	}
	return g.renew(manifest)
}

// copyIn copies b into a buffer of the guest and returns its address.
func (g *guest) copyIn(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, nil
	}
	address, err := g.call(g.imageBuffer, len(b), uint64(len(b)))
	if err != nil {
		return 0, err
	}
	if address == 0 || !g.memory.Write(uint32(address), b) {
		return 0, &RefusalError{Call: abi.ExportImageBuffer, Text: fmt.Sprintf("no room for %d bytes", len(b))}
	}
	return address, nil
}

// renew gives the guest another manifest.
func (g *guest) renew(frame []byte) error {
	b, err := g.room(g.setManifest, len(frame))
	if err != nil {
		return err
	}
	copy(b, frame)
	return g.refusable(g.setManifest, len(frame), uint64(len(frame)))
}

// refusable calls f as call does, whose result is a status, and returns a RefusalError with
// the guest's last message if the status is not 0.
func (g *guest) refusable(f export, handed int, args ...uint64) error {
	status, err := g.call(f, handed, args...)
	if err != nil || uint32(status) == 0 {
		return err
	}
	result, err := g.call(g.lastMessage, 0)
	if err != nil {
		return err
	}
	text, err := g.view(g.lastMessage, result)
	if err != nil {
		return err
	}
	return &RefusalError{Call: f.name, Text: string(text)}
}

// A tail is a writer that keeps the first stderrMax bytes since it was made:
// a panic's message comes first. Only the goroutine that calls the guest writes to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	if room := stderrMax - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
