package custom

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/sqltable"
)

// A Query selects resources of a table.
type Query struct {
	Filter   string  // over the fields of the table's view
	OrderBy  string  // "" for group key and id, "_seq" or "_seq desc"
	GroupKey *string // nil means all
	Deleted  bool    // tombstones, too
	Limit    int
	Cursor   string
}

// A Resource is what is stored of one resource.
type Resource struct {
	Data json.RawMessage // nil if it was deleted
	Meta Meta
}

// Meta is what kedge knows of a resource beside what was sent.
type Meta struct {
	Table         string          `json:"table"`
	GroupKey      string          `json:"groupKey"`
	ID            string          `json:"id"`
	Name          string          `json:"name,omitempty"`
	Seq           int64           `json:"seq"`
	SchemaVersion int             `json:"schemaVersion"`
	Valid         bool            `json:"valid"`
	Deleted       bool            `json:"deleted,omitempty"`
	CreatedAt     time.Time       `json:"createdAt"`
	UpdatedAt     time.Time       `json:"updatedAt"`
	Event         string          `json:"event,omitempty"`
	Actor         json.RawMessage `json:"actor,omitempty"`
	Version       string          `json:"version,omitempty"`
}

// MarshalJSON writes the data as it was sent, with "_meta" as its last member.
func (r Resource) MarshalJSON() ([]byte, error) {
	meta, err := json.Marshal(r.Meta)
	if err != nil {
		return nil, err
	}
	out := []byte("{")
	if len(r.Data) > 2 {
		out = append(out, r.Data[1:len(r.Data)-1]...)
		out = append(out, ',')
	}
	out = append(out, `"_meta":`...)
	return append(append(out, meta...), '}'), nil
}

// resourceColumns are what scanResource reads.
const resourceColumns = "group_key, id, data, name, seq, schema_version, valid, hash IS NULL, created_at, updated_at, event, actor, version"

func (t *Table) scanResource(rows *sql.Rows) (*Resource, error) {
	r := &Resource{Meta: Meta{Table: t.Full}}
	var data []byte
	var name, event, actor, version sql.NullString
	var created, updated int64
	m := &r.Meta
	if err := rows.Scan(&m.GroupKey, &m.ID, &data, &name, &m.Seq, &m.SchemaVersion, &m.Valid, &m.Deleted, &created, &updated, &event, &actor, &version); err != nil {
		return nil, err
	}
	m.Name, m.Event, m.Version = name.String, event.String, version.String
	m.CreatedAt, m.UpdatedAt = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	if actor.Valid {
		m.Actor = json.RawMessage(actor.String)
	}
	if data != nil {
		r.Data = compact(data)
	}
	return r, nil
}

// A cursor is where a list goes on.
type cursor struct {
	Group string `json:"g,omitempty"`
	ID    string `json:"i,omitempty"`
	Seq   int64  `json:"s,omitempty"`
	Query string `json:"q"` // a cursor of one query is of no use to another
}

func (c cursor) String() string {
	text, _ := json.Marshal(c) // cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text, query string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	c := new(cursor)
	if err != nil || json.Unmarshal(raw, c) != nil || c.Query != query {
		return nil, badRequest("cursor: is not one of this list; start without it")
	}
	return c, nil
}

func badRequest(format string, args ...any) error {
	return problem(http.StatusBadRequest, format, args...)
}

// maxScanned is how many rows one page looks at that the database cannot
// filter by itself.
const maxScanned = 20_000

// Resources returns a page of resources and the cursor of the next one.
func (c *Custom) Resources(ctx context.Context, t *Table, q Query) ([]Resource, string, error) {
	expr, err := t.bind(q.Filter, c.now())
	if err != nil {
		return nil, "", err
	}
	order, err := parseOrder(q.OrderBy)
	if err != nil {
		return nil, "", err
	}
	at, err := parseCursor(q.Cursor, order.text)
	if err != nil {
		return nil, "", err
	}
	var out []Resource
	for scanned := 0; ; {
		s, exact := c.resourcesQuery(t, q, expr, order, at)
		size := q.Limit + 1
		if !exact {
			size = 1000
		}
		s.add(" LIMIT " + strconv.Itoa(size))
		read, more := 0, false
		err := s.each(ctx, c.store.DB().DB, func(rows *sql.Rows) error {
			r, err := t.scanResource(rows)
			if err != nil {
				return err
			}
			read++
			if len(out) == q.Limit {
				more = true
				return nil
			}
			pass := exact
			if !exact {
				if pass, err = t.passes(expr, r); err != nil {
					return err
				}
			}
			at = &cursor{Group: r.Meta.GroupKey, ID: r.Meta.ID, Seq: r.Meta.Seq, Query: order.text}
			if pass {
				out = append(out, *r)
			}
			return nil
		})
		scanned += read
		switch {
		case err != nil:
			return nil, "", err
		case more, read == size && scanned >= maxScanned:
			return out, at.String(), nil
		case read < size:
			return out, "", nil
		}
	}
}

