package sqltable_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// Names that would end a statement, a literal or a function's body are names.
func TestCaptureOfHostileNames(t *testing.T) {
	const table, key, field, consumer = `a"b?c; drop table x`, `k'1\$1?`, `$$'";--`, `it's \ "$$?`
	e := kedge.Entity{Name: table, Key: []string{key}, Fields: []kedge.Field{{Name: key, Type: kedge.TypeString}, {Name: field, Type: kedge.TypeString, Nullable: true}}}
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		c := startCapture(t, dsn, false, e)
		for _, listeners := range []map[string][]string{{consumer: {field}}, {"other": {key, field}}} {
			if err := setListeners(t.Context(), c.own, c.driver(""), table, listeners); err != nil {
				t.Fatal(err)
			}
		}
		d := c.driver(consumer)
		req := connectors.ReadRequest{Entity: table, Fields: []string{field}, Size: 10}
		page, err := d.ReadPage(t.Context(), req)
		if err != nil || page.Anchor == "" {
			t.Fatalf("full read: anchor %q, %v", page.Anchor, err)
		}
		req.Anchor = page.Anchor
		quote := func(name string) string { return catalog.Quote(c.store.Engine(), name) }
		c.sql("INSERT INTO " + quote(table) + " VALUES ('it''s, \"?\\ $1', 'x'), ('gone', NULL)")
		c.sql("UPDATE " + quote(table) + " SET " + quote(field) + " = 'y'")
		c.sql("DELETE FROM " + quote(table) + " WHERE " + quote(key) + " = 'gone'")
		storetest.Settle(t, c.store)
		got := readAll(t, d, req)
		if len(got) != 2 || got["gone"].Removed != kedge.Deleted || got[`it's, "?\ $1`].Values[0].Text() != "y" {
			t.Errorf("got %v", got)
		}
	})
}

// keyTables have keys of all kinds; each is followed by rows.
var keyTables = map[store.Engine][][2]string{
	store.SQLite: {
		{"a INTEGER PRIMARY KEY, v INT", "(-9223372036854775808, 0), (7, 0)"},
		{"a, b TEXT, c REAL, d BLOB, v INT, PRIMARY KEY (a, b, c, d)", `(5, 'x,y\', 0.1, x'00ff', 0), ('5', '', 123456.789, x'', 0), (x'35', '?', -0.5, 'text', 0), (1.5, 'é', 3, x'41', 0)`},
		{"a TEXT_GUID, b TEXT_DECIMAL, v INT, PRIMARY KEY (a, b)", `('6F1A2B3C-0000-4000-8000-00000000000A', '1.0', 0), ('6f1a2b3c-0000-4000-8000-00000000000b', '2', 0)`},
		{"a DATETIME, b DATE, c BOOLEAN, v INT, PRIMARY KEY (a, b, c)", `('2026-01-02 03:04:05', '2026-01-02', 1, 0), ('2026-01-02T03:04:05.678Z', '2026-01-03', 0, 0)`},
		{"a TEXT COLLATE NOCASE PRIMARY KEY, v INT", `('A', 0), ('b' || char(0) || 'c', 0)`},
		{"a TEXT PRIMARY KEY, v INT) WITHOUT ROWID; CREATE TABLE IF NOT EXISTS unused (x", `('t1', 0)`},
	},
	store.Postgres: {
		{"a bigint PRIMARY KEY, v int", "(-9223372036854775808, 0), (7, 0)"},
		{"a numeric, b text, c double precision, d bytea, v int, PRIMARY KEY (a, b, c, d)", `(1.50, 'x,y\', 0.1, '\x00ff', 0), (2, '', 'Infinity', '', 0), (0.00000000000000000001, '?', 1e-300, 'a', 0)`},
		{"a uuid, b boolean, v int, PRIMARY KEY (a, b)", `('6F1A2B3C-0000-4000-8000-00000000000A', true, 0), ('6F1A2B3C-0000-4000-8000-00000000000A', false, 0)`},
		{"a timestamptz, b date, c timestamp, v int, PRIMARY KEY (a, b, c)", `('2026-01-02 03:04:05.678+02', '2026-01-02', '2026-01-02 03:04:05', 0)`},
		{"a varchar(9), b char(4), c mood, v int, PRIMARY KEY (a, b, c)", `('x', 'y', 'so so', 0), ('X', 'y', 'good', 0)`},
		{"a inet PRIMARY KEY, v int", `('10.0.0.1', 0)`},
	},
}

