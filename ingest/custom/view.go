package custom

import (
	"fmt"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/store"
)

// FeedSuffix ends the names of the views that show tombstones, too.
const FeedSuffix = "_feed"

// maxColumnName is the longest name that PostgreSQL takes, in bytes. SQLite
// leaves the same columns out, so that both show the same.
const maxColumnName = 63

// metaFields are the first columns of every view.
var metaFields = []kedge.Field{
	{Name: "_id", Type: kedge.TypeString},
	{Name: "_group_key", Type: kedge.TypeString},
	{Name: "_name", Type: kedge.TypeString, Nullable: true},
	{Name: "_seq", Type: kedge.TypeInt},
	{Name: "_deleted", Type: kedge.TypeBool},
	{Name: "_created_at", Type: kedge.TypeTime},
	{Name: "_updated_at", Type: kedge.TypeTime},
	{Name: "_event", Type: kedge.TypeString, Nullable: true},
	{Name: "_actor", Type: kedge.TypeJSON, Nullable: true},
}

// Describe sets what follows from the table's schema.
func (t *Table) Describe() (warnings jsonguard.Faults) {
	t.Columns, warnings = t.Schema.Columns(maxColumnName)
	t.entity = &kedge.Entity{Name: t.Full, Key: []string{"_group_key", "_id"}, Filter: true, Full: true, Fields: append([]kedge.Field(nil), metaFields...)}
	names := make([]string, 0, len(metaFields)+len(t.Columns))
	for _, f := range metaFields {
		names = append(names, f.Name)
	}
	for _, c := range t.Columns {
		names = append(names, c.Name)
		t.entity.Fields = append(t.entity.Fields, kedge.Field{Name: c.Name, Type: c.Type, Scale: -1, Nullable: true})
	}
	for i := range t.entity.Fields {
		t.entity.Fields[i].ReadOnly = true
	}
	t.fields = kedge.NewFields(names...)
	return warnings
}

// Entity describes the table's views.
func (t *Table) Entity() *kedge.Entity { return t.entity }

// ViewStatements returns what makes the views and indexes of a table anew.
func ViewStatements(engine store.Engine, t *Table) []string {
	out := DropStatements(engine, t)
	var columns []string
	for _, f := range metaFields {
		columns = append(columns, metaExpression(engine, f.Name)+" AS "+quote(f.Name))
	}
	for _, c := range t.Columns {
		columns = append(columns, expression(engine, c)+" AS "+quote(c.Name))
	}
	from := fmt.Sprintf(" FROM ingest_resource WHERE schema_no = %d", t.No)
	list := strings.Join(columns, ", ")
	out = append(out,
		"CREATE VIEW "+quote(t.Full)+" AS SELECT "+list+from+" AND hash IS NOT NULL",
		"CREATE VIEW "+quote(t.Full+FeedSuffix)+" AS SELECT "+list+from)
	n := 0
	for _, c := range t.Columns {
		if c.Index {
			n++
			out = append(out, fmt.Sprintf("CREATE INDEX %s ON ingest_resource ((%s)) WHERE schema_no = %d AND hash IS NOT NULL", indexName(t, n), expression(engine, c), t.No))
		}
	}
	return out
}

// DropStatements returns what drops the views and indexes of a table.
func DropStatements(_ store.Engine, t *Table) []string {
	out := []string{"DROP VIEW IF EXISTS " + quote(t.Full), "DROP VIEW IF EXISTS " + quote(t.Full+FeedSuffix)}
	for n := 1; n <= schema.MaxIndexes; n++ {
		out = append(out, "DROP INDEX IF EXISTS "+indexName(t, n))
	}
	return out
}

func indexName(t *Table, n int) string { return fmt.Sprintf("ingest_resource_x%d_%d", t.No, n) }

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func metaExpression(engine store.Engine, name string) string {
	switch name {
	case "_deleted":
		return "(hash IS NULL)"
	case "_created_at", "_updated_at":
		if engine == store.Postgres {
			return "to_timestamp(" + name[1:] + " / 1000.0)"
		}
		return "(strftime('%Y-%m-%dT%H:%M:%f', " + name[1:] + " / 1000.0, 'unixepoch') || '000000Z')"
	case "_actor":
		if engine == store.Postgres {
			return "actor::jsonb"
		}
	}
	return name[1:]
}

// expression is the value of a column, exact: 19.90 is not 19.9. What has
// another type than the schema says, because a new version was forced, is null
// in a typed column.
func expression(engine store.Engine, c schema.Column) string {
	if engine == store.Postgres {
		at := literal(c.Name)
		value, text, kind := "(data -> "+at+")", "(data ->> "+at+")", "jsonb_typeof(data -> "+at+")"
		switch c.Type {
		case kedge.TypeString:
			return "CASE " + kind + " WHEN 'string' THEN " + text + " END"
		case kedge.TypeBool:
			return "CASE " + kind + " WHEN 'boolean' THEN " + text + "::boolean END"
		case kedge.TypeDecimal:
			return "CASE " + kind + " WHEN 'number' THEN " + text + "::numeric END"
		}
		return "nullif(" + value + ", 'null'::jsonb)"
	}
	path := literal(`$."` + c.Name + `"`)
	kind := "json_type(data, " + path + ")"
	switch c.Type {
	case kedge.TypeString:
		return "CASE " + kind + " WHEN 'text' THEN data ->> " + path + " END"
	case kedge.TypeBool:
		return "CASE " + kind + " WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
	case kedge.TypeDecimal: // ->> would make a float of it
		return "CASE WHEN " + kind + " IN ('integer', 'real') THEN data -> " + path + " END"
	}
	return "nullif(data -> " + path + ", 'null')"
}
