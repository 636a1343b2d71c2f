package subscriptions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// TestModel lets one to three replicas work on random events for random
// subscriptions, with failures of receivers, changes, crashes and lost leases
// between any two steps of theirs. In each lane the first success of an event
// comes before the first request of the next one; once the trouble ends, what
// was wanted has arrived or is visibly lost; and after a change is seen by all
// no request has the old state.
//
// -rapid.checks=5000 makes it long.
func TestModel(t *testing.T) {
	t.Parallel()
	for engine, checks := range map[string]string{"sqlite": "150", "postgres": "15"} {
		t.Run(engine, func(t *testing.T) {
			var db *store.Store
			if engine == "sqlite" {
				db = storetest.SQLite(t, Migrations()...)
			} else {
				db = storetest.Postgres(t, Migrations()...)
			}
			if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
				if err := f.Value.Set(checks); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
			}
			rapid.Check(t, func(rt *rapid.T) { newModel(t, rt, db).play() })
		})
	}
}

// noTables has the schema that the model's records have.
type noTables struct{ connectors.Driver }

func (noTables) Schema(context.Context) (*kedge.Schema, error) {
	str := func(n string) kedge.Field { return kedge.Field{Name: n, Type: kedge.TypeString, Nullable: true} }
	return &kedge.Schema{Entities: []kedge.Entity{
		{Name: "projects", Key: []string{"id"}, Fields: []kedge.Field{str("id")}},
		{Name: "tasks", Key: []string{"id"}, Fields: []kedge.Field{str("id"), str("project"), str("status")}},
	}}, nil
}

// A model is what was done and what has come of it.
type model struct {
	rt   *rapid.T
	ctx  context.Context
	db   *store.Store
	now  time.Time
	live []*replica
	old  []*replica // crashed, or without their lease
	subs []*modelSub
	step int

	records map[string][2]string // project and status of the tasks that exist
	events  []modelEvent
	sends   []modelSend
	calm    bool      // receivers work
	ending  *modelSub // was changed, and attempts with its old state may end
}

// A replica is a process.
type replica struct {
	s       *Service
	waiting []func() // attempts that were begun
}

// A modelSub is a subscription as it ought to be.
type modelSub struct {
	id, resource, filter string
	events               []string
	ordering             string
	version              int // in the path of its URL
	deleted, paused      bool
	created              int    // number of events before it
	spared               []bool // by event: was not wanted at some time since
}

type modelEvent struct {
	key, op       string
	before, after [2]string
	known         bool // before is known
}

// A modelSend is a request.
type modelSend struct {
	sub, message, resource string
	seq                    int64
	collapsed              int
	ok, replay             bool
}

func newModel(t *testing.T, rt *rapid.T, db *store.Store) *model {
	m := &model{rt: rt, ctx: t.Context(), db: db, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), records: map[string][2]string{}}
	for _, table := range []string{"push_token", "push_subscription", "push_event", "push_outbox", "push_delivery", "push_queue", "push_worker", "push_attempt", "push_dead", "push_gap", "push_replay"} {
		m.exec("DELETE FROM " + table)
	}
	for range rapid.IntRange(1, 3).Draw(rt, "replicas") {
		m.start()
	}
	return m
}

func (m *model) check(err error) {
	if err != nil {
		m.rt.Fatalf("step %d: %v", m.step, err)
	}
}

func (m *model) exec(q string, args ...any) {
	_, err := exec(m.ctx, m.db.DB(), q, args...)
	m.check(err)
}

