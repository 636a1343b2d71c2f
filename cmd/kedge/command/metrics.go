package command

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge/syncer"
)

// syncMetrics are the metrics of runs. Their labels are names of the config and
// the mappings.
type syncMetrics struct {
	rows     *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	nearMiss *prometheus.CounterVec
}

func newSyncMetrics(reg prometheus.Registerer, state func() *syncer.Syncer) *syncMetrics {
	m := &syncMetrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_sync_rows_total", Help: "Records of runs, by what became of them.",
		}, []string{"integration", "entity", "direction", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kedge_sync_run_seconds", Help: "Time that runs took.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 16),
		}, []string{"integration", "op", "state"}),
		nearMiss: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kedge_echo_near_miss_total", Help: "Records that came back otherwise than they were sent.",
		}, []string{"integration", "entity"}),
	}
	reg.MustRegister(m.rows, m.seconds, m.nearMiss, &stateMetrics{
		state: state,
		age: prometheus.NewDesc("kedge_anchor_age_seconds", "Time since an entity was last read to its end or a page of it was stored.",
			[]string{"integration", "entity", "direction"}, nil),
		quarantine: prometheus.NewDesc("kedge_quarantine_rows", "Records that could not be stored or sent and wait.", []string{"integration"}, nil),
	})
	return m
}

// ended counts a run.
func (m *syncMetrics) ended(r syncer.Result) {
	m.seconds.WithLabelValues(r.Integration, string(r.Op), string(r.State)).Observe(r.Took.Seconds())
	for _, e := range r.Entities {
		for _, c := range []struct {
			result string
			n      int64
		}{
			{"created", e.Created}, {"changed", e.Changed}, {"unchanged", e.Unchanged}, {"deleted", e.Deleted}, {"echo", e.Echo}, {"kept", e.Kept},
			{"quarantined", e.Quarantined}, {"conflicts", e.Conflicts}, {"duplicates", e.Duplicates}, {"refused", e.Refused}, {"unknown", e.Unknown},
			{"filtered", e.Filtered}, {"suppressed", e.Suppressed},
		} {
			if c.n > 0 {
				m.rows.WithLabelValues(r.Integration, e.Entity, string(e.Direction), c.result).Add(float64(c.n))
			}
		}
		if e.NearMisses > 0 {
			m.nearMiss.WithLabelValues(r.Integration, e.Entity).Add(float64(e.NearMisses))
		}
	}
}

// stateMetrics are read from the database when they are asked for, so that all
// servers say the same.
type stateMetrics struct {
	state           func() *syncer.Syncer
	age, quarantine *prometheus.Desc
}

// scrapeTime bounds the queries of one scrape.
const scrapeTime = 5 * time.Second

// Describe is for Prometheus.
func (m *stateMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.age
	out <- m.quarantine
}

// Collect is for Prometheus.
func (m *stateMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	anchors, err := m.state().Anchors(ctx, "")
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.age, err)
	}
	for _, a := range anchors {
		if a.Partition == "" {
			out <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, time.Since(a.UpdatedAt).Seconds(), a.Integration, a.Entity, string(a.Direction))
		}
	}
	open, err := m.state().OpenQuarantine(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.quarantine, err)
	}
	for integration, n := range open {
		out <- prometheus.MustNewConstMetric(m.quarantine, prometheus.GaugeValue, float64(n), integration)
	}
}
