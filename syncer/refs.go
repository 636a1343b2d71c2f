package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A pendingRef is a lookup whose target is not here yet. The field is null
// until a later pass finds the target.
type pendingRef struct {
	bun.BaseModel `bun:"table:integration_pendingref"`

	Ent         int64     `bun:",pk"`
	ExtKey      kedge.Key `bun:",pk"`
	Field       string    `bun:",pk"`
	TargetEnt   int64
	TargetValue kedge.Key // canonical text of the values that name the target
}

// resolve fills in the lookups of items: nulls stay null, targets that are
// here become their local keys, others are null with a pending reference, or,
// where the field must not be null, a failure.
func (e *entity) resolve(ctx context.Context, tx connectors.Tx, items []*item) error {
	for i := range e.plan.Lookups {
		l := &e.plan.Lookups[i]
		wanted := map[kedge.Key]bool{}
		for _, it := range items {
			k := e.lookupKey(it, l)
			if err := checkKey(k); err != nil {
				it.fail = failReference(l, "ref_invalid", err.Error())
			} else if k != "" {
				wanted[k] = true
			}
		}
		found, err := e.run.targets(ctx, tx, l, wanted)
		if err != nil {
			return err
		}
		for _, it := range items {
			e.setLookup(it, l, found)
		}
	}
	return nil
}

// lookupKey returns the key that names the target of a lookup, "" for none.
func (e *entity) lookupKey(it *item, l *mapping.Lookup) kedge.Key {
	if it.fail != nil || it.outcome != notSeen || it.rec.Removed != kedge.Live {
		return ""
	}
	e.keyParts = e.keyParts[:0]
	for _, i := range l.External {
		e.keyParts = append(e.keyParts, it.rec.Values[i])
	}
	return kedge.NewKey(e.keyParts...)
}

func (e *entity) setLookup(it *item, l *mapping.Lookup, found map[kedge.Key]targetRow) {
	if it.fail != nil || it.outcome != notSeen || it.rec.Removed != kedge.Live {
		return
	}
	if slices.ContainsFunc(l.External, func(i int) bool { return it.rec.Values[i].IsMissing() }) {
		return // not sent: left alone
	}
	k := e.lookupKey(it, l)
	row, ok := found[k]
	switch {
	case k == "" && l.Required:
		it.fail = failReference(l, "ref_missing", "the lookup is empty, but the local field must not be null")
	case k == "":
		it.dst.Values[l.Local] = kedge.Null()
	case row.many:
		it.fail = failReference(l, "ref_ambiguous", "more than one record matches the lookup")
	case ok:
		it.dst.Values[l.Local] = row.value
		if row.unknown {
			it.unknown = append(it.unknown, l.Field)
		}
	case l.Required:
		it.fail = failReference(l, codeUnresolved, "the record that the lookup names is not here yet")
	default:
		it.dst.Values[l.Local] = kedge.Null()
		it.pending = append(it.pending, pendingRef{Ent: e.row.ID, ExtKey: it.rec.Key, Field: l.Field, TargetEnt: e.run.entities[l.Target].row.ID, TargetValue: k})
	}
}

func failReference(l *mapping.Lookup, code, text string) *failure {
	return &failure{stage: "reference", code: code, field: l.Field, err: errors.New(text), as: Quarantined}
}

// A targetRow is the local key of a record that a lookup names. In a plan, the
// key of a record that is yet to be made may be unknown.
type targetRow struct {
	value   kedge.Value
	many    bool
	unknown bool
}