func (m *model) start() {
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true})
	m.check(err)
	cfg := Config{
		PublicURL: "https://kedge.example.com",
		Entities:  map[string]spec.Entity{"projects": {}, "tasks": {Parents: map[string]string{"project": "projects"}}},
		Targets:   Targets{HTTP: true, Ports: []int{}},
		Retry:     Retry{Schedule: []time.Duration{time.Second, time.Second}},
	}
	s, err := New(m.ctx, m.db, noTables{}, hc, cfg, &Options{Now: func() time.Time { return m.now }, Rand: func() float64 { return 0.5 }})
	m.check(err)
	r := &replica{s: s}
	s.barrier = func(context.Context, int64) error { return nil }
	s.transport = func(ctx context.Context, q httpclient.Request) (httpclient.Reply, error) { return m.receive(ctx, q) }
	s.worker.spawn = func(f func()) { r.waiting = append(r.waiting, f) }
	m.check(s.worker.beat(m.ctx))
	m.live = append(m.live, r)
}

func (m *model) play() {
	for range rapid.IntRange(1, 2).Draw(m.rt, "subscriptions") {
		m.subscribe()
	}
	steps := rapid.IntRange(5, 60).Draw(m.rt, "steps")
	for m.step = range steps {
		m.act()
	}
	m.settle()
	m.judge()
	for _, r := range slices.Concat(m.live, m.old) {
		r.s.worker.forget()
		m.runAll(r) // what is left is cut off
		r.s.worker.following.Wait()
		r.s.http.Close()
	}
}

func (m *model) act() {
	rt := m.rt
	r := rapid.SampledFrom(m.live).Draw(rt, "replica")
	w := r.s.worker
	switch rapid.IntRange(0, 19).Draw(rt, "act") {
	case 0, 1, 2, 3:
		m.publish(r)
	case 4, 5:
		_, _, err := r.s.fanOut(m.ctx)
		m.check(err)
	case 6, 7:
		_, err := w.claim(m.ctx)
		m.check(err)
	case 8, 9:
		_, err := w.refill(m.ctx)
		m.check(err)
		w.pump()
	case 10, 11, 12:
		m.runSome(r)
	case 13:
		_, err := w.commit(m.ctx)
		m.check(err)
	case 14:
		_, err := w.step(m.ctx)
		m.check(err)
	case 15:
		m.now = m.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 6 * time.Second}).Draw(rt, "time"))
	case 16:
		m.change(r)
	case 17:
		m.crash(r, rapid.Bool().Draw(rt, "noticed"))
	case 18:
		m.loseLease(r)
	case 19:
		if len(m.old) > 0 { // the late results of one who has lost its lease
			_, err := rapid.SampledFrom(m.old).Draw(rt, "late").s.worker.commit(m.ctx)
			m.check(err)
		}
	}
}

func (m *model) subscribe() {
	x := &modelSub{created: len(m.events),
		resource: rapid.SampledFrom([]string{"tasks", "tasks", "projects/p1", "tasks/t1"}).Draw(m.rt, "resource"),
		filter:   rapid.SampledFrom([]string{"", "", "status ne 'x'"}).Draw(m.rt, "filter"),
		events:   rapid.SampledFrom([][]string{{"tasks.*"}, {"tasks.create", "tasks.update"}}).Draw(m.rt, "events"),
		ordering: rapid.SampledFrom([]string{"record", "record", "subscription"}).Draw(m.rt, "ordering")}
	doc := fmt.Sprintf(`{"url":"http://receiver/0","resource":%q,"events":["%s"],"ordering":%q,"collapse":%v,"concurrency":%d`, x.resource, strings.Join(x.events, `","`), x.ordering,
		rapid.Bool().Draw(m.rt, "collapse"), rapid.IntRange(1, 4).Draw(m.rt, "concurrency"))
	if x.filter != "" {
		doc += fmt.Sprintf(`,"select":{"tasks":{"filter":%q}}`, x.filter)
	}
	d, err := spec.Parse([]byte(doc + "}"))
	m.check(err)
	sub, _, err := m.live[0].s.Create(m.ctx, modelCaller, d)
	m.check(err)
	x.id = sub.ID
	m.subs = append(m.subs, x)
}

var modelCaller = Caller{Account: "a", Admin: true, Grants: spec.Everything()}

