package sqllist

import (
	"cmp"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// Slice returns a page of rows, as [List.Rows] does for tables.
func (l List[T]) Slice(rows []T, q Query, now time.Time) ([]T, string, error) {
	p, err := l.plan(q, now)
	if err != nil {
		return nil, "", err
	}
	fields := kedge.NewFields(l.names()...)
	var out []T
	for i := range rows {
		if p.after != nil && p.compare(p.by.Value(&rows[i]), p.id.Value(&rows[i]), p.after.value, p.after.idText) <= 0 {
			continue
		}
		if p.expr != nil {
			rec := &kedge.Record{Fields: fields}
			for _, c := range l.Columns {
				rec.Values = append(rec.Values, c.Value(&rows[i]))
			}
			if truth, err := p.expr.Match(rec); err != nil || truth != filter.Yes {
				continue
			}
		}
		out = append(out, rows[i])
	}
	slices.SortStableFunc(out, func(a, b T) int {
		return p.compare(p.by.Value(&a), p.id.Value(&a), p.by.Value(&b), p.id.Value(&b))
	})
	if p.limit > 0 && len(out) > p.limit+1 {
		out = out[:p.limit+1]
	}
	out, next := p.cut(out)
	return out, next, nil
}

func (p *plan[T]) compare(by1, id1, by2, id2 kedge.Value) int {
	c := cmp.Or(compare(by1, by2), compare(id1, id2))
	if p.desc {
		return -c
	}
	return c
}

func compare(a, b kedge.Value) int {
	switch a.Type() {
	case kedge.TypeInt:
		return cmp.Compare(a.Int(), b.Int())
	case kedge.TypeFloat:
		return cmp.Compare(a.Float(), b.Float())
	case kedge.TypeTime:
		return a.Time().Compare(b.Time())
	}
	return cmp.Compare(a.Text(), b.Text())
}
