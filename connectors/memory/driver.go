// Package memory is the reference connector: a system that lives in memory,
// and a driver for it that is small enough to be copied. driver.go shows what
// a connector has to do, store.go plays the remote system.
package memory

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A Driver gives access to a [Store], which any number of drivers can share.
type Driver struct{ store *Store }

// New returns a driver for s.
func New(s *Store) *Driver { return &Driver{store: s} }

// Schema returns the entities that the store was made with.
func (d *Driver) Schema(ctx context.Context) (*kedge.Schema, error) {
	return d.store.schema, ctx.Err()
}

// Probe tells which store this is.
func (d *Driver) Probe(ctx context.Context) (connectors.Account, error) {
	return connectors.Account{User: "memory", Epoch: d.store.epoch}, ctx.Err()
}

func fail(op string, kind kedge.Kind, entity, text string) *kedge.Error {
	return &kedge.Error{Op: "memory." + op, Kind: kind, Entity: entity, Err: errors.New(text)}
}

// open locks the store and returns a table and where the wanted fields are in
// its rows. The caller unlocks, also after an error.
func (d *Driver) open(ctx context.Context, op, entity string, fields []string) (*table, []int, error) {
	d.store.mu.Lock()
	if err := ctx.Err(); err != nil {
		return nil, nil, &kedge.Error{Op: "memory." + op, Kind: kedge.Transient, Entity: entity, Err: err}
	}
	t := d.store.tables[entity]
	if t == nil {
		return nil, nil, fail(op, kedge.NotFound, entity, "no such entity")
	}
	columns := make([]int, len(fields))
	for i, name := range fields {
		if columns[i] = t.fields.Index(name); columns[i] < 0 {
			return nil, nil, fail(op, kedge.Invalid, entity, "no such field: "+name)
		}
	}
	return t, columns, nil
}

// A position is what tokens and anchors hold. It names the store and the
// entity, so that one that came from elsewhere is refused.
type position struct {
	Epoch, Entity string
	Use           string    // anchor, full or delta
	Bound         int64     // number of the last write before the read began: its anchor
	Key           kedge.Key // full: the last key that was read
	Seq           int64     // delta: the number of the last write that was read
}

func (p position) encode() string {
	b, _ := json.Marshal(p) // cannot fail: strings and numbers
	return base64.RawURLEncoding.EncodeToString(b)
}

// begin returns where the page that req asks for begins.
func (d *Driver) begin(t *table, req *connectors.ReadRequest) (position, error) {
	text, uses := string(req.Anchor), []string{"anchor"}
	if req.Token != "" {
		text, uses = string(req.Token), []string{"full", "delta"}
	} else if req.Anchor == "" {
		return position{Epoch: d.store.epoch, Entity: req.Entity, Use: "full", Bound: t.seq}, nil
	}
	var p position
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Entity != req.Entity || !slices.Contains(uses, p.Use) {
		return p, fail("ReadPage", kedge.Invalid, req.Entity, "token or anchor of another read")
	}
	if p.Use == "anchor" {
		p.Use, p.Seq, p.Bound = "delta", p.Bound, t.seq
	}
	if p.Epoch != d.store.epoch || p.Use == "delta" && p.Seq < t.forgotten {
		return p, fail("ReadPage", kedge.AnchorExpired, req.Entity, "the history before the anchor is gone")
	}
	return p, nil
}

// ReadPage reads by key in a full read, so that edits move no record past the
// reader, and in the order of writes in an incremental one. What is written
// after the read began is left to the next incremental read.
func (d *Driver) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	t, columns, err := d.open(ctx, "ReadPage", req.Entity, req.Fields)
	defer d.store.mu.Unlock()
	if err != nil {
		return nil, err
	}
	at, err := d.begin(t, &req)
	if err != nil {
		return nil, err
	}
	d.store.calls++
	page, fields, size, more := &connectors.Page{}, kedge.NewFields(req.Fields...), max(req.Size, 1), false
	if at.Use == "full" {
		page.Exact = req.Filter != nil
		more, err = t.scan(&at, size, func(r *row) (bool, error) {
			if req.Filter != nil {
				truth, err := req.Filter.Match(&kedge.Record{Fields: t.fields, Values: r.values})
				if truth != filter.Yes || err != nil {
					return false, err
				}
			}
			page.Records = append(page.Records, r.record(fields, columns))
			return true, nil
		})
	} else {
		more = t.changes(&at, size, func(r *row) {
			page.Records = append(page.Records, r.record(fields, columns))
		})
	}
	if err != nil {
		return nil, &kedge.Error{Op: "memory.ReadPage", Kind: kedge.Invalid, Entity: req.Entity, Err: err}
	}
	if more {
		page.Next = connectors.Token(at.encode())
	} else {
		page.Anchor = kedge.Anchor(position{Epoch: at.Epoch, Entity: at.Entity, Use: "anchor", Bound: at.Bound}.encode())
	}
	return page, nil
}

// ReadKeys returns the records with the given keys, in their order.
func (d *Driver) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	t, columns, err := d.open(ctx, "ReadKeys", entity, fields)
	defer d.store.mu.Unlock()
	if err != nil {
		return nil, err
	}
	found, names := make([]connectors.Found, len(keys)), kedge.NewFields(fields...)
	for i, k := range keys {
		if r := t.live(k); r != nil {
			found[i] = connectors.Found{Record: r.record(names, columns), OK: true}
		}
	}
	return found, nil
}

// Ack lets the store forget what was written up to a.
func (d *Driver) Ack(ctx context.Context, entity string, a kedge.Anchor) error {
	t, _, err := d.open(ctx, "Ack", entity, nil)
	defer d.store.mu.Unlock()
	if err != nil {
		return err
	}
	p, err := d.begin(t, &connectors.ReadRequest{Entity: entity, Anchor: a})
	if kedge.KindOf(err) == kedge.AnchorExpired {
		return nil // acknowledged before
	}
	if err == nil && p.Use == "delta" {
		t.forget(p.Seq)
	}
	return err
}

// Write writes changes one by one.
func (d *Driver) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	results := make([]connectors.Result, len(changes))
	for i := range changes {
		t, _, err := d.open(ctx, "Write", changes[i].Entity, changes[i].Fields.Names())
		if err == nil {
			results[i] = t.write(&changes[i])
		}
		d.store.mu.Unlock()
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// record returns r with the wanted columns only.
func (r *row) record(fields *kedge.Fields, columns []int) kedge.Record {
	rec := kedge.Record{Fields: fields, Key: r.key, Version: strconv.FormatInt(r.seq, 10)}
	if r.deleted {
		rec.Removed = kedge.Deleted
		return rec
	}
	rec.Values = make([]kedge.Value, len(columns))
	for i, c := range columns {
		rec.Values[i] = r.values[c]
	}
	return rec
}
