package subscriptions_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// status answers with a status that a test may change.
type status struct {
	mu     sync.Mutex
	code   int
	header map[string]string
}

func (s *status) set(code int, header ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.header = code, map[string]string{}
	for i := 0; i < len(header); i += 2 {
		s.header[header[i]] = header[i+1]
	}
}

func (s *status) answer(w http.ResponseWriter, _ *http.Request, _ push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(max(s.code, 200))
}

func (w *world) patch(id, patch string) *subscriptions.Subscription {
	w.t.Helper()
	sub, err := w.s.Update(w.t.Context(), admin, id, []byte(patch), nil)
	if err != nil {
		w.t.Fatal(detail(err))
	}
	return sub
}

// advance moves the clock and lets the worker notice.
func (w *world) advance(d time.Duration) {
	w.clock.Advance(d)
	w.s.Signal()
}

// until waits until the tables fulfil a condition.
func (w *world) until(what, query string, want int64, args ...any) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var n int64
		if err := w.db.DB().QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
			w.t.Fatal(detail(err))
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %d, want %d", what, n, want)
		}
		time.Sleep(2 * time.Millisecond) // between two looks at the tables
	}
}

func (w *world) attempts(id string, n int) {
	w.t.Helper()
	w.until("attempts", "SELECT count(*) FROM push_attempt WHERE sub = ?", int64(n), id)
}

func (w *world) state(id, state, reason string) {
	w.t.Helper()
	w.until("subscriptions in state "+state+" "+reason, "SELECT count(*) FROM push_subscription WHERE id = ? AND state = ? AND reason = ?", 1, id, state, reason)
}

func task(op kedge.Operation, key, project, state string) kedge.Event {
	return event(op, "tasks", key, "id", key, "project", project, "status", state)
}

// Selected events can be changed: after the answer only the new ones arrive.
// Deleting ends the pushes, and what is deleted is not there any more.
func TestChangeEventsAndDelete(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"projects/proj1","events":["tasks.create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "new"))
		if p := x.next(); p.Type != "tasks.create" {
			t.Errorf("got %s", p.Type)
		}
		w.patch(sub.ID, `{"events":["tasks.delete"]}`)
		w.publish(task(kedge.OpCreate, "t-2", "proj1", "new"), task(kedge.OpDelete, "t-1", "proj1", "new"))
		if p := x.next(); p.Type != "tasks.delete" || p.Data.Record["status"] != "new" {
			t.Errorf("got %s", p.Body)
		}
		if err := w.s.Delete(t.Context(), admin, sub.ID); err != nil {
			t.Fatal(detail(err))
		}
		if err := w.s.Delete(t.Context(), admin, sub.ID); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("the second Delete: %v, want NotFound", err)
		}
		if in, err := w.s.Interest(t.Context(), db.DB(), "tasks"); err != nil || in.Any {
			t.Errorf("interest after the delete: %+v, %v", in, err)
		}
		w.publish(task(kedge.OpDelete, "t-2", "proj1", "new"))
		x.none()
	})
}

