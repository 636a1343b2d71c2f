package syncer_test

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// twoSides are local tables and an OData service that are both edited, and what
// both must have in the end.
type twoSides struct {
	t    *testing.T
	far  *odatatest.Service
	near func(use func(*sql.DB))
	want map[string]string // "items KEY FIELD" and "tasks CODE FIELD"
	made int               // tasks that were made on the local side
	keys int               // of tasks that were made on the other side
	pad  string            // around names: the other side may trim them
}

func newTwoSides(t *testing.T, o odatatest.Options) *twoSides {
	t.Helper()
	o.Entities = crashEntities
	c := &twoSides{t: t, far: odatatest.New(o), want: map[string]string{}}
	for i := range 16 {
		c.farItem(itemID(i), "first", itemID((i+5)%16))
		c.farTask(fmt.Sprintf("t%02d", i), "first", itemID(i))
	}
	c.loose(0)
	return c
}

func itemID(i int) string { return fmt.Sprintf("i%02d", i) }

func (c *twoSides) expect(set, key string, fieldsAndValues ...string) {
	for i := 0; i < len(fieldsAndValues); i += 2 {
		c.want[set+" "+key+" "+fieldsAndValues[i]] = fieldsAndValues[i+1]
	}
}

func (c *twoSides) forget(set, key string, fields ...string) {
	for _, f := range fields {
		delete(c.want, set+" "+key+" "+f)
	}
}

func (c *twoSides) farItem(id, name, boss string) {
	c.t.Helper()
	c.check(c.far.Put("items", odatatest.Row("id", kedge.String(id), "name", kedge.String(name), "note", kedge.String("-"), "boss", textOrNull(boss))))
	c.expect("items", id, "name", name, "note", "-", "boss", boss)
}

func (c *twoSides) farTask(code, title, item string) {
	c.t.Helper()
	c.keys++
	key := fmt.Sprintf("F%06d", c.keys)
	c.check(c.far.Put("tasks", odatatest.Row("key", kedge.String(key), "code", kedge.String(code), "title", kedge.String(title), "item", textOrNull(item))))
	c.expect("tasks", code, "title", title, "item", item)
}

func textOrNull(s string) kedge.Value {
	if s == "" {
		return kedge.Null()
	}
	return kedge.String(s)
}

func (c *twoSides) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// local runs statements on the local tables.
func (c *twoSides) local(statements ...string) {
	c.t.Helper()
	c.near(func(db *sql.DB) {
		for _, text := range statements {
			_, err := db.ExecContext(c.t.Context(), text)
			c.check(err)
		}
	})
}

// churn edits both sides: new records on both, edits of different records, of
// different fields of one record, and deletions.
func (c *twoSides) churn(round int) {
	c.t.Helper()
	var sql []string
	for i := range 16 {
		id, mine, theirs := itemID(i), fmt.Sprint("local ", round), fmt.Sprint("remote ", round)
		switch (i + round) % 4 {
		case 0:
			sql = append(sql, fmt.Sprintf("UPDATE item SET name = '%s' WHERE id = '%s'", c.pad+mine+c.pad, id))
			c.expect("items", id, "name", mine)
		case 1:
			c.check(c.far.Patch("items", odatatest.Row("id", kedge.String(id), "name", kedge.String(theirs))))
			c.expect("items", id, "name", theirs)
		case 2:
			sql = append(sql, fmt.Sprintf("UPDATE item SET name = '%s' WHERE id = '%s'", c.pad+mine+c.pad, id))
			c.check(c.far.Patch("items", odatatest.Row("id", kedge.String(id), "note", kedge.String(theirs))))
			c.expect("items", id, "name", mine, "note", theirs)
		}
	}
	for i := range 3 { // a circle of new records, and tasks for them
		id, boss, code := fmt.Sprintf("l%d-%d", round, i), fmt.Sprintf("l%d-%d", round, (i+1)%3), fmt.Sprintf("lt%d-%d", round, i)
		sql = append(sql, fmt.Sprintf("INSERT INTO item (id, name, note, boss) VALUES ('%s', 'new', '-', '%s')", id, boss),
			fmt.Sprintf("INSERT INTO task (id, code, title, item) VALUES ('own-%s', '%s', 'new', '%s')", code, code, id))
		c.expect("items", id, "name", "new", "note", "-", "boss", boss)
		c.expect("tasks", code, "title", "new", "item", id)
		c.made++
	}
	c.farItem(fmt.Sprintf("r%d", round), "new", itemID(round%16))
	c.farTask(fmt.Sprintf("rt%d", round), "new", fmt.Sprintf("r%d", round))
	sql = append(sql, c.loose(round)...)
	c.local(sql...)
}

