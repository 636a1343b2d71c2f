package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/store"
)

// catalogAge is how long a snapshot is used before the database is asked
// whether another process changed a definition. A revoked key works no longer
// than that elsewhere.
const catalogAge = 2 * time.Second

// A snapshot is all definitions as of one revision. It is immutable.
type snapshot struct {
	rev    int64
	tables map[string]*custom.Table // by full name
	byName map[string][]*custom.Table
	keys   map[[32]byte]*key
}

// A key is an ingest key that was not revoked.
type key struct {
	id          string
	integration *integrationRow
	limit       limit
	rights      Rights
	expires     *int64
	hash        []byte
}

// A catalog keeps the definitions in memory.
type catalog struct {
	db  *bun.DB
	now func() time.Time

	compiled sync.Map // of *schema.Schema by number and version, which never change

	mu      sync.Mutex
	current *snapshot
	checked time.Time
}

// snapshot returns the definitions. With fresh set they are as of now, else
// at most catalogAge old.
func (c *catalog) snapshot(ctx context.Context, fresh bool) (*snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.current != nil && !fresh && now.Sub(c.checked) < catalogAge && !now.Before(c.checked) {
		return c.current, nil
	}
	var rev int64
	if err := c.db.NewRaw("SELECT rev FROM ingest_catalog").Scan(ctx, &rev); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	if c.current == nil || c.current.rev != rev {
		s, err := c.load(ctx, rev)
		if err != nil {
			return nil, err
		}
		c.current = s
	}
	c.checked = now
	return c.current, nil
}

// forget makes the next look read the database. It is called after this
// process changed a definition.
func (c *catalog) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Time{}
}

// load reads all definitions. What was written after rev was read is read,
// too; the next look then finds a newer rev and reads it once more.
func (c *catalog) load(ctx context.Context, rev int64) (*snapshot, error) {
	s := &snapshot{rev: rev, tables: map[string]*custom.Table{}, byName: map[string][]*custom.Table{}, keys: map[[32]byte]*key{}}
	var integrations []integrationRow
	if err := c.db.NewSelect().Model(&integrations).Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	byID := map[string]*integrationRow{}
	for i := range integrations {
		byID[integrations[i].ID] = &integrations[i]
	}
	if err := c.loadTables(ctx, s, byID); err != nil {
		return nil, err
	}
	var keys []keyRow
	if err := c.db.NewSelect().Model(&keys).Where("revoked_at IS NULL").Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	for _, row := range keys {
		in := byID[row.IntegrationID]
		if in == nil || len(row.Hash) != 32 {
			continue
		}
		k := &key{id: row.ID, integration: in, expires: row.ExpiresAt, hash: row.Hash}
		var r Rate
		if err := errors.Join(json.Unmarshal([]byte(row.Rights), &k.rights), json.Unmarshal([]byte(in.Rate), &r)); err != nil {
			return nil, err
		}
		var err error
		if k.limit, err = r.parse(); err != nil {
			return nil, err
		}
		s.keys[[32]byte(row.Hash)] = k
	}
	return s, nil
}

func (c *catalog) loadTables(ctx context.Context, s *snapshot, integrations map[string]*integrationRow) error {
	var rows []struct {
		schemaRow `bun:",extend"`
		Prefix    string
	}
	err := c.db.NewSelect().TableExpr("ingest_schema AS s").ColumnExpr("s.*, g.prefix").
		Join("JOIN ingest_group AS g ON g.id = s.group_id").OrderExpr("s.full_name").Scan(ctx, &rows)
	if err != nil {
		return store.Error("ingest", "", err)
	}
	for i := range rows {
		row := &rows[i].schemaRow
		t, err := c.table(ctx, row)
		if err != nil {
			return err
		}
		t.Group = rows[i].Prefix
		if row.IntegrationID != nil {
			in := integrations[*row.IntegrationID]
			t.Integration, t.Active = in.ID, row.State == StateActive && in.State == StateActive
		}
		s.tables[t.Full] = t
		s.byName[t.Name] = append(s.byName[t.Name], t)
	}
	return nil
}

// table makes the table of a row, with the active version compiled.
func (c *catalog) table(ctx context.Context, row *schemaRow) (*custom.Table, error) {
	var stored settings
	if err := json.Unmarshal([]byte(row.Settings), &stored); err != nil {
		return nil, err
	}
	parsed, err := stored.parse()
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", row.FullName, err)
	}
	compiled, err := c.compile(ctx, row)
	if err != nil {
		return nil, err
	}
	t := &custom.Table{No: row.No, Full: row.FullName, Name: row.TableName, Version: row.ActiveVersion, Schema: compiled, Settings: parsed}
	t.Describe()
	return t, nil
}

// compile returns the active version of a schema.
func (c *catalog) compile(ctx context.Context, row *schemaRow) (*schema.Schema, error) {
	k := [2]int64{row.No, int64(row.ActiveVersion)}
	if known, ok := c.compiled.Load(k); ok {
		return known.(*schema.Schema), nil
	}
	var source string
	err := c.db.NewSelect().Model((*versionRow)(nil)).Column("source").Where("schema_no = ? AND version = ?", row.No, row.ActiveVersion).Scan(ctx, &source)
	if err != nil {
		return nil, store.Error("ingest", row.FullName, err)
	}
	compiled, err := schema.Parse([]byte(source))
	if err != nil {
		return nil, fmt.Errorf("stored schema of %s: %w", row.FullName, err)
	}
	c.compiled.Store(k, compiled)
	return compiled, nil
}

// resolve finds the tables that a name in a URL may mean for a key: the full
// name, else the tables of that name in the key's integration, else all.
func (s *snapshot) resolve(name, integration string) []*custom.Table {
	if t := s.tables[name]; t != nil {
		return []*custom.Table{t}
	}
	all := s.byName[name]
	own := slices.DeleteFunc(slices.Clone(all), func(t *custom.Table) bool { return t.Integration != integration })
	if len(own) > 0 {
		return own
	}
	return all
}
