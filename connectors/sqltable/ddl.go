package sqltable

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// columnSQL is the definition of a column for f. Types on SQLite begin with
// TEXT where SQLite would otherwise change the text of a number or time.
func columnSQL(engine store.Engine, f *kedge.Field, create bool) string {
	ref := catalog.Quote(engine, f.Name)
	sql := ref + " " + columnType(engine, f)
	if create && !f.Nullable {
		sql += " NOT NULL"
	}
	if f.Type == kedge.TypeString && f.Format == kedge.FormatNone && f.MaxLength > 0 {
		length := "length"
		if engine == store.Postgres {
			length = "char_length"
		}
		sql += " CHECK (" + length + "(" + ref + ") <= " + strconv.Itoa(f.MaxLength) + ")"
	}
	return sql
}

var postgresTypes = map[kedge.Type]string{
	kedge.TypeBool: "boolean", kedge.TypeInt: "bigint", kedge.TypeFloat: "double precision", kedge.TypeDecimal: "numeric",
	kedge.TypeString: "text", kedge.TypeTime: "timestamptz", kedge.TypeDate: "date", kedge.TypeBytes: "bytea", kedge.TypeJSON: "jsonb",
}

var sqliteColumnTypes = map[kedge.Type]string{
	kedge.TypeBool: "BOOLEAN", kedge.TypeInt: "INTEGER", kedge.TypeFloat: "REAL", kedge.TypeDecimal: "TEXT_DECIMAL",
	kedge.TypeString: "TEXT", kedge.TypeTime: "TEXT_TIME", kedge.TypeDate: "TEXT_DATE", kedge.TypeBytes: "BLOB", kedge.TypeJSON: "TEXT_JSON",
}

func columnType(engine store.Engine, f *kedge.Field) string {
	guid := f.Type == kedge.TypeString && f.Format == kedge.FormatGUID
	switch {
	case engine == store.Postgres && guid:
		return "uuid"
	case engine == store.Postgres:
		return postgresTypes[f.Type]
	case guid:
		return "TEXT_GUID"
	case f.Type == kedge.TypeString && f.Format == kedge.FormatNone && f.MaxLength > 0:
		return fmt.Sprintf("TEXT_STRING(%d)", f.MaxLength)
	case f.Type == kedge.TypeDecimal && f.Precision > 0 && f.Scale >= 0:
		return fmt.Sprintf("TEXT_DECIMAL(%d,%d)", f.Precision, f.Scale)
	}
	return sqliteColumnTypes[f.Type]
}

// maxIndexName keeps names of indexes below PostgreSQL's 63 bytes.
const maxIndexName = 50

// indexName is the name of an index: readable, and distinct for distinct
// columns also where it had to be cut.
func indexName(table string, columns []string) string {
	full := strings.Join(append([]string{table}, columns...), "_")
	sum := sha256.Sum256([]byte(strings.Join(append([]string{table}, columns...), "\x00")))
	if len(full) > maxIndexName {
		full = strings.ToValidUTF8(full[:maxIndexName], "")
	}
	return full + "_" + hex.EncodeToString(sum[:4])
}
