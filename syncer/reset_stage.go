package syncer

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/uptrace/bun"
)

// A stageRow holds some pages that a reset has read and not stored yet.
type stageRow struct {
	bun.BaseModel `bun:"table:integration_stage"`

	Ent  int64 `bun:",pk"`
	Seq  int64 `bun:",pk"`
	Data []byte
}

// A stagedChunk is a chunk in the form in which it waits.
type stagedChunk struct {
	Records  []stagedRecord
	Exact    int
	Rejected []stagedReject
	Before   []int
	Anchor   kedge.Anchor
	Last     bool
	Version  string
}

// A stagedRecord is a record with the types and texts of its values.
type stagedRecord struct {
	Key     kedge.Key
	Version string
	Removed kedge.Removal
	Types   []byte
	Texts   []string
}

type stagedReject struct {
	Key             kedge.Key
	Field, Err, Raw string
}

func packChunk(c *chunk) ([]byte, error) {
	s := stagedChunk{Exact: c.exact, Before: c.before, Anchor: c.anchor, Last: c.last, Version: c.version}
	for i := range c.records {
		r := &c.records[i]
		packed := stagedRecord{Key: r.Key, Version: r.Version, Removed: r.Removed, Types: make([]byte, len(r.Values)), Texts: make([]string, len(r.Values))}
		for j, v := range r.Values {
			packed.Types[j], packed.Texts[j] = byte(v.Type()), v.Text()
		}
		s.Records = append(s.Records, packed)
	}
	for _, bad := range c.rejected {
		s.Rejected = append(s.Rejected, stagedReject{Key: bad.Key, Field: bad.Field, Err: bad.Err.Error(), Raw: bad.Raw})
	}
	var data bytes.Buffer
	err := gob.NewEncoder(&data).Encode(s)
	return data.Bytes(), err
}

// unpackChunk is the reverse of packChunk, for records with those fields.
func unpackChunk(data []byte, fields *kedge.Fields) (*chunk, error) {
	var s stagedChunk
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return nil, err
	}
	c := &chunk{exact: s.Exact, before: s.Before, anchor: s.Anchor, last: s.Last, version: s.Version, bytes: len(data)}
	for _, packed := range s.Records {
		r := kedge.Record{Fields: fields, Key: packed.Key, Version: packed.Version, Removed: packed.Removed, Values: make([]kedge.Value, len(packed.Types))}
		for i, t := range packed.Types {
			switch t := kedge.Type(t); t {
			case kedge.TypeMissing:
			case kedge.TypeNull:
				r.Values[i] = kedge.Null()
			default:
				var err error
				if r.Values[i], err = kedge.ParseText(t, packed.Texts[i]); err != nil {
					return nil, err
				}
			}
		}
		c.records = append(c.records, r)
	}
	for _, bad := range s.Rejected {
		c.rejected = append(c.rejected, connectors.BadRecord{Key: bad.Key, Field: bad.Field, Err: errors.New(bad.Err), Raw: bad.Raw})
	}
	return c, nil
}

// stage reads everything the other side has into the stage table. If the page
// token is forgotten on the way the read starts again, once.
func (e *entity) stage(ctx context.Context) error {
	e.began, e.mode, e.reason = e.run.s.now(), "reset", e.run.resets
	err := e.stageAll(ctx)
	if kedge.KindOf(err) == kedge.AnchorExpired {
		err = e.stageAll(ctx)
	}
	return err
}

func (e *entity) stageAll(ctx context.Context) error {
	err := e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.dropStage(ctx, tx) })
	if err != nil {
		return err
	}
	e.read, e.staged = 0, 0
	found := false
	req := connectors.ReadRequest{Entity: e.plan.External.Name, Fields: e.plan.ExternalFields.Names(), Filter: e.filter}
	for c, err := range e.chunks(ctx, req) {
		if err != nil {
			return err
		}
		if err := e.complete(ctx, c); err != nil {
			return err
		}
		if err := e.stageChunk(ctx, c); err != nil {
			return err
		}
		found = found || len(c.records)+len(c.rejected) > 0
		e.read += int64(len(c.records) + len(c.rejected))
		e.total = max(c.total, e.total)
		e.run.progress(e)
		if err := errors.Join(e.run.heedCancel(ctx), ctx.Err()); err != nil {
			return err
		}
		e.run.s.hook("r1")
	}
	if !found && e.row.Linked > 0 && !e.run.req.ForceDeletes {
		return fmt.Errorf("the full read brought none of the %d records that are known; if they are really gone, add --force-deletes", e.row.Linked)
	}
	return nil
}

func (e *entity) stageChunk(ctx context.Context, c *chunk) error {
	data, err := packChunk(c)
	if err != nil {
		return err
	}
	e.staged++
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.NewInsert().Model(&stageRow{Ent: e.row.ID, Seq: e.staged, Data: data}).Exec(ctx)
		return err
	})
}

// stagedChunks calls do with each chunk that waits, in the order of reading.
func (e *entity) stagedChunks(ctx context.Context, tx *store.Tx, do func(*chunk) error) error {
	for seq := int64(1); seq <= e.staged; seq++ {
		row := &stageRow{Ent: e.row.ID, Seq: seq}
		if err := tx.NewSelect().Model(row).WherePK().Scan(ctx); err != nil {
			return err
		}
		c, err := unpackChunk(row.Data, e.plan.ExternalFields)
		if err != nil {
			return err
		}
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}

func (e *entity) dropStage(ctx context.Context, db bun.IDB) error {
	_, err := db.NewDelete().Model((*stageRow)(nil)).Where("ent = ?", e.row.ID).Exec(ctx)
	return err
}
