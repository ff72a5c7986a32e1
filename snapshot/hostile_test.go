package snapshot_test

import (
	"bytes"
	"cmp"
	"math"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ucedge/snapshot"
	"ucedge/snapshot/build"
)

// edit damages the section of that kind, level and family of the small image,
// and makes all checksums right again.
func edit(kind snapshot.Kind, level snapshot.Level, family uint8, do func(x *raw)) func(testing.TB, []byte) []byte {
	return func(t testing.TB, image []byte) []byte {
		sections := parts(t, image)
		for i := range sections {
			if x := &sections[i]; x.kind == kind && x.level == level && x.family == family {
				do(x)
				return assemble(sections)
			}
		}
		t.Fatalf("no section %v %d %d", kind, level, family)
		return nil
	}
}

func setByte(at int, b byte) func(*raw) {
	return func(x *raw) {
		if at < 0 {
			at += len(x.body)
		}
		x.body[at] = b
	}
}

func insert(at int, b ...byte) func(*raw) {
	return func(x *raw) { x.body = append(x.body[:at:at], append(b, x.body[at:]...)...) }
}

func count(n int) func(*raw) { return func(x *raw) { x.count = n } }

// TestHostile holds what becomes of files that nobody should have made: what
// Open says, or else what Check says. Lookups must not panic in any of those
// that Open takes.
func TestHostile(t *testing.T) {
	image, _ := mustImage(t, smallInput())
	patch := func(at int, b ...byte) func(testing.TB, []byte) []byte {
		return func(_ testing.TB, image []byte) []byte {
			copy(image[at:], b)
			return fixed(image)
		}
	}
	for _, tt := range []struct {
		name  string
		make  func(testing.TB, []byte) []byte
		open  string // part of the error of Open, or
		check string // of Check
	}{
		{"empty", func(testing.TB, []byte) []byte { return nil }, "shorter than its header", ""},
		{"no magic", patch(0, 'U'), "not a ucedge snapshot", ""},
		{"next version", patch(8, 3), "unknown version 3", ""},
		{"more sections than fit", patch(12, 64), "too many sections", ""},
		{"more sections than a table has", patch(12, 255, 255, 255, 255), "too many sections", ""},
		{"header checksum", func(_ testing.TB, b []byte) []byte { b[24]++; return b }, "checksum does not match", ""},
		{"trailing bytes", func(_ testing.TB, b []byte) []byte { return fixed(append(b, make([]byte, 8)...)) }, "after the last", ""},
		{"unknown kind", patch(snapshot.HeaderSize, 99), "unknown or misplaced", ""},
		{"flag in the table", patch(snapshot.HeaderSize+3, 1), "unknown or misplaced", ""},
		{"section elsewhere", patch(snapshot.HeaderSize+8, 0), "outside its place", ""},
		{"section past the end", patch(snapshot.HeaderSize+12, 255, 255, 255, 255), "outside its place", ""},
		{"no zones", func(t testing.TB, b []byte) []byte { return assemble(parts(t, b)[1:]) }, "missing", ""},
		{"section twice", func(t testing.TB, b []byte) []byte {
			p := parts(t, b)
			return assemble(append(p[:1:1], p...))
		}, "misplaced", ""},
		{"sections swapped", func(t testing.TB, b []byte) []byte {
			p := parts(t, b)
			p[3], p[4] = p[4], p[3]
			return assemble(p)
		}, "misplaced", ""},

		{"nine zones", edit(snapshot.KindZones, 0, 0, count(9)), "number of zones", ""},
		{"zone in capitals", edit(snapshot.KindZones, 0, 0, setByte(1, 'D')), "lower-case", ""},
		{"zone longer than the section", edit(snapshot.KindZones, 0, 0, setByte(0, 120)), "zones", ""},
		{"number in too many bytes", edit(snapshot.KindCollateral, 0, 0, func(x *raw) {
			x.body = append([]byte{x.body[0] | 0x80, 0}, x.body[1:]...)
		}), "number too long", ""},
		{"number past 128 bits", edit(snapshot.KindCollateral, 0, 0, insert(0, bytes.Repeat([]byte{0xff}, 19)...)), "number too long", ""},
		{"number without end", edit(snapshot.KindProfile, 0, 0, func(x *raw) { x.body = []byte{0x80} }), "ends too early", ""},
		{"bytes after the profile", edit(snapshot.KindProfile, 0, 0, insert(9, 0)), "more bytes than items", ""},
		{"collateral that is not true", edit(snapshot.KindCollateral, 0, 0, setByte(0, 1)), "", "not those of its listings"},

		{"no systems", edit(snapshot.KindSystems, 0, 0, count(0)), "no systems", ""},
		{"more systems than bytes", edit(snapshot.KindSystems, 0, 0, count(1<<31)), "ends too early", ""},
		{"ends of a width that there is not", edit(snapshot.KindSystems, 0, 0, func(x *raw) { x.body[4*x.count] = 3 }), "width that there is not", ""},
		{"system that no row uses", edit(snapshot.KindSystems, 0, 0, func(x *raw) {
			ends := 4*x.count + 1
			end := x.body[ends+x.count-1]
			x.body = slices.Concat(x.body[:ends-1], []byte{0xff, 0xff, 0xff, 0}, x.body[ends-1:ends+x.count], []byte{end + 1}, x.body[ends+x.count:], []byte{'X'})
			x.count++
		}), "", "no row uses"},
		{"systems out of order", edit(snapshot.KindSystems, 0, 0, setByte(3, 1)), "", "out of order"},
		{"name that ends before it starts", edit(snapshot.KindSystems, 0, 0, func(x *raw) { x.body[4*x.count+2] = 1 }), "", "wrong lengths"},
		{"names that end past the section", edit(snapshot.KindSystems, 0, 0, func(x *raw) { x.body[4*x.count+2] = 250 }), "", "wrong lengths"},
		{"text of no bytes", edit(snapshot.KindTexts, 0, 0, func(x *raw) { x.body = []byte{0} }), "", "texts empty"},
		{"row of a system that is not there", edit(snapshot.KindRows, 0, 0, func(x *raw) { x.body[8+2*x.count+1] = 3 }), "", "AS or text that is not there"},
		{"row of a text that is not there", edit(snapshot.KindRows, 0, 0, setByte(-1, 7)), "", "AS or text that is not there"},
		{"row twice", edit(snapshot.KindRows, 0, 0, func(x *raw) {
			at := 8
			for _, width := range x.body[:8] {
				w := int(width)
				copy(x.body[at+w:at+2*w], x.body[at:at+w])
				at += x.count * w
			}
		}), "", "row twice"},
		{"row that no prefix uses", edit(snapshot.KindRows, 0, 0, func(x *raw) {
			b, at := append([]byte(nil), x.body[:8]...), 8
			for _, width := range x.body[:8] {
				n := x.count * int(width)
				b = append(append(b, x.body[at:at+n]...), make([]byte, width)...)
				at += n
			}
			x.count, x.body = x.count+1, b
		}), "", "row that no prefix uses"},
		{"column of rows wider than its numbers", edit(snapshot.KindRows, 0, 0, func(x *raw) {
			at, wide := 8+x.count, make([]byte, 0, 2*x.count)
			for _, b := range x.body[8:at] {
				wide = append(wide, b, 0)
			}
			x.body = slices.Concat([]byte{2}, x.body[1:8], wide, x.body[at:])
		}), "", "wider than its numbers"},
		{"kinds of two bytes", edit(snapshot.KindRows, 0, 0, func(x *raw) {
			x.body[6]++
			x.body = append(x.body, make([]byte, x.count)...)
		}), "kinds of more than a byte", ""},
		{"more rows than bytes", edit(snapshot.KindRows, 0, 0, count(1<<20)), "more than bytes", ""},
		{"more rows than bytes, none of which takes any", edit(snapshot.KindRows, 0, 0, func(x *raw) {
			x.count, x.body = math.MaxUint32, make([]byte, 8)
		}), "more than bytes", ""},
		{"more texts than bytes, none of which takes any", edit(snapshot.KindTexts, 0, 0, func(x *raw) {
			x.count, x.body = math.MaxUint32, []byte{0}
		}), "more than bytes", ""},

		// The nets of Level 2, IPv4: head to 3, lengths 4 to 6, high parts of starts 7
		// to 12, low ones 13 to 18, parents 19 to 21, rows 22 to 24.
		{"no prefixes", edit(snapshot.KindNets, 2, 4, count(0)), "no prefixes", ""},
		{"more prefixes than bytes", edit(snapshot.KindNets, 2, 4, count(1<<30)), "ends too early", ""},
		{"prefixes of 33 bits", edit(snapshot.KindNets, 2, 4, setByte(0, 33)), "prefixes too long", ""},
		{"prefixes of 129 bits", edit(snapshot.KindNets, 2, 6, setByte(0, 129)), "prefixes too long", ""},
		{"flag in the head of nets", edit(snapshot.KindNets, 2, 4, setByte(3, 1)), "no prefixes, or", ""},
		{"parents of a width that there is not", edit(snapshot.KindNets, 2, 4, setByte(1, 8)), "width that there is not", ""},
		{"first prefixes of blocks out of order", func(t testing.TB, _ []byte) []byte {
			in := smallInput()
			for i := range uint32(64) {
				in.Listings = append(in.Listings, snapshot.Listing{Level: 2, Prefix: netip.PrefixFrom(v4(203<<24|113<<8|4*i), 30)})
			}
			image, _ := mustImage(t, in)
			return edit(snapshot.KindNets, 2, 4, func(x *raw) { x.body[4+x.count+2*64+1] = 1 })(t, image)
		}, "prefixes out of order", ""},
		{"prefix longer than the longest", edit(snapshot.KindNets, 2, 4, setByte(4, 40)), "", "prefix too long"},
		{"no prefix as long as the longest", edit(snapshot.KindNets, 3, 4, setByte(0, 32)), "", "wider than what they hold"},
		{"child as wide as its parent", edit(snapshot.KindNets, 2, 4, setByte(5, 24)), "", "bits set after the prefix"},
		{"prefix twice", edit(snapshot.KindNets, 2, 4, func(x *raw) { x.body[5], x.body[15] = 24, 0 }), "", "prefixes out of order"},
		{"prefixes swapped", edit(snapshot.KindNets, 3, 4, setByte(7, 200)), "", "prefixes out of order"},
		{"parent that is not the next", edit(snapshot.KindNets, 2, 4, setByte(21, 2)), "", "parent is not the next"},
		{"parent before the first", edit(snapshot.KindNets, 2, 4, setByte(20, 9)), "", "parent is not the next"},
		{"child outside its parent", edit(snapshot.KindNets, 2, 4, setByte(12, 193)), "", "parent is not the next"},
		{"row of the future", edit(snapshot.KindNets, 2, 4, setByte(-3, 200)), "", "row that no prefix before it uses"},
		{"rows of no prefix", edit(snapshot.KindNets, 3, 6, setByte(-1, 0)), "", "wider than what they hold"},
		{"exclusion turned into a listing", edit(snapshot.KindNets, 2, 4, setByte(-1, 2)), "", "not those of its listings"},

		{"no points", edit(snapshot.KindPoints, 1, 4, count(0)), "does not fit", ""},
		{"more points than directory", edit(snapshot.KindPoints, 1, 4, count(1<<31)), "does not fit", ""},
		{"more points than addresses above the first", edit(snapshot.KindPoints, 1, 4, func(x *raw) {
			copy(x.body[len(x.body)-4:], []byte{0xfe, 0xff, 0xff, 0xff})
		}), "out of order", ""},
		{"payload that starts late", edit(snapshot.KindPoints, 1, 4, setByte(-10, 1)), "outside its place", ""},
		{"group that starts early", edit(snapshot.KindPoints, 1, 4, setByte(-6, 1)), "does not start at its first block", ""},
		{"payload with a byte too many", edit(snapshot.KindPoints, 1, 4, insert(1, 0)), "", "unused bits"},
		{"payload without its codes", edit(snapshot.KindPoints, 1, 4, func(x *raw) { x.body = x.body[len(x.body)-10:] }), "", "unused bits"},
		{"split elsewhere", edit(snapshot.KindPoints, 1, 4, func(x *raw) { x.body[0]++ }), "", "unused bits"},
		{"columns of too few points", edit(snapshot.KindTerms, 1, 4, func(x *raw) { x.body = x.body[:len(x.body)-1] }), "ends too early", ""},
		{"column of zeros", edit(snapshot.KindKinds, 1, 6, func(x *raw) { clear(x.body) }), "", "out of range"},
		{"kinds past a byte", edit(snapshot.KindKinds, 1, 6, setByte(2, 1)), "", "out of range"},
		{"index past the dictionary", edit(snapshot.KindTerms, 1, 4, setByte(-1, 200)), "", "past the dictionary"},
		{"dictionary out of order", edit(snapshot.KindTerms, 1, 4, setByte(12, 0)), "", "dictionary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.make(t, append([]byte(nil), image...))
			s, err := snapshot.Open(b)
			if tt.open != "" {
				if err == nil || s != nil || !strings.Contains(err.Error(), tt.open) {
					t.Fatalf("open: %v, want %q and no snapshot", err, tt.open)
				}
				return
			}
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			exercise(t, s)
			if err := s.Check(); err == nil || !strings.Contains(err.Error(), tt.check) {
				t.Errorf("check: %v, want %q", err, tt.check)
			}
		})
	}
}