// publish writes some events in one transaction, which may roll back.
func (m *model) publish(r *replica) {
	back := errors.New("rolled back")
	rollback := rapid.IntRange(0, 9).Draw(m.rt, "rollback") == 0
	var list []modelEvent
	records := map[string][2]string{}
	for k, v := range m.records {
		records[k] = v
	}
	for range rapid.IntRange(1, 4).Draw(m.rt, "events") {
		e := modelEvent{key: rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(m.rt, "key"), known: rapid.IntRange(0, 4).Draw(m.rt, "known") > 0}
		var exists bool
		e.before, exists = records[e.key]
		e.after = [2]string{rapid.SampledFrom([]string{"p1", "p2"}).Draw(m.rt, "project"), rapid.SampledFrom([]string{"a", "b", "x"}).Draw(m.rt, "status")}
		switch {
		case !exists:
			e.op = "create"
			records[e.key] = e.after
		case rapid.IntRange(0, 4).Draw(m.rt, "delete") == 0:
			e.op, e.after = "delete", e.before
			delete(records, e.key)
		default:
			e.op = "update"
			records[e.key] = e.after
		}
		list = append(list, e)
	}
	err := m.db.InTx(m.ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := r.s.Interest(ctx, tx, "tasks"); err != nil {
			return err
		}
		for _, e := range list {
			if err := r.s.Publish(ctx, tx, e.event(m.now)); err != nil {
				return err
			}
		}
		if rollback {
			return back
		}
		return nil
	})
	if errors.Is(err, back) {
		return
	}
	m.check(err)
	m.records = records
	m.events = append(m.events, list...)
}

func (e modelEvent) event(at time.Time) kedge.Event {
	rec := func(v [2]string) *kedge.Record {
		return &kedge.Record{Fields: modelFields, Values: []kedge.Value{kedge.String(e.key), kedge.String(v[0]), kedge.String(v[1])}}
	}
	out := kedge.Event{Entity: "tasks", Key: kedge.Key(e.key), KeyNames: []string{"id"}, Op: kedge.Operation(e.op), After: rec(e.after), At: at}
	if e.op == "update" && e.known {
		out.Before = rec(e.before)
	}
	return out
}

var modelFields = kedge.NewFields("id", "project", "status")

// receive is the receiver: it may fail.
func (m *model) receive(ctx context.Context, q httpclient.Request) (httpclient.Reply, error) {
	lost := func(phase httpclient.Phase) (httpclient.Reply, error) {
		return httpclient.Reply{}, &kedge.Error{Kind: kedge.Transient, Err: &httpclient.NetError{Phase: phase, Err: errors.New("lost")}}
	}
	if ctx.Err() != nil {
		return lost(httpclient.PhaseConnect)
	}
	var b struct {
		ID, Subscription string
		Sequence         int64
		Collapsed        int
		Data             struct{ Resource string }
	}
	m.check(json.Unmarshal(q.Body, &b))
	x := m.subs[slices.IndexFunc(m.subs, func(x *modelSub) bool { return x.id == b.Subscription })]
	if want := fmt.Sprintf("/%d", x.version); (q.URL.Path != want || x.deleted || x.paused) && x != m.ending {
		m.rt.Fatalf("step %d: a request went to %s after the change to %s (deleted: %v, paused: %v)", m.step, q.URL.Path, want, x.deleted, x.paused)
	}
	send := modelSend{sub: x.id, message: b.ID, seq: b.Sequence, resource: b.Data.Resource, collapsed: max(1, b.Collapsed), replay: len(q.Header["Kedge-Replay"]) > 0}
	status := 204
	if !m.calm {
		status = rapid.SampledFrom([]int{204, 204, 204, 500, 404, 0, -1, 410, 429}).Draw(m.rt, "answer")
		if status == 410 && rapid.IntRange(0, 3).Draw(m.rt, "really gone") > 0 {
			status = 422
		}
	}
	send.ok = status == 204 || status == -1
	if status > 0 {
		m.sends = append(m.sends, send)
		return httpclient.Reply{Status: status, Header: http.Header{}}, nil
	}
	if status == -1 { // it arrived, but the answer is lost
		send.ok = false
	}
	m.sends = append(m.sends, send)
	return lost(httpclient.PhaseTimeout)
}

