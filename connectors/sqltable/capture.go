package sqltable

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/trigger"
	"github.com/kedge-sync/kedge/internal/store"
)

const opListen = "sqltable.SetListeners"

// silence is after how long without a call for it a listener is removed, so
// that its notes do not grow for ever.
const silence = 30 * 24 * time.Hour

// seenLayout is the form of seen_at; on SQLite the order of the texts is that
// of the times.
const seenLayout = "2006-01-02 15:04:05Z07:00"

// SetListeners says which fields of an entity integrations want to know the
// changes of; one without fields is removed, those that are not named stay.
// It makes, alters and removes the triggers as needed. Where changes are not
// found by triggers it does nothing.
//
// In kedge's own database it works in tx, in another one in a transaction of
// its own. A listener that is new, or that was told nothing for a while, must
// read everything first: its anchors are expired.
func (d *Driver) SetListeners(ctx context.Context, tx connectors.Tx, name string, listeners map[string][]string) error {
	if d.own != nil {
		store.OnCommit(ctx, d.forget)
		return d.listen(ctx, tx.Conn().Conn, engineOf(tx), name, listeners)
	}
	s, err := d.store(ctx)
	if err != nil {
		return err
	}
	defer d.forget()
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		return d.listen(ctx, tx.Conn().Conn, s.Engine(), name, listeners)
	})
}

func (d *Driver) listen(ctx context.Context, conn *sql.Conn, engine store.Engine, name string, listeners map[string][]string) error {
	e, err := d.entity(ctx, opListen, conn, engine, name)
	if err != nil {
		return err
	}
	c, err := d.noteTables(ctx, conn, engine)
	if err != nil {
		return store.Error(opListen, name, err)
	}
	if c == nil {
		return d.notInstalled(e)
	}
	if e.capture != byTrigger {
		removed := map[string][]string{}
		for consumer := range listeners {
			removed[consumer] = nil
		}
		listeners = removed
	}
	l := &installer{noteTables: c, q: conn, e: e, now: d.now()}
	if err := l.run(ctx, listeners); err != nil {
		d.forget() // the table may have lost a column
		return store.Error(opListen, name, err)
	}
	return nil
}

// notInstalled says what to do where there are no tables to note changes in.
func (d *Driver) notInstalled(e *entity) error {
	switch cfg := d.cfg.Entities[e.Name]; {
	case d.own != nil && e.capture == byTrigger:
		return fail(opListen, kedge.NotFound, e.Name, `the database has no table kedge_change; run "kedge migrate"`)
	case cfg != nil && cfg.Capture == "trigger":
		return fail(opListen, kedge.NotFound, e.Name, `capture by triggers is not installed; run "kedge connections capture %s install --yes", or set connections.%s.entities.%s.capture: sweep`, d.name, d.name, e.Name)
	}
	return nil
}

// An installer brings the listeners and the triggers of one table up to date.
type installer struct {
	*noteTables
	q   catalog.Querier
	e   *entity
	now time.Time
}

// A listener is a row of kedge_capture.
type listener struct {
	consumer string
	key      string // JSON list of the columns that noted keys consist of
	fields   []string
	epoch    string
	seen     time.Time
}

func (in *installer) run(ctx context.Context, want map[string][]string) error {
	if in.engine == store.Postgres {
		// Two callers would overwrite each other's triggers.
		if _, err := in.q.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", trigger.Prefix(in.e.noted())); err != nil {
			return err
		}
	}
	have, err := in.listeners(ctx)
	if err != nil {
		return err
	}
	now := in.merge(have, want)
	changed, broken, err := in.triggers(ctx, now)
	if err != nil {
		return err
	}
	for consumer, l := range now {
		old, known := have[consumer]
		if !known || broken || old.key != l.key || !within(l.fields, old.fields) {
			l.epoch = rand.Text() // something may not have been noted for it
		}
		now[consumer] = l
	}
	if err := in.save(ctx, have, now); err != nil {
		return err
	}
	if changed != nil {
		if err := changed(ctx); err != nil {
			return err
		}
	}
	return in.sweep(ctx)
}

