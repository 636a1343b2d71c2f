package sqltable

import "time"

// appendTime appends t, which is in UTC, in the layout sqliteTime. It is
// called for each time of each row; time.Format takes five times as long.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(digits(append(digits(append(digits(b, year, 4), '-'), int(month), 2), '-'), day, 2), 'T')
	b = append(digits(append(digits(append(digits(b, hour, 2), ':'), minute, 2), ':'), second, 2), '.')
	return append(digits(b, t.Nanosecond(), 9), 'Z')
}

// digits appends the last n digits of v.
func digits(b []byte, v, n int) []byte {
	var buf [9]byte
	for i := n - 1; i >= 0; i-- {
		buf[i], v = byte('0'+v%10), v/10
	}
	return append(b, buf[:n]...)
}
