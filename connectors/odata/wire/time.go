package wire

import (
	"time"

	"github.com/kedge-sync/kedge"
)

// parseTime reads an Edm.DateTimeOffset (ABNF rule dateTimeOffsetValue): as RFC
// 3339, but seconds may be absent. Digits after the ninth are cut.
func parseTime(s string) (kedge.Value, bool) {
	if len(s) < len("2026-01-31T10:00Z") || s[10] != 'T' && s[10] != 't' || s[13] != ':' {
		return kedge.Value{}, false
	}
	y, mo, d, ok := parseDay(s[:10])
	h, ok1 := digits2(s[11:])
	mi, ok2 := digits2(s[14:])
	if !ok || !ok1 || !ok2 || h > 23 || mi > 59 {
		return kedge.Value{}, false
	}
	sec, nano, rest, ok := parseSeconds(s[16:])
	if !ok {
		return kedge.Value{}, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return kedge.Value{}, false
	}
	t := time.Date(y, time.Month(mo), d, h, mi, sec, nano, time.UTC)
	if offset != 0 {
		t = t.Add(-offset)
		if y := t.Year(); y < 1 || y > 9999 {
			return kedge.Value{}, false
		}
	}
	return kedge.Time(t), true
}

// parseSeconds reads ":05.123" if it is there.
func parseSeconds(s string) (sec, nano int, rest string, ok bool) {
	if s == "" || s[0] != ':' {
		return 0, 0, s, true
	}
	if len(s) < 3 {
		return 0, 0, "", false
	}
	sec, ok = digits2(s[1:])
	if s = s[3:]; !ok || sec > 59 || s == "" || s[0] != '.' {
		return sec, 0, s, ok && sec <= 59
	}
	i, scale := 1, 100_000_000
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		nano += int(s[i]-'0') * scale
		scale /= 10
	}
	return sec, nano, s[i:], i > 1
}

func parseOffset(s string) (time.Duration, bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != len("+02:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	h, ok1 := digits2(s[1:])
	m, ok2 := digits2(s[4:])
	offset := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if s[0] == '-' {
		offset = -offset
	}
	return offset, ok1 && ok2 && h <= 23 && m <= 59
}

// parseDate reads an Edm.Date.
func parseDate(s string) (kedge.Value, bool) {
	if len(s) != 10 {
		return kedge.Value{}, false
	}
	y, m, d, ok := parseDay(s)
	if !ok {
		return kedge.Value{}, false
	}
	return kedge.Date(time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)), true
}

// parseDay reads the 10 bytes of "2026-01-31".
func parseDay(s string) (y, m, d int, ok bool) {
	c, ok1 := digits2(s)
	y, ok2 := digits2(s[2:])
	m, ok3 := digits2(s[5:])
	d, ok4 := digits2(s[8:])
	y += 100 * c
	ok = ok1 && ok2 && ok3 && ok4 && s[4] == '-' && s[7] == '-' && y >= 1 && m >= 1 && m <= 12 && d >= 1 && d <= daysIn(y, m)
	return y, m, d, ok
}

func daysIn(y, m int) int {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

func digits2(s string) (int, bool) {
	a, b := s[0]-'0', s[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}