// sweep removes the triggers and notes of other tables to which nobody has
// listened for long: nobody else will.
func (in *installer) sweep(ctx context.Context) error {
	q := &query{engine: in.engine}
	q.WriteString("SELECT entity FROM " + in.table("kedge_capture") + " GROUP BY entity HAVING max(seen_at) < ")
	q.arg(in.now.Add(-silence).UTC().Format(seenLayout), "timestamptz")
	var silent []string
	err := catalog.Each(ctx, in.q, q.String(), q.args, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		silent = append(silent, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range silent {
		if err := in.dropTriggers(ctx, in.q, trigger.Prefix(name)); err != nil {
			return err
		}
		for _, table := range []string{"kedge_change", "kedge_capture"} {
			q := &query{engine: in.engine}
			q.WriteString("DELETE FROM " + in.table(table) + " WHERE entity = ")
			q.arg(name, "text")
			if _, err := in.q.ExecContext(ctx, q.String(), q.args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// within reports whether all of list are in of.
func within(list, of []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(of, s) })
}

// listeners reads who listens to the table.
func (in *installer) listeners(ctx context.Context) (map[string]listener, error) {
	q := &query{engine: in.engine}
	q.WriteString("SELECT consumer, key, fields, epoch, " + in.seconds("seen_at") + " FROM " + in.table("kedge_capture") + " WHERE entity = ")
	q.arg(in.e.noted(), "text")
	all := map[string]listener{}
	err := catalog.Each(ctx, in.q, q.String(), q.args, func(rows *sql.Rows) error {
		var l listener
		var fields string
		var seen float64
		if err := rows.Scan(&l.consumer, &l.key, &fields, &l.epoch, &seen); err != nil {
			return err
		}
		l.seen = time.Unix(int64(seen), 0)
		err := json.Unmarshal([]byte(fields), &l.fields)
		all[l.consumer] = l
		return err
	})
	return all, err
}

// merge returns who listens from now on: those in want, and of the others who
// was not silent for too long. Fields that the table does not have are left out.
func (in *installer) merge(have map[string]listener, want map[string][]string) map[string]listener {
	now := map[string]listener{}
	for consumer, l := range have {
		if _, named := want[consumer]; !named && l.key == in.e.notedKey() && in.now.Sub(l.seen) < silence {
			now[consumer] = l
		}
	}
	for consumer, fields := range want {
		if len(fields) == 0 {
			continue
		}
		l := listener{consumer: consumer, key: in.e.notedKey(), fields: []string{}, epoch: have[consumer].epoch, seen: in.now}
		for _, f := range fields {
			if in.e.table.Column(f) >= 0 {
				l.fields = append(l.fields, f)
			}
		}
		slices.Sort(l.fields)
		l.fields = slices.Compact(l.fields)
		now[consumer] = l
	}
	return now
}

// save writes the rows of kedge_capture, and deletes the notes of listeners
// that went, or that must begin anew.
func (in *installer) save(ctx context.Context, have, now map[string]listener) error {
	for _, consumer := range slices.Sorted(maps.Keys(have)) {
		if l, stays := now[consumer]; stays && l.epoch == have[consumer].epoch {
			continue
		}
		for _, table := range []string{"kedge_change", "kedge_capture"} {
			q := &query{engine: in.engine}
			q.WriteString("DELETE FROM " + in.table(table) + " WHERE TRUE")
			in.e.listener(q, consumer)
			if _, err := in.q.ExecContext(ctx, q.String(), q.args...); err != nil {
				return err
			}
		}
	}
	for _, consumer := range slices.Sorted(maps.Keys(now)) {
		l := now[consumer]
		fields, err := json.Marshal(l.fields)
		if err != nil {
			return err
		}
		q := &query{engine: in.engine}
		q.WriteString("INSERT INTO " + in.table("kedge_capture") + " (entity, consumer, key, fields, epoch, acked, seen_at) VALUES (")
		for _, a := range []string{in.e.noted(), consumer, l.key, string(fields), l.epoch} {
			q.arg(a, "text")
			q.WriteString(", ")
		}
		q.WriteString("0, ")
		q.arg(l.seen.UTC().Format(seenLayout), "timestamptz")
		q.WriteString(") ON CONFLICT (entity, consumer) DO UPDATE SET fields = excluded.fields, seen_at = excluded.seen_at")
		if _, err := in.q.ExecContext(ctx, q.String(), q.args...); err != nil {
			return err
		}
	}
	return nil
}

// set describes the triggers for listeners.
func (in *installer) set(listeners map[string]listener) *trigger.Set {
	e := in.e
	set := &trigger.Set{Engine: in.engine, Entity: e.noted(), Ref: e.ref, Control: in.schema, Columns: e.table.Columns, Key: e.key}
	for _, u := range append([][]int{e.table.Primary}, e.table.Unique...) {
		if len(u) > 0 && !slices.Equal(u, e.key) {
			set.Unique = append(set.Unique, u)
		}
	}
	for _, consumer := range slices.Sorted(maps.Keys(listeners)) {
		l := trigger.Listener{Consumer: consumer}
		for _, f := range listeners[consumer].fields {
			if i := e.table.Column(f); i >= 0 {
				l.Columns = append(l.Columns, i)
			}
		}
		slices.Sort(l.Columns)
		set.Listeners = append(set.Listeners, l)
	}
	return set
}

// triggers compares the triggers that are there with those for listeners. It
// returns what to do, or nil; broken means that some were not there, so that
// changes may not have been noted.
func (in *installer) triggers(ctx context.Context, listeners map[string]listener) (do func(context.Context) error, broken bool, err error) {
	if in.engine == store.SQLite {
		return in.sqliteTriggers(ctx, listeners)
	}
	return in.postgresTriggers(ctx, listeners)
}

// exec runs statements one by one.
func (in *installer) exec(statements []string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, s := range statements {
			if _, err := in.q.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}
