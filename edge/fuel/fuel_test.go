package fuel

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// module returns a module with one global and one function called f, which
// takes an i32 and has these instructions for its body.
func module(body ...byte) []byte {
	body = append(append([]byte{0}, body...), 0x0b) // no locals; end
	m := []byte(preamble)
	m = appendPart(append(m, 1), []byte{1, 0x60, 1, 0x7f, 0})                  // type i32 → nothing
	m = appendPart(append(m, 3), []byte{1, 0})                                 // a function of it
	m = appendPart(append(m, 4), []byte{1, 0x70, 0, 1})                        // a table of one function
	m = appendPart(append(m, 5), []byte{1, 0, 1})                              // a page of memory
	m = appendPart(append(m, 6), []byte{1, 0x7f, 1, 0x41, 7, 0x0b})            // a mutable i32 of 7
	m = appendPart(append(m, 7), []byte{2, 1, 'f', 0, 0, 1, 'g', 3, 0})        // f and the global g
	m = appendPart(append(m, 9), []byte{1, 0, 0x41, 0, 0x0b, 1, 0})            // f in the table
	m = appendPart(append(m, 12), []byte{1})                                   // one piece of data
	m = appendPart(append(m, 10), append([]byte{1}, appendPart(nil, body)...)) // f
	return appendPart(append(m, 11), []byte{1, 1, 2, 'o', 'k'})                // passive data
}

// turns are instructions that turn as often as the argument says, once at
// least: loop; n = n-1; while n != 0.
var turns = []byte{0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b}

// instance compiles a module, and starts it.
func instance(t *testing.T, module []byte) api.Module {
	t.Helper()
	runtime := wazero.NewRuntime(context.Background())
	t.Cleanup(func() { runtime.Close(context.Background()) })
	m, err := runtime.Instantiate(context.Background(), module)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFuel(t *testing.T) {
	fuelled, err := Add(module(turns...))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		fuel, turns uint64
		traps       bool
		left        int64
	}{
		{10, 1, false, 9},
		{10, 9, false, 1},
		{10, 10, true, 0},
		{10, 0, true, 0}, // 2^32 turns
		{1, 1, true, 0},
		{0, 1000, false, -1000}, // as in a new instance: no bound
	} {
		m := instance(t, fuelled)
		left := m.ExportedGlobal(Export).(api.MutableGlobal)
		if left.Get() != 0 {
			t.Errorf("a new instance has %d", left.Get())
		}
		left.Set(row.fuel)
		_, err := m.ExportedFunction("f").Call(t.Context(), row.turns)
		if (err != nil) != row.traps || int64(left.Get()) != row.left {
			t.Errorf("%d turns with fuel for %d: error %v and %d left, want a trap: %v and %d", row.turns, row.fuel, err, int64(left.Get()), row.traps, row.left)
		}
	}
}

// operands has instructions with every kind of operand, after one that ends the
// function, so that none of them needs anything on the stack.
var operands = slices.Concat([]byte{0x00},
	[]byte{0x02, 0x40, 0x03, 0x7f, 0x00, 0x04, 0x40, 0x05, 0x0b, 0x0b, 0x1a, 0x0b}, // block, loop, if, else, end; drop
	[]byte{0x02, 0x40, 0x00, 0x0e, 2, 0, 1, 0, 0x0b},                               // br_table
	[]byte{0x10, 0, 0x11, 0, 0, 0x1b, 0x1a, 0x1c, 1, 0x7e, 0x1a},                   // call, call_indirect, select
	[]byte{0x23, 0, 0x24, 0, 0x20, 0, 0x21, 0, 0x41, 0, 0x25, 0, 0x1a},             // global, local, table
	[]byte{0x41, 0, 0x28, 2, 0x83, 0x01, 0x1a, 0x3f, 0, 0x40, 0, 0x1a},             // load at 131; memory.size, memory.grow
	[]byte{0x42, 0x83, 0x83, 0x83, 0x03, 0x1a},                                     // i64.const whose parts look like loops
	[]byte{0x43, 3, 3, 3, 3, 0x1a, 0x44, 3, 3, 3, 3, 3, 3, 3, 3, 0x1a},             // f32.const, f64.const
	[]byte{0x43, 3, 3, 3, 3, 0xfc, 0, 0xc0, 0x1a},                                  // i32.trunc_sat, i32.extend8_s
	[]byte{0xd0, 0x70, 0xd1, 0x1a, 0xd2, 0, 0x1a},                                  // ref.null, ref.is_null, ref.func
	[]byte{0x00, 0xfc, 8, 0, 0, 0x00, 0xfc, 9, 0, 0x00, 0xfc, 10, 0, 0, 0x00, 0xfc, 11, 0},
	[]byte{0x00, 0xfc, 14, 0, 0, 0x00, 0xfc, 15, 0, 0x1a, 0x00, 0xfc, 16, 0, 0x1a, 0x00, 0xfc, 17, 0},
)

