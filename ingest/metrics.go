package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// metrics are labelled by table, never by key, id or sender.
type metrics struct {
	requests *prometheus.CounterVec
	stored   *prometheus.CounterVec
	queue    prometheus.Gauge
	commit   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kedge_ingest_requests_total", Help: "Requests of senders, by table, operation and HTTP status."}, []string{"table", "op", "status"}),
		stored:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kedge_ingest_rows_total", Help: "Pushed resources, by table and what became of them."}, []string{"table", "result"}),
		queue:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "kedge_ingest_queue_requests", Help: "Requests that wait to be stored."}),
		commit:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kedge_ingest_commit_seconds", Help: "Time of the transactions that store requests.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.stored, m.queue, m.commit} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) request(table, op string, err error) {
	m.requests.WithLabelValues(table, op, strconv.Itoa(statusOf(err))).Inc()
}

func statusOf(err error) int {
	if err == nil {
		return 200
	}
	if p, ok := asProblem(err); ok {
		return p.Status
	}
	return httpapi.StatusOf(kedge.KindOf(err))
}

func (m *metrics) committed(took time.Duration) { m.commit.Observe(took.Seconds()) }

func (m *metrics) queued(n int) { m.queue.Add(float64(n)) }

func (m *metrics) rows(table string, r *custom.Result) {
	add := func(result string, n int) {
		if n > 0 {
			m.stored.WithLabelValues(table, result).Add(float64(n))
		}
	}
	switch {
	case r.Bulk != nil:
		b := r.Bulk
		add("created", b.Created)
		add("updated", b.Updated)
		add("unchanged", b.Unchanged)
		add("stale", b.Stale)
		add("suppressed", b.Suppressed)
		add("removed", b.Removed)
		add("quarantined", b.Quarantined)
	case r.Delete != nil:
		add("removed", r.Delete.Removed)
		add("ignored", r.Delete.Ignored)
	default:
		add(string(r.Event.Result), 1)
	}
}
