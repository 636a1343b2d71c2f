package sqltable

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/pgcopy"
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

// stage copies the rows of g into the stage table of their shape. All of them
// are encoded before, because pgdriver cannot end a COPY that was begun.
func (p *pgWriter) stage(ctx context.Context, conn bun.Conn, g *group) error {
	name, columns := g.stageTable()
	if err := p.exec(ctx, "CREATE TEMP TABLE IF NOT EXISTS "+name+" ("+columns+") ON COMMIT DELETE ROWS; TRUNCATE pg_temp."+name); err != nil {
		return err
	}
	var enc pgcopy.Encoder
	if err := g.encode(&enc); err != nil {
		return err
	}
	_, err := pgdriver.CopyFrom(ctx, conn, bytes.NewReader(enc.Bytes()), "COPY pg_temp."+name+" FROM STDIN (FORMAT BINARY)")
	if _, answered := errors.AsType[pgdriver.Error](err); err != nil && !answered {
		// The server may still wait for the rest.
		closing := conn.Raw(func(c any) error { return c.(io.Closer).Close() })
		return errors.Join(err, closing)
	}
	if err == nil {
		g.staged = "pg_temp." + name
	}
	return err
}

// encode adds the rows of g in the order of stageNames.
func (g *group) encode(enc *pgcopy.Encoder) error {
	n := 1 + len(g.columns) + min(len(g.version), 1)
	for i := range g.rows {
		enc.Row(n)
		enc.Int4(int32(g.base + i))
		for j, v := range g.row(i) {
			if err := g.e.columns[g.columns[j]].copyTo(enc, v); err != nil {
				return err
			}
		}
		if len(g.version) > 0 {
			if err := g.e.columns[g.e.version].copyTo(enc, g.version[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTo adds v, which fits, in the binary format of the type [column.cast].
func (c *column) copyTo(enc *pgcopy.Encoder, v kedge.Value) error {
	if v.IsEmpty() {
		enc.Null()
		return nil
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
		return enc.UUID(v.Str())
	case catalog.JSON:
		if c.Cast == "jsonb" {
			enc.JSONB(v.Str())
			return nil
		}
		enc.Text(v.Str())
	default:
		enc.Text(v.Str())
	}
	return nil
}
