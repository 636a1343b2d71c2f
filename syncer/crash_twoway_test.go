package syncer_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
		{Name: "key", Type: kedge.TypeString, Computed: true},
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

// A twoWaySite is two sides whose runs die.
type twoWaySite struct {
	*crashSite
	sides *twoSides
}

// newTwoWaySite has its local tables in kedge's own database, or in a file of
// their own.
func newTwoWaySite(t *testing.T, dsn string, foreign bool) *twoWaySite {
	t.Helper()
	c := &twoWaySite{sides: newTwoSides(t, odatatest.Options{})}
	c.crashSite = &crashSite{t: t, crashPlan: crashPlan{DSN: dsn, URL: c.sides.far.Start(t)}}
	if foreign {
		c.Target = filepath.Join(t.TempDir(), "target.db")
		c.check(os.WriteFile(c.Target, nil, 0o600)) // an empty SQLite database
	}
	c.sides.near = func(use func(*sql.DB)) {
		if foreign {
			db, err := sql.Open("sqlite", c.Target)
			c.check(err)
			defer db.Close()
			use(db)
			return
		}
		s, err := store.Open(t.Context(), dsn, nil)
		c.check(err)
		defer s.Close()
		use(s.DB().DB)
	}
	c.setUp(crashBothWays)
	return c
}

func eachTwoWay(t *testing.T, test func(t *testing.T, c *twoWaySite)) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) { test(t, newTwoWaySite(t, dsn, false)) })
}

// settled checks that both sides have what they must, that nothing was made
// twice, and that a further run has nothing to do.
func (c *twoWaySite) settled() {
	c.t.Helper()
	c.check(c.crashPlan.clean().start(c.t))
	c.sides.equal()
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
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

// everyPassing kills a run at the first passing of point, then at the second,
// and so on until a run survives. Before each there are new edits, and after
// each death as well.
func (c *twoWaySite) everyPassing(point string, full bool) {
	c.t.Helper()
	for nth := 1; nth < 100; nth++ {
		c.sides.churn(nth)
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
		c.sides.afterRun(nth)
		c.settled()
	}
	c.t.Fatal("runs die for ever")
}