// runSome makes one of the attempts that were begun, to its end.
func (m *model) runSome(r *replica) {
	if len(r.waiting) == 0 {
		return
	}
	i := rapid.IntRange(0, len(r.waiting)-1).Draw(m.rt, "attempt")
	f := r.waiting[i]
	r.waiting = slices.Delete(r.waiting, i, i+1)
	f()
}

func (m *model) runAll(r *replica) {
	for len(r.waiting) > 0 {
		f := r.waiting[0]
		r.waiting = r.waiting[1:]
		f()
	}
}

// change changes a subscription and lets all replicas see that, as the barrier
// does.
func (m *model) change(r *replica) {
	x := rapid.SampledFrom(m.subs).Draw(m.rt, "subscription")
	if x.deleted {
		m.subscribe()
		return
	}
	m.ending = x
	patch := ""
	switch rapid.IntRange(0, 6).Draw(m.rt, "change") {
	case 0:
		m.spare(x)
		m.check(r.s.Delete(m.ctx, modelCaller, x.id))
		x.deleted = true
	case 1, 2:
		x.version++
		patch = fmt.Sprintf(`{"url":"http://receiver/%d"}`, x.version)
	case 3:
		patch, x.paused = `{"state":"paused"}`, true
	case 4:
		patch, x.paused = `{"state":"active"}`, false
	case 5:
		m.spare(x)
		patch = `{"events":["tasks.create","tasks.delete"]}`
	case 6:
		m.spare(x)
		patch = `{"events":["tasks.*"]}`
	}
	if patch != "" {
		_, err := r.s.Update(m.ctx, modelCaller, x.id, []byte(patch), nil)
		m.check(err)
		if strings.Contains(patch, "events") {
			x.events = strings.Split(strings.Trim(patch[len(`{"events":["`):], `"]}`), `","`)
		}
	}
	for _, r := range m.live {
		m.check(r.s.worker.follow(m.ctx))
	}
	// The barrier: attempts that were begun before may end.
	defer func() { m.ending = nil }()
	for _, r := range m.live {
		for range len(r.waiting) {
			f := r.waiting[0]
			r.waiting = r.waiting[1:]
			f()
		}
		r.s.worker.following.Wait()
	}
}

// spare notes that events so far need not arrive at x, for it did not want
// them for a time.
func (m *model) spare(x *modelSub) {
	for len(x.spared) < len(m.events) {
		x.spared = append(x.spared, true)
	}
}

// crash ends a replica. What it has sent and not noted is forgotten by all but
// the receivers.
func (m *model) crash(r *replica, noticed bool) {
	id := r.s.worker.id
	m.live = slices.DeleteFunc(m.live, func(x *replica) bool { return x == r })
	r.s.worker.lose()
	r.s.worker.results = nil
	m.old = append(m.old, r)
	if noticed {
		m.exec("UPDATE push_worker SET expires = 0 WHERE id = ?", id)
	}
	m.start()
}

// loseLease makes a replica too late with its proof: it gives up, and others
// take over, but what it was told before may still be noted.
func (m *model) loseLease(r *replica) {
	m.exec("UPDATE push_worker SET expires = 0 WHERE id = ?", r.s.worker.id)
	ghost := &replica{s: r.s, waiting: r.waiting}
	m.live = slices.DeleteFunc(m.live, func(x *replica) bool { return x == r })
	r.s.worker.lose()
	m.old = append(m.old, ghost)
	m.start()
}

