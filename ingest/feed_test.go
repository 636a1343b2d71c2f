package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
)

// conn opens kedge's own database as a sync would.
func (w *world) conn() *connectors.Conn {
	w.t.Helper()
	d, err := sqltable.KindWith(w.s.Views).New(json.RawMessage(`{"dsn": "kedge"}`), connectors.Env{Name: "pushed", Consumer: "copy", Store: w.store})
	w.must(err)
	c := connectors.New(d, &connectors.Options{PageSize: 2})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// read returns what a read from an anchor delivers: values of fields by key,
// nil for what was deleted.
func (w *world) read(c *connectors.Conn, entity string, from kedge.Anchor, fields ...string) (map[kedge.Key][]string, kedge.Anchor, error) {
	w.t.Helper()
	out := map[kedge.Key][]string{}
	var next kedge.Anchor
	for page, err := range c.Pages(context.Background(), connectors.ReadRequest{Entity: entity, Fields: fields, Anchor: from}) {
		if err != nil {
			return nil, "", err
		}
		if page.Approx {
			w.t.Error("the anchor of a feed is exact")
		}
		for _, r := range page.Records {
			if r.Removed != kedge.Live {
				out[r.Key] = nil
				continue
			}
			texts := []string{}
			for _, v := range r.Values {
				texts = append(texts, v.Type().String()+":"+v.Text())
			}
			out[r.Key] = texts
		}
		next = page.Anchor
	}
	return out, next, nil
}

// Acceptance 10: a sync from the feed view carries creates, updates, deletes.
func TestFeedIsASource(t *testing.T) {
	each(t, func(w *world) {
		w.bulk("", `[{"employeeId":"a","salary":19.90,"active":true},{"employeeId":"b","salary":9007199254740993},{"employeeId":"c","employee":{"email":"x"}}]`).is(200)
		w.event("?groupKey=g", `{"employeeId":"a","salary":100}`).is(200)
		w.remove("", "c").is(200)
		c := w.conn()
		schema, err := c.Schema(t.Context())
		w.must(err)
		e := schema.Entity("hr_employee_feed")
		if e == nil || !e.Full || !e.Delta || !e.Deletes || e.Version != "_seq" || e.Insert || e.Update || e.Delete {
			t.Fatalf("feed entity is %+v", e)
		}
		if live := schema.Entity("hr_employee"); live == nil || live.Delta || !live.Full {
			t.Fatalf("live view is %+v", live)
		}
		got, anchor, err := w.read(c, "hr_employee_feed", "", "employeeId", "salary", "active", "employee")
		w.must(err)
		want := map[kedge.Key][]string{
			",a":  {"string:a", "decimal:19.90", "bool:true", "null:"},
			",b":  {"string:b", "decimal:9007199254740993", "null:", "null:"},
			"g,a": {"string:a", "decimal:100", "null:", "null:"},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("full read:\n%v\nwant\n%v", got, want)
		}
		if got, _, err := w.read(c, "hr_employee_feed", anchor, "employeeId"); err != nil || len(got) != 0 {
			t.Errorf("nothing changed, but %v came (%v)", got, err)
		}
		w.bulk("", `[{"employeeId":"a","salary":20},{"employeeId":"d"}]`).is(200).has("removed", 1)
		got, anchor, err = w.read(c, "hr_employee_feed", anchor, "salary")
		w.must(err)
		if want := (map[kedge.Key][]string{",a": {"decimal:20"}, ",b": nil, ",d": {"null:"}}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("changes: %v, want %v", got, want)
		}
		// Once deletions after an anchor are forgotten, it is expired.
		w.remove("", "d").is(200)
		w.clock.add(31 * 24 * time.Hour)
		w.event("", `{"employeeId":"e"}`).is(200)
		tables, err := w.s.Tables(t.Context())
		w.must(err)
		w.must(w.s.Data().Expire(t.Context(), tables["hr_employee"]))
		if _, _, err := w.read(c, "hr_employee_feed", anchor, "salary"); kedge.KindOf(err) != kedge.AnchorExpired {
			t.Errorf("an old anchor gives %v, want AnchorExpired", err)
		}
		got, anchor, err = w.read(c, "hr_employee_feed", "", "salary")
		w.must(err)
		if len(got) != 3 {
			t.Errorf("full read after that: %v", got)
		}
		if _, _, err := w.read(c, "hr_employee_feed", anchor, "salary"); err != nil {
			t.Error(err)
		}
		w.send("GET", "/api/v1/ingest/tables/hr_employee/changes?since=1", "").is(410)
		w.send("GET", "/api/v1/ingest/tables/hr_employee/changes", "").is(200)
	})
}
