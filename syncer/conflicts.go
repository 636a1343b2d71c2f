package syncer

import (
	"context"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A conflictRow is a record that both sides changed and that waits for a
// person. It is frozen on both sides until then.
type conflictRow struct {
	bun.BaseModel `bun:"table:integration_conflict"`

	ID         string `bun:",pk"`
	Ent        int64
	ExtKey     kedge.Key
	LocalKey   kedge.Key
	Base       string // as packValues writes them; "" if there is no such side
	Local      string
	Remote     string
	Fields     string // JSON array of local names; empty if one side deleted the record
	Policy     mapping.Policy
	State      string // open, resolved, superseded
	Resolution string
	By         string
	At         time.Time
}

const (
	conflictOpen       = "open"
	conflictResolved   = "resolved"
	conflictSuperseded = "superseded"
)

func (e *entity) newConflict(it *item, s Sides, v Verdict) *conflictRow {
	return e.conflictOf(it.rec.Key, it.dst.Key, s, v)
}

func (e *entity) conflictOf(external, local kedge.Key, s Sides, v Verdict) *conflictRow {
	pack := func(r *kedge.Record) string {
		if r == nil {
			return ""
		}
		return packValues(e.plan.LocalFields, r.Values)
	}
	names := make([]string, len(v.Fields))
	for i, f := range v.Fields {
		names[i] = e.plan.LocalFields.Name(f)
	}
	policy := e.plan.Rules.Conflict.Policy
	if len(v.Fields) == 0 {
		policy = e.plan.Rules.Conflict.EditVsDelete
	}
	return &conflictRow{
		ID: newID(), Ent: e.row.ID, ExtKey: external, LocalKey: local, Base: pack(s.Base), Local: pack(s.Local), Remote: pack(s.Remote),
		Fields: jsonTexts(names), Policy: policy, State: conflictOpen, At: e.run.s.now().UTC(),
	}
}

// openConflicts returns the external keys of the records that are frozen.
func openConflicts(ctx context.Context, db bun.IDB, ent int64) (map[kedge.Key]bool, error) {
	var keys []kedge.Key
	err := db.NewSelect().Model((*conflictRow)(nil)).Column("ext_key").Where("ent = ? AND state = ?", ent, conflictOpen).Scan(ctx, &keys)
	frozen := make(map[kedge.Key]bool, len(keys))
	for _, k := range keys {
		frozen[k] = true
	}
	return frozen, err
}

// saveConflicts stores conflicts. One that is open already is superseded.
func (e *entity) saveConflicts(ctx context.Context, db bun.IDB, rows []*conflictRow) error {
	for _, c := range rows {
		_, err := db.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?", conflictSuperseded).
			Where("ent = ? AND ext_key = ? AND state = ?", c.Ent, c.ExtKey, conflictOpen).Exec(ctx)
		if err != nil {
			return err
		}
		if _, err := db.NewInsert().Model(c).Exec(ctx); err != nil {
			return err
		}
		if err := e.event(ctx, db, "warn", "conflict", "both sides changed the record; a person decides", c.ID); err != nil {
			return err
		}
		e.frozen[c.ExtKey] = true
	}
	return nil
}

// closeConflicts ends the open conflicts of records that no longer have one.
func (e *entity) closeConflicts(ctx context.Context, db bun.IDB, keys []kedge.Key, resolution string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := db.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?, resolution = ?", conflictResolved, resolution).
		Where("ent = ? AND state = ?", e.row.ID, conflictOpen).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	for _, k := range keys {
		delete(e.frozen, k)
	}
	return err
}