// Verbs and the ways of authentication arrive as set; a GET has no body.
func TestVerbsAndAuthentication(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		for _, tt := range []struct {
			member string
			check  func(p push) bool
		}{
			{`"method":"PUT","auth":{"type":"header","headers":{"X-Api-Key":"k-1"}}`, func(p push) bool { return p.Method == "PUT" && p.Header.Get("X-Api-Key") == "k-1" }},
			{`"method":"PATCH","auth":{"type":"bearer","token":"tok"}`, func(p push) bool { return p.Method == "PATCH" && p.Header.Get("Authorization") == "Bearer tok" }},
			{`"auth":{"type":"basic","username":"u","password":"p"}`, func(p push) bool { return p.Method == "POST" && p.Header.Get("Authorization") == "Basic dTpw" }},
			{`"auth":{"type":"query","name":"key","value":"a b&c"}`, func(p push) bool {
				u, err := url.Parse(p.URL)
				return err == nil && u.Query().Get("key") == "a b&c" && u.Query().Get("old") == "1" && u.Path == "/in"
			}},
			{`"method":"GET","auth":{"type":"query","name":"key","value":"v"}`, func(p push) bool {
				u, err := url.Parse(p.URL)
				q := u.Query()
				return err == nil && p.Method == "GET" && len(p.Body) == 0 && q.Get("key") == "v" && q.Get("kedge_type") == "tasks.create" && strings.HasPrefix(q.Get("kedge_id"), "msg_") && q.Has("kedge_sequence")
			}},
		} {
			x := newReceiver(t, nil)
			sub, secret := w.subscribe(x.URL+"/in?old=1", `{"url":"%s","resource":"tasks","events":["create"],`+tt.member+`}`)
			w.publish(task(kedge.OpCreate, "t-1", "proj1", "new"))
			p := x.next()
			verify(t, secret, p)
			if !tt.check(p) {
				t.Errorf("%s: got %s %s %v", tt.member, p.Method, p.URL, p.Header)
			}
			if err := w.s.Delete(t.Context(), admin, sub.ID); err != nil {
				t.Fatal(detail(err))
			}
		}
	})
}

