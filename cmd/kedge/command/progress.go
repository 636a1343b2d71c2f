package command

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/kedge-sync/kedge/syncer"
)

// newProgress reports on a terminal by a bar per entity, else by a line every
// five seconds.
func newProgress(w *os.File) func(syncer.Progress) {
	if !term.IsTerminal(int(w.Fd())) {
		return progressLines(w)
	}
	bars := map[string]*progressbar.ProgressBar{}
	return func(p syncer.Progress) {
		bar := bars[p.Integration+" "+p.Entity]
		if bar == nil {
			total := p.Total
			if total == 0 {
				total = -1
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(p.Integration+" "+p.Entity),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionClearOnFinish())
			bars[p.Integration+" "+p.Entity] = bar
		}
		// A bar that cannot be drawn must not stop the work.
		_ = bar.Set64(p.Rows)
	}
}

// progressEvery is how often progress is told in lines.
const progressEvery = 5 * time.Second

func progressLines(w io.Writer) func(syncer.Progress) {
	start, last := time.Now(), map[string]time.Time{}
	return func(p syncer.Progress) {
		name := p.Integration + " " + p.Entity
		before, reported := last[name]
		if !reported {
			before = start // short work says nothing
		}
		now := time.Now()
		if now.Sub(before) < progressEvery {
			return
		}
		last[name] = now
		line := fmt.Sprintf("%s: %d rows, %.0f rows/s", name, p.Rows, p.Rate)
		if p.ETA > 0 {
			line += fmt.Sprintf(", %v left", p.ETA.Round(time.Second))
		}
		fmt.Fprintln(w, line)
	}
}