// Rows are found by the keys that were noted for them, whatever they are made
// of, and so are rows that came with the other settings of another program.
func TestCaptureOfKeys(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		c := startCapture(t, dsn, false)
		if c.store.Engine() == store.Postgres {
			c.sql("CREATE TYPE mood AS ENUM ('good', 'so so')")
		}
		for i, k := range keyTables[c.store.Engine()] {
			name := fmt.Sprint("keys", i)
			c.sql("CREATE TABLE " + name + " (" + k[0] + ")")
			c.sql("INSERT INTO " + name + " VALUES " + k[1])
			if err := setListeners(t.Context(), c.own, c.driver(""), name, map[string][]string{"x": {"v"}}); err != nil {
				t.Fatal(err)
			}
			req := connectors.ReadRequest{Entity: name, Fields: []string{"v"}, Size: 100}
			all := readAll(t, c.driver("x"), req)
			page, err := c.driver("x").ReadPage(t.Context(), connectors.ReadRequest{Entity: name, Size: 100})
			if err != nil || len(all) == 0 {
				t.Fatalf("%s: %d rows, %v", k[0], len(all), err)
			}
			req.Anchor, req.Size = page.Anchor, 1
			settings := ""
			if c.store.Engine() == store.Postgres {
				settings = "SET LOCAL datestyle = 'German'; SET LOCAL timezone = 'Asia/Kathmandu'; SET LOCAL bytea_output = 'escape'; "
			}
			c.inTx(settings + "UPDATE " + name + " SET v = 1")
			storetest.Settle(t, c.store)
			got := readAll(t, c.driver("x"), req)
			for key := range all {
				if r, ok := got[key]; !ok || r.Removed != kedge.Live || r.Values[0].Text() != "1" {
					t.Errorf("%s: %q: got %v, %v", k[0], key, r, ok)
				}
			}
			c.inTx(settings + "DELETE FROM " + name)
			storetest.Settle(t, c.store)
			for key, r := range readAll(t, c.driver("x"), req) {
				if _, ok := all[key]; !ok || r.Removed != kedge.Deleted {
					t.Errorf("%s: %q after DELETE: got %v", k[0], key, r)
				}
			}
		}
	})
}

func (c *captured) inTx(statements string) {
	c.t.Helper()
	err := c.store.InTx(c.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Conn().Conn.ExecContext(ctx, statements)
		return err
	})
	if err != nil {
		c.t.Fatalf("%s: %v", statements, err)
	}
}

// A key that differs in its case only is another key.
func TestCaptureOfCase(t *testing.T) {
	s := storetest.SQLiteDSN(t)
	c := startCapture(t, s, false)
	c.sql("CREATE TABLE doc (k TEXT COLLATE NOCASE PRIMARY KEY, a INT, b TEXT COLLATE NOCASE)")
	c.listen("x: a b")
	x := c.reader("x")
	c.sql("INSERT INTO doc VALUES ('A', 1, 'b')")
	x.want([]string{"A=1,b"}, "upper case")
	c.sql("UPDATE doc SET k = 'a'")
	x.want([]string{"-A", "a=1,b"}, "the same in lower case")
	c.sql("UPDATE doc SET b = 'B'")
	x.want([]string{"a=1,B"}, "a value in upper case")
}

// SQLite deletes rows for OR REPLACE without telling the triggers.
func TestCaptureOfReplace(t *testing.T) {
	c := startCapture(t, storetest.SQLiteDSN(t), false)
	c.sql("CREATE TABLE doc (k TEXT PRIMARY KEY, a INT UNIQUE, b TEXT, c INT, UNIQUE (b, c))")
	c.listen("x: a b, y: a")
	x, y := c.reader("x"), c.reader("y")
	c.sql("INSERT INTO doc VALUES ('1', 1, 'b', 1), ('2', 2, 'b', 2), ('3', 3, 'b', 3), ('4', 4, NULL, 4)")
	x.want([]string{"1=1,b", "2=2,b", "3=3,b", "4=4,"}, "at first")
	y.want([]string{"1=1,b", "2=2,b", "3=3,b", "4=4,"}, "at first")
	c.sql("INSERT OR REPLACE INTO doc VALUES ('5', 1, 'b', 2)")
	c.sql("REPLACE INTO doc VALUES ('4', 40, NULL, 4)")
	c.sql("UPDATE OR REPLACE doc SET a = 3 WHERE k = '5'")
	for _, r := range []*reader{x, y} {
		r.want([]string{"-1", "-2", "-3", "4=40,", "5=3,b"}, "rows that made room")
	}
	c.as("x", change(kedge.Upsert, "doc", "5", values{"a": kedge.Int(50)}))
	x.want(nil, "its own write")
}

// Other users of the database need no rights on kedge's tables.
func TestCaptureOfOtherUsers(t *testing.T) {
	c := startCapture(t, storetest.PostgresDSN(t), false, noteEntity)
	c.listen("x: a b")
	x := c.reader("x")
	c.sql("CREATE ROLE kedge_test_clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON doc TO kedge_test_clerk")
	defer c.sql("DROP OWNED BY kedge_test_clerk; DROP ROLE kedge_test_clerk")
	c.inTx("SET LOCAL ROLE kedge_test_clerk; SET LOCAL search_path = pg_temp; INSERT INTO public.doc (k, a) VALUES ('1', 1); UPDATE public.doc SET a = 2")
	x.want([]string{"1=2,"}, "edits of another user")
}

