package syncer_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// A twoWayPlace holds the databases that all histories of a model use in turn.
type twoWayPlace struct {
	dsn, otherDSN string
	own, other    *store.Store
}

// A death ends the goroutines of a run as soon as they come to a point, or at
// their next statement after one of them did: what was not committed is rolled
// back, nothing more is stored, and the lease stays until the store is closed.
// What that does not show, the tests show that kill processes.
type death struct {
	point string // a point of [syncer.Options], or "" for statements
	left  atomic.Int32
	dead  atomic.Bool
	over  bool // the run has ended, whole or not
}

func (d *death) hook(point string) {
	if point == d.point && d.left.Add(-1) == 0 {
		d.die()
	}
}

func (d *death) statement(query string) {
	if d.over || query == "ROLLBACK" { // which happens by itself when a process dies
		return
	}
	if d.dead.Load() || d.point == "" && d.left.Add(-1) == 0 {
		d.die()
	}
}

func (d *death) die() {
	d.dead.Store(true)
	runtime.Goexit()
}

// dyingPoints are those that a two-way run passes.
var dyingPoints = []string{"p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11"}

// dyingRun is a run of a process that dies at one of the points, or before one
// of its statements or commits, if it comes so far.
func (m *twoWay) dyingRun(anywhere bool) {
	d := &death{}
	if anywhere {
		d.left.Store(int32(rapid.IntRange(1, 120).Draw(m.rt, "statement")))
	} else {
		d.point = rapid.SampledFrom(dyingPoints).Draw(m.rt, "point")
		d.left.Store(int32(rapid.IntRange(1, 3).Draw(m.rt, "passing")))
	}
	m.note("run that dies at %q %d", d.point, d.left.Load())
	before := m.cards(here)
	s, err := store.Open(m.t.Context(), m.place.dsn, &store.Options{BeforeQuery: d.statement})
	m.check(err)
	opts, local := m.opts, m.world.store
	opts.Store, opts.Hook = s, d.hook
	if !m.foreign {
		m.world.store = s
	}
	m.peer.fault = func([]kedge.Change) peerFault {
		if d.dead.Load() {
			return lostNone // nothing goes out any more
		}
		return fine
	}
	m.now = m.now.Add(time.Minute)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		res, err := soon(m.t.Context(), syncer.New(opts))
		m.note("→ %s %v %v", res.State, res.Entities, err)
	}()
	<-ended
	d.over = true
	m.peer.fault, m.world.store = nil, local
	m.check(s.Close())
	if m.foreign {
		m.wroteUnseen(before)
	}
}

// soon syncs as soon as PostgreSQL has noticed that the process before has died.
func soon(ctx context.Context, s *syncer.Syncer) (syncer.Result, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		res, err := s.Run(ctx, syncer.Request{Integration: "crm"})
		if err != nil || res.State != syncer.Skipped || time.Now().After(deadline) {
			return res, err
		}
	}
}

// wroteUnseen takes what a process wrote to the other database before it could
// store that it did for edits of that side: nothing tells them apart.
func (m *twoWay) wroteUnseen(before map[string]card) {
	after := m.cards(here)
	for tag := range before {
		if _, live := after[tag]; !live {
			m.history(here, tag).deleted()
		}
	}
	for tag, c := range after {
		if old, live := before[tag]; !live || old != c {
			h := m.history(here, tag)
			h.took(c.name, c.balance)
			h.structural, h.live = true, true
		}
	}
}
