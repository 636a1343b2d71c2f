package sqltable_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A captured is a database whose table doc is captured by triggers, as kedge's
// own or as another one.
type captured struct {
	t     *testing.T
	store *store.Store // the database, to edit behind kedge's back
	own   *store.Store // given to drivers
	block string
	kind  connectors.Kind
}

var noteEntity = kedge.Entity{Name: "doc", Key: []string{"k"}, Fields: []kedge.Field{
	{Name: "k", Type: kedge.TypeString}, {Name: "a", Type: kedge.TypeInt, Nullable: true}, {Name: "b", Type: kedge.TypeString, Nullable: true},
}}

// eachCapture runs f on both engines, with the table in kedge's own database
// and in another one.
func eachCapture(t *testing.T, f func(t *testing.T, c *captured)) {
	for _, place := range []string{"own", "other"} {
		t.Run(place, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) { f(t, startCapture(t, dsn, place == "other", noteEntity)) })
		})
	}
}

func startCapture(t *testing.T, dsn string, other bool, entities ...kedge.Entity) *captured {
	c := &captured{t: t, block: `{"dsn": "kedge"}`, kind: sqltable.Kind()}
	if other {
		entries := map[string]any{}
		for _, e := range entities {
			entries[e.Name] = map[string]any{"capture": "trigger"}
		}
		block, err := json.Marshal(map[string]any{"dsn": dsn, "entities": entries})
		if err != nil {
			t.Fatal(err)
		}
		c.block = string(block)
		c.store = openForeign(t, dsn)
	} else {
		c.store = storetest.Open(t, dsn, sqltable.Migrations()...)
		c.own = c.store
	}
	create(t, open(t, c.store, ""), entities...)
	if other {
		if err := c.driver("").InstallCapture(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// openForeign opens a database that has no table of kedge.
func openForeign(t *testing.T, dsn string) *store.Store {
	s, err := store.Open(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// driver returns a new driver for an integration.
func (c *captured) driver(consumer string) *sqltable.Driver {
	c.t.Helper()
	d, err := c.kind.New(json.RawMessage(c.block), connectors.Env{Name: "local", Consumer: consumer, Store: c.own})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := d.(*sqltable.Driver).Close(); err != nil {
			c.t.Error(err)
		}
	})
	return d.(*sqltable.Driver)
}

// listen sets who listens to doc: "x: a b, y: a".
func (c *captured) listen(text string) {
	c.t.Helper()
	listeners := map[string][]string{}
	for part := range strings.SplitSeq(text, ",") {
		consumer, fields, _ := strings.Cut(strings.TrimSpace(part), ":")
		listeners[consumer] = strings.Fields(fields)
	}
	if err := setListeners(c.t.Context(), c.own, c.driver(""), "doc", listeners); err != nil {
		c.t.Fatal(err)
	}
}

// sql runs statements as another program would.
func (c *captured) sql(statements string) {
	c.t.Helper()
	if _, err := c.store.DB().DB.ExecContext(c.t.Context(), statements); err != nil {
		c.t.Fatalf("%s: %v", statements, err)
	}
}

// as writes changes as an integration does.
func (c *captured) as(consumer string, changes ...kedge.Change) {
	c.t.Helper()
	d := c.driver(consumer)
	if c.own != nil {
		write(c.t, c.own, d, changes...)
		return
	}
	if _, err := d.Write(c.t.Context(), changes); err != nil {
		c.t.Fatal(err)
	}
}

// A reader is an integration that reads doc.
type reader struct {
	c      *captured
	d      *sqltable.Driver
	anchor kedge.Anchor
}

func (c *captured) reader(consumer string) *reader {
	r := &reader{c: c, d: c.driver(consumer)}
	r.want(nil, "")
	return r
}

// read reads on in pages of 2 and returns what came, sorted: "k=a,b" or "-k".
func (r *reader) read() ([]string, error) {
	last := map[kedge.Key]string{}
	req := connectors.ReadRequest{Entity: "doc", Fields: []string{"a", "b"}, Anchor: r.anchor, Size: 2}
	for {
		page, err := r.d.ReadPage(r.c.t.Context(), req)
		if err != nil {
			return nil, err
		}
		for _, bad := range page.Rejected {
			return nil, fmt.Errorf("rejected %s: %w", bad.Field, bad.Err)
		}
		for _, rec := range page.Records {
			if last[rec.Key] = "-" + string(rec.Key); rec.Removed == kedge.Live {
				last[rec.Key] = fmt.Sprintf("%s=%s,%s", rec.Key, rec.Values[0].Text(), rec.Values[1].Text())
			}
		}
		if page.Next == "" {
			r.anchor = page.Anchor
			var list []string
			for _, text := range last {
				list = append(list, text)
			}
			slices.Sort(list)
			return list, nil
		}
		req.Token = page.Next
	}
}

// want reads on and expects records and an anchor, or an error of kind expired.
func (r *reader) want(records []string, what string) {
	r.c.t.Helper()
	storetest.Settle(r.c.t, r.c.store)
	got, err := r.read()
	if err != nil || !slices.Equal(got, records) {
		r.c.t.Errorf("%s: got %v, %v, want %v", what, got, err, records)
	}
	if r.anchor == "" {
		r.c.t.Errorf("%s: there is no anchor", what)
	}
}

// wantExpired expects that the anchor is expired, and begins anew.
func (r *reader) wantExpired(what string) {
	r.c.t.Helper()
	if got, err := r.read(); kedge.KindOf(err) != kedge.AnchorExpired {
		r.c.t.Errorf("%s: got %v, %v, want AnchorExpired", what, got, err)
	}
	r.anchor = ""
	if _, err := r.read(); err != nil || r.anchor == "" {
		r.c.t.Errorf("%s: the full read after it: anchor %q, %v", what, r.anchor, err)
	}
}

func (r *reader) ack() {
	r.c.t.Helper()
	if err := r.d.Ack(r.c.t.Context(), "doc", r.anchor); err != nil {
		r.c.t.Fatal(err)
	}
}

// noted returns how many notes there are.
func (c *captured) noted() int {
	c.t.Helper()
	var n int
	if err := c.store.DB().DB.QueryRowContext(c.t.Context(), "SELECT count(*) FROM kedge_change").Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// Edits by other programs are read by all, writes of an integration by the
// others.
func TestEditsAreRead(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a b, y: a")
		x, y := c.reader("x"), c.reader("y")
		c.sql("INSERT INTO doc (k, a, b) VALUES ('1', 1, 'one'), ('2', 2, 'two'), ('3', 3, 'three')")
		x.want([]string{"1=1,one", "2=2,two", "3=3,three"}, "inserts")
		c.sql("UPDATE doc SET a = 20 WHERE k = '2'; DELETE FROM doc WHERE k = '3'; UPDATE doc SET a = a")
		x.want([]string{"-3", "2=20,two"}, "an update and a delete")
		y.want([]string{"-3", "1=1,one", "2=20,two"}, "all of it, by another")
		c.sql("UPDATE doc SET b = 'TWO' WHERE k = '2'")
		y.want(nil, "an update of a field that nobody asked for")
		x.want([]string{"2=20,TWO"}, "an update of case only")

		c.as("x", change(kedge.Upsert, "doc", "4", values{"a": kedge.Int(4)}), change(kedge.Delete, "doc", "1", nil), change(kedge.Update, "doc", "2", values{"a": kedge.Int(21)}))
		x.want(nil, "its own writes")
		y.want([]string{"-1", "2=21,TWO", "4=4,"}, "writes of the other integration")
		c.as("ingest", change(kedge.Update, "doc", "2", values{"a": kedge.Int(22)}))
		x.want([]string{"2=22,TWO"}, "writes of somebody who does not listen")
		before := c.noted()
		c.as("dsr", change(kedge.Delete, "doc", "2", nil))
		if n := c.noted(); n != before {
			t.Errorf("an erasure was noted: %d notes, before %d", n, before)
		}
		c.sql("UPDATE doc SET k = 'four' WHERE k = '4'")
		x.want([]string{"-4", "four=4,"}, "a new key")
	})
}
