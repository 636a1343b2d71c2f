package subscriptions

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the module's numbers. Their labels hold no ids and no hosts.
type metrics struct {
	deliveries *prometheus.CounterVec
	delay      prometheus.Histogram
	attempts   *prometheus.CounterVec
	dead       *prometheus.CounterVec
	fanout     prometheus.Counter
}

func newMetrics(s *Service, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kedge_push_deliveries_total", Help: "Deliveries that ended."}, []string{"result"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kedge_push_delay_seconds", Help: "Time from the event to its arrival.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600, 86400}}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kedge_push_attempts_total", Help: "Attempts by class."}, []string{"class"}),
		dead:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kedge_push_dead_total", Help: "Deliveries that were given up, by class of the last attempt."}, []string{"class"}),
		fanout:   prometheus.NewCounter(prometheus.CounterOpts{Name: "kedge_push_fanout_rows_total", Help: "Deliveries that were queued."}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.deliveries, m.delay, m.attempts, m.dead, m.fanout, &gauges{s: s}} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) fanned(n int) { m.fanout.Add(float64(n)) }

func (m *metrics) results(batch []*result) {
	for _, r := range batch {
		if r.verdict == dropped {
			m.deliveries.WithLabelValues("dropped").Inc()
			continue
		}
		m.attempts.WithLabelValues(string(r.answer.class)).Inc()
		switch r.verdict {
		case delivered:
			m.deliveries.WithLabelValues("delivered").Inc()
			m.delay.Observe(r.delay.Seconds())
		case died:
			m.deliveries.WithLabelValues("dead").Inc()
			m.dead.WithLabelValues(string(r.answer.class)).Inc()
		}
	}
}

// gauges are read from the tables when they are asked for.
type gauges struct{ s *Service }

var (
	outboxDesc = prometheus.NewDesc("kedge_push_outbox", "Events that wait for fan-out.", nil, nil)
	backlog    = prometheus.NewDesc("kedge_push_backlog", "Deliveries that wait.", nil, nil)
	oldestDesc = prometheus.NewDesc("kedge_push_oldest_pending_seconds", "Age of the oldest delivery that waits.", nil, nil)
	flightDesc = prometheus.NewDesc("kedge_push_in_flight", "Requests of this process that wait for an answer.", nil, nil)
	subsDesc   = prometheus.NewDesc("kedge_push_subscriptions", "Subscriptions by state.", []string{"state"}, nil)
	openDesc   = prometheus.NewDesc("kedge_push_breaker_open", "Queues of this process whose target is resting.", nil, nil)
)

// Describe sends the descriptions.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{outboxDesc, backlog, oldestDesc, flightDesc, subsDesc, openDesc} {
		ch <- d
	}
}

// Collect reads the tables, for 2 s at most.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	scalar := func(d *prometheus.Desc, query string, f func(int64) float64) {
		var n int64
		if err := g.s.db.DB().QueryRowContext(ctx, query).Scan(&n); err == nil {
			send(d, f(n))
		}
	}
	plain := func(n int64) float64 { return float64(n) }
	scalar(outboxDesc, "SELECT count(*) FROM push_outbox", plain)
	scalar(backlog, "SELECT COALESCE(CAST(sum(pending) AS bigint), 0) FROM push_queue", plain)
	scalar(oldestDesc, "SELECT COALESCE(min(queued_at), 0) FROM push_delivery WHERE id = (SELECT min(id) FROM push_delivery)", func(at int64) float64 {
		if at == 0 {
			return 0
		}
		return float64(g.s.now()-at) / 1000
	})
	g.s.mu.RLock()
	states := map[string]int{}
	for _, x := range g.s.subs {
		states[x.state]++
	}
	g.s.mu.RUnlock()
	for state, n := range states {
		send(subsDesc, float64(n), state)
	}
	flying, open := g.s.worker.load()
	send(flightDesc, float64(flying))
	send(openDesc, float64(open))
}
