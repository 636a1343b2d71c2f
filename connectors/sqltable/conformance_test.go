package sqltable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A system is a database with the tables of the kit. Who writes to it behind
// the driver's back is a driver of its own.
type system struct {
	t      testing.TB
	kind   connectors.Kind
	block  string
	own    *store.Store // given to the drivers
	store  *store.Store // the database
	writer *sqltable.Driver
	rev    int64 // last version, where versions are captured
	listen bool  // changes are noted by triggers
	held   atomic.Int32
}

// listener is the integration that the kit plays.
const listener = "kit"

func (s *system) Driver() connectors.Driver {
	d, err := s.kind.New(json.RawMessage(s.block), connectors.Env{Name: "sys", Consumer: listener, Store: s.own})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *system) Put(ctx context.Context, entity string, records ...kedge.Record) error {
	changes, err := s.changes(ctx, entity, kedge.Upsert, records)
	if err != nil {
		return err
	}
	return s.write(ctx, entity, changes)
}

// changes makes whole rows of records, with a version if there are any.
func (s *system) changes(ctx context.Context, entity string, op kedge.Op, records []kedge.Record) ([]kedge.Change, error) {
	if err := s.nextRev(ctx); err != nil {
		return nil, err
	}
	changes := make([]kedge.Change, len(records))
	for i, r := range records {
		names, list := slices.Clone(r.Fields.Names()), slices.Clone(r.Values)
		for j := range list {
			if list[j].IsMissing() {
				list[j] = kedge.Null()
			}
			if s.store.Engine() == store.Postgres && list[j].Time().Nanosecond()%1000 != 0 {
				return nil, &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("timestamptz has microseconds")}
			}
		}
		if s.rev > 0 {
			names, list = append(names, "rev", "gone"), append(list, kedge.Int(s.rev), kedge.Bool(false))
		}
		changes[i] = kedge.Change{Op: op, Entity: entity, Key: r.Key, Fields: kedge.NewFields(names...), Values: list}
	}
	return changes, nil
}

func (s *system) write(ctx context.Context, entity string, changes []kedge.Change) error {
	defer s.settle()
	return s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		results, err := s.writer.WriteTx(ctx, tx, changes)
		for _, r := range results {
			switch {
			case r.Err != nil && r.Err.Kind == kedge.Invalid: // a value that the engine cannot hold
				r.Err.Kind = kedge.Unsupported
				return r.Err
			case r.Err != nil:
				return r.Err
			}
		}
		return err
	})
}

func (s *system) Delete(ctx context.Context, entity string, keys ...kedge.Key) error {
	var changes []kedge.Change
	if err := s.nextRev(ctx); err != nil {
		return err
	}
	for _, k := range keys {
		c := change(kedge.Delete, entity, k, nil)
		if s.rev > 0 {
			c = change(kedge.Update, entity, k, values{"gone": kedge.Bool(true), "rev": kedge.Int(s.rev)})
		}
		changes = append(changes, c)
	}
	return s.write(ctx, entity, changes)
}

// nextRev takes a version above all that there are, where rows have versions.
func (s *system) nextRev(ctx context.Context) error {
	if s.rev == 0 {
		return nil
	}
	return s.store.DB().DB.QueryRowContext(ctx, "SELECT coalesce(max(rev), 100) + 1 FROM (SELECT rev FROM widgets UNION ALL SELECT rev FROM parts) AS all_revs").Scan(&s.rev)
}

