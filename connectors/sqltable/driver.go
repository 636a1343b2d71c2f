package sqltable

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Driver reads and writes the tables of one database. It is safe for
// concurrent use.
type Driver struct {
	cfg      *config
	name     string
	consumer string // integration that reads and writes, or ""
	now      func() time.Time
	own      *store.Store // kedge's own database, or nil for another one
	shared   *pools
	pool     *pool
	closed   sync.Once

	mu       sync.Mutex
	entities map[string]*entity // as of the last look at the catalog, or nil
	notes    *noteTables        // those of trigger capture, once they were found
}

func newDriver(raw json.RawMessage, env connectors.Env, shared *pools) (*Driver, error) {
	cfg, err := parseConfig(raw, env)
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, name: env.Name, consumer: env.Consumer, now: env.Now, shared: shared}
	if d.now == nil {
		d.now = time.Now
	}
	if cfg.DSN == ownDSN {
		d.own = env.Store
	} else {
		d.pool = shared.join(cfg.DSN)
	}
	return d, nil
}

// Close gives the connections to another database back. kedge's own stays open.
func (d *Driver) Close() (err error) {
	d.closed.Do(func() {
		if d.pool != nil {
			err = d.shared.leave(d.cfg.DSN)
		}
	})
	return err
}

// store returns the open database.
func (d *Driver) store(ctx context.Context) (*store.Store, error) {
	if d.own != nil {
		return d.own, nil
	}
	return d.pool.get(ctx, d.cfg.DSN)
}

// Schema reads the catalog.
func (d *Driver) Schema(ctx context.Context) (*kedge.Schema, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	entities, notices, err := d.load(ctx, s.DB().DB, s.Engine())
	if err != nil {
		return nil, err
	}
	out := &kedge.Schema{Notices: notices}
	for _, e := range entities {
		out.Entities = append(out.Entities, e.Entity)
	}
	slices.SortFunc(out.Entities, func(a, b kedge.Entity) int { return strings.Compare(a.Name, b.Name) })
	text, err := json.Marshal(out.Entities)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	out.Hash = hex.EncodeToString(sum[:16])
	return out, nil
}

// load reads the catalog through q and remembers the answer.
func (d *Driver) load(ctx context.Context, q catalog.Querier, engine store.Engine) (map[string]*entity, []string, error) {
	tables, notices, err := d.tables(ctx, q, engine)
	if err != nil {
		return nil, nil, err
	}
	listening, err := d.listening(ctx, q, engine)
	if err != nil {
		return nil, nil, err
	}
	views, err := d.known(ctx, engine, tables)
	if err != nil {
		return nil, nil, err
	}
	entities, more, err := d.describe(engine, tables, views, listening)
	if err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entities = entities
	return entities, append(notices, more...), nil
}

// entity returns what is known about the named entity, and looks into the
// catalog through q if it is not known.
func (d *Driver) entity(ctx context.Context, op string, q catalog.Querier, engine store.Engine, name string) (*entity, error) {
	d.mu.Lock()
	e := d.entities[name]
	d.mu.Unlock()
	if e != nil {
		return e, nil
	}
	entities, _, err := d.load(ctx, q, engine)
	if err != nil {
		return nil, err
	}
	if e = entities[name]; e == nil {
		return nil, &kedge.Error{Op: op, Kind: kedge.NotFound, Entity: name, Err: errors.New("there is no such table")}
	}
	return e, nil
}

// forget makes the next call look into the catalog.
func (d *Driver) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entities, d.notes = nil, nil
}

// listening tells which tables the driver's consumer listens to.
func (d *Driver) listening(ctx context.Context, q catalog.Querier, engine store.Engine) (map[string]bool, error) {
	if d.consumer == "" {
		return nil, nil
	}
	c, err := d.noteTables(ctx, q, engine)
	if c == nil || err != nil {
		return nil, store.Error("sqltable.Schema", "", err)
	}
	text := &query{engine: engine}
	text.WriteString("SELECT entity FROM " + c.table("kedge_capture") + " WHERE consumer = ")
	text.arg(d.consumer, "text")
	found := map[string]bool{}
	err = catalog.Each(ctx, q, text.String(), text.args, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		found[name] = true
		return err
	})
	return found, store.Error("sqltable.Schema", "", err)
}

// Probe tells who kedge is to the database, and which database it is.
func (d *Driver) Probe(ctx context.Context) (connectors.Account, error) {
	s, err := d.store(ctx)
	if err != nil {
		return connectors.Account{}, err
	}
	var a connectors.Account
	query := "SELECT '', 'SQLite ' || sqlite_version(), ''"
	if s.Engine() == store.Postgres {
		query = "SELECT current_database()::text, 'PostgreSQL ' || current_setting('server_version'), current_user::text"
	}
	if err := s.DB().DB.QueryRowContext(ctx, query).Scan(&a.Organization, &a.Version, &a.User); err != nil {
		return a, store.Error("sqltable.Probe", "", err)
	}
	a.Features = []string{"full reads", "bulk writes", "filters", "capture by triggers"}
	return a, nil
}

func fail(op string, kind kedge.Kind, entity, format string, args ...any) *kedge.Error {
	return &kedge.Error{Op: op, Kind: kind, Entity: entity, Err: fmt.Errorf(format, args...)}
}