// targets returns the local keys of the records of a lookup's target that the
// wanted keys name.
func (r *run) targets(ctx context.Context, tx connectors.Tx, l *mapping.Lookup, wanted map[kedge.Key]bool) (map[kedge.Key]targetRow, error) {
	found := make(map[kedge.Key]targetRow, len(wanted))
	target := r.entities[l.Target]
	if len(wanted) == 0 || target.plan == nil {
		return found, nil
	}
	keys := make([]kedge.Key, 0, len(wanted))
	for k := range wanted {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if l.By == nil && !target.plan.SharedKey {
		links, err := r.s.linksBy(ctx, r.db(tx), target.row.ID, "ext_key", keys)
		for k, row := range links {
			if row.Status == linked {
				if found[k], err = target.localValue(row.LocalKey); err != nil {
					return nil, err
				}
			}
		}
		target.addPlanned(found, l, wanted)
		return found, err
	}
	by := target.localNames(l.By)
	rows, err := r.target.find(ctx, tx, target.plan.Local, append(slices.Clone(by), target.plan.Local.Key...), by, keys)
	for i := range rows {
		k := rows[i].Key
		if by != nil {
			k = rowKey(&rows[i], by)
		}
		row, err := target.localValue(rows[i].Key)
		if err != nil {
			return nil, err
		}
		_, row.many = found[k]
		found[k] = row
	}
	target.addPlanned(found, l, wanted)
	return found, err
}

// localValue is the value of a lookup to the local record with key k.
func (e *entity) localValue(k kedge.Key) (targetRow, error) {
	if len(e.plan.Local.Key) > 1 {
		return targetRow{value: kedge.String(string(k))}, nil
	}
	values, err := e.plan.Local.Values(k)
	if err != nil {
		return targetRow{}, err
	}
	return targetRow{value: values[0]}, nil
}

// localNames returns the local fields that external fields are mapped to; nil
// stays nil, which is the key.
func (e *entity) localNames(external []string) []string {
	if external == nil {
		return nil
	}
	local := make([]string, len(external))
	for i, name := range external {
		local[i] = e.localOf(name)
	}
	return local
}

// savePending replaces the pending references of the items that were stored.
func (e *entity) savePending(ctx context.Context, tx bun.IDB, items []*item) error {
	if len(e.plan.Lookups) == 0 {
		return nil
	}
	var rows []pendingRef
	var keys []kedge.Key
	for _, it := range items {
		if it.fail == nil && it.stored {
			keys = append(keys, it.rec.Key)
			rows = append(rows, it.pending...)
		}
	}
	e.waits = e.waits || len(rows) > 0
	err := e.dropPending(ctx, tx, keys, "")
	for chunk := range slices.Chunk(rows, 1000) {
		if err == nil {
			_, err = tx.NewInsert().Model(&chunk).Exec(ctx)
		}
	}
	return err
}

// secondPass fills in lookups whose targets have arrived since, and tells how
// many are left if this run left some.
func (e *entity) secondPass(ctx context.Context) error {
	if len(e.plan.Lookups) == 0 {
		return nil
	}
	if err := e.fillPending(ctx); err != nil || !e.waits {
		return err
	}
	left, err := e.run.s.store.DB().NewSelect().Model((*pendingRef)(nil)).Where("ent = ?", e.row.ID).Count(ctx)
	if err != nil || left == 0 {
		return err
	}
	text := fmt.Sprintf("%d lookups name records that are not here; they stay empty until those come", left)
	e.run.warnings[e.plan.Name] = append(e.run.warnings[e.plan.Name], text)
	return e.run.event(ctx, e.plan.Name, "warn", "ref_pending", text, "")
}

// fillPending fills in lookups until no more targets are found.
func (e *entity) fillPending(ctx context.Context) error {
	for {
		n, err := e.patch(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// awaitReturn makes the records wait that refer to the records of links, which
// are about to be deleted here: if those come back, they have other local keys.
// Only references by key are found again.
func (e *entity) awaitReturn(ctx context.Context, tx *store.Tx, links []*link) error {
	if e.plan.SharedKey {
		return nil
	}
	external := make(map[kedge.Key]kedge.Key, len(links))
	locals := make([]kedge.Key, len(links))
	for i, l := range links {
		external[l.LocalKey], locals[i] = l.ExtKey, l.LocalKey
	}
	for _, child := range e.run.entities {
		if child.plan == nil {
			continue
		}
		for _, l := range child.plan.Lookups {
			if l.Target != e.plan.Name || l.By != nil {
				continue
			}
			if err := child.awaitBy(ctx, tx, l.Field, locals, external, e.row.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitBy makes the records wait whose field holds one of the local keys.
func (e *entity) awaitBy(ctx context.Context, tx *store.Tx, field string, locals []kedge.Key, external map[kedge.Key]kedge.Key, target int64) error {
	by := []string{field}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, append([]string{field}, e.plan.Local.Key...), by, locals)
	if err != nil || len(rows) == 0 {
		return err
	}
	keys := make([]kedge.Key, len(rows))
	for i := range rows {
		keys[i] = rows[i].Key
	}
	links, err := e.run.s.linksBy(ctx, tx, e.row.ID, "local_key", keys)
	if err != nil {
		return err
	}
	var refs []pendingRef
	for i := range rows {
		ref := pendingRef{Ent: e.row.ID, ExtKey: rows[i].Key, Field: field, TargetEnt: target, TargetValue: external[rowKey(&rows[i], by)]}
		if l := links[rows[i].Key]; l != nil {
			ref.ExtKey = l.ExtKey
		} else if !e.plan.SharedKey {
			continue // a row of somebody else
		}
		refs = append(refs, ref)
	}
	for chunk := range slices.Chunk(refs, 1000) {
		_, err := tx.NewInsert().Model(&chunk).On("CONFLICT (ent, ext_key, field) DO UPDATE").
			Set("target_ent = EXCLUDED.target_ent, target_value = EXCLUDED.target_value").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// patch fills in up to a page of pending references and returns how many.
func (e *entity) patch(ctx context.Context) (int, error) {
	patched := 0
	after := pendingRef{}
	for {
		var rows []pendingRef
		err := e.run.reader().NewSelect().Model(&rows).Where("ent = ?", e.row.ID).
			Where("(ext_key, field) > (?, ?)", after.ExtKey, after.Field).Order("ext_key", "field").Limit(5000).Scan(ctx)
		if err != nil || len(rows) == 0 {
			return patched, err
		}
		after = rows[len(rows)-1]
		n, err := e.patchRows(ctx, rows)
		if err != nil {
			return patched, err
		}
		patched += n
	}
}

func (e *entity) patchRows(ctx context.Context, rows []pendingRef) (int, error) {
	patched := 0
	err := e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		locals, err := e.localKeys(ctx, tx, rows)
		if err != nil {
			return err
		}
		for i := range e.plan.Lookups {
			l := &e.plan.Lookups[i]
			wanted := map[kedge.Key]bool{}
			for _, p := range rows {
				if p.Field == l.Field {
					wanted[p.TargetValue] = true
				}
			}
			found, err := e.run.targets(ctx, tx, l, wanted)
			if err != nil {
				return err
			}
			n, err := e.patchLookup(ctx, tx, l, rows, found, locals)
			if err != nil {
				return err
			}
			patched += n
		}
		return nil
	})
	return patched, err
}

func (e *entity) patchLookup(ctx context.Context, tx *store.Tx, l *mapping.Lookup, rows []pendingRef, found map[kedge.Key]targetRow, locals map[kedge.Key]kedge.Key) (int, error) {
	fields := kedge.NewFields(l.Field)
	var changes []kedge.Change
	var changed, done []kedge.Key
	for _, p := range rows {
		row, ok := found[p.TargetValue]
		if p.Field != l.Field || !ok || row.many {
			continue
		}
		if local := locals[p.ExtKey]; local != "" {
			changes = append(changes, kedge.Change{Op: kedge.Update, Entity: e.plan.Local.Name, Key: local, Fields: fields, Values: []kedge.Value{row.value}})
			changed = append(changed, p.ExtKey)
		} else {
			done = append(done, p.ExtKey)
		}
	}
	if len(changes) > 0 {
		results, err := e.run.target.write(ctx, tx, changes)
		if err != nil {
			return 0, err
		}
		for i, r := range results {
			if r.State != connectors.Rejected || r.Err.Kind == kedge.NotFound {
				done = append(done, changed[i]) // also if somebody deleted the row here
			} else if err := e.event(ctx, tx, "warn", "ref_refused", l.Field+": the local side refused a lookup: "+r.Err.Error(), ""); err != nil {
				return 0, err
			}
		}
	}
	return len(done), e.dropPending(ctx, tx, done, l.Field)
}

// dropPending forgets pending references of records: those of one field, or,
// if it is "", all.
func (e *entity) dropPending(ctx context.Context, tx bun.IDB, keys []kedge.Key, field string) error {
	if len(keys) == 0 || len(e.plan.Lookups) == 0 {
		return nil
	}
	q := tx.NewDelete().Model((*pendingRef)(nil)).Where("ent = ?", e.row.ID).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys))
	if field != "" {
		q = q.Where("field = ?", field)
	}
	_, err := q.Exec(ctx)
	return err
}

// localKeys returns the local keys of the records that have pending references.
func (e *entity) localKeys(ctx context.Context, tx *store.Tx, rows []pendingRef) (map[kedge.Key]kedge.Key, error) {
	keys := make([]kedge.Key, len(rows))
	locals := make(map[kedge.Key]kedge.Key, len(rows))
	for i, p := range rows {
		keys[i] = p.ExtKey
		if e.plan.SharedKey {
			locals[p.ExtKey] = p.ExtKey
		}
	}
	if e.plan.SharedKey {
		return locals, nil
	}
	links, err := e.run.s.linksBy(ctx, tx, e.row.ID, "ext_key", keys)
	for k, l := range links {
		locals[k] = l.LocalKey
	}
	return locals, err
}