// askedOf returns how many listings of a level to ask for, so that asking takes a
// moment whatever the file: a question may pass all items of a level.
func askedOf(s *snapshot.Snapshot) int {
	items := 1
	for _, x := range s.Sections() {
		if x.Kind == snapshot.KindNets || x.Kind == snapshot.KindPoints {
			items += x.Count
		}
	}
	return min(300, 1<<17/items)
}

// exercise asks s for all sorts of addresses. Whatever the file, an answer
// must hold the address that was asked for.
func exercise(t testing.TB, s *snapshot.Snapshot) {
	t.Helper()
	most := askedOf(s)
	var ask []netip.Addr
	for level := snapshot.Combined; level <= snapshot.System+1; level++ {
		n := 0
		for l := range s.Listings(level) {
			ask = append(ask, l.Prefix.Addr(), l.Prefix.Addr().Prev(), last(l.Prefix), last(l.Prefix).Next())
			if n++; n > most {
				break
			}
		}
	}
	for _, a := range []string{"0.0.0.0", "127.0.0.2", "192.0.2.81", "255.255.255.255", "::", "::ffff:192.0.2.1",
		"2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		ask = append(ask, netip.MustParseAddr(a))
	}
	for _, a := range ask {
		if !a.IsValid() {
			continue
		}
		for level := snapshot.Combined; level <= snapshot.System+1; level++ {
			m := s.Lookup(level, a, 490_000*3600)
			for depth, ok := 0, m.Listed || m.Excluded; ok; depth++ {
				if !m.Prefix.Contains(a) || m.Listed == m.Excluded || m.Listed && len(m.Facts.Text) == 0 || depth > 130 {
					t.Fatalf("%v at level %d: %+v after %d steps", a, level, m, depth)
				}
				m, ok = s.Parent(m, 490_000*3600)
			}
			for _, bits := range []int{0, 9, a.BitLen() - 7, a.BitLen()} {
				p, _ := a.Prefix(bits)
				s.AnyBelow(level, p, 490_000*3600)
			}
		}
	}
	s.Sane(snapshot.DefaultLimits())
}

