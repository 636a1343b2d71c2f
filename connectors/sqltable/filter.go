package sqltable

import (
	"github.com/kedge-sync/kedge/connectors/filter"
)

// where writes the part of a filter that the database can test and reports
// whether that is all of it.
func (e *entity) where(q *query, expr *filter.Expr) bool {
	q.WriteString("TRUE")
	return expr == nil
}
