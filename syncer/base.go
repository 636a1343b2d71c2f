package syncer

import (
	"context"
	"math/bits"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A baseRow is what both sides of a record agreed on the last time, in local
// terms. Entities that are only downloaded have none.
type baseRow struct {
	bun.BaseModel `bun:"table:integration_base"`

	Ent        int64     `bun:",pk"`
	ExtKey     kedge.Key `bun:",pk"`
	Base       string    // values by local field, as packValues writes them
	LocalHash  int64     // of the local row at that time; 0 if it is to be sent or not known
	ExtVersion string

	values *kedge.Record
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

// A known is what kedge remembers of local records. No one else changes it while
// the lease is held.
type known struct {
	links map[kedge.Key]*link    // by local key
	bases map[kedge.Key]*baseRow // by external key
}

func (e *entity) knownBy(ctx context.Context, db bun.IDB, local []kedge.Key) (k known, err error) {
	if k.links, err = e.run.s.linksBy(ctx, db, e.row.ID, "local_key", local); err != nil {
		return k, err
	}
	external := make([]kedge.Key, 0, len(k.links))
	for _, l := range k.links {
		external = append(external, l.ExtKey)
	}
	k.bases, err = e.bases(ctx, db, external)
	return k, err
}

// of returns the link and the base of a local record, nil where there is none.
func (k known) of(local kedge.Key) (*link, *baseRow) {
	l := k.links[local]
	if l == nil {
		return nil, nil
	}
	return l, k.bases[l.ExtKey]
}

// A settled is what is to be remembered of a record that was sent, unless what
// comes back of it in the same page transaction says more.
type settled struct {
	link *link
	base *baseRow
}

var baseTable = store.Table{Name: "integration_base", Key: []string{"ent", "ext_key"}, Values: []string{"local_hash", "ext_version", "base"}}

// saveBases stores bases.
func saveBases(ctx context.Context, tx *store.Tx, mode store.PutMode, bases []*baseRow) error {
	return tx.Put(ctx, &baseTable, mode, len(bases), func(i int, row []any) []any {
		b := bases[i]
		return append(row, b.Ent, string(b.ExtKey), b.LocalHash, b.ExtVersion, b.Base)
	})
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
func (e *entity) newBase(key kedge.Key, before, remote, local *kedge.Record, version string) *baseRow {
	values := e.whole[:0]
	for i := range e.plan.LocalFields.Len() {
		v := value(remote, i)
		if v.IsMissing() {
			v = value(before, i)
		}
		values = append(values, v)
	}
	e.whole = values
	base := packValues(e.plan.LocalFields, values)
	return &baseRow{Ent: e.row.ID, ExtKey: key, Base: base, LocalHash: e.localHash(local), ExtVersion: version}
}

// noteInStep remembers which local rows are as both sides agree, so that the
// first upload needs to know nothing else of them.
func (e *entity) noteInStep(items []*item) {
	if e.up == nil || !e.up.first || e.log.table {
		return
	}
	for _, it := range items {
		if it.fail == nil && it.after != nil && it.after.LocalHash != 0 && it.conflict == nil {
			e.inStep = append(e.inStep, rowMark(it.dst.Key, it.after.LocalHash))
		}
	}
}

// rowMark stands for a local row with its values.
func rowMark(key kedge.Key, localHash int64) uint64 {
	return mapping.KeyHash(key) ^ bits.RotateLeft64(uint64(localHash), 32)
}

// localHash is the hash of the local values that are uploaded. A value that is
// missing from a new row is null there.
func (e *entity) localHash(local *kedge.Record) int64 {
	if local == nil {
		return 0
	}
	e.whole = e.whole[:0]
	for i := range e.plan.LocalFields.Len() {
		v := value(local, i)
		if v.IsMissing() {
			v = kedge.Null()
		}
		e.whole = append(e.whole, v)
	}
	return int64(e.plan.LocalHash(&kedge.Record{Fields: e.plan.LocalFields, Values: e.whole}))
}
