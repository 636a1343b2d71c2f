package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A finding is what a micro process prints.
type finding struct {
	Rows []row
	Wall time.Duration // of one pass over all rows, where that means something
}

// A microInput is what a micro process may need.
type microInput struct {
	url  string // of the service
	dsn  string // of an empty sink
	root string // of the module
}

var micros = map[string]func(microInput) (finding, error){
	"decode":           microDecode,
	"filter":           microFilter,
	"metadata":         microMetadata,
	"read":             microRead,
	"fetch":            microFetch,
	"writetx-sqlite":   microWrite,
	"writetx-postgres": microWrite,
	"deliver-sqlite":   microDeliver,
	"deliver-postgres": microDeliver,
	"capture-sqlite":   microCapture,
	"capture-postgres": microCapture,
}

// micro is the process that measures parts of kedge by calling them.
func micro(name string, args []string) error {
	fn := micros[name]
	if fn == nil || len(args) != 3 {
		return errors.New("usage: micro NAME URL DSN ROOT")
	}
	in := microInput{url: args[0], dsn: args[1], root: args[2]}
	f, err := fn(in)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// micro runs a micro process.
func (b *bench) micro(name string, on *sink) (f finding, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	dsn := ""
	if on != nil {
		dsn = on.kedgeDSN()
	}
	_, err = b.runJSON(&f, self, "micro", name, b.service.URL, dsn, b.root)
	return f, err
}

func microRows(name string) func(*bench) ([]row, error) {
	return func(b *bench) ([]row, error) {
		f, err := b.micro(name, nil)
		return f.Rows, err
	}
}

// writeTx measures the writing of pages with one of the micros, on a sink of
// its own.
func (b *bench) writeTx(name string, e engine) ([]row, error) {
	s, err := b.newSink(e, nil)
	if err != nil {
		return nil, err
	}
	if err := b.durable(s); err != nil {
		return nil, err
	}
	f, err := b.micro(name+"-"+string(e), s)
	if err != nil {
		return nil, err
	}
	return f.Rows, b.drop(s)
}

// serviceSpeed shows that the service is not what limits the others.
func (b *bench) serviceSpeed() ([]row, error) {
	l, err := b.loaded(sqlite)
	if err != nil {
		return nil, err
	}
	if len(l.full.kedge) == 0 {
		if _, err := b.full(sqlite); err != nil {
			return nil, err
		}
	}
	read, err := b.micro("read", nil)
	if err != nil {
		return nil, err
	}
	fetch, err := b.micro("fetch", nil)
	if err != nil {
		return nil, err
	}
	wall := median(l.full.kedge).wall
	return []row{
		atLeast("odatatest bench mode, rows/s ÷ those of a full sync into SQLite", wall.Seconds()/fetch.Wall.Seconds(), 5, "%.1f"),
		atLeast("odatatest bench mode, rows/s ÷ those of the driver read alone", read.Wall.Seconds()/fetch.Wall.Seconds(), 2, "%.1f"),
	}, nil
}

// cpuTime is what this process has used so far, the garbage collector
// included.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // only wrong arguments fail
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// repeats is how often the contestants of [cpuOf] take turns, and turn how
// long each turn is at least.
const (
	repeats = 3
	turn    = 400 * time.Millisecond
)

// cpuOf lets contestants work in turn and returns the median CPU time that one
// call of each takes.
func cpuOf(contestants ...func() error) ([]time.Duration, error) {
	all := make([][]time.Duration, len(contestants))
	for range repeats {
		for i, work := range contestants {
			calls, begin, since := 0, cpuTime(), time.Now()
			for time.Since(since) < turn {
				if err := work(); err != nil {
					return nil, err
				}
				calls++
			}
			all[i] = append(all[i], (cpuTime()-begin)/time.Duration(calls))
		}
	}
	medians := make([]time.Duration, len(all))
	for i, each := range all {
		medians[i] = middle(each, func(d time.Duration) time.Duration { return d })
	}
	return medians, nil
}

// perRow formats the CPU time of a page as that of a row.
func perRow(page time.Duration, rows int) string {
	return fmt.Sprintf("%d ns CPU per row", page.Nanoseconds()/int64(rows))
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }
