package syncer

import (
	"testing"
	"time"

	"github.com/kedge-sync/kedge/mapping"
)

// TestProgress: the rate of an entity counts from where its own read began.
func TestProgress(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var got []Progress
	s := New(Options{Now: func() time.Time { return now }, Progress: func(p Progress) { got = append(got, p) }})
	r := s.newRun(Request{Integration: "crm"})
	now = now.Add(time.Hour) // others were read before
	e := &entity{run: r, plan: &mapping.EntityPlan{Name: "customer"}, began: now, total: 1000}
	for range 4 {
		now = now.Add(250 * time.Millisecond)
		e.read += 100
		r.progress(e)
	}
	if len(got) != 2 || got[1].Rows != 400 || got[1].Rate < 399 || got[1].Rate > 401 || got[1].ETA.Round(10*time.Millisecond) != 1500*time.Millisecond {
		t.Errorf("%+v, want two reports, the last of 400 rows at 400 rows/s with 1.5 s left", got)
	}
}