// 500 updates of 50 records to a receiver that fails a third of the time: per
// record in order, none missing, and what comes again has the same id.
func TestOrderUnderFailures(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db, func(c *subscriptions.Config) {
			c.Retry.Schedule = slices.Repeat([]time.Duration{50 * time.Millisecond}, 9)
		})
		w.s = w.service(newOptions())
		w.run(w.s)
		var mu sync.Mutex
		accepted, ids := map[string][]int64{}, map[string]string{}
		x := newReceiver(t, func(rw http.ResponseWriter, _ *http.Request, p push) {
			mu.Lock()
			defer mu.Unlock()
			event := p.Data.Event
			if id, ok := ids[event]; ok && id != p.ID {
				t.Errorf("event %s came as %s and as %s", event, id, p.ID)
			}
			ids[event] = p.ID
			if rand.IntN(10) < 3 {
				rw.WriteHeader(500)
				return
			}
			accepted[p.Data.Resource] = append(accepted[p.Data.Resource], p.Sequence)
		})
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["update"]}`)
		for round := range 10 {
			var list []kedge.Event
			for i := range 50 {
				list = append(list, task(kedge.OpUpdate, fmt.Sprintf("t-%d", i), "proj1", fmt.Sprint(round)))
			}
			w.publish(list...)
		}
		w.until("events", "SELECT count(*) FROM push_event", 500)
		w.until("outbox", "SELECT count(*) FROM push_outbox", 0)
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 0)
		w.until("dead", "SELECT count(*) FROM push_dead WHERE sub = ?", 0, sub.ID)
		w.until("pending", "SELECT pending FROM push_queue WHERE sub = ?", 0, sub.ID)
		mu.Lock()
		defer mu.Unlock()
		for resource, list := range accepted {
			if len(list) != 10 || !slices.IsSorted(list) {
				t.Errorf("%s: accepted %v", resource, list)
			}
		}
		if len(accepted) != 50 {
			t.Errorf("%d records, want 50", len(accepted))
		}
	})
}

// 410 disables at once; what was lost is a gap, which the first push after the
// return carries, and which can be replayed with the same ids.
func TestGoneThenBack(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		st := &status{}
		st.set(410)
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"],"ordering":"subscription"}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"), task(kedge.OpCreate, "t-2", "proj1", "b"))
		first := x.next()
		w.state(sub.ID, "disabled", "gone")
		w.publish(task(kedge.OpCreate, "t-3", "proj1", "c"))
		st.set(204)
		x.none()
		w.patch(sub.ID, `{"state":"active"}`)
		w.publish(task(kedge.OpCreate, "t-4", "proj1", "d"))
		p := x.next()
		if p.Data.Resource != "tasks/t-4" || p.Gap == nil || p.Gap.Reason != "disabled" || p.Gap.From != first.Sequence || p.Gap.To != first.Sequence+2 || p.Gap.Count != nil {
			t.Fatalf("after the return: %s", p.Body)
		}
		w.until("told gaps", "SELECT count(*) FROM push_gap WHERE told_at > 0", 1)
		if _, err := w.s.StartReplay(t.Context(), admin, sub.ID, subscriptions.ReplayQuery{Gap: p.Gap.ID}); err != nil {
			t.Fatal(detail(err))
		}
		for i, want := range []string{"tasks/t-1", "tasks/t-2", "tasks/t-3"} {
			q := x.next()
			if q.Data.Resource != want || q.Gap != nil || q.Header.Get("kedge-replay") != "true" || i == 0 && q.ID != first.ID {
				t.Errorf("replayed %s, want %s; %s", q.Data.Resource, want, q.Body)
			}
		}
	})
}

// 503 with Retry-After: the whole queue waits, and not shorter.
func TestRetryAfter(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		st := &status{}
		st.set(503, "Retry-After", "7")
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		x.next()
		w.attempts(sub.ID, 1)
		st.set(204)
		w.publish(task(kedge.OpCreate, "t-2", "proj1", "b"))
		w.until("waiting", "SELECT count(*) FROM push_delivery", 2)
		w.advance(6990 * time.Millisecond)
		x.none()
		w.advance(20 * time.Millisecond)
		got := []string{x.next().Header.Get("kedge-attempt"), x.next().Header.Get("kedge-attempt")}
		slices.Sort(got)
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("attempts %v, want one first and one second", got)
		}
	})
}

// A redirect is a failure and is not followed.
func TestRedirectIsNotFollowed(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		other := newReceiver(t, nil)
		st := &status{}
		st.set(302, "Location", other.URL)
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		x.next()
		w.until("redirects", "SELECT count(*) FROM push_attempt WHERE sub = ? AND class = 'redirect' AND status = 302", 1, sub.ID)
		other.none()
	})
}

// A dead letter does not hold its lane, shows as a gap in the next push, and
// comes back by id, by gap and by range, with the same id.
func TestDeadLetters(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		st := &status{}
		st.set(500)
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["update"]}`)
		w.publish(task(kedge.OpUpdate, "t-1", "proj1", "a"))
		var dead push
		for i := range 4 { // schedule of three waits
			dead = x.next()
			w.attempts(sub.ID, i+1)
			w.advance(50 * time.Millisecond)
		}
		w.until("dead letters", "SELECT count(*) FROM push_dead", 1)
		st.set(204)
		w.publish(task(kedge.OpUpdate, "t-1", "proj1", "b"))
		p := x.next()
		if p.Gap == nil || p.Gap.Reason != "dead" || p.Gap.From != dead.Sequence || p.Gap.To != dead.Sequence || p.Gap.Count == nil || *p.Gap.Count != 1 {
			t.Fatalf("the next push: %s", p.Body)
		}
		w.attempts(sub.ID, 5)
		for i, q := range []subscriptions.ReplayQuery{
			{Messages: []string{dead.ID}},
			{Gap: p.Gap.ID},
			{From: new(w.clock.Now().Add(-time.Hour))},
		} {
			if i > 0 { // it has arrived: as if it had not
				if _, err := db.DB().ExecContext(t.Context(), "UPDATE push_attempt SET class = 'server' WHERE event_seq = ?", dead.Sequence); err != nil {
					t.Fatal(detail(err))
				}
			}
			id, err := w.s.StartReplay(t.Context(), admin, sub.ID, q)
			if err != nil {
				t.Fatal(detail(err))
			}
			if r := x.next(); r.ID != dead.ID || r.Header.Get("kedge-replay") != "true" || r.Data.Record["status"] != "a" {
				t.Errorf("%+v: replayed %s %s", q, r.ID, r.Body)
			}
			w.attempts(sub.ID, 6+i)
			if r, err := w.s.GetReplay(t.Context(), admin, sub.ID, id); err != nil || r.State != "done" || r.Queued != 1 || r.Done != 1 {
				t.Errorf("replay: %+v, %v", r, err)
			}
		}
		w.until("dead letters", "SELECT count(*) FROM push_dead", 0)
		// With nothing to replay, and by force.
		if _, err := w.s.StartReplay(t.Context(), admin, sub.ID, subscriptions.ReplayQuery{From: new(w.clock.Now().Add(-time.Hour)), Force: true}); err != nil {
			t.Fatal(detail(err))
		}
		x.next()
		x.next()
	})
}

