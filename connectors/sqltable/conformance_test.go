package sqltable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
}

func (s *system) Driver() connectors.Driver {
	d, err := s.kind.New(json.RawMessage(s.block), connectors.Env{Name: "sys", Store: s.own})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *system) Put(ctx context.Context, entity string, records ...kedge.Record) error {
	changes, err := s.changes(entity, kedge.Upsert, records)
	if err != nil {
		return err
	}
	return s.write(ctx, entity, changes)
}

// changes makes whole rows of records, with a version if there are any.
func (s *system) changes(entity string, op kedge.Op, records []kedge.Record) ([]kedge.Change, error) {
	if s.rev > 0 {
		s.rev++
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
	if s.rev > 0 {
		s.rev++
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

func (s *system) Calls() int { return -1 }

// A configuration is one way to use the driver.
type configuration struct {
	name    string
	other   bool // another database than kedge's own
	version bool
}

func TestConformance(t *testing.T) {
	for _, c := range []configuration{{name: "own"}, {name: "other", other: true}, {name: "version", version: true}, {name: "otherVersion", other: true, version: true}} {
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
	if !c.version {
		for _, name := range []string{"full/Handoff", "delta/OnlyChanges", "delta/NothingNew", "delta/Deletes", "delta/Reinsert", "delta/EqualVersions",
			"delta/EditDuringDelta", "delta/ResumeAtEveryPage", "delta/OtherEntity", "delta/Expired", "delta/LateCommit"} {
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
	lacks["life/Ack"] = "nothing is kept that could be forgotten"
	conntest.Run(t, conntest.Harness{Lacks: lacks, Start: func(t testing.TB) conntest.System {
		for _, table := range []string{"widgets", "parts"} {
			if _, err := s.DB().DB.ExecContext(t.Context(), "DROP TABLE IF EXISTS "+table); err != nil {
				t.Fatal(err)
			}
		}
		sys := &system{t: t, kind: kind, own: s, store: s, block: `{"dsn": "kedge"`, writer: open(t, s, "")}
		widgets, parts := conntest.Widgets, conntest.Parts
		if c.version {
			sys.rev = 100
			extra := []kedge.Field{{Name: "rev", Type: kedge.TypeInt}, {Name: "gone", Type: kedge.TypeBool}}
			widgets.Fields, parts.Fields = append(slices.Clone(widgets.Fields), extra...), append(slices.Clone(parts.Fields), extra...)
		}
		create(t, sys.writer, widgets, parts)
		if c.other {
			sys.own, sys.block = nil, fmt.Sprintf(`{"dsn": %q`, dsn)
		}
		if c.version {
			const e = `{"version": {"column": "rev", "window": 0}, "capture": "version", "deleted": {"column": "gone", "value": true}}`
			sys.block += `, "entities": {"widgets": ` + e + `, "parts": ` + e + `}`
		}
		sys.block += "}"
		return sys
	}})
}
