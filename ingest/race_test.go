package ingest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// Fifty senders of one resource, through two servers: each change has one
// number, none is lost, and the last one is what is stored.
func TestSendersOfOneResource(t *testing.T) {
	each(t, func(w *world) {
		two, err := ingest.New(ingest.Options{Store: w.store, Now: w.clock.now})
		w.must(err)
		urls := []string{w.url, serve(t, two)}
		var wg sync.WaitGroup
		var seqs sync.Map
		for i := range 50 {
			wg.Go(func() {
				other := *w
				other.url = urls[i%2]
				for k := range 4 {
					got := other.event("", fmt.Sprintf(`{"employeeId":"a","salary":%d}`, i*10+k))
					if got.status != 200 || got.body["result"] == "unchanged" {
						t.Errorf("%d: %s", got.status, got.raw)
					}
					if _, twice := seqs.LoadOrStore(fmt.Sprint(got.body["seq"]), true); twice {
						t.Errorf("the number %v was given twice", got.body["seq"])
					}
				}
			})
		}
		wg.Wait()
		w.consistent(200)
	})
}

// consistent checks that history, numbers and resources fit together.
func (w *world) consistent(changes int) {
	w.t.Helper()
	if got := w.count("SELECT count(*) FROM ingest_change"); got != changes && changes >= 0 {
		w.t.Errorf("%d changes, want %d", got, changes)
	}
	if n := w.count("SELECT count(*) FROM ingest_change") - w.count("SELECT seq FROM ingest_head"); n != 0 {
		w.t.Errorf("numbers have gaps: %d", n)
	}
	if n := w.count(`SELECT count(*) FROM ingest_resource AS r JOIN ingest_change AS c ON c.schema_no = r.schema_no AND c.group_key = r.group_key AND c.id = r.id AND c.seq > r.seq`); n != 0 {
		w.t.Errorf("%d changes are later than what is stored", n)
	}
	if n := w.count("SELECT (SELECT sum(live) FROM ingest_scope) - (SELECT count(*) FROM ingest_resource WHERE hash IS NOT NULL)"); n != 0 {
		w.t.Errorf("scopes count %d too many", n)
	}
}

// Events, bulks and deletes of the same resources beside each other, while the
// schema changes and keys rotate.
func TestAllAtOnce(t *testing.T) {
	each(t, func(w *world) {
		var wg sync.WaitGroup
		var stop atomic.Bool
		run := func(fn func(i int) answer) {
			wg.Go(func() {
				for i := range 25 {
					if got := fn(i); got.status != 200 && got.status != 503 {
						t.Errorf("%d: %s", got.status, got.raw)
					}
				}
			})
		}
		for k := range 4 {
			group := fmt.Sprintf("?groupKey=g%d", k%2)
			run(func(i int) answer { return w.event(group, fmt.Sprintf(`{"employeeId":"e%d","salary":%d}`, i%7, i+k)) })
			run(func(i int) answer {
				return w.bulk(group+"&allowEmpty=true", fmt.Sprintf(`[{"employeeId":"e%d","salary":%d},{"employeeId":"x"}]`, i%7, i))
			})
			run(func(i int) answer { return w.remove(group, fmt.Sprintf("e%d", i%7), "x") })
		}
		var admin sync.WaitGroup
		admin.Go(func() {
			for n := 0; !stop.Load(); n++ {
				document := strings.Replace(employeeSchema, `"salary"`, fmt.Sprintf(`"f%d": {"type": "string"}, "salary"`, n), 1)
				if _, err := w.s.ChangeSchema(t.Context(), "hr_employee", json.RawMessage(document), ingest.Apply, func(*ingest.Schema) error { return nil }); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Wait()
		stop.Store(true)
		admin.Wait()
		w.consistent(-1)
		if w.count("SELECT active_version FROM ingest_schema") < 2 {
			t.Error("the schema did not change")
		}
	})
}

// A hundred equal requests: one creates.
func TestEqualRequests(t *testing.T) {
	each(t, func(w *world) {
		var created atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := w.event("", `{"employeeId":"a","salary":1}`); got.status != 200 {
					t.Errorf("%d: %s", got.status, got.raw)
				} else if got.body["result"] == "created" {
					created.Add(1)
				}
			})
		}
		wg.Wait()
		if created.Load() != 1 {
			t.Errorf("%d requests created it", created.Load())
		}
		w.consistent(1)
	})
}

// What senders send is never in logs, metrics or the answers of refusals.
func TestNothingIsTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		reg := prometheus.NewRegistry()
		p := &publisher{}
		w := newWorld(t, s, ingest.Options{Registerer: reg, Publisher: p})
		const canary = "canary4711"
		var said strings.Builder
		note := func(a answer) { said.WriteString(a.raw) }
		q := "?event=" + canary + "&groupKey=" + canary + "&actor=%22" + canary + "%22"
		note(w.event(q, `{"employeeId":1,"active":"`+canary+`"}`).is(422))
		note(w.event(q, `{"employeeId":"`+canary+`"`).is(400))
		note(w.event(q, `{"employeeId":"`+strings.Repeat(canary, 30)+`"}`).is(422))
		note(w.bulk(q, `[{"employeeId":"`+canary+`"},{"employeeId":"`+canary+`"}]`).is(422))
		note(w.bulk(q, `[{"employeeId":"`+canary+`","active":"`+canary+`"}]`).is(422))
		note(w.event(q+"&actor="+canary, `{}`).is(400))
		note(w.send("POST", base+"/event/employee", `{}`, "X-Ingest-Key", canary).is(401))
		p.fail = fmt.Errorf("down")
		note(w.event(q, `{"employeeId":"`+canary+`"}`).is(503))
		w.exec("ALTER TABLE ingest_change RENAME TO ingest_gone")
		note(w.event(q, `{"employeeId":"`+canary+`"}`).is(503))
		note(w.bulk(q, `[{"employeeId":"`+canary+`"}]`).is(503))
		w.exec("ALTER TABLE ingest_gone RENAME TO ingest_change")
		p.fail = nil
		w.event(q, `{"employeeId":"`+canary+`"}`).is(200)
		if strings.Contains(said.String(), canary) || strings.Contains(said.String(), "ingest_change") {
			t.Errorf("a refusal tells what was sent: %s", said.String())
		}
		if strings.Contains(w.log.String(), canary) {
			t.Errorf("the log tells what was sent: %s", w.log.String())
		}
		families, err := reg.Gather()
		w.must(err)
		metrics := fmt.Sprint(families)
		if strings.Contains(metrics, canary) || !strings.Contains(metrics, "kedge_ingest_requests_total") {
			t.Errorf("metrics: %s", metrics)
		}
	}, ingest.Migrations()...)
}
