package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A usage is what a process took.
type usage struct {
	wall, cpu time.Duration // cpu is of the user and of the system for it
	rss       int64         // greatest, in bytes
}

// run runs a program to its end and returns what it printed and took.
//
// On Linux the greatest RSS of a child is never less than what this process
// had when it started the child, so this process stays small.
func (b *bench) run(env []string, program string, args ...string) ([]byte, usage, error) {
	// What earlier runs left to be written would be written during this one.
	syscall.Sync()
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begin := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(begin)}
	if cmd.ProcessState != nil {
		u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			u.rss = int64(r.Maxrss) << 10 // KiB on Linux (getrusage(2))
		}
	}
	if err != nil {
		return nil, u, fmt.Errorf("%s %v: %w\n%s%s", filepath.Base(program), args[:min(2, len(args))], err, out.Bytes(), errOut.Bytes())
	}
	return out.Bytes(), u, nil
}

// runJSON runs a program and decodes what it printed.
func (b *bench) runJSON(into any, program string, args ...string) (usage, error) {
	out, u, err := b.run(nil, program, args...)
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	return u, err
}

// median returns the usage with the median of each number.
func median(all []usage) usage {
	return usage{
		wall: middle(all, func(u usage) time.Duration { return u.wall }),
		cpu:  middle(all, func(u usage) time.Duration { return u.cpu }),
		rss:  middle(all, func(u usage) int64 { return u.rss }),
	}
}

func middle[T any, N int64 | float64 | time.Duration](all []T, of func(T) N) N {
	values := make([]N, len(all))
	for i, v := range all {
		values[i] = of(v)
	}
	slices.Sort(values)
	n := len(values)
	return (values[n/2] + values[(n-1)/2]) / 2
}

// A pair holds the runs of kedge and of its floor, in turn.
type pair struct{ kedge, floor []usage }

// inTurn runs kedge and floor alternately, so that what else the machine does
// meets both. floor may be nil.
func (b *bench) inTurn(kedge, floor func() (usage, error)) (p pair, err error) {
	for range b.pairs {
		u, err := kedge()
		if err != nil {
			return p, err
		}
		p.kedge = append(p.kedge, u)
		if floor == nil {
			continue
		}
		if u, err = floor(); err != nil {
			return p, fmt.Errorf("floor: %w", err)
		}
		p.floor = append(p.floor, u)
	}
	return p, nil
}
