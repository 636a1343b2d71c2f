package connectors

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

const opReadKeys = "connectors.ReadKeys"

// Limits of one filtered read by key. The text stays below the 8 KiB that a
// filter may have, but for a single long key.
const (
	maxKeysPerFilter = 50
	maxKeyFilterText = 6 << 10
)

// ReadKeys reads records by key, in the order of keys: with the driver's
// [KeyReader], else with filtered reads if the entity has Filter, else kind
// Unsupported.
func (c *Conn) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]Found, error) {
	e, err := c.entity(ctx, opReadKeys, entity)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	check := newPageChecker(opReadKeys, ReadRequest{Entity: entity, Fields: fields}, true)
	reader, ok := c.driver.(KeyReader)
	if !ok {
		return c.filterKeys(ctx, e, fields, keys)
	}
	var found []Found
	err = c.call(ctx, opReadKeys, entity, kedge.Transient, func(ctx context.Context) (err error) {
		found, err = reader.ReadKeys(ctx, entity, fields, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, check.found(found, keys)
}

// filterKeys reads records by key with filters on the key fields. A system may
// compare keys more loosely than kedge, so answers are matched exactly here.
func (c *Conn) filterKeys(ctx context.Context, e *kedge.Entity, fields []string, keys []kedge.Key) ([]Found, error) {
	if !e.Filter || len(e.Key) == 0 {
		return nil, &kedge.Error{Op: opReadKeys, Kind: kedge.Unsupported, Entity: e.Name, Err: errors.New("records cannot be read by key")}
	}
	at := make(map[kedge.Key][]int, len(keys))
	for i, k := range keys {
		at[k] = append(at[k], i)
	}
	found := make([]Found, len(keys))
	for rest := keys; len(rest) > 0; {
		expr, n, err := keyFilter(e, rest)
		if err != nil {
			return nil, &kedge.Error{Op: opReadKeys, Kind: kedge.KindOf(err), Entity: e.Name, Err: err}
		}
		rest = rest[n:]
		for page, err := range c.Pages(ctx, ReadRequest{Entity: e.Name, Fields: fields, Filter: expr}) {
			if err != nil {
				return nil, err
			}
			if len(page.Rejected) > 0 {
				bad := page.Rejected[0]
				return nil, &kedge.Error{Op: opReadKeys, Kind: kedge.Invalid, Entity: e.Name, Key: bad.Key, Err: bad.Err}
			}
			for _, r := range page.Records {
				for _, i := range at[r.Key] {
					found[i] = Found{Record: r, OK: true}
				}
			}
		}
	}
	return found, nil
}

// keyFilter returns a filter for as many of keys as fit into one, and how many
// those are.
func keyFilter(e *kedge.Entity, keys []kedge.Key) (*filter.Expr, int, error) {
	var b strings.Builder
	n := 0
	for n < len(keys) && n < maxKeysPerFilter {
		values, err := e.Values(keys[n])
		if err != nil {
			return nil, 0, &kedge.Error{Kind: kedge.Invalid, Err: err}
		}
		condition, err := keyCondition(e, values)
		if err != nil {
			return nil, 0, err
		}
		if n > 0 && b.Len()+len(condition) > maxKeyFilterText {
			break
		}
		if n > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(condition)
		n++
	}
	expr, err := filter.Parse(b.String())
	if err != nil {
		return nil, 0, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("key does not fit into a filter")}
	}
	expr, err = expr.Bind(e, time.Time{}) // the time is that of now(), which is not used
	return expr, n, err
}

func keyCondition(e *kedge.Entity, values []kedge.Value) (string, error) {
	var b strings.Builder
	for i, name := range e.Key {
		text, err := literal(e.Field(name), values[i])
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(name + " eq " + text)
	}
	if len(values) == 1 {
		return b.String(), nil
	}
	return "(" + b.String() + ")", nil
}

// literal writes v in the filter language.
func literal(f *kedge.Field, v kedge.Value) (string, error) {
	switch v.Type() {
	case kedge.TypeString:
		if f.Format == kedge.FormatGUID {
			return v.Str(), nil
		}
		return "'" + strings.ReplaceAll(v.Str(), "'", "''") + "'", nil
	case kedge.TypeBool, kedge.TypeInt, kedge.TypeDecimal, kedge.TypeTime, kedge.TypeDate:
		return v.Text(), nil
	}
	return "", &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("records cannot be read by a key of type " + v.Type().String())}
}