// Scope, filter and fields: what enters and leaves is told; an update that
// touches no selected field is not.
func TestTransitions(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		w.subscribe(x.URL, `{"url":"%s","resource":"projects/proj1","events":["tasks.update"],"ordering":"subscription",
			"select":{"tasks":{"fields":["id","status"],"filter":"status ne 'draft'"}}}`)
		move := func(changed, project, state, wasProject, wasState string) kedge.Event {
			e := task(kedge.OpUpdate, "t-1", project, state)
			e.Before = record("id", "t-1", "project", wasProject, "status", wasState)
			e.Changed = strings.Split(changed, ",")
			return e
		}
		w.publish(
			move("project", "proj1", "open", "proj2", "open"),     // entered by its parent
			move("subject", "proj1", "open", "proj1", "open"),     // no selected field
			move("status", "proj1", "done", "proj1", "open"),      // an update
			move("status", "proj1", "draft", "proj1", "done"),     // left by the filter
			move("status", "proj1", "open", "proj1", "draft"),     // entered by the filter
			move("status,project", "proj2", "x", "proj1", "open"), // left by its parent
			move("status", "proj2", "y", "proj2", "x"),            // somewhere else
		)
		for _, want := range []string{"entered open", " done", "left <nil>", "entered open", "left <nil>"} {
			p := x.next()
			if got := fmt.Sprintf("%s %v", p.Data.Transition, p.Data.Record["status"]); got != want {
				t.Errorf("got %q, want %q: %s", got, want, p.Body)
			}
			if _, ok := p.Data.Record["project"]; ok {
				t.Error("a field that was not selected was sent")
			}
		}
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 0)
		x.none()
	})
}

// A backlog of updates of one record becomes one push, with the union of the
// changed fields.
func TestCollapse(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		st := &status{}
		st.set(500)
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create","update","delete"],"collapse":true,"state":"paused"}`)
		up := func(state string, changed ...string) kedge.Event {
			e := task(kedge.OpUpdate, "t-1", "proj1", state)
			e.Changed = changed
			return e
		}
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "0"), up("1", "status"), up("2", "status"), up("3", "subject"), task(kedge.OpDelete, "t-1", "proj1", "3"))
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 5)
		st.set(204)
		w.patch(sub.ID, `{"state":"active"}`)
		x.next()
		p := x.next()
		slices.Sort(p.Data.Changed)
		if p.Type != "tasks.update" || p.Collapsed != 3 || p.Data.Record["status"] != "3" || !slices.Equal(p.Data.Changed, []string{"status", "subject"}) {
			t.Errorf("got %s", p.Body)
		}
		if p := x.next(); p.Type != "tasks.delete" || p.Collapsed != 0 {
			t.Errorf("got %s", p.Body)
		}
		w.until("pending", "SELECT pending FROM push_queue WHERE sub = ?", 0, sub.ID)
	})
}

// A body above the limit is sent without the record; at the limit with it.
func TestOversize(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db, func(c *subscriptions.Config) { c.Limits.Payload = 4096 })
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"],"ordering":"subscription"}`)
		big := func(n int) push {
			w.publish(event(kedge.OpCreate, "tasks", "t-1", "id", "t-1", "subject", strings.Repeat("x", n)))
			return x.next()
		}
		n := 4096 - (len(big(1).Body) - 1)
		if p := big(n); len(p.Body) != 4096 || p.Data.Truncated {
			t.Errorf("at the limit: %d bytes, truncated %v", len(p.Body), p.Data.Truncated)
		}
		p := big(n + 1)
		if !p.Data.Truncated || p.Data.Record != nil || p.Data.Link != "https://kedge.example.com/subscriptions/"+sub.ID+"/events/"+p.ID {
			t.Errorf("above the limit: %s", p.Body)
		}
	})
}

