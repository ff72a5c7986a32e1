package core

import "unicode/utf8"

// appendString appends s as a JSON string (RFC 8259 7). Bytes that are not
// UTF-8 are taken for Latin-1, which is what old registries write.
func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		if n := plainRun(s[i:]); n > 0 {
			dst = append(dst, s[i:i+n]...)
			i += n
			continue
		}
		if c := s[i]; c < utf8.RuneSelf {
			dst = appendASCII(dst, c)
			i++
			continue
		}
		// At most four bytes: the copy stays on the stack.
		var some [utf8.UTFMax]byte
		n := copy(some[:], s[i:min(len(s), i+utf8.UTFMax)])
		r, size := utf8.DecodeRune(some[:n])
		if r == utf8.RuneError && size == 1 {
			r = rune(s[i])
		}
		dst = utf8.AppendRune(dst, r)
		i += size
	}
	return append(dst, '"')
}

// plain are the characters that stand for themselves, in JSON as in the texts of
// a zone file.
var plain = func() (table [256]bool) {
	for c := ' '; c <= '~'; c++ {
		table[c] = true
	}
	for _, c := range `"\<>&` {
		table[c] = false
	}
	return table
}()

// plainRun returns how many bytes at the start of s are plain.
func plainRun[T ~string | ~[]byte](s T) int {
	for i := range len(s) {
		if !plain[s[i]] {
			return i
		}
	}
	return len(s)
}

// appendASCII appends one character of a JSON string. The angle brackets and
// the ampersand are escaped too, so that an answer that someone pastes into a
// page stays text.
func appendASCII(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case c < ' ' || c == 0x7f || c == '<' || c == '>' || c == '&':
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(dst, c)
}

// appendBool appends a JSON boolean.
func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// appendTime appends the time given in seconds since the Unix epoch as a JSON
// string in the form of RFC 3339, in UTC.
func appendTime(dst []byte, unix int64) []byte {
	const day = 86400
	days, second := unix/day, unix%day
	if second < 0 {
		days, second = days-1, second+day
	}
	year, month, date := civil(days)
	dst = append(dst, '"')
	dst = appendPadded(dst, year, 4)
	dst = appendPadded(append(dst, '-'), month, 2)
	dst = appendPadded(append(dst, '-'), date, 2)
	dst = appendPadded(append(dst, 'T'), second/3600, 2)
	dst = appendPadded(append(dst, ':'), second/60%60, 2)
	dst = appendPadded(append(dst, ':'), second%60, 2)
	return append(dst, 'Z', '"')
}

// civil turns days since 1970-01-01 into a date of the Gregorian calendar. It
// counts from 1 March of the year 0, in cycles of 400 years, so that the
// leap day is the last day of a year.
func civil(days int64) (year, month, date int64) {
	const cycle = 146097 // days in 400 years
	days += 719468       // from 0000-03-01 to 1970-01-01
	era := days / cycle
	if days < 0 {
		era = (days - cycle + 1) / cycle
	}
	day := days - era*cycle
	year = (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	month = (5*day + 2) / 153 // 0 is March
	date = day - (153*month+2)/5 + 1
	year += era * 400
	if month += 3; month > 12 {
		month -= 12
		year++
	}
	return year, month, date
}

// appendPadded appends n in decimal with at least width digits.
func appendPadded(dst []byte, n int64, width int) []byte {
	n = max(0, n)
	for limit, left := int64(10), width-1; left > 0; limit, left = limit*10, left-1 {
		if n < limit {
			for range left {
				dst = append(dst, '0')
			}
			break
		}
	}
	return appendUint(dst, uint64(n))
}

// appendHex appends n as 16 hexadecimal digits.
func appendHex(dst []byte, n uint64) []byte {
	const hex = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hex[n>>shift&15])
	}
	return dst
}
