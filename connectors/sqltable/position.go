package sqltable

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// A position is where a read stands. It travels in the page token.
type position struct {
	Entity string   `json:"e"`
	Bound  *string  `json:"b,omitempty"` // greatest version before the read began, or the anchor of trigger capture; nil if there is none
	Key    []string `json:"k,omitempty"` // of the last row read
	Types  []int    `json:"t,omitempty"` // of its values, if a column holds values of any type
	Last   string   `json:"l,omitempty"` // its version, in an incremental read
	Offset int      `json:"n,omitempty"` // rows read, of tables without a key

	started bool          // at least one row was read
	values  []kedge.Value // of Key
	since   kedge.Value   // incremental: first version to read; null means all
}

// position reads the token and anchor of req; at the beginning of a read it
// looks for the bound.
func (d *Driver) position(ctx context.Context, s *store.Store, e *entity, req connectors.ReadRequest) (*position, error) {
	pos := &position{Entity: e.Name}
	var from kedge.Value
	if req.Anchor != "" {
		var err error
		if from, err = e.fromAnchor(req.Anchor); err != nil {
			return nil, err
		}
		pos.since = e.lookBack(from)
		if e.floor != nil {
			if err := e.checkFloor(ctx, from); err != nil {
				return nil, err
			}
		}
	}
	if req.Token != "" {
		return pos, pos.parse(e, string(req.Token))
	}
	switch e.capture {
	case byTrigger:
		return pos, d.handoff(ctx, s, e, pos)
	case bySweep:
		return pos, nil
	}
	bound, err := e.greatestVersion(ctx, s.DB().DB)
	if err != nil {
		return nil, err
	}
	if c, ok := kedge.Compare(from, bound); bound.IsNull() && !from.IsEmpty() || ok && c > 0 {
		bound = from // rows were deleted; positions never go back
	}
	text := bound.Text()
	pos.Bound = &text
	return pos, nil
}

// incremental reports whether the read has an anchor.
func (p *position) incremental() bool { return !p.since.IsMissing() }

// parse reads a page token into p.
func (p *position) parse(e *entity, token string) error {
	bad := fail(opRead, kedge.Invalid, e.Name, "the page token is not one of this read")
	if !unpack(token, p) || p.Entity != e.Name || len(p.Key) != len(e.key) ||
		(p.Last != "") != p.incremental() || e.capture != byTrigger && (p.Bound != nil) != e.Delta {
		return bad
	}
	for i, text := range p.Key {
		c := &e.columns[e.key[i]]
		t := c.Type
		if i < len(p.Types) && c.anyType(e.engine) {
			t = kedge.Type(p.Types[i])
		}
		v, err := kedge.ParseText(t, text)
		if err == nil && t == c.Type {
			v, err = c.fit(e.engine, v)
		}
		if err != nil {
			return bad
		}
		p.values = append(p.values, v)
	}
	if p.Last != "" {
		if _, err := kedge.ParseText(e.columns[e.version].Type, p.Last); err != nil {
			return bad
		}
	}
	p.started = true
	return nil
}

// step moves p past a row.
func (p *position) step(key []kedge.Value, version string) {
	p.values, p.started = key, true
	p.Offset++
	if p.incremental() {
		p.Last = version
	}
}

func (p *position) token(e *entity) (connectors.Token, error) {
	p.Key, p.Types = p.Key[:0], p.Types[:0]
	for i, v := range p.values {
		if v.IsEmpty() {
			return "", fail(opRead, kedge.Invalid, p.Entity, "a page ends with a row whose key is null or cannot be read")
		}
		p.Key = append(p.Key, v.Text())
		if i < len(e.key) && e.columns[e.key[i]].anyType(e.engine) {
			p.Types = append(p.Types, make([]int, i+1-len(p.Types))...)
			p.Types[i] = int(v.Type())
		}
	}
	text, err := pack(p)
	if err == nil && len(text) > connectors.MaxToken {
		err = &kedge.Error{Op: opRead, Kind: kedge.TooLarge, Entity: p.Entity, Err: errors.New("the key is too long for a page token")}
	}
	return connectors.Token(text), err
}

// after writes the condition for the rows behind p and returns their order.
// Columns are those of the table t: PostgreSQL takes a bare name in ORDER BY
// for that of a selected column, which may be a time as text.
func (p *position) after(q *query, e *entity) (order string) {
	if len(e.key) == 0 {
		return e.tuple(e.sortable(), "t.")
	}
	columns, values := e.key, p.values
	if p.incremental() {
		v := &e.columns[e.version]
		columns = append([]int{e.version}, e.key...)
		q.WriteString(" AND " + v.ref + " IS NOT NULL")
		if !p.since.IsNull() {
			q.WriteString(" AND " + v.ref + " >= ")
			q.value(v, p.since)
		}
		if p.started {
			last, _ := kedge.ParseText(v.Type, p.Last) // checked by parse
			values = append([]kedge.Value{last}, p.values...)
		}
	}
	order = e.tuple(columns, "t.")
	if !p.started {
		return order
	}
	q.WriteString(" AND (" + order + ") > (")
	for i, c := range columns {
		if i > 0 {
			q.WriteString(", ")
		}
		column := &e.columns[c]
		q.arg(column.arg(q.engine, values[i]), column.ordered())
	}
	q.WriteString(")")
	return order
}

// pack makes an opaque text of v.
func pack(v any) (string, error) {
	raw, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(raw), err
}

// unpack reverses pack and reports whether text was made by it.
func unpack(text string, to any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(raw, to) == nil
}