// Above its backlog a subscription gets no more deliveries, but a gap.
func TestBacklog(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db, func(c *subscriptions.Config) { c.Limits.Backlog = 3 })
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"],"ordering":"subscription","state":"paused"}`)
		for i := range 5 {
			w.publish(task(kedge.OpCreate, fmt.Sprintf("t-%d", i), "proj1", "a"))
		}
		w.until("outbox", "SELECT count(*) FROM push_outbox", 0)
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 3)
		w.patch(sub.ID, `{"state":"active"}`)
		p := x.next()
		if p.Gap == nil || p.Gap.Reason != "backlog" || p.Gap.From != p.Sequence+3 || p.Gap.To != p.Sequence+4 || p.Gap.Count == nil || *p.Gap.Count != 2 {
			t.Errorf("got %s", p.Body)
		}
	})
}

// After Scrub no value of the record is left but its key; its end is told all
// the same, to those who were told of it.
func TestScrub(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		st := &status{}
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"projects/proj1","events":["tasks.*"],"state":"paused","select":{"tasks":{"filter":"status ne 'draft'"}}}`)
		const mark = "personal-value"
		w.publish(task(kedge.OpCreate, "t-1", "proj1", mark), task(kedge.OpUpdate, "t-1", "proj1", mark), task(kedge.OpCreate, "t-2", "proj1", "other"))
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 3)
		err := db.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if _, err := w.s.Interest(ctx, tx, "tasks"); err != nil {
				return err
			}
			if err := w.s.Publish(ctx, tx, task(kedge.OpDelete, "t-1", "proj1", mark)); err != nil {
				return err
			}
			_, err := w.s.Scrub(ctx, tx, kedge.Subject{Refs: []kedge.Ref{{Connection: "local", Entity: "tasks", Key: "t-1"}, {Connection: "crm", Entity: "tasks", Key: "t-2"}}})
			return err
		})
		if err != nil {
			t.Fatal(detail(err))
		}
		w.patch(sub.ID, `{"state":"active"}`)
		got := map[string]push{}
		for range 2 {
			p := x.next()
			got[p.Data.Resource] = p
		}
		if p := got["tasks/t-1"]; p.Type != "tasks.delete" || p.Data.Record != nil || p.Data.Key["id"] != "t-1" {
			t.Errorf("of the erased record: %s", p.Body)
		}
		if p := got["tasks/t-2"]; p.Data.Record["status"] != "other" {
			t.Errorf("of the other record: %s", p.Body)
		}
		w.until("pending", "SELECT pending FROM push_queue WHERE sub = ?", 0, sub.ID)
		if dump := w.dump(); strings.Contains(dump, mark) {
			t.Error("a value is left in the tables")
		}
	})
}

// dump returns all that push tables hold.
func (w *world) dump() string {
	w.t.Helper()
	var b strings.Builder
	for _, table := range []string{"push_token", "push_subscription", "push_event", "push_outbox", "push_delivery", "push_queue", "push_attempt", "push_dead", "push_gap", "push_replay"} {
		rows, err := w.db.DB().QueryContext(w.t.Context(), "SELECT * FROM "+table)
		if err != nil {
			w.t.Fatal(detail(err))
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			if err := rows.Scan(values...); err != nil {
				w.t.Fatal(detail(err))
			}
			for _, v := range values {
				fmt.Fprintf(&b, "%s ", *v.(*any))
			}
		}
		rows.Close()
	}
	return b.String()
}

// No secret, URL path or field value of a record in clear in tables, log and
// attempts.
func TestSecretsStayHidden(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, func(rw http.ResponseWriter, r *http.Request, p push) {
			rw.WriteHeader(500)
			fmt.Fprintf(rw, "echo %s %s mail jane@example.com phone +49 170 1234567", r.Header.Get("X-Api-Key"), r.Header.Get("webhook-signature"))
		})
		sub, secret := w.subscribe(x.URL+"/hidden-path-8f3a", `{"url":"%s","resource":"tasks","events":["create"],"auth":{"type":"header","headers":{"X-Api-Key":"k3yk3yk3yk3yk3yk3yk3yk3y"}}}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		x.next()
		w.attempts(sub.ID, 1)
		all := w.dump() + w.log.String()
		for _, hidden := range []string{"hidden-path", "k3yk3y", secret[6:], "jane@", "1234567", "170 123"} {
			if strings.Contains(all, hidden) {
				t.Errorf("%q is readable", hidden)
			}
		}
		got, err := w.s.Get(t.Context(), admin, sub.ID)
		if err != nil || got.URL != x.URL+"/…" || got.Auth.Headers["X-Api-Key"] != "…" {
			t.Errorf("shown as %+v, %v", got, err)
		}
	})
}

