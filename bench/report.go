package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A row is a line of the table.
type row struct {
	What   string
	Value  string
	CPU    string // the same by CPU time, or ""
	Spread string // of the values of the pairs
	Budget string
	OK     bool
	Kedge  string // what kedge took
	Floor  string
}

// rate is how many times the floor's rows per second kedge makes.
func (p *pair) rate(what string, least float64) row {
	return p.row(what, "rows/s ≥ %.2f", least, func(kedge, floor time.Duration) (float64, bool) {
		r := ratio(floor, kedge)
		return r, r >= least
	})
}

// time is how many times the floor's time kedge takes.
func (p *pair) time(what string, most float64) row {
	return p.row(what, "time < %.2f", most, func(kedge, floor time.Duration) (float64, bool) {
		r := ratio(kedge, floor)
		return r, r < most
	})
}

// row compares medians. The budget is about the time on the clock; the ratio
// by CPU time stands beside it, because it does not depend on what else the
// machine does.
func (p *pair) row(what, budget string, limit float64, compare func(kedge, floor time.Duration) (float64, bool)) row {
	k, f := median(p.kedge), median(p.floor)
	value, ok := compare(k.wall, f.wall)
	cpu, _ := compare(k.cpu, f.cpu)
	var each []float64
	for i := range p.kedge {
		one, _ := compare(p.kedge[i].wall, p.floor[i].wall)
		each = append(each, one)
	}
	return row{What: what, Value: fmt.Sprintf("%.2f", value), CPU: fmt.Sprintf("%.2f", cpu), Budget: fmt.Sprintf(budget, limit), OK: ok,
		Spread: fmt.Sprintf("%.2f–%.2f", slices.Min(each), slices.Max(each)), Kedge: k.String(), Floor: f.String()}
}

// String is "12.3 s, 11.9 s CPU, 120 MiB".
func (u usage) String() string {
	return fmt.Sprintf("%s, %s CPU, %d MiB", short(u.wall), short(u.cpu), u.rss>>20)
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func atLeast(what string, value, least float64, format string) row {
	return row{What: what, Value: fmt.Sprintf(format, value), Budget: "≥ " + fmt.Sprintf(format, least), OK: value >= least}
}

func atMost(what string, value, most float64, format string) row {
	return row{What: what, Value: fmt.Sprintf(format, value), Budget: "≤ " + fmt.Sprintf(format, most), OK: value <= most}
}

// line formats r as a line of a Markdown table.
func (r *row) line() string {
	verdict := "met"
	if !r.OK {
		verdict = "**missed**"
	}
	return "| " + strings.Join([]string{r.What, r.Value, r.CPU, r.Spread, r.Budget, verdict, r.Kedge, r.Floor}, " | ") + " |"
}

// table formats rows as Markdown.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| what | kedge ÷ floor | by CPU | pairs | budget | | kedge | floor |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString(r.line() + "\n")
	}
	return b.String()
}

// writeResults writes RESULTS.md.
func (b *bench) writeResults(table string) error {
	commit, err := exec.Command("git", "-C", b.root, "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	text := fmt.Sprintf("# Results\n\nWritten by `make bench`; [README.md](README.md) says what the rows mean.\n\n"+
		"- commit %s, %s\n- %s, %d CPUs, %s/%s, %s\n- %s rows, %d pairs, medians; load average at the end %s\n\n%s",
		bytes.TrimSpace(commit), time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(),
		thousands(b.rows), b.pairs, loadAverage(), table)
	return os.WriteFile(filepath.Join(b.root, "bench", "RESULTS.md"), []byte(text), 0o644)
}

// loadAverage tells whether the machine did other work too: these programs
// alone keep it below 3.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// processor is the name of the CPU, where Linux tells it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// thousands writes 1000000 as 1,000,000.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
