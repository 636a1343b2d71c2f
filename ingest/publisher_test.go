package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A publisher keeps what it is told in a table, in the transaction of the
// data, as subscriptions do.
type publisher struct {
	mu   sync.Mutex
	fail error
}

// Interest is in everything.
func (p *publisher) Interest(context.Context, bun.IDB, string) (kedge.Interest, error) {
	return kedge.Interest{Any: true}, nil
}

const outbox = `CREATE TABLE IF NOT EXISTS test_outbox (no integer PRIMARY KEY, entity text, op text, res text, changed text, before_text text, after_text text)`

// Publish stores events.
func (p *publisher) Publish(ctx context.Context, tx bun.IDB, events ...kedge.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := tx.ExecContext(ctx, outbox); err != nil {
		return err
	}
	for _, e := range events {
		_, err := tx.ExecContext(ctx, "INSERT INTO test_outbox (no, entity, op, res, changed, before_text, after_text) VALUES ((SELECT count(*) FROM test_outbox), ?, ?, ?, ?, ?, ?)",
			e.Entity, string(e.Op), fmt.Sprintf("%v %s", e.KeyNames, e.Key), fmt.Sprint(e.Changed), recordText(e.Before), recordText(e.After))
		if err != nil {
			return err
		}
	}
	return p.fail
}

func recordText(r *kedge.Record) string {
	if r == nil {
		return "-"
	}
	text := ""
	for i, v := range r.Values {
		if name := r.Fields.Name(i); name[0] != '_' && !v.IsMissing() {
			text += name + "=" + v.Text() + ";"
		}
	}
	return text
}

// told returns what was published.
func (w *world) told() []string {
	w.t.Helper()
	var rows []struct{ Entity, Op, Res, Changed, BeforeText, AfterText string }
	w.must(w.store.DB().NewSelect().Table("test_outbox").Column("entity", "op", "res", "changed", "before_text", "after_text").Order("no").Scan(context.Background(), &rows))
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s %s %s %s | %s | %s", r.Entity, r.Op, r.Res, r.Changed, r.BeforeText, r.AfterText))
	}
	return out
}

// Acceptance 10: subscribers get the events of the data in the order of its
// numbers, within its transaction.
func TestEvents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, ingest.Options{Publisher: &publisher{}})
		w.event("", `{"employeeId":"a","salary":19.90}`).is(200)
		w.event("?groupKey=g", `{"employeeId":"a"}`).is(200)
		w.event("?dryRun=true", `{"employeeId":"dry"}`).is(200)
		w.bulk("", `[{"employeeId":"c"},{"employeeId":"a","salary":20},{"employeeId":"b"}]`).is(200)
		w.bulk("", `[{"employeeId":"b"}]`).is(200)
		want := []string{
			"hr_employee create [id] a [] | - | employeeId=a;salary=19.90;",
			"hr_employee create [groupKey id] g,a [] | - | employeeId=a;",
			"hr_employee create [id] c [] | - | employeeId=c;",
			"hr_employee update [id] a [salary] | employeeId=a;salary=19.90; | employeeId=a;salary=20;",
			"hr_employee create [id] b [] | - | employeeId=b;",
			"hr_employee delete [id] a [] | employeeId=a;salary=20; | employeeId=a;salary=20;",
			"hr_employee delete [id] c [] | employeeId=c; | employeeId=c;",
		}
		if got := w.told(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("published:\n%q\nwant\n%q", got, want)
		}
	}, ingest.Migrations()...)
}

// A suppressor knows who must not be stored.
type suppressor struct {
	calls int
	gone  map[string]bool
	fail  error
}

// Suppressed looks at e-mail addresses.
func (p *suppressor) Suppressed(_ context.Context, _ bun.IDB, subjects []kedge.Subject) ([]bool, error) {
	p.calls++
	out := make([]bool, len(subjects))
	for i, s := range subjects {
		for _, id := range s.Identifiers {
			out[i] = out[i] || id.Kind == "email" && p.gone[id.Value]
		}
	}
	return out, p.fail
}

// Suppressed people are not stored, and count as seen: neither removed nor made
// again. The suppressor is asked once per bulk.
func TestSuppressed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := &suppressor{gone: map[string]bool{}}
		w := newWorld(t, s, ingest.Options{Suppressor: p, Identify: func(table string) map[string]string {
			return map[string]string{"email": "$.employee.email"}
		}})
		w.event("", `{"employeeId":"a","employee":{"email":"a@example.com"}}`).is(200).has("result", "created")
		p.gone["a@example.com"], p.gone["b@example.com"] = true, true
		w.event("", `{"employeeId":"b","employee":{"email":"b@example.com"}}`).is(200).has("result", "suppressed", "seq", 1)
		p.calls = 0
		w.bulk("", `[{"employeeId":"a","employee":{"email":"a@example.com"}},{"employeeId":"b","employee":{"email":"b@example.com"}},{"employeeId":"c"},{"employeeId":"d","employee":{"email":"d@example.com"}}]`).
			is(200).has("suppressed", 2, "created", 2, "removed", 0)
		if p.calls != 1 {
			t.Errorf("the suppressor was asked %d times for a bulk", p.calls)
		}
		p.fail = fmt.Errorf("down")
		w.event("", `{"employeeId":"e","employee":{"email":"e@example.com"}}`).is(503)
		w.event("", `{"employeeId":"f"}`).is(200) // about nobody
	}, ingest.Migrations()...)
}
