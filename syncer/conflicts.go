package syncer

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
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

	Integration string `bun:",scanonly"`
	Entity      string `bun:",scanonly"`
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

// saveConflicts stores conflicts. One that is open already is superseded, unless
// it is the same.
func (e *entity) saveConflicts(ctx context.Context, db bun.IDB, rows []*conflictRow) error {
	for _, c := range rows {
		known, err := e.isReported(ctx, db, c)
		if err != nil {
			return err
		}
		if known {
			e.park(c.ExtKey)
			continue
		}
		_, err = db.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?", conflictSuperseded).
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
		e.park(c.ExtKey)
	}
	return nil
}

// isReported tells whether a conflict is open already.
func (e *entity) isReported(ctx context.Context, db bun.IDB, c *conflictRow) (bool, error) {
	if !e.frozen[c.ExtKey] {
		return false, nil
	}
	return db.NewSelect().Model((*conflictRow)(nil)).Where("ent = ? AND ext_key = ? AND state = ?", c.Ent, c.ExtKey, conflictOpen).
		Where("base = ? AND local = ? AND remote = ?", c.Base, c.Local, c.Remote).Exists(ctx)
}

// park freezes a record. The direction that meets the conflict first in a run
// counts it.
func (e *entity) park(k kedge.Key) {
	e.frozen[k] = true
	if _, met := e.parked[k]; !met {
		if e.parked == nil {
			e.parked = map[kedge.Key]bool{}
		}
		e.parked[k] = e.silent
	}
}

// closeConflicts ends the open conflicts of records that no longer have one.
func (e *entity) closeConflicts(ctx context.Context, db bun.IDB, keys []kedge.Key, resolution string) error {
	if len(keys) == 0 {
		return nil
	}
	// What waited for a person is sent only if it is asked for anew.
	_, err := db.NewUpdate().Model((*Transaction)(nil)).Set("state = ?, done_at = ?", TxArchived, e.run.s.now().UTC()).
		Where("integration = ? AND entity = ? AND state = ?", e.run.name, e.plan.Name, TxConflict).
		Where("local_key IN (SELECT c.local_key FROM integration_conflict AS c WHERE c.ent = ? AND c.state = ? AND c.ext_key IN "+e.run.s.unpack()+")", e.row.ID, conflictOpen, jsonTexts(keys)).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = db.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?, resolution = ?", conflictResolved, resolution).
		Where("ent = ? AND state = ?", e.row.ID, conflictOpen).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	for _, k := range keys {
		delete(e.frozen, k)
	}
	return err
}

// identBy is the column that says who resolved a conflict.
const identBy = bun.Ident("by")

// A Conflict is a record that both sides changed, or that one changed and the
// other deleted.
type Conflict struct {
	ID          string         `json:"id"`
	Integration string         `json:"integration"`
	Entity      string         `json:"entity"`
	ExternalKey kedge.Key      `json:"externalKey"`
	LocalKey    kedge.Key      `json:"localKey"`
	Fields      []string       `json:"fields"` // local names; none if one side deleted the record
	Reason      string         `json:"reason"`
	Policy      mapping.Policy `json:"policy"`
	State       string         `json:"state"` // open, resolved, superseded
	Resolution  string         `json:"resolution,omitempty"`
	By          string         `json:"by,omitempty"`
	At          time.Time      `json:"at"`

	base, local, remote string
}

// A ConflictField is one field of a conflict: nil is null, or not known.
type ConflictField struct {
	Field    string  `json:"field"`
	Base     *string `json:"base"`
	Local    *string `json:"local"`
	Remote   *string `json:"remote"`
	Conflict bool    `json:"conflict"` // both sides changed it
}

// Sides returns the fields of the three versions of the record, by name: as
// both sides agreed last, and as each was when the conflict was found. They may
// be personal data.
func (c *Conflict) Sides() ([]ConflictField, error) {
	var sides [3]map[string]*string
	names := map[string]bool{}
	for i, packed := range []string{c.base, c.local, c.remote} {
		if packed == "" {
			continue
		}
		if err := json.Unmarshal([]byte(packed), &sides[i]); err != nil {
			return nil, err
		}
		for name := range sides[i] {
			names[name] = true
		}
	}
	fields := []ConflictField{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fields = append(fields, ConflictField{
			Field: name, Base: sides[0][name], Local: sides[1][name], Remote: sides[2][name], Conflict: slices.Contains(c.Fields, name),
		})
	}
	return fields, nil
}

// A ConflictQuery selects conflicts; empty fields select all open ones.
type ConflictQuery struct {
	Integration string
	Entity      string
	IDs         []string
	All         bool // closed ones too
	Limit       int  // 0 means 100
}

// Conflicts lists conflicts, newest first.
func (s *Syncer) Conflicts(ctx context.Context, q ConflictQuery) ([]*Conflict, error) {
	setDefault(&q.Limit, 100)
	var rows []*conflictRow
	sel := s.store.DB().NewSelect().Model(&rows).ColumnExpr("conflict_row.*").ColumnExpr("e.integration, e.name AS entity").
		Join("JOIN integration_entity AS e ON e.id = conflict_row.ent").OrderExpr("conflict_row.id DESC").Limit(int64(q.Limit))
	if q.Integration != "" {
		sel = sel.Where("e.integration = ?", q.Integration)
	}
	if q.Entity != "" {
		sel = sel.Where("e.name = ?", q.Entity)
	}
	if len(q.IDs) > 0 {
		sel = sel.Where("conflict_row.id IN "+s.unpack(), jsonTexts(q.IDs))
	} else if !q.All {
		sel = sel.Where("conflict_row.state = ?", conflictOpen)
	}
	if err := sel.Scan(ctx, &rows); err != nil {
		return nil, err
	}
	all := make([]*Conflict, len(rows))
	for i, r := range rows {
		all[i] = r.conflict()
	}
	return all, nil
}

func (r *conflictRow) conflict() *Conflict {
	return &Conflict{
		ID: r.ID, Integration: r.Integration, Entity: r.Entity, ExternalKey: r.ExtKey, LocalKey: r.LocalKey, Policy: r.Policy,
		State: r.State, Resolution: r.Resolution, By: r.By, At: r.At, base: r.Base, local: r.Local, remote: r.Remote,
		Fields: r.fields(), Reason: r.reason(),
	}
}

// fields are the names of the fields that both sides changed.
func (c *conflictRow) fields() (names []string) {
	_ = json.Unmarshal([]byte(c.Fields), &names) // as jsonTexts wrote it
	return names
}

func (c *conflictRow) reason() string {
	switch {
	case c.Local == "":
		return "deleted here, changed there"
	case c.Remote == "":
		return "changed here, deleted there"
	}
	return "both sides changed " + strings.Join(c.fields(), ", ")
}
