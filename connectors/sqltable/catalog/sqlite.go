package catalog

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// tablesOfSQLite are the tables that people made, and their views.
const tablesOfSQLite = `pragma_table_list AS t WHERE t.schema = 'main' AND t.type <> 'shadow' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\'`

func loadSQLite(ctx context.Context, q Querier) ([]*Table, []string, error) {
	l := &sqliteLoad{q: q, tables: map[string]*Table{}}
	var views []*Table
	err := Each(ctx, q, "SELECT t.name, t.type = 'view' FROM "+tablesOfSQLite, nil, func(rows *sql.Rows) error {
		t := &Table{}
		if err := rows.Scan(&t.Name, &t.View); err != nil {
			return err
		}
		if t.View {
			views = append(views, t)
		}
		l.tables[t.Name] = t
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, load := range []func(context.Context) error{l.columns, l.indexes, l.links} {
		if err := load(ctx); err != nil {
			return nil, nil, err
		}
	}
	var notices []string
	for _, t := range views { // one that does not work would spoil a query over all
		if err := l.eachColumn(ctx, "pragma_table_list AS t, pragma_table_xinfo(t.name) AS x WHERE t.schema = 'main' AND t.name = ?", t.Name); err != nil {
			delete(l.tables, t.Name)
			notices = append(notices, "view "+t.Name+" is left out: it does not work")
		}
	}
	return slices.Collect(maps.Values(l.tables)), notices, nil
}

// A sqliteLoad reads one thing of all tables at a time: a query for each table
// took most of the time of a sync with nothing to do.
type sqliteLoad struct {
	q      Querier
	tables map[string]*Table
}

// with is tablesOfSQLite, without views, joined to what is told of each.
func with(pragma string) string {
	return strings.Replace(tablesOfSQLite, " WHERE ", ", "+pragma+" WHERE t.type <> 'view' AND ", 1)
}

func (l *sqliteLoad) columns(ctx context.Context) error {
	if err := l.eachColumn(ctx, with("pragma_table_xinfo(t.name) AS x")); err != nil {
		return err
	}
	for _, t := range l.tables {
		if len(t.Primary) == 1 && strings.EqualFold(t.Columns[t.Primary[0]].Native, "INTEGER") {
			c := &t.Columns[t.Primary[0]] // it makes its own values
			c.NotNull, c.Default = true, true
		}
	}
	return nil
}

func (l *sqliteLoad) eachColumn(ctx context.Context, from string, args ...any) error {
	return Each(ctx, l.q, `SELECT t.name, x.name, x.type, x."notnull", x.dflt_value IS NOT NULL, x.pk, x.hidden FROM `+from+` AND x.hidden <> 1 ORDER BY t.name, x.cid`, args,
		func(rows *sql.Rows) error {
			c := Column{Scale: -1}
			var table string
			var pk, hidden int
			if err := rows.Scan(&table, &c.Name, &c.Native, &c.NotNull, &c.Default, &pk, &hidden); err != nil {
				return err
			}
			c.Generated = hidden > 1
			c.setSQLiteType()
			t := l.tables[table]
			if t == nil {
				return nil // it was made meanwhile
			}
			t.Columns = append(t.Columns, c)
			if pk > 0 {
				for len(t.Primary) < pk {
					t.Primary = append(t.Primary, 0)
				}
				t.Primary[pk-1] = len(t.Columns) - 1
			}
			return nil
		})
}

// indexes reads the unique indexes.
func (l *sqliteLoad) indexes(ctx context.Context) error {
	last := ""
	err := Each(ctx, l.q, `SELECT t.name, i.name, x.name FROM `+with(`pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS x`)+`
		AND i."unique" AND NOT i.partial AND i.origin <> 'pk' ORDER BY t.name, i.name, x.seqno`, nil,
		func(rows *sql.Rows) error {
			var table, index string
			var column sql.NullString // null for an expression
			if err := rows.Scan(&table, &index, &column); err != nil {
				return err
			}
			t := l.tables[table]
			if t == nil {
				return nil
			}
			if index != last { // names of indexes are those of one table
				last, t.Unique = index, append(t.Unique, nil)
			}
			at := &t.Unique[len(t.Unique)-1]
			*at = append(*at, t.Column(column.String))
			return nil
		})
	for _, t := range l.tables {
		t.Unique = slices.DeleteFunc(t.Unique, func(index []int) bool { return slices.Contains(index, -1) })
	}
	return err
}

func (l *sqliteLoad) links(ctx context.Context) error {
	last, lastTable := -1, ""
	return Each(ctx, l.q, `SELECT t.name, f.id, f."table", f."from", f."to" FROM `+with(`pragma_foreign_key_list(t.name) AS f`)+` ORDER BY t.name, f.id, f.seq`, nil,
		func(rows *sql.Rows) error {
			var id int
			var table, target, from string
			var to sql.NullString
			if err := rows.Scan(&table, &id, &target, &from, &to); err != nil {
				return err
			}
			t := l.tables[table]
			if t == nil {
				return nil
			}
			if id != last || table != lastTable {
				last, lastTable = id, table
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