// bind parses a filter over the fields of the table's view; nil if there is
// none.
func (t *Table) bind(text string, now time.Time) (*filter.Expr, error) {
	if text == "" {
		return nil, nil
	}
	expr, err := filter.Parse(text)
	if err == nil {
		expr, err = expr.Bind(t.entity, now)
	}
	if err != nil {
		return nil, badRequest("filter: %v", err)
	}
	return expr, nil
}

type order struct {
	text  string
	seq   bool
	below bool // descending
}

func parseOrder(text string) (order, error) {
	switch strings.Join(strings.Fields(text), " ") {
	case "":
		return order{text: "key"}, nil
	case "_seq", "_seq asc":
		return order{text: "seq", seq: true}, nil
	case "_seq desc":
		return order{text: "seq desc", seq: true, below: true}, nil
	}
	return order{}, badRequest(`orderby: must be "_seq" or "_seq desc"; without it resources are ordered by group key and id`)
}

func (c *Custom) resourcesQuery(t *Table, q Query, expr *filter.Expr, o order, at *cursor) (s *statement, exact bool) {
	// The number is written out, so that the planner sees that indexes of this
	// table hold what is asked for.
	s = c.sql("SELECT ", resourceColumns, " FROM ingest_resource WHERE schema_no = ", strconv.FormatInt(t.No, 10))
	if !q.Deleted {
		s.add(" AND hash IS NOT NULL")
	}
	if q.GroupKey != nil {
		s.add(" AND group_key = ").arg(*q.GroupKey)
	}
	switch {
	case at == nil:
	case o.below:
		s.add(" AND seq < ").arg(at.Seq)
	case o.seq:
		s.add(" AND seq > ").arg(at.Seq)
	default:
		s.add(" AND (group_key, id) > ").row(at.Group, at.ID)
	}
	exact = true
	if expr != nil {
		text, args, all := sqltable.Condition(s.engine, t.expressions(s), expr, len(s.args))
		s.add(" AND (" + text + ")")
		s.args = append(s.args, args...)
		exact = all
	}
	switch {
	case o.below:
		s.add(" ORDER BY seq DESC")
	case o.seq:
		s.add(" ORDER BY seq")
	default:
		s.add(" ORDER BY group_key, id")
	}
	return s, exact
}

// expressions are the fields of the table's view, computed from its row.
func (t *Table) expressions(s *statement) []sqltable.Expression {
	var out []sqltable.Expression
	for _, f := range metaFields {
		out = append(out, sqltable.Expression{Name: f.Name, SQL: metaExpression(s.engine, f.Name), Type: f.Type})
	}
	for _, c := range t.Columns {
		out = append(out, sqltable.Expression{Name: c.Name, SQL: expression(s.engine, c), Type: c.Type})
	}
	return out
}

// passes tests a filter that the database could test only in part.
func (t *Table) passes(expr *filter.Expr, r *Resource) (bool, error) {
	rec, err := t.record(resourceKey{r.Meta.GroupKey, r.Meta.ID}, r.Meta.Name, r.Data)
	if err != nil {
		return false, err
	}
	m := r.Meta
	for i, v := range []kedge.Value{
		2: textValue(m.Name), 3: kedge.Int(m.Seq), 4: kedge.Bool(m.Deleted), 5: kedge.Time(m.CreatedAt), 6: kedge.Time(m.UpdatedAt), 7: textValue(m.Event), 8: jsonValue(m.Actor),
	} {
		if i >= 2 {
			rec.Values[i] = v
		}
	}
	for i, v := range rec.Values {
		if v.IsMissing() {
			rec.Values[i] = kedge.Null()
		}
	}
	truth, err := expr.Match(rec)
	return truth == filter.Yes, err
}

func textValue(s string) kedge.Value {
	if s == "" {
		return kedge.Null()
	}
	return kedge.String(s)
}

func jsonValue(raw json.RawMessage) kedge.Value {
	if raw == nil {
		return kedge.Null()
	}
	return kedge.JSON(string(raw))
}

// Resource returns one resource, also a deleted one; an error of kind NotFound
// if it never was.
func (c *Custom) Resource(ctx context.Context, t *Table, groupKey, id string) (*Resource, error) {
	s := c.sql("SELECT ", resourceColumns, " FROM ingest_resource WHERE schema_no = ").arg(t.No).add(" AND group_key = ").arg(groupKey).add(" AND id = ").arg(id)
	var out *Resource
	err := s.each(ctx, c.store.DB().DB, func(rows *sql.Rows) (err error) {
		out, err = t.scanResource(rows)
		return err
	})
	if err == nil && out == nil {
		err = &kedge.Error{Kind: kedge.NotFound, Err: errors.New("there is no such resource")}
	}
	return out, err
}