// Rotation: what is sent after the answer verifies with the new and the old
// secret until the overlap ends, and with the new one only from then on.
func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, old := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
		fresh, until, err := w.s.Rotate(t.Context(), admin, sub.ID, time.Hour, "")
		if err != nil || !until.Equal(w.clock.Now().Add(time.Hour)) {
			t.Fatal(until, err)
		}
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		p := x.next()
		verify(t, fresh, p)
		verify(t, old, p)
		w.advance(time.Hour)
		w.publish(task(kedge.OpCreate, "t-2", "proj1", "a"))
		p = x.next()
		verify(t, fresh, p)
		k, err := signature.ParseKey(old)
		if err != nil {
			t.Fatal(detail(err))
		}
		if signature.Verify([]signature.Key{k}, p.Header, p.Body, signedAt(p)) == nil {
			t.Error("the old secret still signs after the overlap")
		}
		for i := range 4 {
			_, _, err = w.s.Rotate(t.Context(), admin, sub.ID, time.Hour, "")
			if want := i == 3; (err != nil) != want || err != nil && kedge.KindOf(err) != kedge.Conflict {
				t.Errorf("rotation %d: %v", i, err)
			}
		}
	})
}

// A subscription that expires is announced, stopped, and can be renewed.
func TestExpiry(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create","kedge.expiring","kedge.gap"],"expiresAt":"2026-03-03T09:30:00Z"}`)
		w.advance(25 * time.Hour)
		for range 2 { // the second time it is announced already
			if err := w.s.KeepHouse(t.Context()); err != nil {
				t.Fatal(detail(err))
			}
		}
		if p := x.next(); p.Type != "kedge.expiring" {
			t.Errorf("got %s", p.Type)
		}
		x.none()
		w.advance(24 * time.Hour)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		w.until("outbox", "SELECT count(*) FROM push_outbox", 0)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		w.state(sub.ID, "expired", "")
		w.patch(sub.ID, `{"expiresAt":"2026-04-01T00:00:00Z","state":"active"}`)
		if p := x.next(); p.Type != "kedge.gap" || p.Gap == nil || p.Gap.Reason != "expired" {
			t.Errorf("got %s", p.Body)
		}
		w.publish(task(kedge.OpCreate, "t-2", "proj1", "a"))
		if p := x.next(); p.Data.Resource != "tasks/t-2" {
			t.Errorf("got %s", p.Body)
		}
	})
}

// Without a success for too long a subscription is disabled, after a notice at
// half time; the operator's channel is told, signed.
func TestDisableFailing(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		hook := newReceiver(t, nil)
		secret := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		w := newWorld(t, db, func(c *subscriptions.Config) {
			c.Retry.Schedule = slices.Repeat([]time.Duration{time.Second}, 30)
			c.Limits.MaxAge = 1000 * time.Hour
			c.Notices = subscriptions.Notices{URL: hook.URL, Secret: secret}
		})
		w.run(w.s)
		st := &status{}
		st.set(404)
		x := newReceiver(t, st.answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		for i := range 21 {
			x.next()
			w.attempts(sub.ID, i+1)
			w.advance(time.Second)
		}
		w.advance(61 * time.Hour)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		p := hook.next()
		verify(t, secret, p)
		if p.Type != "subscription.failing" || p.Subscription != sub.ID {
			t.Errorf("got %s", p.Body)
		}
		w.advance(60 * time.Hour)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		w.state(sub.ID, "disabled", "failing")
		if p := hook.next(); p.Type != "subscription.disabled" {
			t.Errorf("got %s", p.Body)
		}
	})
}