// settle lets the trouble end and everything arrive.
func (m *model) settle() {
	m.calm = true
	for _, r := range m.old {
		m.runAll(r) // cut off
		_, err := r.s.worker.commit(m.ctx)
		m.check(err)
	}
	m.exec("UPDATE push_worker SET expires = 0 WHERE id NOT IN (?)", m.live[0].s.worker.id)
	for _, r := range m.live[1:] {
		r.s.worker.lose()
		m.runAll(r)
		_, err := r.s.worker.commit(m.ctx)
		m.check(err)
	}
	r := m.live[0]
	w := r.s.worker
	for _, x := range m.subs {
		x.paused = false
		if !x.deleted {
			_, err := r.s.Update(m.ctx, modelCaller, x.id, []byte(`{"state":"active"}`), nil)
			m.check(err)
		}
	}
	for i := 0; ; i++ {
		m.check(w.reap(m.ctx))
		_, err := w.step(m.ctx)
		m.check(err)
		for more := true; more; {
			more, err = w.refill(m.ctx)
			m.check(err)
			w.pump()
			m.runAll(r)
			_, err = w.commit(m.ctx)
			m.check(err)
		}
		var left int
		m.check(m.db.DB().QueryRowContext(m.ctx, "SELECT (SELECT count(*) FROM push_delivery) + (SELECT count(*) FROM push_outbox)").Scan(&left))
		if left == 0 {
			return
		}
		if i > 400 {
			m.rt.Fatalf("%d deliveries and events never end:\n%s", left, m.dump())
		}
		m.now = m.now.Add(10 * time.Second)
	}
}

func (m *model) dump() string {
	var b strings.Builder
	_ = each(m.ctx, m.db.DB(), func(r *sql.Rows) error {
		var id, step, due, pending int64
		var sub, holder string
		var queue sql.NullInt64
		err := r.Scan(&id, &sub, &step, &due, &holder, &queue, &pending)
		fmt.Fprintln(&b, id, sub, "step", step, "due", due, "holder", holder, "queue due", queue, "pending", pending)
		return err
	}, "SELECT d.id, d.sub, d.step, d.due_at, q.holder, q.due_at, q.pending FROM push_delivery d LEFT JOIN push_queue q ON q.sub = d.sub ORDER BY d.id")
	fmt.Fprintln(&b, "now", m.now.UnixMilli(), "worker", m.live[0].s.worker.id)
	return b.String()
}

// judge compares what has arrived with what was wanted.
func (m *model) judge() {
	seqs := map[int64]int{} // sequence to index of events
	var list []int64
	m.check(each(m.ctx, m.db.DB(), func(r *sql.Rows) error {
		var seq int64
		err := r.Scan(&seq)
		list = append(list, seq)
		return err
	}, "SELECT seq FROM push_event ORDER BY seq"))
	for i, seq := range list {
		seqs[seq] = i - len(list) + len(m.events) // events before the first subscription are not kept
	}
	for _, x := range m.subs {
		lost := m.lostOf(x)
		m.judgeOrder(x, lost)
		if !x.deleted {
			m.judgeArrival(x, list, seqs, lost)
		}
	}
	var pending int64
	m.check(m.db.DB().QueryRowContext(m.ctx, "SELECT CAST(COALESCE(sum(abs(pending)), 0) AS bigint) FROM push_queue").Scan(&pending))
	if pending != 0 {
		m.rt.Fatalf("%d deliveries are counted as pending when there are none", pending)
	}
}

// lostOf returns a function that tells whether an event is visibly lost to x.
func (m *model) lostOf(x *modelSub) func(seq int64) bool {
	var gaps [][2]int64
	m.check(each(m.ctx, m.db.DB(), func(r *sql.Rows) error {
		var g [2]int64
		err := r.Scan(&g[0], &g[1])
		gaps = append(gaps, g)
		return err
	}, "SELECT from_seq, to_seq FROM push_gap WHERE sub = ?", x.id))
	return func(seq int64) bool {
		return slices.ContainsFunc(gaps, func(g [2]int64) bool { return seq >= g[0] && (seq <= g[1] || g[1] == 0) })
	}
}

