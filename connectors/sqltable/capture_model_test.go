package sqltable_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A captureModel plays two integrations that keep a copy of a table, while
// they and others edit it. Readers are killed, and transactions commit late.
type captureModel struct {
	*rapid.T
	c     *captured
	rows  map[string]string
	views map[string]*view
	known map[string]*sqltable.Driver // of a process that runs
	held  func(commit bool)           // ends the open transaction, or nil
	n     int                         // makes values distinct
	quiet bool                        // nobody edits any more
}

// A view is what an integration knows.
type view struct {
	rows    map[string]string
	anchor  kedge.Anchor
	expired bool // the next read may find that it must begin anew
}

// heldKey is written only by transactions that stay open.
const heldKey = "held"

func TestCaptureAgainstModel(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a b, y: a b")
		known := map[string]*sqltable.Driver{}
		rapid.Check(t, func(rt *rapid.T) {
			c.sql("DELETE FROM doc")
			m := &captureModel{T: rt, c: c, rows: map[string]string{}, views: map[string]*view{}, known: known}
			for _, name := range []string{"x", "y"} {
				m.views[name] = &view{rows: map[string]string{}}
			}
			for range rapid.IntRange(5, 25).Draw(rt, "steps") {
				m.step()
			}
			if m.quiet = true; m.held != nil {
				m.held(true)
			}
			storetest.Settle(t, c.store)
			for name, v := range m.views {
				m.read(name, 100)
				if !maps.Equal(v.rows, m.rows) {
					rt.Fatalf("%s knows %v, the table has %v", name, v.rows, m.rows)
				}
				m.ack(name)
			}
			if n := c.noted(); n != 0 {
				rt.Fatalf("%d notes are left", n)
			}
		})
	})
}

func (m *captureModel) step() {
	name := rapid.SampledFrom([]string{"x", "y"}).Draw(m.T, "who")
	switch rapid.IntRange(0, 9).Draw(m.T, "what") {
	case 0, 1, 2:
		m.edit()
	case 3:
		m.write(name)
	case 4, 5:
		m.read(name, 100)
	case 6:
		m.read(name, rapid.IntRange(0, 2).Draw(m.T, "pages")) // killed then
		delete(m.known, name)
	case 7:
		m.ack(name)
	case 8:
		m.hold()
	case 9:
		m.disturb(name)
	}
}

// edit is done by another program.
func (m *captureModel) edit() {
	k, n := m.key(), m.next()
	switch rapid.IntRange(0, 3).Draw(m.T, "edit") {
	case 0:
		m.c.sql(fmt.Sprintf("INSERT INTO doc (k, a) VALUES ('%s', %d) ON CONFLICT (k) DO UPDATE SET a = excluded.a, b = NULL", k, n))
		m.rows[k] = fmt.Sprintf("%d,", n)
	case 1:
		m.c.sql("DELETE FROM doc WHERE k = '" + k + "'")
		delete(m.rows, k)
	case 2:
		m.c.sql(fmt.Sprintf("UPDATE doc SET a = %d, b = k WHERE k <> '%s'", n, heldKey))
		for key := range m.rows {
			if key != heldKey {
				m.rows[key] = fmt.Sprintf("%d,%s", n, key)
			}
		}
	case 3:
		to := m.key()
		if _, taken := m.rows[to]; !taken {
			m.c.sql("UPDATE doc SET k = '" + to + "' WHERE k = '" + k + "'")
			if old, ok := m.rows[k]; ok {
				delete(m.rows, k)
				m.rows[to] = old
			}
		}
	}
}

func (m *captureModel) key() string {
	return rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6"}).Draw(m.T, "key")
}

// driver returns that of a process that runs, or of a new one.
func (m *captureModel) driver(name string) *sqltable.Driver {
	if m.known[name] == nil {
		m.known[name] = m.c.driver(name)
	}
	return m.known[name]
}

func (m *captureModel) next() int { m.n++; return m.n }