// TestDamage holds that Open refuses every image that is cut short, and every
// change of one byte.
func TestDamage(t *testing.T) {
	image, _ := mustImage(t, smallInput())
	for n := range image {
		if s, err := snapshot.Open(image[:n]); err == nil || s != nil {
			t.Errorf("cut to %d of %d bytes: opened", n, len(image))
		}
		for _, bit := range []byte{1, 0x80, 0xff} {
			b := append([]byte(nil), image...)
			b[n] ^= bit
			if s, err := snapshot.Open(b); err == nil || s != nil {
				t.Errorf("byte %d changed by %#x: opened", n, bit)
			}
		}
	}
}

// TestDamagePastChecksums changes every byte and sets the checksums right:
// nothing may panic, and what Check accepts must be the encoding of its own
// listings.
func TestDamagePastChecksums(t *testing.T) {
	image, _ := mustImage(t, smallInput())
	opened, checked := 0, 0
	for n := snapshot.HeaderSize; n < len(image); n++ {
		for _, bit := range []byte{1, 0x40, 0xff} {
			b := append([]byte(nil), image...)
			b[n] ^= bit
			o, c := openCheckRebuild(t, fixed(b))
			opened, checked = opened+o, checked+c
		}
	}
	t.Logf("of %d changes %d open and %d pass check", 3*(len(image)-snapshot.HeaderSize), opened, checked)
	if opened == 0 || checked == 0 {
		t.Error("no change gets past Open or Check, so this test shows nothing")
	}
}