// judgeOrder checks the invariant of lanes.
func (m *model) judgeOrder(x *modelSub, lost func(int64) bool) {
	type seen struct {
		first, ok int
		resource  string
	}
	laneOf := func(s modelSend) string {
		if x.ordering == "subscription" {
			return ""
		}
		return s.resource
	}
	lanes := map[string]map[int64]*seen{}
	for i, s := range m.sends {
		if s.sub != x.id {
			continue
		}
		lane := lanes[laneOf(s)]
		if lane == nil {
			lane = map[int64]*seen{}
			lanes[laneOf(s)] = lane
		}
		if lane[s.seq] == nil {
			lane[s.seq] = &seen{first: i, ok: -1, resource: s.resource}
		}
		if s.ok && lane[s.seq].ok < 0 {
			lane[s.seq].ok = i
		}
	}
	// An attempt that nobody noted, because its process died, does not keep the
	// update from being collapsed into a later one.
	collapsed := func(seq int64, resource string) bool {
		return slices.ContainsFunc(m.sends, func(s modelSend) bool {
			return s.sub == x.id && s.resource == resource && s.seq > seq && s.collapsed > 1 && s.ok
		})
	}
	for name, lane := range lanes {
		for a, sa := range lane {
			for b, sb := range lane {
				excused := lost(a) || x.deleted || sa.ok < 0 && (len(x.spared) > 0 || collapsed(a, sa.resource))
				if a < b && (sa.ok < 0 || sa.ok > sb.first) && !excused {
					m.rt.Fatalf("lane %q of %s: event %d was sent (request %d) before event %d had arrived (request %d)\n%s", name, x.resource, b, sb.first, a, sa.ok, m.history(x))
				}
			}
		}
	}
}

func (m *model) history(x *modelSub) string {
	var b strings.Builder
	for i, s := range m.sends {
		if s.sub == x.id {
			fmt.Fprintf(&b, "%d: seq %d %s ok %v collapsed %d\n", i, s.seq, s.resource, s.ok, s.collapsed)
		}
	}
	return b.String()
}

// judgeArrival checks that what x wanted has arrived, if it is not visibly
// lost and x has wanted it all the time.
func (m *model) judgeArrival(x *modelSub, list []int64, seqs map[int64]int, lost func(int64) bool) {
	arrived := map[int64]bool{}
	collapsed := map[string][]int64{} // by resource: last sequences of pushes that stand for several
	for _, s := range m.sends {
		if s.sub == x.id && s.ok {
			arrived[s.seq] = true
			if s.collapsed > 1 {
				collapsed[s.resource] = append(collapsed[s.resource], s.seq)
			}
		}
	}
	for _, seq := range list {
		i := seqs[seq]
		if i < 0 || i < x.created || i < len(x.spared) || arrived[seq] || lost(seq) || !x.wants(m.events[i]) {
			continue
		}
		e := m.events[i]
		if e.op == "update" && slices.ContainsFunc(collapsed["tasks/"+e.key], func(last int64) bool { return last > seq }) {
			continue
		}
		m.rt.Fatalf("%s %v %q: event %d %+v never arrived\n%s", x.resource, x.events, x.filter, seq, e, m.history(x))
	}
}

// wants tells whether x wants an event, as the page says.
func (x *modelSub) wants(e modelEvent) bool {
	selected := func(op string) bool {
		return slices.Contains(x.events, "tasks."+op) || slices.Contains(x.events, "tasks.*")
	}
	in := func(v [2]string) bool {
		return (x.filter == "" || v[1] != "x") && (x.resource == "tasks" || x.resource == "projects/"+v[0] || x.resource == "tasks/"+e.key)
	}
	is := in(e.after)
	was := is
	if e.op == "update" && e.known {
		was = in(e.before)
	}
	switch {
	case e.op != "update":
		return is && selected(e.op)
	case is && was:
		return selected("update")
	case is:
		return selected("update") || selected("create")
	case was:
		return selected("update") || selected("delete")
	}
	return false
}