// What is older than its retention goes; events that a delivery needs stay.
func TestPruning(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		done, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks/t-1","events":["create"]}`)
		w.subscribe(x.URL, `{"url":"%s","resource":"tasks/t-2","events":["create"],"state":"paused"}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"), task(kedge.OpCreate, "t-2", "proj1", "a"))
		x.next()
		w.attempts(done.ID, 1)
		w.advance(8 * 24 * time.Hour)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		w.until("events", "SELECT count(*) FROM push_event", 1)
		w.attempts(done.ID, 1)
		w.advance(7 * 24 * time.Hour)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		w.attempts(done.ID, 0)
	})
}

// Subscriptions of the config are made, changed and disabled as it says.
func TestDeclared(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		x := newReceiver(t, nil)
		item := func(events string) subscriptions.Item {
			d, err := spec.Parse([]byte(`{"url":"` + x.URL + `","resource":"tasks","events":["` + events + `"],"signing":{"alg":"hmac","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`))
			if err != nil {
				t.Fatal(detail(err))
			}
			return subscriptions.Item{Name: "one", Account: "acme", Doc: *d}
		}
		for _, step := range []struct {
			items []subscriptions.Item
			want  string
		}{{[]subscriptions.Item{item("create")}, "tasks.create"}, {[]subscriptions.Item{item("delete")}, "tasks.delete"}, {nil, ""}, {[]subscriptions.Item{item("delete")}, "tasks.delete"}} {
			w := newWorld(t, db, func(c *subscriptions.Config) { c.Items = step.items })
			stop := w.run(w.s)
			w.until("workers", "SELECT count(*) FROM push_worker", 1)
			w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"), task(kedge.OpDelete, "t-1", "proj1", "a"))
			if step.want != "" {
				p := x.next()
				verify(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", p)
				if p.Type != step.want {
					t.Errorf("got %s, want %s", p.Type, step.want)
				}
			} else {
				w.until("disabled", "SELECT count(*) FROM push_subscription WHERE state = 'disabled' AND reason = 'config'", 1)
			}
			stop()
			x.none()
		}
	})
}

// hider suppresses the records of some keys.
type hider struct {
	mu   sync.Mutex
	keys []kedge.Key
}

func (h *hider) Suppressed(_ context.Context, _ bun.IDB, subjects []kedge.Subject) ([]bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]bool, len(subjects))
	for i, s := range subjects {
		out[i] = slices.Contains(h.keys, s.Refs[0].Key)
	}
	return out, nil
}

// Of a suppressed person nothing is told but the end of the record, whether it
// was suppressed before the event or while the push was waiting.
func TestSuppressed(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		h := &hider{keys: []kedge.Key{"t-1"}}
		w.s = w.service(&subscriptions.Options{Now: w.clock.Now, Suppressor: h})
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["tasks.*"],"ordering":"subscription","state":"paused"}`)
		for _, key := range []string{"t-1", "t-2", "t-3"} {
			w.publish(task(kedge.OpCreate, key, "proj1", "a"), task(kedge.OpDelete, key, "proj1", "a"))
		}
		w.until("events", "SELECT count(*) FROM push_event", 5)
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 5)
		h.mu.Lock()
		h.keys = append(h.keys, "t-2")
		h.mu.Unlock()
		w.patch(sub.ID, `{"state":"active"}`)
		for _, want := range []string{"tasks/t-1 delete", "tasks/t-2 delete", "tasks/t-3 create", "tasks/t-3 delete"} {
			if p := x.next(); p.Data.Resource+" "+p.Data.Operation != want {
				t.Errorf("got %s %s, want %s", p.Data.Resource, p.Data.Operation, want)
			}
		}
		x.none()
	})
}
