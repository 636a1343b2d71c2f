package sqltable

import (
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// An Expression is a field that is computed by SQL. Times are those of this
// package: timestamptz on PostgreSQL, on SQLite UTC text of fixed width with
// nanoseconds. Decimals on SQLite are text.
type Expression struct {
	Name string
	SQL  string
	Type kedge.Type
}

// Condition writes the part of a bound filter that the database tests exactly
// as kedge does, over fields that are not those of a table, and reports
// whether that is the whole filter. before is how many arguments the statement
// has already.
func Condition(engine store.Engine, fields []Expression, expr *filter.Expr, before int) (text string, args []any, exact bool) {
	e := &entity{engine: engine, table: &catalog.Table{}, version: -1, deleted: -1}
	for _, f := range fields {
		c := catalog.Column{Name: f.Name, Type: f.Type, Storage: storageOf(f.Type), Cast: expressionCasts[f.Type]}
		e.table.Columns = append(e.table.Columns, c)
		e.columns = append(e.columns, column{c, "(" + f.SQL + ")"})
	}
	q := &query{engine: engine, args: make([]any, before)}
	exact = e.where(q, expr)
	return q.String(), q.args[before:], exact
}

var expressionCasts = map[kedge.Type]string{
	kedge.TypeString: "text", kedge.TypeBool: "bool", kedge.TypeInt: "int8", kedge.TypeDecimal: "numeric", kedge.TypeTime: "timestamptz", kedge.TypeJSON: "jsonb",
}
