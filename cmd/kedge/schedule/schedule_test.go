package schedule

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestNext lists the times that follow one, by the clocks of the time zone.
func TestNext(t *testing.T) {
	for _, tt := range []struct{ name, cron, zone, after, want string }{
		{"every day", "0 2 * * *", "", "2026-05-01T01:59:59Z", "2026-05-01T02:00:00Z 2026-05-02T02:00:00Z"},
		{"not the time itself", "0 2 * * *", "", "2026-05-01T02:00:00Z", "2026-05-02T02:00:00Z"},
		{"by the clocks of Berlin", "0 2 * * *", "Europe/Berlin", "2026-05-01T00:00:00Z", "2026-05-02T02:00:00+02:00"},
		{"weekdays", "30 8 * * MON-FRI", "America/New_York", "2026-05-01T12:30:00Z", "2026-05-04T08:30:00-04:00"},
		{"leap day", "0 0 29 2 *", "", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},

		{"Berlin: 2:30 does not exist", "30 2 * * *", "Europe/Berlin", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00"},
		{"Berlin: several that do not exist run once", "0,20,40 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00"},
		{"Berlin: together with one that exists", "0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00 2026-03-30T02:00:00+02:00"},
		{"Berlin: 2:30 exists twice", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00"},
		{"Berlin: between the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"},
		{"Berlin: every hour, forward", "0 * * * *", "Europe/Berlin", "2026-03-29T00:30:00+01:00", "2026-03-29T01:00:00+01:00 2026-03-29T03:00:00+02:00 2026-03-29T04:00:00+02:00"},
		{"Berlin: every hour, back", "0 * * * *", "Europe/Berlin", "2026-10-25T01:30:00+02:00", "2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00"},
		{"New York: 2:30 does not exist", "30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T03:00:00-04:00 2026-03-09T02:30:00-04:00"},
		{"New York: 1:30 exists twice", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T01:30:00-04:00 2026-11-02T01:30:00-05:00"},
		{"New York: quarters of all hours, back", "*/30 * * * *", "America/New_York", "2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T01:30:00-05:00 2026-11-01T02:00:00-05:00"},
		{"Lord Howe moves by half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-04T02:30:00+11:00"},
		{"Samoa left out a day", "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00 2011-12-31T12:00:00+14:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Cron(tt.cron, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			after := at(t, tt.after)
			for want := range strings.FieldsSeq(tt.want) {
				got := s.Next(after)
				if !got.Equal(at(t, want)) {
					t.Fatalf("after %v: got %v, want %s", after, got, want)
				}
				after = got
			}
		})
	}
}

func TestWrongSchedules(t *testing.T) {
	for _, tt := range []struct{ name, cron, zone, want string }{
		{"four fields", "0 2 * *", "", "has not five fields"},
		{"six fields", "0 0 2 * * *", "", "has not five fields"},
		{"descriptor", "@daily", "", "has not five fields"},
		{"zone inside", "TZ=UTC 0 2 * *", "", "is no cron expression"},
		{"minute 60", "60 2 * * *", "", "end of range (60) above maximum (59)"},
		{"a word", "0 2 * * FOO", "", "is no cron expression"},
		{"never", "0 0 30 2 *", "", "that ever comes"},
		{"zone", "0 2 * * *", "Mars/Olympus", `there is no time zone "Mars/Olympus"`},
		{"zone of the machine", "0 2 * * *", "Local", `there is no time zone "Local"`},
		{"zone that is a path", "0 2 * * *", "../etc/passwd", `there is no time zone`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Cron(tt.cron, tt.zone); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for interval, ok := range map[time.Duration]bool{time.Second: true, time.Second - 1: false, 0: false, 10 * 365 * 24 * time.Hour: true, 10*365*24*time.Hour + 1: false} {
		if _, err := Every(interval); (err == nil) != ok {
			t.Errorf("Every(%v): %v, want ok %v", interval, err, ok)
		}
	}
}

func TestLatest(t *testing.T) {
	s, err := Every(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	from := at(t, "2026-05-01T00:00:00Z")
	if got := s.Latest(from, from.Add(150*time.Second)); !got.Equal(from.Add(2 * time.Minute)) {
		t.Errorf("got %v, want 00:02:00", got)
	}
	if got := s.Latest(from, from.Add(59*time.Second)); !got.IsZero() {
		t.Errorf("got %v, want none", got)
	}
}

// TestNextIsLater: whatever the expression, zone and time, the next time is
// later, and clocks show a time that the expression names or were just put
// forward.
func TestNextIsLater(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		minute := rapid.SampledFrom([]string{"0", "30", "*/20", "59"}).Draw(t, "minute")
		hour := rapid.SampledFrom([]string{"*", "0", "1-3", "2", "*/2", "23"}).Draw(t, "hour")
		s, err := Cron(minute+" "+hour+" * * *", zone)
		if err != nil {
			t.Fatal(err)
		}
		after := time.Unix(rapid.Int64Range(1.2e9, 2e9).Draw(t, "after"), 0)
		loc, _ := Zone(zone)
		for range 5 {
			next := s.Next(after)
			if !next.After(after) || next.Sub(after) > 50*time.Hour {
				t.Fatalf("%s %s %s: after %v comes %v", minute, hour, zone, after.In(loc), next.In(loc))
			}
			start, _ := next.In(loc).ZoneBounds()
			if shown := next.In(loc); shown.Second() != 0 && !shown.Equal(start) {
				t.Fatalf("%v is not at a whole minute", shown)
			}
			after = next
		}
	})
}

func FuzzCron(f *testing.F) {
	f.Add("0 2 * * *", "Europe/Berlin")
	f.Add("*/5 1-3,22 L * SUN", "")
	f.Add("TZ=0 * * * *", "UTC")
	f.Fuzz(func(t *testing.T, expression, zone string) {
		s, err := Cron(expression, zone)
		if err != nil {
			return
		}
		now := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
		if next := s.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%q in %q: after %v comes %v", expression, zone, now, next)
		}
	})
}
