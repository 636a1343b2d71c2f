package trigger

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
)

const postgresOrigin = "coalesce(pg_catalog.current_setting('kedge.origin', true), '')"

// A Function is a trigger function and the triggers that call it.
type Function struct {
	Name     string // without schema
	Body     string // tells one version from another
	SQL      string // makes or replaces it
	Triggers []Trigger
}

// Postgres returns the statement triggers of a PostgreSQL table. What each of
// them does is one insert, whatever the number of rows.
func (s *Set) Postgres() Function {
	f := Function{Name: Prefix(s.Entity)}
	for _, t := range []struct{ kind, event, tables string }{
		{"insert", "INSERT", " REFERENCING NEW TABLE AS kedge_new"},
		{"update", "UPDATE", " REFERENCING OLD TABLE AS kedge_old NEW TABLE AS kedge_new"},
		{"delete", "DELETE", " REFERENCING OLD TABLE AS kedge_old"},
		{"truncate", "TRUNCATE", ""},
	} {
		name := f.Name + "_" + t.kind
		f.Triggers = append(f.Triggers, Trigger{name, "CREATE TRIGGER " + name + " AFTER " + t.event + " ON " + s.Ref + t.tables +
			" FOR EACH STATEMENT WHEN (" + s.wanted(postgresOrigin) + ") EXECUTE FUNCTION " + s.Control + f.Name + "()"})
	}
	f.Body = s.body()
	sum := sha256.Sum256([]byte(f.Body + f.Triggers[0].SQL))
	f.Body = "-- " + hex.EncodeToString(sum[:8]) + "\n" + f.Body
	// It runs with the rights of its owner, so that other users who write to
	// the table need none on kedge's tables.
	f.SQL = "CREATE OR REPLACE FUNCTION " + s.Control + f.Name + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER" +
		" SET search_path = pg_catalog, pg_temp AS " + s.literal(f.Body) + ";\nREVOKE ALL ON FUNCTION " + s.Control + f.Name + "() FROM PUBLIC"
	return f
}

// body is the source of the trigger function. A table that lost a column that
// is compared is still written to; its readers start again with a full read.
func (s *Set) body() string {
	oldKey, newKey := s.key("o", postgresPart), s.key("n", postgresPart)
	insert := "    INSERT INTO " + s.Control + "kedge_change (xid, consumer, entity, key, op)\n    SELECT pg_current_xact_id()::text::bigint, l.c, " + s.literal(s.Entity)
	listeners := "    CROSS JOIN (VALUES " + s.numbered() + ") AS l(c, i)\n    WHERE l.c <> origin"
	truncated := insert + ", '', '" + Truncated + "'\n    FROM (VALUES " + s.numbered() + ") AS l(c, i)"
	return `DECLARE
  origin text := ` + postgresOrigin + `;
BEGIN
  IF TG_OP = 'INSERT' THEN
` + insert + `, r.k, '` + Inserted + `'
    FROM (SELECT ` + newKey + ` AS k FROM kedge_new AS n) AS r
` + listeners + ` AND r.k IS NOT NULL;
  ELSIF TG_OP = 'DELETE' THEN
` + insert + `, r.k, '` + Deleted + `'
    FROM (SELECT ` + oldKey + ` AS k FROM kedge_old AS o) AS r
` + listeners + ` AND r.k IS NOT NULL;
  ELSIF TG_OP = 'UPDATE' THEN
` + insert + `, coalesce(r.n, r.o), CASE WHEN r.n IS NULL THEN '` + Deleted + `' WHEN r.o IS NULL THEN '` + Inserted + `' ELSE '` + Updated + `' END
    FROM (SELECT ` + oldKey + ` AS o, ` + newKey + ` AS n, ` + s.differences() + ` AS d
      FROM kedge_old AS o FULL JOIN kedge_new AS n ON ` + each(s.Key, " AND ", s.equal) + `) AS r
` + listeners + ` AND coalesce(r.n, r.o) IS NOT NULL AND (r.o IS NULL OR r.n IS NULL OR r.d[l.i]);
  ELSE
` + truncated + `
    WHERE l.c <> origin;
  END IF;
  RETURN NULL;
EXCEPTION WHEN undefined_column OR undefined_function OR datatype_mismatch THEN
` + truncated + `;
  RETURN NULL;
END
`
}

// numbered lists the listeners with the number of their columns in differences.
func (s *Set) numbered() string {
	var rows []string
	sets := s.sets()
	for i := range s.Listeners {
		at := slices.IndexFunc(sets, func(c []int) bool { return slices.Equal(c, s.watched(&s.Listeners[i])) })
		rows = append(rows, "("+s.literal(s.Listeners[i].Consumer)+", "+strconv.Itoa(at+1)+")")
	}
	return strings.Join(rows, ", ")
}

// sets are the distinct sets of columns that listeners watch.
func (s *Set) sets() [][]int {
	var sets [][]int
	for i := range s.Listeners {
		w := s.watched(&s.Listeners[i])
		if !slices.ContainsFunc(sets, func(c []int) bool { return slices.Equal(c, w) }) {
			sets = append(sets, w)
		}
	}
	return sets
}

// differences is an array that tells for each of sets whether one of its
// columns was changed.
func (s *Set) differences() string {
	var list []string
	for _, columns := range s.sets() {
		diff := each(columns, " OR ", func(c int) string {
			return s.comparable("o", c) + " IS DISTINCT FROM " + s.comparable("n", c)
		})
		if diff == "" {
			diff = "false"
		}
		list = append(list, diff)
	}
	return "ARRAY[" + strings.Join(list, ", ") + "]"
}

func (s *Set) equal(c int) string { return s.comparable("o", c) + " = " + s.comparable("n", c) }

// comparable is a value in a form in which different values are unequal: not
// so under all collations, and some types have no equality.
func (s *Set) comparable(row string, c int) string {
	ref, col := s.ref(row, c), &s.Columns[c]
	switch {
	case col.Storage == catalog.Text:
		return ref + `::text COLLATE "C"`
	case col.Storage == catalog.Other, col.Storage == catalog.JSON && col.Cast != "jsonb":
		return ref + "::text"
	}
	return ref
}

// postgresPart notes one value of a key, the same whatever the settings of the
// session that writes.
func postgresPart(ref string, c *catalog.Column, escape bool) string {
	text := ref + "::text"
	switch {
	case c.Storage == catalog.Time, c.Storage == catalog.LocalTime, c.Storage == catalog.Date, c.Cast == "bpchar":
		text = "(to_json(" + ref + ") #>> '{}')" // ::text strips the padding of bpchar
	case c.Storage == catalog.Bytes:
		text = "encode(" + ref + ", 'hex')"
	}
	return escaped(text, "chr(92)", escape)
}
