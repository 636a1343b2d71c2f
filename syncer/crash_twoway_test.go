package syncer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// The two-way crash tests have an OData service in this process on the other
// side: the children that die write to it over HTTP, and it stays.

// crashBothWays maps items, whose keys come with them and who have bosses, and
// tasks, whose keys the service makes and who are found by their code.
const crashBothWays = `kedge: mapping/v1
entities:
  - external: items
    local: item
    direction: bidirectional
    key: [{external: id, local: id, primary: true}]
    deletes: {maxRows: 100000}
    fields:
      - {external: name, local: name}
      - {external: note, local: note}
      - {external: boss, local: boss, lookup: {entity: item}}
  - external: tasks
    local: task
    direction: bidirectional
    key: [{external: code, local: code}]
    deletes: {maxRows: 100000}
    fields:
      - {external: title, local: title}
      - {external: item, local: item, lookup: {entity: item}}
`

var crashEntities = []kedge.Entity{
	{Name: "items", Key: []string{"id"}, Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeString},
		{Name: "name", Type: kedge.TypeString, Nullable: true},
		{Name: "note", Type: kedge.TypeString, Nullable: true},
		{Name: "boss", Type: kedge.TypeString, Nullable: true},
	}},
	{Name: "tasks", Key: []string{"key"}, Fields: []kedge.Field{
		{Name: "key", Type: kedge.TypeString, Format: kedge.FormatGUID, Computed: true},
		{Name: "code", Type: kedge.TypeString, Nullable: true},
		{Name: "title", Type: kedge.TypeString, Nullable: true},
		{Name: "item", Type: kedge.TypeString, Nullable: true},
	}},
}

// service connects to the OData service.
func (p crashPlan) service() (*connectors.Conn, error) {
	block := fmt.Sprintf(`{"url": %q, "pageSize": 7, "batchSize": 5}`, p.URL)
	d, err := odata.Kind().New(json.RawMessage(block), connectors.Env{Name: "source", HTTP: httpclient.New})
	return connectors.New(d, &connectors.Options{PageSize: 7, ReadAhead: -1}), err
}

// A twoWaySite is two sides that are both edited, and what both must have in
// the end.
type twoWaySite struct {
	*crashSite
	far  *odatatest.Service
	want map[string]string // "items KEY FIELD" and "tasks CODE FIELD"
	made int               // tasks that were made on the local side
}

func newTwoWaySite(t *testing.T, dsn string, o odatatest.Options) *twoWaySite {
	t.Helper()
	o.Entities = crashEntities
	site := &twoWaySite{far: odatatest.New(o), want: map[string]string{}}
	site.crashSite = &crashSite{t: t, crashPlan: crashPlan{DSN: dsn, URL: site.far.Start(t)}}
	for i := range 16 {
		site.farItem(itemID(i), "first", itemID((i+5)%16))
		site.farTask(fmt.Sprintf("t%02d", i), "first", itemID(i))
	}
	site.loose(0)
	site.setUp(crashBothWays)
	return site
}

func eachTwoWay(t *testing.T, test func(t *testing.T, c *twoWaySite)) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) { test(t, newTwoWaySite(t, dsn, odatatest.Options{})) })
}

func itemID(i int) string { return fmt.Sprintf("i%02d", i) }

func (c *twoWaySite) expect(set, key string, fieldsAndValues ...string) {
	for i := 0; i < len(fieldsAndValues); i += 2 {
		c.want[set+" "+key+" "+fieldsAndValues[i]] = fieldsAndValues[i+1]
	}
}

func (c *twoWaySite) forget(set, key string, fields ...string) {
	for _, f := range fields {
		delete(c.want, set+" "+key+" "+f)
	}
}

func (c *twoWaySite) farItem(id, name, boss string) {
	c.t.Helper()
	c.check(c.far.Put("items", odatatest.Row("id", kedge.String(id), "name", kedge.String(name), "note", kedge.String("-"), "boss", textOrNull(boss))))
	c.expect("items", id, "name", name, "note", "-", "boss", boss)
}

