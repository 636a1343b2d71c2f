package sqltable

import (
	"context"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store/pgcopy"
)

// stageRows is from how many rows on COPY into a stage table is faster than
// one statement that holds the rows.
const stageRows = 64

// stageTable returns the name and the columns of a temporary table for the
// rows of g. Groups of the same shape share it.
func (g *group) stageTable() (name, columns string) {
	types := make([]string, 0, len(g.columns)+2)
	types = append(types, "integer")
	for _, c := range g.columns {
		types = append(types, g.e.columns[c].cast())
	}
	if len(g.version) > 0 {
		types = append(types, g.e.columns[g.e.version].cast())
	}
	for i, n := range g.stageNames() {
		types[i] = n + " " + types[i]
	}
	columns = strings.Join(types, ", ")
	h := fnv.New64a()
	h.Write([]byte(columns))
	return "kedge_stage_" + strconv.FormatUint(h.Sum64(), 36), columns
}

// stage copies the rows of g into the stage table of their shape.
func (p *pgWriter) stage(ctx context.Context, conn bun.Conn, g *group) error {
	name, columns := g.stageTable()
	if err := p.exec(ctx, "CREATE TEMP TABLE IF NOT EXISTS "+name+" ("+columns+") ON COMMIT DELETE ROWS; DELETE FROM pg_temp."+name); err != nil {
		return err
	}
	if err := pgcopy.Send(ctx, conn, "pg_temp."+name, len(g.rows), g.encode); err != nil {
		return err
	}
	g.staged = "pg_temp." + name
	return nil
}

// encode adds row i of g in the order of stageNames. All values were checked by
// fit.
func (g *group) encode(enc *pgcopy.Encoder, i int) {
	enc.Row(1 + len(g.columns) + min(len(g.version), 1))
	enc.Int4(int32(g.base + i))
	for j, v := range g.row(i) {
		g.e.columns[g.columns[j]].copyTo(enc, v)
	}
	if len(g.version) > 0 {
		g.e.columns[g.e.version].copyTo(enc, g.version[i])
	}
}

// copyTo adds v, which fits, in the binary format of the type [column.cast].
func (c *column) copyTo(enc *pgcopy.Encoder, v kedge.Value) {
	if v.IsEmpty() {
		enc.Null()
		return
	}
	switch c.Storage {
	case catalog.Bool:
		enc.Bool(v.Bool())
	case catalog.Int:
		enc.Int8(v.Int())
	case catalog.Float:
		enc.Float8(v.Float())
	case catalog.Decimal:
		enc.Numeric(v.Str())
	case catalog.Time, catalog.LocalTime:
		enc.Time(v.Time())
	case catalog.Date:
		enc.Date(v.Time())
	case catalog.UUID:
		enc.UUID(v.Str())
	case catalog.JSON:
		if c.Cast == "jsonb" {
			enc.JSONB(v.Str())
			return
		}
		enc.Text(v.Str())
	default:
		enc.Text(v.Str())
	}
}