// openCheckRebuild opens a file; if Check accepts it, the builder must give the
// same bytes for what it holds.
func openCheckRebuild(t testing.TB, b []byte) (opened, checked int) {
	t.Helper()
	s, err := snapshot.Open(b)
	if err != nil {
		if s != nil {
			t.Fatal("an error and a snapshot")
		}
		return 0, 0
	}
	exercise(t, s)
	if s.Check() != nil {
		return 1, 0
	}
	again, err := build.Image(build.Input{Zones: s.Zones(), Profile: s.Profile(), Listings: all(s)})
	if err != nil {
		t.Fatalf("builder refuses what check accepts: %v", err)
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("two encodings of one set of listings\n got %x\nwant %x", again, b)
	}
	return 1, 1
}

func FuzzOpenLookup(f *testing.F) {
	small := smallInput()
	image, err := build.Image(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	small.Listings = nil
	if image, err = build.Image(small); err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	for _, l := range []string{"0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff:ffff:ffff:ffff::/64"} {
		small.Listings = append(small.Listings, snapshot.Listing{Level: 1, Prefix: netip.MustParsePrefix(l)})
	}
	if image, err = build.Image(small); err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 32<<10 {
			return // six bytes may be 64 listings, and more of them find no more
		}
		openCheckRebuild(t, b)
		openCheckRebuild(t, fixed(b))
	})
}

