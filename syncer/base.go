package syncer

import (
	"context"
	"encoding/json"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// A baseRow is what both sides of a record agreed on the last time, in local
// terms. Entities that are only downloaded have none.
type baseRow struct {
	bun.BaseModel `bun:"table:integration_base"`

	Ent          int64     `bun:",pk"`
	ExtKey       kedge.Key `bun:",pk"`
	Base         string    // values by local field, as packValues writes them
	LocalHash    int64     // of the local row at that time
	ExtVersion   string
	LocalVersion string
	LastWriter   Direction // the direction of the change that made it
	At           time.Time

	values *kedge.Record
}

// packValues returns the values of a record as a JSON object: texts, or null.
// Missing values are left out.
func packValues(fields *kedge.Fields, values []kedge.Value) string {
	texts := make(map[string]*string, len(values))
	for i, v := range values[:min(len(values), fields.Len())] {
		if v.IsMissing() {
			continue
		}
		texts[fields.Name(i)] = nil
		if !v.IsNull() {
			text := v.Text()
			texts[fields.Name(i)] = &text
		}
	}
	packed, _ := json.Marshal(texts) // texts always marshal
	return string(packed)
}

// unpackValues is the reverse of packValues. What no longer fits the field is
// missing, so it counts as unknown.
func unpackValues(packed string, ent *kedge.Entity, fields *kedge.Fields) (*kedge.Record, error) {
	var texts map[string]*string
	if err := json.Unmarshal([]byte(packed), &texts); err != nil {
		return nil, err
	}
	r := &kedge.Record{Fields: fields, Values: make([]kedge.Value, fields.Len())}
	for i, name := range fields.Names() {
		text, known := texts[name]
		switch f := ent.Field(name); {
		case !known || f == nil:
		case text == nil:
			r.Values[i] = kedge.Null()
		default:
			if v, err := kedge.ParseText(f.Type, *text); err == nil {
				r.Values[i] = v
			}
		}
	}
	return r, nil
}

// bases returns the bases of external keys.
func (e *entity) bases(ctx context.Context, db bun.IDB, keys []kedge.Key) (map[kedge.Key]*baseRow, error) {
	found := make(map[kedge.Key]*baseRow, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	var rows []*baseRow
	err := db.NewSelect().Model(&rows).Where("ent = ?", e.row.ID).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys)).Scan(ctx)
	for _, b := range rows {
		if err == nil {
			b.values, err = unpackValues(b.Base, e.plan.Local, e.plan.LocalFields)
		}
		found[b.ExtKey] = b
	}
	return found, err
}

func (e *entity) saveBases(ctx context.Context, db bun.IDB, rows []*baseRow) error {
	const chunk = 1000
	for len(rows) > 0 {
		part := rows[:min(chunk, len(rows))]
		rows = rows[len(part):]
		_, err := db.NewInsert().Model(&part).On("CONFLICT (ent, ext_key) DO UPDATE").
			Set("base = EXCLUDED.base, local_hash = EXCLUDED.local_hash, ext_version = EXCLUDED.ext_version").
			Set("local_version = EXCLUDED.local_version, last_writer = EXCLUDED.last_writer, at = EXCLUDED.at").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *entity) dropBases(ctx context.Context, db bun.IDB, keys []kedge.Key) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := db.NewDelete().Model((*baseRow)(nil)).Where("ent = ?", e.row.ID).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}

// newBase makes the base of a record from what both sides agree on: the
// remote values where they are known, else those of the base before.
func (e *entity) newBase(key kedge.Key, before, remote, local *kedge.Record, version string, writer Direction) *baseRow {
	values := make([]kedge.Value, e.plan.LocalFields.Len())
	for i := range values {
		values[i] = value(before, i)
		if v := value(remote, i); !v.IsMissing() {
			values[i] = v
		}
	}
	return &baseRow{
		Ent: e.row.ID, ExtKey: key, Base: packValues(e.plan.LocalFields, values), LocalHash: e.localHash(local),
		ExtVersion: version, LastWriter: writer, At: e.run.s.now().UTC(), values: &kedge.Record{Fields: e.plan.LocalFields, Values: values},
	}
}

// localHash is the hash of the local values that are uploaded. A value that is
// missing from a new row is null there.
func (e *entity) localHash(local *kedge.Record) int64 {
	if local == nil {
		return 0
	}
	r := kedge.Record{Fields: e.plan.LocalFields, Values: make([]kedge.Value, e.plan.LocalFields.Len())}
	for i := range r.Values {
		if r.Values[i] = value(local, i); r.Values[i].IsMissing() {
			r.Values[i] = kedge.Null()
		}
	}
	return int64(e.plan.LocalHash(&r))
}