func (c *twoWaySite) farTask(code, title, item string) {
	c.t.Helper()
	key := fmt.Sprintf("00000000-0000-4000-8000-%012x", len(c.far.Records("tasks"))+1+c.rank)
	c.rank++
	c.check(c.far.Put("tasks", odatatest.Row("key", kedge.String(key), "code", kedge.String(code), "title", kedge.String(title), "item", textOrNull(item))))
	c.expect("tasks", code, "title", title, "item", item)
}

func textOrNull(s string) kedge.Value {
	if s == "" {
		return kedge.Null()
	}
	return kedge.String(s)
}

// local runs statements on the local tables.
func (c *twoWaySite) local(statements ...string) {
	c.t.Helper()
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
	for _, text := range statements {
		_, err := s.DB().ExecContext(c.t.Context(), text)
		c.check(err)
	}
}

// churn edits both sides: new records on both, edits of different records, of
// different fields of one record, and deletions.
func (c *twoWaySite) churn(round int) {
	c.t.Helper()
	var sql []string
	for i := range 16 {
		id, mine, theirs := itemID(i), fmt.Sprint("local ", round), fmt.Sprint("remote ", round)
		switch (i + round) % 4 {
		case 0:
			sql = append(sql, fmt.Sprintf("UPDATE item SET name = '%s' WHERE id = '%s'", mine, id))
			c.expect("items", id, "name", mine)
		case 1:
			c.check(c.far.Patch("items", odatatest.Row("id", kedge.String(id), "name", kedge.String(theirs))))
			c.expect("items", id, "name", theirs)
		case 2:
			sql = append(sql, fmt.Sprintf("UPDATE item SET name = '%s' WHERE id = '%s'", mine, id))
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
func (c *twoWaySite) loose(round int) []string {
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

// afterDeath edits what the run that died was about to send, or has sent.
func (c *twoWaySite) afterDeath(round int) {
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

// settled checks that both sides have what they must, that nothing was made
// twice, and that a further run has nothing to do.
func (c *twoWaySite) settled() {
	c.t.Helper()
	c.check(c.crashPlan.clean().start(c.t))
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
	c.sides(s)
	res, err := c.syncer(s, nil).Run(c.t.Context(), syncer.Request{Integration: "crash", Full: true})
	c.check(err)
	for _, direction := range []syncer.Direction{syncer.Upload, syncer.Download} {
		if n := res.Counts(direction); n.Created+n.Changed+n.Deleted+n.Failed() != 0 || res.State != syncer.Succeeded {
			c.t.Errorf("a further full run still had work (%s): %+v", direction, res)
		}
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// sides compares both sides with what they must have.
func (c *twoWaySite) sides(s *store.Store) {
	c.t.Helper()
	if diff := cmp.Diff(c.want, c.farSide()); diff != "" {
		c.t.Errorf("remote rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.want, c.nearSide(s)); diff != "" {
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

func (c *twoWaySite) farSide() map[string]string {
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

func (c *twoWaySite) nearSide(s *store.Store) map[string]string {
	c.t.Helper()
	got := map[string]string{}
	rows, err := s.DB().QueryContext(c.t.Context(), `SELECT 'items', id, 'name', name FROM item UNION ALL SELECT 'items', id, 'note', note FROM item
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
	return got
}

// everyPassing kills a run at the first passing of point, then at the second,
// and so on until a run survives. Before each there are new edits, and after
// each death as well.
func (c *twoWaySite) everyPassing(point string, full bool) {
	c.t.Helper()
	for nth := 1; nth < 100; nth++ {
		c.churn(nth)
		p := c.crashPlan
		p.Point, p.Nth, p.Full = point, nth, full
		err := p.start(c.t)
		if err != nil && !errors.Is(err, errDied) {
			c.t.Fatal(err)
		}
		if err == nil && nth == 1 {
			c.t.Fatalf("no run passed %s", point)
		}
		if err == nil {
			c.settled()
			return
		}
		c.afterDeath(nth)
		c.settled()
	}
	c.t.Fatal("runs die for ever")
}