// FuzzPoints puts any bytes where the points are. Whatever they decode to must
// be in order, and a search must find just that.
func FuzzPoints(f *testing.F) {
	for _, n := range []int{1, 2, 17, 33, 49, 63, 64, 65, 200} {
		f.Add(pointsSection(f, n), uint16(n), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint16, v6 bool) {
		if n > 2*snapshot.BlockSize*snapshot.GroupSize {
			return // more groups find no more
		}
		image, err := build.Image(build.Input{Zones: threeZones()})
		if err != nil {
			t.Fatal(err)
		}
		family := uint8(4)
		if v6 {
			family = 6
		}
		s, err := snapshot.Open(assemble(append(parts(t, image), raw{snapshot.KindPoints, 1, family, int(n), b})))
		if err != nil {
			return
		}
		var before netip.Addr
		found := 0
		for l := range s.Listings(1) {
			a := l.Prefix.Addr()
			if found > 0 && !before.Less(a) {
				t.Fatalf("%v after %v", a, before)
			}
			if m := s.Lookup(1, a, 0); !m.Listed || m.Prefix != l.Prefix {
				t.Fatalf("%v: %+v, want it listed", a, m)
			}
			for p := before.Next(); p.IsValid() && found > 0 && p.Less(a) && !v6; p = a { // the gap before it
				if s.Lookup(1, p, 0).Listed || s.Lookup(1, a.Prev(), 0).Listed {
					t.Fatalf("an address between %v and %v is listed", before, a)
				}
			}
			before = a
			found++
		}
		if found != int(n) {
			t.Fatalf("%d points, want %d", found, n)
		}
	})
}

