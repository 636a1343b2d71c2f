package sqltable_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// What is installed is shown, and can be removed and installed again.
func TestInstallAndRemove(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: b a, y: a")
		x := c.reader("x")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		d := c.driver("")
		states, err := d.CaptureStatus(t.Context())
		if err != nil || len(states) != 2 {
			t.Fatalf("got %v, %v, want two listeners", states, err)
		}
		s := states[0]
		if !strings.HasSuffix(s.Table, "doc") || s.Integration != "x" || strings.Join(s.Fields, " ") != "a b" || !s.Triggers || s.Waiting != 1 || time.Since(s.SeenAt) > time.Hour {
			t.Errorf("got %+v", s)
		}
		if err := d.RemoveCapture(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.sql("UPDATE doc SET a = 2")
		x.d = c.driver("x")
		if _, err := x.read(); kedge.KindOf(err) != kedge.AnchorExpired {
			t.Errorf("reading after it was removed: got %v, want AnchorExpired", err)
		}
		if c.own == nil {
			if _, err := d.CaptureStatus(t.Context()); kedge.KindOf(err) != kedge.NotFound {
				t.Errorf("status of what was removed: %v", err)
			}
			err := setListeners(t.Context(), nil, d, "doc", map[string][]string{"x": {"a"}})
			if kedge.KindOf(err) != kedge.NotFound || !strings.Contains(err.Error(), "capture local install --yes") {
				t.Errorf("listening where nothing is installed: %v", err)
			}
		}
		for range 2 {
			if err := d.InstallCapture(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		c.listen("x: a")
		x.wantExpired("after it was installed again")
		c.sql("UPDATE doc SET a = 3")
		x.want([]string{"1=3,"}, "after that")
	})
}

// The schema says what a listener can expect, and only to it.
func TestListenersHaveDelta(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		has := func(consumer string, want bool) {
			t.Helper()
			schema, err := c.driver(consumer).Schema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e := schema.Entity("doc"); e.Delta != want || e.Deletes != want || !e.Full {
				t.Errorf("%q: Delta %v, Deletes %v, want %v", consumer, e.Delta, e.Deletes, want)
			}
		}
		has("x", false)
		d := c.driver("x")
		if page, err := d.ReadPage(t.Context(), connectors.ReadRequest{Entity: "doc"}); err != nil || page.Anchor != "" {
			t.Errorf("without a listener: anchor %q, %v", page.Anchor, err)
		}
		if err := setListeners(t.Context(), c.own, d, "doc", map[string][]string{"x": {"a"}}); err != nil {
			t.Fatal(err)
		}
		if schema, err := d.Schema(t.Context()); err != nil || !schema.Entity("doc").Delta {
			t.Errorf("the driver itself does not know: %v", err)
		}
		has("x", true)
		has("y", false)
		has("", false)
	})
}

// Each entity may have its own way of finding changes.
func TestCaptureIsChosen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		create(t, open(t, s, ""), noteEntity)
		listen := map[string][]string{"x": {"a"}}
		notes := func() (n int) {
			t.Helper()
			if err := s.DB().DB.QueryRowContext(t.Context(), "SELECT count(*) FROM kedge_change").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for _, block := range []string{`"capture": "sweep"`, `"capture": "version", "version": {"column": "a"}`, `"version": {"column": "a"}`} {
			d := open(t, s, `, "entities": {"doc": {`+block+`}}`)
			if err := setListeners(t.Context(), s, d, "doc", listen); err != nil {
				t.Fatal(err)
			}
			exec(t, s, "DELETE FROM doc", "INSERT INTO doc (k) VALUES ('1')")
			if n := notes(); n != 0 {
				t.Errorf("%s: %d notes", block, n)
			}
		}
		if err := setListeners(t.Context(), s, open(t, s, ""), "doc", listen); err != nil {
			t.Fatal(err)
		}
		exec(t, s, "UPDATE doc SET a = 1")
		if n := notes(); n != 1 {
			t.Errorf("by default: %d notes, want 1", n)
		}
		if err := setListeners(t.Context(), s, open(t, s, `, "entities": {"doc": {"capture": "sweep"}}`), "doc", listen); err != nil {
			t.Fatal(err)
		}
		exec(t, s, "UPDATE doc SET a = 2")
		if n := notes(); n != 0 {
			t.Errorf("no longer captured: %d notes", n)
		}
		exec(t, s, "CREATE TABLE loose (x int)")
		if _, err := open(t, s, `, "entities": {"loose": {"capture": "trigger"}}`).Schema(t.Context()); kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("a table without a key: got %v, want Invalid", err)
		}
	}, sqltable.Migrations()...)
}

// A transaction that is rolled back leaves neither listeners nor triggers.
func TestSetListenersRollsBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, noteEntity)
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := d.SetListeners(ctx, tx, "doc", map[string][]string{"x": {"a"}}); err != nil {
				return err
			}
			return context.Canceled
		})
		if err != context.Canceled {
			t.Fatal(err)
		}
		exec(t, s, "INSERT INTO doc (k) VALUES ('1')")
		if states, err := d.CaptureStatus(t.Context()); err != nil || len(states) != 0 {
			t.Errorf("got %v, %v", states, err)
		}
	}, sqltable.Migrations()...)
}

// The triggers of a table that nobody listens to any more go with the next
// call for another one.
func TestSilentTablesAreSwept(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		other := noteEntity
		other.Name = "note"
		create(t, open(t, c.store, ""), other)
		if c.own == nil {
			c.block = strings.Replace(c.block, `"entities":{`, `"entities":{"note":{"capture":"trigger"},`, 1)
		}
		if err := setListeners(t.Context(), c.own, c.driver(""), "note", map[string][]string{"x": {"a"}}); err != nil {
			t.Fatal(err)
		}
		c.sql("INSERT INTO note (k) VALUES ('1')")
		c.at(31, "x: a")
		c.sql("INSERT INTO note (k) VALUES ('2')")
		states, err := c.driver("").CaptureStatus(t.Context())
		if err != nil || len(states) != 1 || c.noted() != 0 {
			t.Errorf("got %v, %v and %d notes", states, err, c.noted())
		}
	})
}

// A run that changes nothing about who listens leaves the triggers alone.
func TestSetListenersAgain(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		version := func() (v string) {
			t.Helper()
			query := map[store.Engine]string{store.SQLite: "PRAGMA schema_version", store.Postgres: "SELECT string_agg(t.oid::text || t.xmin::text, ' ' ORDER BY t.oid) FROM pg_trigger t"}
			if err := c.store.DB().DB.QueryRowContext(t.Context(), query[c.store.Engine()]).Scan(&v); err != nil {
				t.Fatal(err)
			}
			return v
		}
		c.listen("x: a, y: b a")
		before := version()
		c.listen("y: a b, x: a a nope")
		c.listen("x: a")
		if got := version(); got != before {
			t.Errorf("triggers were made again: %s, before %s", got, before)
		}
		c.listen("x: b")
		if version() == before {
			t.Error("the triggers of another field are the same")
		}
		c.listen("x:, y:")
		states, err := c.driver("").CaptureStatus(t.Context())
		if err != nil || len(states) != 0 {
			t.Errorf("got %v, %v", states, err)
		}
		c.sql("INSERT INTO doc (k) VALUES ('1')")
		if n := c.noted(); n != 0 {
			t.Errorf("%d notes for nobody", n)
		}
	})
}
