package syncer

import (
	"math"
	"sync"
	"time"
)

// Progress tells how far an entity of a run is.
type Progress struct {
	Run         string
	Integration string
	Entity      string
	Mode        string
	Rows        int64
	Total       int64         // 0 if unknown
	Rate        float64       // rows per second, over about 10 s
	ETA         time.Duration // 0 if unknown
	Done        bool
}

// reportEvery is the least time between two reports about one entity.
const reportEvery = 500 * time.Millisecond

// A meter measures the rates of the entities of a run.
type meter struct {
	mu    sync.Mutex
	marks map[string]*mark
}

type mark struct {
	at   time.Time
	rows int64
	rate float64
}

// progress reports how far e is, if it is time to.
func (r *run) progress(e *entity) {
	if r.s.opts.Progress == nil {
		return
	}
	now := r.s.now()
	r.meter.mu.Lock()
	defer r.meter.mu.Unlock()
	if r.meter.marks == nil {
		r.meter.marks = map[string]*mark{}
	}
	m := r.meter.marks[e.plan.Name]
	if m == nil {
		m = &mark{at: e.began}
		r.meter.marks[e.plan.Name] = m
	}
	took := now.Sub(m.at)
	if took < reportEvery {
		return
	}
	rate := float64(e.read-m.rows) / took.Seconds()
	if m.rate == 0 {
		m.rate = rate
	}
	m.rate += (rate - m.rate) * (1 - math.Exp(-took.Seconds()/10))
	m.at, m.rows = now, e.read
	p := Progress{Run: r.id, Integration: r.name, Entity: e.plan.Name, Mode: e.mode, Rows: e.read, Total: e.total, Rate: m.rate}
	if left := e.total - e.read; left > 0 && m.rate > 0 {
		p.ETA = time.Duration(float64(left) / m.rate * float64(time.Second))
	}
	r.s.opts.Progress(p)
}