func pointsSection(t testing.TB, n int) []byte {
	in := build.Input{Zones: threeZones()}
	for i := range n {
		a := v4(uint32(i*i*977 + 5))
		in.Listings = append(in.Listings, snapshot.Listing{Level: 1, Prefix: netip.PrefixFrom(a, 32)})
	}
	image, err := build.Image(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range parts(t, image) {
		if x.kind == snapshot.KindPoints {
			return x.body
		}
	}
	t.Fatal("no points")
	return nil
}

// TestFilterDamage holds that OpenFilter refuses every cut and every changed
// byte, and WithFilter the filter of another image.
func TestFilterDamage(t *testing.T) {
	image, s := mustImage(t, smallInput())
	good, err := build.Filter(image)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if f, err := snapshot.OpenFilter(good[:n]); err == nil || f != nil {
			t.Errorf("cut to %d of %d bytes: opened", n, len(good))
		}
		b := append([]byte(nil), good...)
		b[n] ^= 0x10
		if f, err := snapshot.OpenFilter(b); err == nil || f != nil {
			t.Errorf("byte %d changed: opened", n)
		}
		if len(b) >= snapshot.FilterHeaderSize {
			le.PutUint64(b[snapshot.FilterHeaderSize-8:], snapshot.FilterSum(b))
			if f, err := snapshot.OpenFilter(b); err == nil {
				f.May(1, netip.MustParseAddr("192.0.2.1"))
				f.May(2, netip.MustParseAddr("2001:db8::"))
			}
		}
	}
	in := smallInput()
	in.Listings = in.Listings[1:]
	other, _ := mustImage(t, in)
	b, err := build.Filter(other)
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.OpenFilter(b)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.WithFilter(f); err == nil || v != nil {
		t.Error("filter of another image taken")
	}
	if v, err := s.WithFilter(nil); err == nil || v != nil {
		t.Error("no filter taken")
	}
}

func TestSane(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []snapshot.Listing
		want string
	}{
		{"small", smallInput().Listings, ""},
		{"loopback", []snapshot.Listing{{Level: 1, Prefix: netip.MustParsePrefix("127.0.0.1/32")}}, "level 1 lists part of the protected prefix 127.0.0.0/8"},
		{"around private", []snapshot.Listing{{Level: 3, Prefix: netip.MustParsePrefix("10.0.0.0/7")}}, "level 3 lists part of the protected prefix 10.0.0.0/8"},
		{"around private, which is excluded", []snapshot.Listing{
			{Level: 3, Prefix: netip.MustParsePrefix("10.0.0.0/7")},
			{Level: 3, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Excluded: true}}, ""},
		{"mapped", []snapshot.Listing{{Level: 2, Prefix: netip.MustParsePrefix("::/64")}}, "protected prefix ::/127"},
		{"a sixteenth", []snapshot.Listing{{Level: 2, Prefix: netip.MustParsePrefix("64.0.0.0/4")}}, ""},
		{"an eighth", []snapshot.Listing{{Level: 2, Prefix: netip.MustParsePrefix("32.0.0.0/3")}}, "level 2 lists 536870912 addresses, more than 100 thousandths of IPv4"},
	} {
		_, s := mustImage(t, build.Input{Zones: threeZones(), Listings: tt.list})
		err := s.Sane(snapshot.DefaultLimits())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestCollateral holds figures that a reader can count by hand.
func TestCollateral(t *testing.T) {
	p := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	_, s := mustImage(t, build.Input{Zones: threeZones(), Listings: []snapshot.Listing{
		{Level: 1, Prefix: p("192.0.2.1/32")}, {Level: 1, Prefix: p("192.0.2.130/32")},
		{Level: 1, Prefix: p("198.51.100.1/32")}, {Level: 1, Prefix: p("2001:db8::/64")},
		{Level: 1, Prefix: p("2001:db8:0:1::5/128")}, {Level: 1, Prefix: p("2001:db8:0:1::6/128")},
		{Level: 2, Prefix: p("192.0.2.0/24")},
		{Level: 2, Prefix: p("192.0.2.128/25"), Excluded: true},
		{Level: 2, Prefix: p("192.0.2.128/30")},
		{Level: 2, Prefix: p("192.0.2.129/32"), Excluded: true},
		{Level: 2, Prefix: p("203.0.113.9/32"), Excluded: true},
		{Level: 2, Prefix: p("2001:db8::/48")}, {Level: 2, Prefix: p("2001:db8:0:8000::/49"), Excluded: true},
		{Level: 3, Prefix: p("::/0")},
	}})
	want := []snapshot.Collateral{
		{Level: 1, Entries: 6, Addresses: 3, Slash64s: 2, Abusers: 6},
		{Level: 2, Entries: 3, Excluded: 4, Addresses: 128 + 3, Slash64s: 1 << 15, Abusers: 5},
		{Level: 3, Entries: 1, Slash64s: 1<<64 - 1, Abusers: 3},
	}
	if got := s.Collateral(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// repeated returns a section of the net 0.0.0.0/1 many times and both of its halves,
// which are excluded.
func repeated(level snapshot.Level, times int) raw {
	n := times + 2
	lengths := append(bytes.Repeat([]byte{1}, times), 2, 2)
	body := slices.Concat([]byte{32, 0, 1, 0}, lengths, make([]byte, 4*n), bytes.Repeat([]byte{1}, times), []byte{0, 0})
	body[4+n+2*(n-1)+1] = 64
	return raw{snapshot.KindNets, level, 4, n, body}
}

// TestHostileTime holds that a question passes each net of an image once at
// most, also if they break the format so that all lie in each other: of a few
// megabytes it would otherwise take an hour.
func TestHostileTime(t *testing.T) {
	image, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: []snapshot.Listing{{Level: 3, Prefix: netip.MustParsePrefix("2001:db8::/32")}}})
	sections := parts(t, image)
	sections = slices.Insert(sections, len(sections)-1, repeated(snapshot.Allocation, 1<<20))
	s, err := snapshot.Open(assemble(sections))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan bool, 1)
	go func() { answered <- s.AnyBelow(snapshot.Allocation, netip.MustParsePrefix("0.0.0.0/0"), 0) }()
	select {
	case listed := <-answered:
		if listed {
			t.Error("an address is listed, want all excluded")
		}
	case <-time.After(30 * time.Second):
		t.Error("no answer within half a minute")
	}
}

