package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

const configText = `version: 1
store: {dsn: "${BENCH_DSN}"}
connections:
  shop: {kind: odata, url: "${BENCH_URL}", pageSize: %d}
integrations:
  - {name: bench, external: shop, mapping: %s.yaml}
sync: {commitRows: %d}
`

// A form is a way in which kedge can keep the same records.
type form string

const (
	shared    form = "shared" // the external key is the local primary key
	withLinks form = "links"  // the local primary key is another one
	bothWays  form = "both"   // edits of both sides are sent to the other
)

// mappingText returns the mapping of a form.
func mappingText(f form) string {
	text := `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    direction: DIRECTION
    key: [{external: No, local: "no", primary: PRIMARY}]
    fields:
      - {external: Name, local: name}
      - {external: Street, local: street}
      - {external: City, local: city}
      - {external: PostCode, local: post_code}
      - {external: Country, local: country}
      - {external: Email, local: email}
      - {external: Phone, local: phone}
      - {external: Balance, local: balance}
      - {external: Blocked, local: blocked}
      - {external: RowVersion, local: row_version, direction: download}
      - {external: ModifiedAt, local: modified_at, direction: download}
`
	direction := "download"
	if f == bothWays {
		direction = "bidirectional"
	}
	return strings.NewReplacer("DIRECTION", direction, "PRIMARY", fmt.Sprint(f != withLinks)).Replace(text)
}

