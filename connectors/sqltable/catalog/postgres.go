package catalog

import (
	"context"
	"database/sql"
	"regexp"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// The catalog queries. $1 is the list of schemas as the text of an array.
const (
	schemaFilter = `n.nspname = ANY($1::text[])`

	columnsQuery = `SELECT n.nspname::text, c.relname::text, c.relkind IN ('v', 'm'), coalesce(obj_description(c.oid, 'pg_class'), ''),
	a.attname::text, coalesce(col_description(c.oid, a.attnum), ''), format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, NULL),
	b.typname::text, b.typtype::text, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
	a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '' OR a.attidentity = 'a',
	CASE WHEN b.typtype = 'e' THEN array_to_string(ARRAY(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.oid ORDER BY enumsortorder), chr(1)) ELSE '' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	JOIN pg_type t ON t.oid = a.atttypid
	JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND ` + schemaFilter + ` ORDER BY c.oid, a.attnum`

	indexesQuery = `SELECT n.nspname::text, c.relname::text, i.indisprimary, i.indexrelid::text, a.attname::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(num, pos) ON k.pos <= i.indnkeyatts
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND ` + schemaFilter + `
ORDER BY i.indexrelid, k.pos`

	linksQuery = `SELECT n.nspname::text, c.relname::text, o.oid::text, a.attname::text, fn.nspname::text, fc.relname::text, fa.attname::text
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_class fc ON fc.oid = o.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
	JOIN LATERAL unnest(o.conkey, o.confkey) WITH ORDINALITY AS k(num, fnum, pos) ON true
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
	JOIN pg_attribute fa ON fa.attrelid = fc.oid AND fa.attnum = k.fnum
WHERE o.contype = 'f' AND ` + schemaFilter + ` ORDER BY o.oid, k.pos`

	checksQuery = `SELECT n.nspname::text, c.relname::text, a.attname::text, pg_get_constraintdef(o.oid)
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = o.conkey[1]
WHERE o.contype = 'c' AND cardinality(o.conkey) = 1 AND ` + schemaFilter
)

// A pgLoader gathers the answers of the catalog queries.
type pgLoader struct {
	ctx    context.Context
	q      Querier
	args   []any
	tables []*Table
	byName map[[2]string]*Table
}

func loadPostgres(ctx context.Context, q Querier, schemas []string) ([]*Table, error) {
	l := &pgLoader{ctx: ctx, q: q, byName: map[[2]string]*Table{}}
	if len(schemas) == 0 {
		var current string
		err := Each(ctx, q, "SELECT coalesce(current_schema(), 'public')::text", nil, func(rows *sql.Rows) error { return rows.Scan(&current) })
		if err != nil {
			return nil, err
		}
		schemas = []string{current}
	}
	l.args = []any{TextArray(schemas)}
	for _, load := range []func() error{l.columns, l.indexes, l.links, l.checks} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	return l.tables, nil
}

// TextArray returns the text of a PostgreSQL array (PostgreSQL, 8.15.6).
func TextArray(items []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		arrayEscaper.WriteString(&b, s)
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var arrayEscaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

func (l *pgLoader) columns() error {
	return Each(l.ctx, l.q, columnsQuery, l.args, func(rows *sql.Rows) error {
		var schema, table, title, base, kind, labels string
		var view bool
		var mod int
		c := Column{Scale: -1}
		err := rows.Scan(&schema, &table, &view, &title, &c.Name, &c.Title, &c.Native, &c.Cast, &base, &kind, &mod,
			&c.NotNull, &c.Default, &c.Generated, &labels)
		if err != nil {
			return err
		}
		t := l.byName[[2]string{schema, table}]
		if t == nil {
			t = &Table{Schema: schema, Name: table, Title: title, View: view}
			l.byName[[2]string{schema, table}] = t
			l.tables = append(l.tables, t)
		}
		if labels != "" {
			c.Enum = strings.Split(labels, "\x01")
		}
		c.setPostgresType(base, kind, mod)
		t.Columns = append(t.Columns, c)
		return nil
	})
}

func (l *pgLoader) indexes() error {
	last := ""
	return Each(l.ctx, l.q, indexesQuery, l.args, func(rows *sql.Rows) error {
		var schema, table, index, column string
		var primary bool
		if err := rows.Scan(&schema, &table, &primary, &index, &column); err != nil {
			return err
		}
		t := l.byName[[2]string{schema, table}]
		if t == nil {
			return nil
		}
		i := t.Column(column)
		switch {
		case primary:
			t.Primary = append(t.Primary, i)
		case index != last:
			t.Unique = append(t.Unique, []int{i})
		default:
			t.Unique[len(t.Unique)-1] = append(t.Unique[len(t.Unique)-1], i)
		}
		last = index
		return nil
	})
}

func (l *pgLoader) links() error {
	last := ""
	return Each(l.ctx, l.q, linksQuery, l.args, func(rows *sql.Rows) error {
		var schema, table, id, column, target string
		var link Link
		if err := rows.Scan(&schema, &table, &id, &column, &link.Schema, &link.Table, &target); err != nil {
			return err
		}
		t := l.byName[[2]string{schema, table}]
		if t == nil {
			return nil
		}
		if id != last {
			t.Links = append(t.Links, link)
		}
		last = id
		at := &t.Links[len(t.Links)-1]
		at.Columns, at.Targets = append(at.Columns, t.Column(column)), append(at.Targets, target)
		return nil
	})
}

// lengthCheck is the check that kedge makes for texts of limited length.
var lengthCheck = regexp.MustCompile(`^CHECK \(\(char_length\(.*\) <= ([0-9]{1,9})\)\)$`)

func (l *pgLoader) checks() error {
	return Each(l.ctx, l.q, checksQuery, l.args, func(rows *sql.Rows) error {
		var schema, table, column, text string
		if err := rows.Scan(&schema, &table, &column, &text); err != nil {
			return err
		}
		t, m := l.byName[[2]string{schema, table}], lengthCheck.FindStringSubmatch(text)
		if t == nil || m == nil {
			return nil
		}
		if c := &t.Columns[t.Column(column)]; c.Storage == Text {
			c.MaxLength, _ = strconv.Atoi(m[1])
		}
		return nil
	})
}

// typmodHeader is added to the length in the type modifier of varchar, char
// and numeric (VARHDRSZ in PostgreSQL's sources).
const typmodHeader = 4

// setPostgresType derives what the column holds from the name of its type;
// that of a domain is its base type.
func (c *Column) setPostgresType(base, kind string, mod int) {
	switch base {
	case "bool":
		c.Storage, c.Type = Bool, kedge.TypeBool
	case "int2", "int4", "int8":
		c.Storage, c.Type = Int, kedge.TypeInt
	case "float4", "float8":
		c.Storage, c.Type = Float, kedge.TypeFloat
	case "numeric":
		c.Storage, c.Type = Decimal, kedge.TypeDecimal
		if mod >= typmodHeader {
			c.Precision, c.Scale = (mod-typmodHeader)>>16, max(0, ((mod-typmodHeader)&0x7ff^0x400)-0x400) // a signed number of 11 bits
		}
	case "text", "varchar", "bpchar", "citext", "name":
		c.Storage, c.Type = Text, kedge.TypeString
		if mod >= typmodHeader && base != "text" {
			c.MaxLength = mod - typmodHeader
		}
	case "timestamptz":
		c.Storage, c.Type = Time, kedge.TypeTime
	case "timestamp":
		c.Storage, c.Type = LocalTime, kedge.TypeTime
	case "date":
		c.Storage, c.Type = Date, kedge.TypeDate
	case "bytea":
		c.Storage, c.Type = Bytes, kedge.TypeBytes
	case "json", "jsonb":
		c.Storage, c.Type = JSON, kedge.TypeJSON
	case "uuid":
		c.Storage, c.Type, c.Format = UUID, kedge.TypeString, kedge.FormatGUID
	default:
		c.Storage, c.Type = Other, kedge.TypeString
		if kind == "e" {
			c.Format = kedge.FormatEnum
		}
	}
	if c.Cast == "character" {
		c.Cast = "bpchar" // "character" without length means one character
	}
}