// TestHostileMemory holds that to read an image takes a few times its bytes at
// most, however many items it makes of them, and whatever Check says.
func TestHostileMemory(t *testing.T) {
	const most = 4
	image, _ := mustImage(t, build.Input{Zones: threeZones(), Listings: []snapshot.Listing{{Level: 3, Prefix: netip.MustParsePrefix("192.0.2.0/24")}}})
	sections := parts(t, image)
	for _, tt := range []struct {
		name string
		add  raw
	}{
		{"a row of four bytes each", manyRows(1 << 18)},
		{"64 points of six bytes", densePoints(1 << 15)},
		{"nets of six bytes", repeated(snapshot.Allocation, 1<<18)},
	} {
		with := slices.DeleteFunc(slices.Clone(sections), func(x raw) bool { return x.kind == tt.add.kind && x.level == tt.add.level })
		with = append(with, tt.add)
		slices.SortFunc(with, func(a, b raw) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.level, b.level)) })
		b := assemble(with)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := snapshot.Open(b)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		err = s.Check()
		s.Sane(snapshot.DefaultLimits())
		runtime.ReadMemStats(&after)
		if took := int(after.TotalAlloc - before.TotalAlloc); took > most*len(b) {
			t.Errorf("%s: %d bytes of memory for %d of an image, want at most %d times as much (check: %v)", tt.name, took, len(b), most, err)
		}
	}
}

// manyRows returns a section of n rows, which differ in their count alone.
func manyRows(n int) raw {
	body := []byte{4, 0, 0, 0, 0, 0, 0, 0}
	for i := range n {
		body = le.AppendUint32(body, uint32(i))
	}
	return raw{snapshot.KindRows, 0, 0, n, body}
}

// densePoints returns a section of so many blocks of neighbouring addresses,
// whose payloads all begin at byte 0 and have no bytes.
func densePoints(blocks int) raw {
	groups := (blocks + snapshot.GroupSize - 1) / snapshot.GroupSize
	body := make([]byte, 4*groups+2*blocks)
	for i := range blocks {
		body = le.AppendUint32(body, uint32(9<<24+i*snapshot.BlockSize))
	}
	return raw{snapshot.KindPoints, 1, 4, blocks * snapshot.BlockSize, body}
}