// writeConfig writes a config for each form.
func (b *bench) writeConfig() error {
	for _, f := range []form{shared, withLinks, bothWays} {
		if err := os.WriteFile(b.path("kedge-"+string(f)+".yaml"), fmt.Appendf(nil, configText, feed.PageSize, f, feed.CommitRows), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(b.path(string(f)+".yaml"), []byte(mappingText(f)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kedge runs a command of kedge on a sink that has shared keys.
func (b *bench) kedge(on *sink, from *service, args ...string) (usage, error) {
	return b.kedgeAs(shared, on, from, args...)
}

func (b *bench) kedgeAs(f form, on *sink, from *service, args ...string) (usage, error) {
	_, u, err := b.run([]string{"BENCH_DSN=" + on.kedgeDSN(), "BENCH_URL=" + from.URL, "KEDGE_CONFIG=" + b.path("kedge-"+string(f)+".yaml")}, b.path("kedge"), args...)
	return u, err
}

// floor runs a floor program.
func (b *bench) floor(program, url string, on *sink) (s feed.Summary, u usage, err error) {
	dsn := ""
	if on != nil {
		dsn = on.dsn
	}
	out, u, err := b.run(nil, b.path(program), "-url", url, "-dsn", dsn)
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, u, err
}

// loads are databases of one engine that the runs start from, as copies.
type loads struct {
	empty *sink // kedge's tables and the customers' without rows
	kedge *sink // as a full sync of the first state leaves it
	floor *sink // the same by the floor
	delta string
	full  pair // what the full syncs took
}

// prepared returns the loads of an engine with the empty database.
func (b *bench) prepared(e engine) (*loads, error) {
	if l := b.loads[e]; l != nil {
		return l, nil
	}
	empty, err := b.newSink(e, nil)
	if err != nil {
		return nil, err
	}
	if err := b.durable(empty); err != nil {
		return nil, err
	}
	if _, err := b.kedge(empty, b.service, "map", "tables", "bench", "--yes"); err != nil {
		return nil, err
	}
	b.loads[e] = &loads{empty: empty}
	return b.loads[e], nil
}

// loaded returns the loads of an engine with all databases.
func (b *bench) loaded(e engine) (*loads, error) {
	l, err := b.prepared(e)
	if err != nil || l.kedge != nil && l.floor != nil {
		return l, err
	}
	if _, err := b.fullKedge(l, b.service); err != nil {
		return nil, err
	}
	_, err = b.fullFloor(e, l)
	return l, err
}

// fullKedge makes a full sync into a new database. The first one is kept.
func (b *bench) fullKedge(l *loads, from *service) (usage, error) {
	s, err := b.newSink(l.empty.engine, l.empty)
	if err != nil {
		return usage{}, err
	}
	u, err := b.kedge(s, from, "sync", "bench")
	if err == nil {
		err = s.holds(b.ctx, from.State)
	}
	if err == nil && l.kedge == nil && from == b.service {
		l.kedge = s
		return u, nil
	}
	if err != nil {
		return u, err
	}
	return u, b.drop(s)
}

func (b *bench) fullFloor(e engine, l *loads) (usage, error) {
	s, err := b.newSink(e, nil)
	if err != nil {
		return usage{}, err
	}
	sum, u, err := b.floor("floor-"+string(e), b.service.URL+feed.Select, s)
	if err == nil {
		err = s.holds(b.ctx, b.service.State)
	}
	if err != nil {
		return u, err
	}
	if l.floor == nil {
		l.floor, l.delta = s, sum.Delta
		return u, nil
	}
	return u, b.drop(s)
}

// full measures the first sync. The runs before the pairs make the service
// ready for exactly these requests.
func (b *bench) full(e engine) ([]row, error) {
	l, err := b.loaded(e)
	if err != nil {
		return nil, err
	}
	l.full, err = b.inTurn(
		func() (usage, error) { return b.fullKedge(l, b.service) },
		func() (usage, error) { return b.fullFloor(e, l) })
	return []row{l.full.rate(fmt.Sprintf("full sync, %s OData rows → %s", thousands(b.rows), e.title()), 0.60)}, err
}

// onCopy measures a run that starts from a copy of a loaded database.
func (b *bench) onCopy(of *sink, run func(*sink) (usage, error)) (usage, error) {
	s, err := b.newSink(of.engine, of)
	if err != nil {
		return usage{}, err
	}
	u, err := run(s)
	if err == nil {
		err = s.holds(b.ctx, b.service.State)
	}
	if err != nil {
		return u, err
	}
	return u, b.drop(s)
}

const someChanges = 1000

// changeTo edits rows of the source, unless that has happened. What has to be
// loaded before is loaded.
func (b *bench) changeTo(rows int, done *bool) error {
	if *done {
		return nil
	}
	*done = true
	for _, e := range []engine{sqlite, postgres} {
		if !b.wants("incremental-"+string(e)) && !b.wants("resync-"+string(e)) {
			continue
		}
		if _, err := b.loaded(e); err != nil {
			return err
		}
	}
	return b.service.change(rows)
}

// incremental measures a sync after a few changes.
func (b *bench) incremental(e engine) ([]row, error) {
	if err := b.changeTo(someChanges, &b.edited.some); err != nil {
		return nil, err
	}
	l, err := b.loaded(e)
	if err != nil {
		return nil, err
	}
	kedge := func() (usage, error) {
		return b.onCopy(l.kedge, func(s *sink) (usage, error) { return b.kedge(s, b.service, "sync", "bench") })
	}
	if _, err := kedge(); err != nil { // makes the service ready
		return nil, err
	}
	p, err := b.inTurn(kedge, func() (usage, error) {
		return b.onCopy(l.floor, func(s *sink) (usage, error) {
			_, u, err := b.floor("floor-"+string(e), l.delta, s)
			return u, err
		})
	})
	return []row{p.time(fmt.Sprintf("incremental, %s changed of %s → %s", thousands(someChanges), thousands(b.rows), e.title()), 3)}, err
}

// resync measures a full read after which 1 % of the rows are new.
func (b *bench) resync(e engine) ([]row, error) {
	if err := b.changeTo(b.rows/100, &b.edited.percent); err != nil {
		return nil, err
	}
	l, err := b.loaded(e)
	if err != nil {
		return nil, err
	}
	kedge := func() (usage, error) {
		return b.onCopy(l.kedge, func(s *sink) (usage, error) { return b.kedge(s, b.service, "sync", "bench", "--full") })
	}
	if _, err := kedge(); err != nil { // makes the service ready
		return nil, err
	}
	p, err := b.inTurn(kedge, func() (usage, error) {
		_, u, err := b.floor("floor-hash", b.service.URL+feed.Select, nil)
		return u, err
	})
	if err != nil {
		return nil, err
	}
	rows := []row{p.rate("full re-sync, 1 % changed, "+e.title(), 0.50)}
	if len(l.full.kedge) > 0 {
		share := median(p.kedge).wall.Seconds() / median(l.full.kedge).wall.Seconds()
		rows = append(rows, atMost("time of that ÷ time of our own full load, "+e.title(), share, 0.40, "%.2f"))
	}
	return rows, nil
}

// fewRows is the size of the source that memory is compared with.
const fewRows = 100_000

// memory measures what kedge's memory depends on.
func (b *bench) memory() ([]row, error) {
	l, err := b.loaded(sqlite)
	if err != nil {
		return nil, err
	}
	if len(l.full.kedge) == 0 {
		if _, err := b.full(sqlite); err != nil {
			return nil, err
		}
	}
	few, err := b.start(fewRows)
	if err != nil {
		return nil, err
	}
	defer few.stop()
	small, err := b.inTurn(func() (usage, error) { return b.fullKedge(l, few) }, nil)
	if err != nil {
		return nil, err
	}
	most, least := median(l.full.kedge).rss, median(small.kedge).rss
	perRow := float64(most-least) / float64(b.rows-fewRows)
	return []row{
		atMost(fmt.Sprintf("RSS of a full sync into SQLite, MB, %s rows", thousands(b.rows)), float64(most)/1e6, 150, "%.0f"),
		atMost(fmt.Sprintf("its growth from %s rows on, bytes per row", thousands(fewRows)), perRow, 24, "%.0f"),
	}, nil
}
