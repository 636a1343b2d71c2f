// Package schedule computes when a job is due: every so often, or at the times
// of a cron expression in a time zone. It has no clock of its own.
package schedule

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // time zones, where the system has none

	"github.com/go-co-op/gocron/v2"
)

// A Schedule is a sequence of times. The zero Schedule has none.
type Schedule struct {
	every time.Duration
	cron  gocron.Cron
	zone  *time.Location // of a cron expression that names hours; cron then computes in UTC
}

// Every returns the schedule of a job that is due once per interval, which is
// at least a second and at most 10 years.
func Every(interval time.Duration) (Schedule, error) {
	if interval < time.Second || interval > 10*365*24*time.Hour {
		return Schedule{}, fmt.Errorf("must be between 1s and 10y")
	}
	return Schedule{every: interval}, nil
}

// Cron returns the schedule of a cron expression of five fields: minute, hour,
// day of month, month and day of week, by the clocks of zone, such as
// "Europe/Berlin"; "" means UTC.
//
// When clocks are put forward or back, an expression whose hour is * or */N
// follows the clock: it runs in each hour that passes. One that names hours
// runs once for each time it names: a time that does not exist runs when the
// clocks have been put forward, and a time that exists twice the first time.
func Cron(expression, zone string) (Schedule, error) {
	fields := strings.Fields(expression)
	if len(fields) != 5 {
		return Schedule{}, fmt.Errorf("%q has not five fields: minute, hour, day of month, month, day of week; \"0 2 * * *\" is every day at 2:00", expression)
	}
	loc, err := Zone(zone)
	if err != nil {
		return Schedule{}, err
	}
	s := Schedule{cron: gocron.NewDefaultCron(false)}
	computeIn := loc
	if !strings.HasPrefix(fields[1], "*") {
		s.zone, computeIn = loc, time.UTC
	}
	// A date that comes only in leap years is four or eight years away.
	if err := s.cron.IsValid(strings.Join(fields, " "), computeIn, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return Schedule{}, fmt.Errorf("%q is no cron expression that ever comes: %s", expression, lastLine(err))
	}
	return s, nil
}

// lastLine is the part of gocron's error that says what is wrong.
func lastLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "gocron: ")
}

// Zone returns a time zone by its name in the IANA database; "" means UTC.
func Zone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // which differs between machines
		return nil, fmt.Errorf("there is no time zone %q; write Europe/Berlin, America/New_York or UTC", name)
	}
	return loc, nil
}

// Next returns the first time after a time, in UTC, or the zero time if there
// is none within five years.
func (s Schedule) Next(after time.Time) time.Time {
	switch {
	case s.every > 0:
		return after.Add(s.every).UTC()
	case s.cron == nil:
		return time.Time{}
	case s.zone == nil:
		return utc(s.cron.Next(after))
	}
	for wall := wallClock(after.In(s.zone)); ; {
		if wall = s.cron.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if t := instant(wall, s.zone); t.After(after) {
			return t.UTC()
		}
	}
}

// Latest returns the last of the times that lie after from and not after to,
// or the zero time.
func (s Schedule) Latest(from, to time.Time) (latest time.Time) {
	for t := s.Next(from); !t.IsZero() && !t.After(to); t = s.Next(t) {
		latest = t
	}
	return latest
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// wallClock is what clocks show at t, as if it were UTC.
func wallClock(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is when clocks in zone show wall for the first time, or when they are
// put forward past it.
func instant(wall time.Time, zone *time.Location) time.Time {
	y, m, d := wall.Date()
	t := time.Date(y, m, d, wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), zone)
	start, end := t.ZoneBounds()
	switch shown := wallClock(t); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	}
	if start.IsZero() {
		return t
	}
	_, offset := start.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(offset) * time.Second); first.Before(start) {
		return first
	}
	return t
}