// A Change is one entry of a history, or of the change feed.
type Change struct {
	Seq       int64           `json:"seq"`
	Op        kedge.Operation `json:"op"`
	GroupKey  string          `json:"groupKey"`
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	Event     string          `json:"event,omitempty"`
	Actor     json.RawMessage `json:"actor,omitempty"`
	Fields    []string        `json:"fields,omitempty"` // of an update: what changed
	Data      json.RawMessage `json:"data,omitempty"`   // of a delete in a history the last
	KeyID     string          `json:"keyId,omitempty"`
	RequestID string          `json:"requestId,omitempty"`
}

func scanChange(rows *sql.Rows) (Change, error) {
	var c Change
	var event, actor, fields, key, request sql.NullString
	var data []byte
	var at int64
	if err := rows.Scan(&c.Seq, &c.Op, &c.GroupKey, &c.ID, &at, &event, &actor, &fields, &data, &key, &request); err != nil {
		return c, err
	}
	c.At, c.Event, c.KeyID, c.RequestID = time.UnixMilli(at).UTC(), event.String, key.String, request.String
	if actor.Valid {
		c.Actor = json.RawMessage(actor.String)
	}
	if data != nil {
		c.Data = compact(data)
	}
	if fields.Valid {
		return c, json.Unmarshal([]byte(fields.String), &c.Fields)
	}
	return c, nil
}

// History returns the changes of a resource, the last one first, and the
// cursor of the next page.
func (c *Custom) History(ctx context.Context, t *Table, groupKey, id string, limit int, after string) ([]Change, string, error) {
	at, err := parseCursor(after, "history")
	if err != nil {
		return nil, "", err
	}
	// One more is read at the front of a page that goes on: what the change
	// after it found is what came out of it.
	s := c.sql("SELECT seq, op, group_key, id, at, event, actor, fields, data, key_id, request_id FROM ingest_change WHERE schema_no = ").arg(t.No).
		add(" AND group_key = ").arg(groupKey).add(" AND id = ").arg(id)
	var result json.RawMessage
	front := 0
	if at != nil {
		s.add(" AND seq <= ").arg(at.Seq)
		front = 1
	} else if r, err := c.Resource(ctx, t, groupKey, id); err == nil {
		result = r.Data
	} else if kedge.KindOf(err) != kedge.NotFound {
		return nil, "", err
	}
	out, next, err := c.changes(ctx, s.add(" ORDER BY seq DESC"), limit+front, "history")
	for i := range out {
		found := out[i].Data
		if out[i].Op != kedge.OpDelete {
			out[i].Data = result
		}
		result = found
	}
	return out[min(front, len(out)):], next, err
}

// Changes returns what changed after a number, in the order of the numbers:
// each resource with its last change, the deleted ones without data. An error
// of kind AnchorExpired says that deletions after the number are forgotten.
func (c *Custom) Changes(ctx context.Context, t *Table, since int64, limit int) ([]Change, string, error) {
	floor, err := c.Floor(ctx, t.No)
	if err != nil {
		return nil, "", err
	}
	if since > 0 && since < floor {
		return nil, "", &kedge.Error{Kind: kedge.AnchorExpired, Entity: t.Full, Err: fmt.Errorf("deletions up to %d are forgotten; read all resources, then go on from the number you get", floor)}
	}
	s := c.sql(`SELECT r.seq, coalesce(h.op, CASE WHEN r.hash IS NULL THEN 'delete' ELSE 'update' END), r.group_key, r.id, r.updated_at, r.event, r.actor, h.fields, r.data, h.key_id, h.request_id
 FROM ingest_resource AS r LEFT JOIN ingest_change AS h ON h.schema_no = r.schema_no AND h.seq = r.seq WHERE r.schema_no = `).arg(t.No).
		add(" AND r.seq > ").arg(since).add(" ORDER BY r.seq")
	return c.changes(ctx, s, limit, "changes")
}

// Floor returns the number up to which deletions may be forgotten.
func (c *Custom) Floor(ctx context.Context, no int64) (floor int64, err error) {
	s := c.sql("SELECT floor_seq FROM ingest_head WHERE schema_no = ").arg(no)
	err = s.each(ctx, c.store.DB().DB, func(rows *sql.Rows) error { return rows.Scan(&floor) })
	return floor, err
}

func (c *Custom) changes(ctx context.Context, s *statement, limit int, query string) ([]Change, string, error) {
	var out []Change
	next := ""
	err := s.add(" LIMIT "+strconv.Itoa(limit+1)).each(ctx, c.store.DB().DB, func(rows *sql.Rows) error {
		if len(out) == limit {
			next = cursor{Seq: out[limit-1].Seq, Query: query}.String()
			return nil
		}
		ch, err := scanChange(rows)
		out = append(out, ch)
		return err
	})
	return out, next, err
}

// After returns the number that a list of changes goes on after: that of its
// cursor, if there is one.
func After(since int64, after string) (int64, error) {
	at, err := parseCursor(after, "changes")
	if at != nil {
		since = at.Seq
	}
	return since, err
}
