package catalog

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

func loadSQLite(ctx context.Context, q Querier) ([]*Table, []string, error) {
	var tables []*Table
	err := Each(ctx, q, `SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`, nil,
		func(rows *sql.Rows) error {
			var name, kind string
			err := rows.Scan(&name, &kind)
			tables = append(tables, &Table{Name: name, View: kind == "view"})
			return err
		})
	if err != nil {
		return nil, nil, err
	}
	var notices []string
	kept := tables[:0]
	for _, t := range tables {
		if err := t.loadSQLiteColumns(ctx, q); err != nil {
			if !t.View {
				return nil, nil, err
			}
			notices = append(notices, "view "+t.Name+" is left out: it does not work")
			continue
		}
		kept = append(kept, t)
		if t.View {
			continue
		}
		if err := t.loadSQLiteIndexes(ctx, q); err != nil {
			return nil, nil, err
		}
		if err := t.loadSQLiteLinks(ctx, q); err != nil {
			return nil, nil, err
		}
	}
	return kept, notices, nil
}

func (t *Table) loadSQLiteColumns(ctx context.Context, q Querier) error {
	var primary []int
	return Each(ctx, q, `SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`, []any{t.Name},
		func(rows *sql.Rows) error {
			c := Column{Scale: -1}
			var pk, hidden int
			if err := rows.Scan(&c.Name, &c.Native, &c.NotNull, &c.Default, &pk, &hidden); err != nil {
				return err
			}
			c.Generated = hidden > 1
			c.setSQLiteType()
			t.Columns = append(t.Columns, c)
			if pk > 0 {
				for len(primary) < pk {
					primary = append(primary, 0)
				}
				primary[pk-1] = len(t.Columns) - 1
				t.Primary = primary
			}
			return nil
		})
}

// loadSQLiteIndexes reads the unique indexes, and settles what the primary key
// means: an INTEGER PRIMARY KEY makes its own values.
func (t *Table) loadSQLiteIndexes(ctx context.Context, q Querier) error {
	if len(t.Primary) == 1 && strings.EqualFold(t.Columns[t.Primary[0]].Native, "INTEGER") {
		c := &t.Columns[t.Primary[0]]
		c.NotNull, c.Default = true, true
	}
	last, indexes := "", [][]int(nil)
	err := Each(ctx, q, `SELECT i.name, x.name FROM pragma_index_list(?) i, pragma_index_info(i.name) x
		WHERE i."unique" AND NOT i.partial AND i.origin <> 'pk' ORDER BY i.name, x.seqno`, []any{t.Name},
		func(rows *sql.Rows) error {
			var index string
			var column sql.NullString // null for an expression
			if err := rows.Scan(&index, &column); err != nil {
				return err
			}
			if index != last {
				last, indexes = index, append(indexes, nil)
			}
			indexes[len(indexes)-1] = append(indexes[len(indexes)-1], t.Column(column.String))
			return nil
		})
	for _, index := range indexes {
		if !contains(index, -1) {
			t.Unique = append(t.Unique, index)
		}
	}
	return err
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

func (t *Table) loadSQLiteLinks(ctx context.Context, q Querier) error {
	last := -1
	return Each(ctx, q, `SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq`, []any{t.Name},
		func(rows *sql.Rows) error {
			var id int
			var target, from string
			var to sql.NullString
			if err := rows.Scan(&id, &target, &from, &to); err != nil {
				return err
			}
			if id != last {
				last = id
				t.Links = append(t.Links, Link{Table: target})
			}
			link := &t.Links[len(t.Links)-1]
			link.Columns = append(link.Columns, t.Column(from))
			if to.Valid {
				link.Targets = append(link.Targets, to.String)
			}
			return nil
		})
}

// sqliteTypes are the declared types that name what a column holds. Types made
// by kedge begin with TEXT so that SQLite gives them text affinity (Datatypes
// In SQLite, 3.1): a number type would turn 19.90 into 19.9.
var sqliteTypes = map[string]Column{
	"TEXT_STRING":  {Storage: Text, Type: kedge.TypeString},
	"TEXT_DECIMAL": {Storage: Decimal, Type: kedge.TypeDecimal},
	"TEXT_TIME":    {Storage: Time, Type: kedge.TypeTime},
	"TEXT_DATE":    {Storage: Date, Type: kedge.TypeDate},
	"TEXT_JSON":    {Storage: JSON, Type: kedge.TypeJSON},
	"TEXT_GUID":    {Storage: UUID, Type: kedge.TypeString, Format: kedge.FormatGUID},
	"JSON":         {Storage: JSON, Type: kedge.TypeJSON},
	"DATE":         {Storage: Date, Type: kedge.TypeDate},
	"DATETIME":     {Storage: LocalTime, Type: kedge.TypeTime},
	"TIMESTAMP":    {Storage: LocalTime, Type: kedge.TypeTime},
	"BOOL":         {Storage: Bool, Type: kedge.TypeBool},
	"BOOLEAN":      {Storage: Bool, Type: kedge.TypeBool},
	"DECIMAL":      {Storage: Decimal, Type: kedge.TypeDecimal},
	"NUMERIC":      {Storage: Decimal, Type: kedge.TypeDecimal},
	"MONEY":        {Storage: Decimal, Type: kedge.TypeDecimal},
}

// setSQLiteType derives what the column holds from its declared type; other
// types by their affinity.
func (c *Column) setSQLiteType() {
	name, args, _ := strings.Cut(strings.ToUpper(c.Native), "(")
	name = strings.TrimSpace(name)
	known, ok := sqliteTypes[name]
	switch {
	case ok:
	case strings.Contains(name, "INT"):
		known = Column{Storage: Int, Type: kedge.TypeInt}
	case strings.Contains(name, "CHAR"), strings.Contains(name, "CLOB"), strings.Contains(name, "TEXT"):
		known = Column{Storage: Text, Type: kedge.TypeString}
	case strings.Contains(name, "BLOB"):
		known = Column{Storage: Bytes, Type: kedge.TypeBytes}
	case strings.Contains(name, "REAL"), strings.Contains(name, "FLOA"), strings.Contains(name, "DOUB"):
		known = Column{Storage: Float, Type: kedge.TypeFloat}
	default: // a column that takes anything
		known = Column{Storage: Text, Type: kedge.TypeString}
	}
	c.Storage, c.Type, c.Format = known.Storage, known.Type, known.Format
	first, second, _ := strings.Cut(strings.TrimSuffix(args, ")"), ",")
	n, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || n < 0 {
		return
	}
	switch c.Storage {
	case Text:
		c.MaxLength = n
	case Decimal:
		c.Precision, c.Scale = n, 0
		if s, err := strconv.Atoi(strings.TrimSpace(second)); err == nil && s >= 0 {
			c.Scale = s
		}
	}
}