// Positions mean nothing in a database that was restored, even if it was from
// a dump of itself.
func TestCaptureAfterRestore(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		from, to := storetest.PostgresDSN(t), storetest.PostgresDSN(t)
		c := startCapture(t, from, true, noteEntity)
		c.listen("x: a b")
		x := c.reader("x")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		dump, err := osexec.Command("pg_dump", "--no-owner", "--dbname", from).Output()
		if err != nil {
			t.Fatal(err)
		}
		load := osexec.Command("psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", to)
		load.Stdin = strings.NewReader(string(dump))
		if out, err := load.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		copied := &captured{t: t, store: openForeign(t, to), kind: c.kind, block: strings.Replace(c.block, from, to, 1)}
		y := &reader{c: copied, d: copied.driver("x"), anchor: x.anchor}
		y.wantExpired("an anchor of the original")
		copied.sql("UPDATE doc SET a = 2")
		y.want([]string{"1=2,"}, "triggers of the copy")
		// A server that has not done as much yet as the original.
		copied.sql("UPDATE kedge_capture SET acked = acked + 1000000000000")
		copied.sql("UPDATE doc SET a = 3")
		y.want([]string{"1=3,"}, "on a younger server")
		y.ack()
		if n := copied.noted(); n != 0 {
			t.Errorf("%d notes after Ack on a younger server", n)
		}
		x.want([]string{"1=1,"}, "the original")
	})
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		file, backup := filepath.Join(dir, "erp.db"), filepath.Join(dir, "backup.db")
		c := startCapture(t, "sqlite:"+file, true, noteEntity)
		c.listen("x: a b")
		x := c.reader("x")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		c.sql("VACUUM INTO '" + backup + "'")
		c.sql("INSERT INTO doc (k, a) VALUES ('2', 1)")
		x.want([]string{"1=1,", "2=1,"}, "before the restore")
		if _, err := os.Stat(backup); err != nil {
			t.Fatal(err)
		}
		restored := &captured{t: t, store: openForeign(t, "sqlite:"+backup), kind: c.kind, block: strings.Replace(c.block, file, backup, 1)}
		y := &reader{c: restored, d: restored.driver("x"), anchor: x.anchor}
		y.wantExpired("an anchor from after the backup")
	})
}

// Reading and acknowledging look up an index of the notes.
func TestCaptureUsesIndexes(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		c := startCapture(t, dsn, false, noteEntity)
		c.listen("x: a b, y: a")
		var plans []string
		explain := func(query string) {
			t.Helper()
			prefix := map[store.Engine]string{store.SQLite: "EXPLAIN QUERY PLAN ", store.Postgres: "EXPLAIN "}[c.store.Engine()]
			rows, err := c.store.DB().DB.QueryContext(t.Context(), prefix+query)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var plan strings.Builder
			for rows.Next() {
				var text string
				cells := []any{&text}
				if c.store.Engine() == store.SQLite {
					cells = []any{new(int), new(int), new(int), &text}
				}
				if err := rows.Scan(cells...); err != nil {
					t.Fatal(err)
				}
				plan.WriteString(text + "\n")
			}
			plans = append(plans, plan.String())
		}
		d := c.driver("x")
		if c.store.Engine() == store.Postgres {
			c.sql("INSERT INTO doc (k, a) SELECT i::text, i FROM generate_series(1, 20000) AS i; ANALYZE")
			explain("SELECT xid, seq, key FROM kedge_change WHERE consumer = 'x' AND entity = 'public.doc' AND (xid, seq) > (7, 0) AND xid < 999 ORDER BY xid, seq LIMIT 10")
			explain("SELECT 1 FROM kedge_change WHERE consumer = 'x' AND entity = 'public.doc' AND (xid, seq) > (7, 0) AND xid < 999 AND op = 'T' LIMIT 1")
			explain("DELETE FROM kedge_change WHERE xid >= 3 AND xid < 7 AND entity = 'public.doc' AND consumer = 'x'")
		} else {
			explain("SELECT xid, seq, key FROM kedge_change WHERE consumer = 'x' AND entity = 'doc' AND seq > 7 AND seq < 999 ORDER BY seq LIMIT 10")
			explain("DELETE FROM kedge_change WHERE seq >= 3 AND seq < 7 AND entity = 'doc' AND consumer = 'x'")
		}
		for _, p := range plans {
			if strings.Contains(p, "Seq Scan") || strings.Contains(p, "SCAN ") || strings.Contains(p, "TEMP B-TREE") || strings.Contains(p, "Sort") || !strings.Contains(p, "kedge_change_") && !strings.Contains(p, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)") {
				t.Errorf("plan:\n%s", p)
			}
		}
		if _, err := d.Schema(t.Context()); err != nil {
			t.Error(err)
		}
		if i := slices.IndexFunc(plans, func(p string) bool { return p == "" }); i >= 0 {
			t.Errorf("plan %d is empty", i)
		}
	})
}