// TestAddKnowsItsOperands: what comes after instructions of every kind is found
// where it is, and nothing inside their operands is taken for a loop.
func TestAddKnowsItsOperands(t *testing.T) {
	plain, err := Add(module())
	if err != nil {
		t.Fatal(err)
	}
	m := module(operands...)
	fuelled, err := Add(m)
	if err != nil {
		t.Fatal(err)
	}
	instance(t, m) // it is valid
	instance(t, fuelled)
	if got, want := len(fuelled)-len(m), len(plain)-len(module())+len(burning(1)); got != want {
		t.Errorf("one loop makes %d bytes more, want %d", got, want)
	}
}

func TestAddRefuses(t *testing.T) {
	good := module(turns...)
	section := func(m []byte, id byte) (from, to int) {
		for from = len(preamble); m[from] != id; from += 2 + int(m[from+1]) {
		}
		return from, from + 2 + int(m[from+1])
	}
	without := func(id byte) []byte {
		from, to := section(good, id)
		return slices.Delete(bytes.Clone(good), from, to)
	}
	imports := slices.Insert(bytes.Clone(good), len(preamble), 2, 8, 1, 1, 'm', 1, 'n', 3, 0x7f, 0)
	for name, m := range map[string][]byte{
		"nothing":            nil,
		"text":               []byte("(module)"),
		"version 2":          []byte("\x00asm\x02\x00\x00\x00"),
		"no sections":        []byte(preamble),
		"no globals":         without(6),
		"no exports":         without(7),
		"no code":            without(10),
		"an imported global": imports,
		"vectors":            module(0xfd, 12),
		"atomics":            module(0xfe, 0),
		"an unknown 0xfc":    module(0xfc, 18),
	} {
		if made, err := Add(m); err == nil || made != nil {
			t.Errorf("%s: got %d bytes, error %v", name, len(made), err)
		} else if !strings.HasPrefix(err.Error(), "add fuel to a module: ") {
			t.Errorf("%s: error %q does not say what failed", name, err)
		}
	}
	_, end := section(good, 10)
	for n := range end { // what comes later, data, may be missing
		if _, err := Add(good[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are taken for a module", n, len(good))
		}
	}
}

// FuzzAdd takes any bytes for a module, which Add must bear, and for the body of
// a function: what is valid before is valid after. A whole module of such bytes
// is not compiled, as wazero believes the lengths in it.
func FuzzAdd(f *testing.F) {
	for _, b := range [][]byte{module(), module(turns...), turns, operands} {
		f.Add(b)
	}
	runtime := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range [][]byte{b, module(b...)} {
			if made, err := Add(m); (err == nil) != (made != nil) {
				t.Fatalf("%d bytes and error %v", len(made), err)
			}
		}
		made, err := Add(module(b...))
		if err != nil {
			return
		}
		before, err := runtime.CompileModule(t.Context(), module(b...))
		if err != nil {
			return
		}
		defer before.Close(t.Context())
		after, err := runtime.CompileModule(t.Context(), made)
		if err != nil {
			t.Fatalf("valid before, and then: %v", err)
		}
		after.Close(t.Context())
	})
}
