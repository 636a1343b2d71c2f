package httpclient

import (
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"1", time.Second, true}, {" 120 ", 2 * time.Minute, true}, {"1.5", 1500 * time.Millisecond, true},
		{"-5", 0, true}, {"+5", 5 * time.Second, true}, {"86400", 24 * time.Hour, true}, {"86401", 24 * time.Hour, true},
		{"9223372036854775808", 24 * time.Hour, true},
		{"Tue, 24 Nov 2026 08:01:30 GMT", 90 * time.Second, true},
		{"Tuesday, 24-Nov-26 08:01:30 GMT", 90 * time.Second, true},
		{"Tue Nov 24 08:01:30 2026", 90 * time.Second, true},
		{"Tue, 24 Nov 2026 07:00:00 GMT", 0, true},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour, true},
		{"", 0, false}, {"soon", 0, false}, {"1e3", 0, false}, {"NaN", 0, false}, {"0x10", 0, false}, {"1,5", 0, false},
		{"-", 0, false}, {"1.2.3", 0, false}, {"2026-11-24T08:01:30Z", 0, false},
	} {
		if got, ok := ParseRetryAfter(tt.in, now); got != tt.want || ok != tt.ok {
			t.Errorf("ParseRetryAfter(%q) = %v, %v, want %v, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "-1", "1.5", "99999999999999999999999999", "Tue, 24 Nov 2026 08:01:30 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseRetryAfter(s, now)
		if d < 0 || d > maxAskedFor || !ok && d != 0 {
			t.Errorf("ParseRetryAfter(%q) = %v, %v", s, d, ok)
		}
	})
}