// loose makes records that nobody refers to, and deletes those of the round before.
func (c *twoSides) loose(round int) []string {
	c.t.Helper()
	c.farItem(fmt.Sprintf("xa%d", round), "loose", "")
	c.farItem(fmt.Sprintf("xb%d", round), "loose", "")
	a, b := fmt.Sprintf("xa%d", round-1), fmt.Sprintf("xb%d", round-1)
	if c.want["items "+a+" name"] == "" {
		return nil
	}
	c.forget("items", a, "name", "note", "boss")
	c.forget("items", b, "name", "note", "boss")
	c.check(c.far.Delete("items", kedge.Key(b)))
	code := fmt.Sprintf("lt%d-0", round-1)
	c.forget("tasks", code, "title", "item")
	return []string{fmt.Sprintf("DELETE FROM item WHERE id = '%s'", a), fmt.Sprintf("DELETE FROM task WHERE code = '%s'", code)}
}

// afterRun edits what a run that failed was about to send, or has sent.
func (c *twoSides) afterRun(round int) {
	c.t.Helper()
	id, code := fmt.Sprintf("l%d-1", round), fmt.Sprintf("lt%d-1", round)
	c.local(fmt.Sprintf("UPDATE item SET name = 'again' WHERE id = '%s'", id), fmt.Sprintf("UPDATE task SET title = 'again' WHERE code = '%s'", code))
	c.expect("items", id, "name", "again")
	c.expect("tasks", code, "title", "again")
	id = fmt.Sprintf("l%d-2", round)
	if slices.ContainsFunc(c.far.Records("items"), func(r kedge.Record) bool { return r.Key == kedge.Key(id) }) {
		c.check(c.far.Patch("items", odatatest.Row("id", kedge.String(id), "note", kedge.String("seen"))))
		c.expect("items", id, "note", "seen")
	}
}

// equal compares both sides with what they must have.
func (c *twoSides) equal() {
	c.t.Helper()
	if diff := cmp.Diff(c.want, c.farSide()); diff != "" {
		c.t.Errorf("remote rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.want, c.nearSide()); diff != "" {
		c.t.Errorf("local rows (-want +got):\n%s", diff)
	}
	for key, n := range c.far.Inserted("items") {
		if n != 1 {
			c.t.Errorf("item %s was made %d times", key, n)
		}
	}
	if n := len(c.far.Inserted("tasks")); n != c.made {
		c.t.Errorf("%d tasks were made there, want %d", n, c.made)
	}
}

func (c *twoSides) farSide() map[string]string {
	got := map[string]string{}
	for _, r := range c.far.Records("items") {
		for _, f := range []string{"name", "note", "boss"} {
			got["items "+string(r.Key)+" "+f] = r.Get(f).Text()
		}
	}
	for _, r := range c.far.Records("tasks") {
		for _, f := range []string{"title", "item"} {
			k := "tasks " + r.Get("code").Text() + " " + f
			if _, twice := got[k]; twice {
				c.t.Errorf("%s is there twice", k)
			}
			got[k] = r.Get(f).Text()
		}
	}
	return got
}

func (c *twoSides) nearSide() map[string]string {
	c.t.Helper()
	got := map[string]string{}
	c.near(func(db *sql.DB) {
		rows, err := db.QueryContext(c.t.Context(), `SELECT 'items', id, 'name', name FROM item UNION ALL SELECT 'items', id, 'note', note FROM item
			UNION ALL SELECT 'items', id, 'boss', coalesce(boss, '') FROM item
			UNION ALL SELECT 'tasks', code, 'title', title FROM task UNION ALL SELECT 'tasks', code, 'item', coalesce(item, '') FROM task`)
		c.check(err)
		defer rows.Close()
		for rows.Next() {
			var set, key, field, text string
			c.check(rows.Scan(&set, &key, &field, &text))
			k := set + " " + key + " " + field
			if _, twice := got[k]; twice {
				c.t.Errorf("%s is here twice", k)
			}
			got[k] = text
		}
		c.check(rows.Err())
	})
	return got
}