// addTriggers gives a version to what is written without one, as the program
// that owns such tables does.
func (s *system) addTriggers(ctx context.Context) error {
	const next = "(SELECT coalesce(max(rev), 100) + 1 FROM (SELECT rev FROM widgets UNION ALL SELECT rev FROM parts) AS all_revs)"
	statements := []string{
		"CREATE OR REPLACE FUNCTION next_rev() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.rev := " + next + "; RETURN NEW; END $$",
		"CREATE TRIGGER rev_insert BEFORE INSERT ON widgets FOR EACH ROW WHEN (NEW.rev IS NULL) EXECUTE FUNCTION next_rev()",
		"CREATE TRIGGER rev_update BEFORE UPDATE ON widgets FOR EACH ROW WHEN (NEW.rev = OLD.rev) EXECUTE FUNCTION next_rev()",
	}
	if s.store.Engine() == store.SQLite {
		const set = " BEGIN UPDATE widgets SET rev = " + next + " WHERE id = NEW.id; END"
		statements = []string{
			"CREATE TRIGGER rev_insert AFTER INSERT ON widgets WHEN NEW.rev IS NULL" + set,
			"CREATE TRIGGER rev_update AFTER UPDATE ON widgets WHEN NEW.rev = OLD.rev" + set,
		}
	}
	for _, statement := range statements {
		if _, err := s.store.DB().DB.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) Calls() int { return -1 }

// settle waits for what else the server does, unless Hold keeps it up.
func (s *system) settle() {
	if s.listen && s.held.Load() == 0 {
		storetest.Settle(s.t, s.store)
	}
}

// Hold leaves a transaction open that has written r.
func (s *system) Hold(ctx context.Context, entity string, r kedge.Record) (commit func() error, err error) {
	if !s.listen || s.store.Engine() == store.SQLite {
		return nil, &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("versions are taken at commit, or there is one writer at a time")}
	}
	changes, err := s.changes(ctx, entity, kedge.Upsert, []kedge.Record{r})
	if err != nil {
		return nil, err
	}
	written, release, done := make(chan error), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := s.writer.WriteTx(ctx, tx, changes)
			written <- err
			<-release
			return err
		})
	}()
	s.held.Add(1)
	return func() error {
		close(release)
		err := <-done
		s.held.Add(-1)
		s.settle()
		return err
	}, <-written
}

// capture installs the triggers and listens to all fields of the entities.
func (s *system) capture(entities ...kedge.Entity) {
	d := s.Driver().(*sqltable.Driver)
	defer d.Close()
	if err := d.InstallCapture(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entities {
		var fields []string
		for _, f := range e.Fields {
			fields = append(fields, f.Name)
		}
		if err := setListeners(s.t.Context(), s.own, d, e.Name, map[string][]string{listener: fields}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Expire lets the listener miss what happens for a moment.
func (s *system) Expire(ctx context.Context, entity string) error {
	if !s.listen {
		return &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("no history is kept")}
	}
	d := s.Driver().(*sqltable.Driver)
	defer d.Close()
	for _, fields := range [][]string{nil, {"int"}} {
		if err := setListeners(ctx, s.own, d, entity, map[string][]string{listener: fields}); err != nil {
			return err
		}
	}
	return nil
}

// setListeners calls SetListeners in a transaction of kedge's own database,
// or without one if the driver is for another.
func setListeners(ctx context.Context, own *store.Store, d *sqltable.Driver, entity string, listeners map[string][]string) error {
	if own == nil {
		return d.SetListeners(ctx, nil, entity, listeners)
	}
	return own.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return d.SetListeners(ctx, tx, entity, listeners) })
}

// transactor is a system in kedge's own database.
type transactor struct{ *system }

func (s transactor) InTx(ctx context.Context, f func(ctx context.Context, tx connectors.Tx) error) error {
	return s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return f(ctx, tx) })
}

// A configuration is one way to use the driver.
type configuration struct {
	name    string
	other   bool // another database than kedge's own
	version bool
	trigger bool
}

func TestConformance(t *testing.T) {
	for _, c := range []configuration{{name: "own"}, {name: "other", other: true}, {name: "version", version: true}, {name: "otherVersion", other: true, version: true},
		{name: "trigger", trigger: true}, {name: "otherTrigger", other: true, trigger: true}} {
		t.Run(c.name, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) { conform(t, dsn, c) })
		})
	}
}

