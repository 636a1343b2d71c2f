package syncer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A target is the local side of a download.
type target interface {
	// find returns the records of an entity whose fields `by` (nil means the
	// primary key) equal one of keys.
	find(ctx context.Context, tx connectors.Tx, ent *kedge.Entity, fields, by []string, keys []kedge.Key) ([]kedge.Record, error)
	write(ctx context.Context, tx connectors.Tx, changes []kedge.Change) ([]connectors.Result, error)
}

// ownTables is the target whose tables lie in kedge's own database: everything
// happens in the page transaction.
type ownTables struct {
	get connectors.TxGetter
	put connectors.TxWriter
}

func (t ownTables) find(ctx context.Context, tx connectors.Tx, ent *kedge.Entity, fields, by []string, keys []kedge.Key) ([]kedge.Record, error) {
	return t.get.GetTx(ctx, tx, ent.Name, fields, by, keys)
}

func (t ownTables) write(ctx context.Context, tx connectors.Tx, changes []kedge.Change) ([]connectors.Result, error) {
	return t.put.WriteTx(ctx, tx, changes)
}

// otherSystem is the target that is written before the page transaction. What
// it does is safe to repeat, because a repeated read finds the rows by key.
type otherSystem struct {
	conn *connectors.Conn
}

// Limits of one filter: keys, and bytes of text unless it is a single key. A
// filter may have 8 KiB.
const (
	findChunk = 50
	findText  = 6 << 10
)

func (t otherSystem) find(ctx context.Context, _ connectors.Tx, ent *kedge.Entity, fields, by []string, keys []kedge.Key) ([]kedge.Record, error) {
	if by == nil {
		found, err := t.conn.ReadKeys(ctx, ent.Name, fields, keys)
		var records []kedge.Record
		for _, f := range found {
			if f.OK {
				records = append(records, f.Record)
			}
		}
		return records, err
	}
	var records []kedge.Record
	for len(keys) > 0 {
		expr, n, err := equalsAny(ent, by, keys)
		if err != nil {
			return nil, err
		}
		keys = keys[n:]
		for page, err := range t.conn.Pages(ctx, connectors.ReadRequest{Entity: ent.Name, Fields: fields, Filter: expr}) {
			if err != nil {
				return nil, err
			}
			for _, r := range page.Records {
				if truth, err := expr.Match(&r); err == nil && truth == filter.Yes {
					records = append(records, r)
				}
			}
		}
	}
	return records, nil
}

// equalsAny returns the filter "by equals one of keys" for as many of the keys
// as fit into one, and how many those are.
func equalsAny(ent *kedge.Entity, by []string, keys []kedge.Key) (*filter.Expr, int, error) {
	var alternatives []string
	size := 0
	for _, k := range keys[:min(findChunk, len(keys))] {
		texts, err := k.Parts(len(by))
		if err != nil {
			return nil, 0, err
		}
		terms := make([]string, len(by))
		for j, name := range by {
			f := ent.Field(name)
			if f == nil {
				return nil, 0, &kedge.Error{Kind: kedge.Invalid, Entity: ent.Name, Err: fmt.Errorf("field %q is gone", name)}
			}
			terms[j] = name + " eq " + literal(f, texts[j])
		}
		term := strings.Join(terms, " and ")
		if size += len(term); size > findText && len(alternatives) > 0 {
			break
		}
		alternatives = append(alternatives, term)
	}
	expr, err := filter.Parse(strings.Join(alternatives, " or "))
	if err != nil {
		return nil, 0, err
	}
	expr, err = expr.Bind(ent, time.Time{}) // it has no now()
	return expr, len(alternatives), err
}

func literal(f *kedge.Field, text string) string {
	if f.Type == kedge.TypeString && f.Format != kedge.FormatGUID {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return text
}

func (t otherSystem) write(ctx context.Context, _ connectors.Tx, changes []kedge.Change) ([]connectors.Result, error) {
	return t.conn.Write(ctx, changes)
}