// write is done by an integration, which knows what it wrote.
func (m *captureModel) write(name string) {
	k, n := m.key(), m.next()
	if rapid.Bool().Draw(m.T, "delete") {
		m.as(name, change(kedge.Delete, "doc", kedge.Key(k), nil))
		delete(m.rows, k)
		delete(m.views[name].rows, k)
		return
	}
	m.as(name, change(kedge.Upsert, "doc", kedge.Key(k), values{"a": kedge.Int(int64(n)), "b": kedge.Null()}))
	m.rows[k] = fmt.Sprintf("%d,", n)
	m.views[name].rows[k] = m.rows[k]
}

func (m *captureModel) as(name string, c kedge.Change) {
	if m.c.own != nil {
		write(m.c.t, m.c.own, m.driver(name), c)
		return
	}
	if _, err := m.driver(name).Write(context.Background(), []kedge.Change{c}); err != nil {
		m.Fatal(err)
	}
}

// read brings a view up to date in pages of 2, with edits in between. After
// the given number of pages it is killed: what it knows then stays, but not
// how far it came.
func (m *captureModel) read(name string, pages int) {
	v := m.views[name]
	d := m.driver(name)
	req := connectors.ReadRequest{Entity: "doc", Fields: []string{"a", "b"}, Anchor: v.anchor, Size: 2}
	seen := map[string]bool{}
	for ; pages > 0; pages-- {
		page, err := d.ReadPage(context.Background(), req)
		if kedge.KindOf(err) == kedge.AnchorExpired && v.expired {
			v.anchor, v.expired = "", false
			m.read(name, pages)
			return
		}
		if err != nil {
			m.Fatal(err)
		}
		for _, r := range page.Records {
			k := string(r.Key)
			seen[k] = true
			if delete(v.rows, k); r.Removed == kedge.Live {
				v.rows[k] = r.Values[0].Text() + "," + r.Values[1].Text()
			}
		}
		if page.Next == "" {
			if req.Anchor == "" { // what a full read did not meet is swept
				maps.DeleteFunc(v.rows, func(k, _ string) bool { return !seen[k] && m.rows[k] == "" })
			}
			v.anchor = page.Anchor
			return
		}
		req.Token = page.Next
		if !m.quiet && rapid.IntRange(0, 3).Draw(m.T, "between pages") == 0 {
			m.edit()
		}
	}
}

func (m *captureModel) ack(name string) {
	v := m.views[name]
	if v.anchor == "" {
		return
	}
	if err := m.driver(name).Ack(context.Background(), "doc", v.anchor); err != nil {
		m.Fatal(err)
	}
}

// hold begins a transaction that writes and stays open, or ends it. SQLite has
// one writer at a time.
func (m *captureModel) hold() {
	if m.c.store.Engine() == store.SQLite {
		return
	}
	if m.held != nil {
		m.held(rapid.Bool().Draw(m.T, "commit"))
		return
	}
	n := m.next()
	rolledBack := errors.New("rolled back")
	written, end, done := make(chan error), make(chan bool), make(chan error, 1)
	go func() {
		done <- m.c.store.InTx(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Conn().Conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO doc (k, a) VALUES ('%s', %d) ON CONFLICT (k) DO UPDATE SET a = excluded.a, b = NULL", heldKey, n))
			written <- err
			if !<-end {
				return rolledBack
			}
			return err
		})
	}()
	if err := <-written; err != nil {
		m.Fatal(err)
	}
	m.held = func(commit bool) {
		m.held = nil
		end <- commit
		if err := <-done; err != nil && !errors.Is(err, rolledBack) {
			m.Fatal(err)
		}
		if commit {
			m.rows[heldKey] = fmt.Sprintf("%d,", n)
		}
	}
}

// disturb does what happens now and then: a run begins, or a listener is gone
// for a while, or the table is emptied.
func (m *captureModel) disturb(name string) {
	switch what := rapid.IntRange(0, 2).Draw(m.T, "disturb"); {
	case m.held != nil: // its locks would have to be waited for
	case what == 0:
		m.c.listen(name + ": a b")
	case what == 1:
		m.c.listen(name + ":")
		m.edit()
		m.c.listen(name + ": b a")
		m.views[name].expired = true
	case what == 2 && m.c.store.Engine() == store.Postgres:
		m.c.sql("TRUNCATE doc")
		clear(m.rows)
		for _, v := range m.views {
			v.expired = true
		}
	}
}