func conform(t *testing.T, dsn string, c configuration) {
	s := storetest.Open(t, dsn)
	kind := sqltable.Kind()
	noDelta := "changes are found by comparing full reads"
	lacks := map[string]string{
		"schema/LookupTargets":   "tables that kedge makes have no foreign keys",
		"delta/ErrorKeepsAnchor": "no fault can be made between kedge and a file",
		"delta/LateCommit":       "the kit's system takes versions at commit",
		"delta/Expired":          "versions in the rows do not expire",
		"life/ErrorKinds":        "no fault can be made between kedge and a file",
		"life/RetryAfter":        "databases do not say when to come back",
		"life/NoSecretInErrors":  "no fault can be made between kedge and a file",
		"schema/NoRecordRead":    "a database does not count reads",
	}
	if c.trigger {
		delete(lacks, "delta/Expired")
		lacks["delta/LateCommit"] = "there is one writer at a time"
		if s.Engine() == store.Postgres {
			delete(lacks, "delta/LateCommit")
		}
	}
	lacks["write/Replay"] = "databases know no idempotency keys"
	lacks["write/LostReply"] = "no answer can be lost between kedge and a file"
	lacks["write/OwnVersion"] = "versions are read when they are needed"
	if !c.version {
		lacks["write/ExpectedVersion"], lacks["write/Stale"] = "the rows have no versions", "the rows have no versions"
	}
	if !c.version && !c.trigger {
		for _, name := range []string{"full/Handoff", "delta/OnlyChanges", "delta/NothingNew", "delta/Deletes", "delta/Reinsert", "delta/EqualVersions",
			"delta/EditDuringDelta", "delta/ResumeAtEveryPage", "delta/OtherEntity", "delta/Expired", "delta/LateCommit", "life/Ack"} {
			lacks[name] = noDelta
		}
	}
	if s.Engine() == store.SQLite {
		lacks["values/SpecialFloats"] = "SQLite stores NaN as null"
	} else {
		lacks["values/Nanoseconds"] = "timestamptz has microseconds"
		lacks["values/Nul"] = "text has no NUL"
		lacks["values/JsonNul"] = "jsonb has no NUL"
	}
	for _, name := range []string{"tx/Rollback", "tx/Neighbours", "tx/OneBadKeepsTx"} {
		if c.other {
			lacks[name] = "the tables are not in kedge's own database"
		}
	}
	conntest.Run(t, conntest.Harness{Lacks: lacks, Start: func(t testing.TB) conntest.System {
		for _, table := range []string{"widgets", "parts"} {
			if _, err := s.DB().DB.ExecContext(t.Context(), "DROP TABLE IF EXISTS "+table); err != nil {
				t.Fatal(err)
			}
		}
		sys := &system{t: t, listen: c.trigger, kind: kind, own: s, store: s, block: `{"dsn": "kedge"`, writer: open(t, s, "")}
		widgets, parts := conntest.Widgets, conntest.Parts
		if c.version {
			sys.rev = 100
			extra := []kedge.Field{{Name: "rev", Type: kedge.TypeInt, Nullable: true}, {Name: "gone", Type: kedge.TypeBool, Nullable: true}}
			widgets.Fields, parts.Fields = append(slices.Clone(widgets.Fields), extra...), append(slices.Clone(parts.Fields), extra...)
		}
		create(t, sys.writer, widgets, parts)
		if c.version {
			if err := sys.addTriggers(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if c.other {
			sys.own, sys.block = nil, fmt.Sprintf(`{"dsn": %q`, dsn)
		}
		if c.version {
			const e = `{"version": {"column": "rev", "window": 0}, "capture": "version", "deleted": {"column": "gone", "value": true}}`
			sys.block += `, "entities": {"widgets": ` + e + `, "parts": ` + e + `}`
		}
		if c.trigger {
			sys.block += `, "entities": {"widgets": {"capture": "trigger"}, "parts": {"capture": "trigger"}}`
		}
		sys.block += "}"
		if c.trigger {
			sys.capture(widgets, parts)
		}
		if c.other {
			return sys
		}
		return transactor{sys}
	}})
}
