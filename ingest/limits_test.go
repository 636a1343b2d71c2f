package ingest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// Requests that wait are bounded in number and size: the one that is too many
// is refused at once, and all others are stored.
func TestQueueIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fits  int
		extra string
	}{
		{"number", 1024, ""},
		{"bytes", 64, strings.Repeat("x", custom.MaxResource-100)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			started, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			reg := prometheus.NewRegistry()
			w := newWorld(t, storetest.SQLite(t, ingest.Migrations()...), ingest.Options{Registerer: reg, Hook: func(point string) {
				if point == "a" {
					once.Do(func() { close(started); <-release })
				}
			}})
			table, err := w.s.Table(t.Context(), "employee")
			w.must(err)
			push := func(i int) error {
				body := fmt.Sprintf(`{"employeeId":"e%04d","employee":{"username":"%s"}}`, i, tt.extra)
				body += strings.Repeat(" ", max(0, len(tt.extra)+100-len(body))) // each has the same size
				_, err := w.s.Push(context.Background(), &custom.Push{Op: custom.Event, Table: table, Body: []byte(body), ConfirmRemoved: -1})
				return err
			}
			errs := make(chan error, tt.fits)
			for i := range tt.fits {
				go func() { errs <- push(i) }()
			}
			<-started
			for waiting(t, reg) < tt.fits {
				runtime.Gosched()
			}
			if err := push(tt.fits); kedge.KindOf(err) != kedge.Transient {
				t.Errorf("one too many: %v", err)
			}
			close(release)
			failed := 0
			for range tt.fits {
				if <-errs != nil {
					failed++
				}
			}
			if failed > 0 {
				t.Errorf("%d of %d that fit were refused", failed, tt.fits)
			}
			w.must(push(tt.fits))
		})
	}
}

// waiting is how many requests wait to be stored.
func waiting(t *testing.T, reg *prometheus.Registry) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "kedge_ingest_queue_requests" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return 0
}

// Four bulks are in flight at most.
func TestBulksAreBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, ingest.Migrations()...), ingest.Options{})
	var ends []func()
	for range 4 {
		done, err := w.s.Data().StartBulk()
		w.must(err)
		ends = append(ends, done)
	}
	if got := w.bulk("", `[{"employeeId":"a"}]`).is(503).header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q, want 1", got)
	}
	w.event("", `{"employeeId":"a"}`).is(200)
	ends[0]()
	w.bulk("", `[{"employeeId":"a"}]`).is(200)
}

// When keys were used is noted, and what is over removed, while Run runs.
func TestRun(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, ingest.Migrations()...), ingest.Options{})
	w.event("", `{"employeeId":"a"}`).is(200)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.must(w.s.Run(ctx))
	w.admin("GET", "/integrations/hr-feed/keys", "").is(200).says(`"lastUsedAt":"2026-12-01T10:00:00Z"`)
}
