package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/memory"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// A world is a remote system in memory, kedge's database, and an integration
// called "crm" between them.
type world struct {
	t      testing.TB
	store  *store.Store
	remote *memory.Store
	source *source
	syncer *syncer.Syncer
	now    time.Time
	opts   syncer.Options
}

// A source is the driver of the remote system, with faults.
type source struct {
	*memory.Driver
	pageSize   int
	page       func(req connectors.ReadRequest) error               // before a page is read
	after      func(req connectors.ReadRequest, p *connectors.Page) // before a page is delivered
	keys       func(keys []kedge.Key) error                         // before records are read by key
	edit       func(e *kedge.Entity)                                // of the schema
	epoch      string
	unfiltered bool // leaves filters to the caller

	mu       sync.Mutex // entities of a layer are read at once
	requests int
	keyReads int
}

func (s *source) Schema(ctx context.Context) (*kedge.Schema, error) {
	schema, err := s.Driver.Schema(ctx)
	if err != nil || s.edit == nil {
		return schema, err
	}
	edited := &kedge.Schema{Hash: schema.Hash, Entities: slices.Clone(schema.Entities)}
	for i := range edited.Entities {
		edited.Entities[i].Fields = slices.Clone(edited.Entities[i].Fields)
		s.edit(&edited.Entities[i])
	}
	return edited, nil
}

func (s *source) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.pageSize > 0 {
		req.Size = s.pageSize
	}
	if s.page != nil {
		if err := s.page(req); err != nil {
			return nil, err
		}
	}
	if s.unfiltered {
		req.Filter = nil
	}
	p, err := s.Driver.ReadPage(ctx, req)
	if err == nil && s.after != nil {
		s.after(req, p)
	}
	return p, err
}

func (s *source) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyReads += len(keys)
	if s.keys != nil {
		if err := s.keys(keys); err != nil {
			return nil, err
		}
	}
	return s.Driver.ReadKeys(ctx, entity, fields, keys)
}

func (s *source) Probe(context.Context) (connectors.Account, error) {
	return connectors.Account{Epoch: s.epoch}, nil
}

var (
	customers = kedge.Entity{Name: "customers", Key: []string{"No"}, Fields: []kedge.Field{
		{Name: "No", Type: kedge.TypeString},
		{Name: "Name", Type: kedge.TypeString, Nullable: true},
		{Name: "Balance", Type: kedge.TypeDecimal, Nullable: true},
		{Name: "Blocked", Type: kedge.TypeBool, Nullable: true},
		{Name: "Contact", Type: kedge.TypeString, Nullable: true},
		{Name: "Parent", Type: kedge.TypeString, Nullable: true},
	}}
	contacts = kedge.Entity{Name: "contacts", Key: []string{"Id"}, Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeString},
		{Name: "Name", Type: kedge.TypeString, Nullable: true},
		{Name: "Customer", Type: kedge.TypeString, Nullable: true},
	}}
)

// sharedKey maps customers with one key on both sides.
const sharedKey = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: "no", primary: true}]
    fields:
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

// matchedKey maps customers to rows that have keys of their own.
const matchedKey = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: erp_no}]
    fields:
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

// newWorld makes a world with the tables that the mapping needs. Its remote
// system has customers and contacts, unless entities are given.
func newWorld(t testing.TB, s *store.Store, yaml string, entities ...kedge.Entity) *world {
	t.Helper()
	if len(entities) == 0 {
		entities = []kedge.Entity{customers, contacts}
	}
	w := &world{t: t, store: s, remote: memory.NewStore(entities...), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.source = &source{Driver: memory.New(w.remote)}
	w.opts = syncer.Options{
		Store: s,
		Connect: func(_ context.Context, name, integration string) (*connectors.Conn, error) {
			if name == "remote" {
				return connectors.New(w.source, nil), nil
			}
			return w.local(integration), nil
		},
		OwnDatabase: func(name string) bool { return name == "local" },
		Now:         func() time.Time { return w.now },
	}
	w.syncer = syncer.New(w.opts)
	w.tables(yaml)
	w.save(yaml)
	return w
}

// each runs a test with a world on both databases.
func each(t *testing.T, yaml string, test func(t *testing.T, w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) { test(t, newWorld(t, s, yaml)) }, append(syncer.Migrations(), sqltable.Migrations()...)...)
}

func (w *world) local(consumer string) *connectors.Conn {
	w.t.Helper()
	d, err := sqltable.Kind().New(json.RawMessage(`{"dsn":"kedge"}`), connectors.Env{Name: "local", Consumer: consumer, Store: w.store})
	w.check(err)
	return connectors.New(d, nil)
}

// tables makes the local tables of a mapping.
func (w *world) tables(yaml string) {
	w.t.Helper()
	ext, err := w.source.Schema(w.t.Context())
	w.check(err)
	w.tablesOf(yaml, ext)
}

func (w *world) tablesOf(yaml string, ext *kedge.Schema) {
	w.t.Helper()
	m, err := mapping.Parse("test", []byte(yaml))
	w.check(err)
	conn := w.local("")
	editor := conn.Driver().(connectors.SchemaEditor)
	steps, err := editor.PlanSchema(w.t.Context(), mapping.Tables(m, ext))
	w.check(err)
	w.check(editor.ApplySchema(w.t.Context(), steps))
}

func (w *world) save(yaml string) {
	w.t.Helper()
	_, err := w.syncer.Save(w.t.Context(), syncer.Integration{Name: "crm", External: "remote", Local: "local", YAML: yaml, Author: "test"})
	w.check(err)
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// put stores customers given as "No Name Balance"; "-" is null.
func (w *world) put(rows ...string) {
	w.t.Helper()
	for _, row := range rows {
		w.putFields("customers", strings.Fields(row), "No", "Name", "Balance")
	}
}

func (w *world) putFields(entity string, texts []string, names ...string) {
	w.t.Helper()
	schema, err := w.source.Driver.Schema(w.t.Context())
	w.check(err)
	r := kedge.Record{Fields: kedge.NewFields(names[:len(texts)]...)}
	for i, text := range texts {
		v := kedge.Null()
		if text != "-" {
			v, err = kedge.ParseText(schema.Entity(entity).Field(names[i]).Type, text)
			w.check(err)
		}
		r.Values = append(r.Values, v)
	}
	r.Key = kedge.NewKey(r.Values[0])
	w.check(w.remote.Put(w.t.Context(), entity, r))
}

func (w *world) delete(keys ...kedge.Key) {
	w.t.Helper()
	w.check(w.remote.Delete(w.t.Context(), "customers", keys...))
}

// run runs the integration and fails the test if it can't.
func (w *world) run(req syncer.Request) syncer.Result {
	w.t.Helper()
	res, err := w.runOnce(req)
	if err != nil {
		w.t.Fatalf("run: %v\n%+v", err, res)
	}
	return res
}

// attempt is run for a source with faults, which may not even tell its schema.
func (w *world) attempt(req syncer.Request) syncer.Result {
	w.t.Helper()
	res, err := w.runOnce(req)
	if kind := kedge.KindOf(err); err != nil && kind != kedge.Transient && kind != kedge.Throttled {
		w.t.Fatalf("run: %v\n%+v", err, res)
	}
	return res
}

// runOnce runs the integration when no older transaction is left. A run on
// PostgreSQL reads local changes no further than the oldest one on the server,
// which may be one of another test: then the next run reads them.
func (w *world) runOnce(req syncer.Request) (syncer.Result, error) {
	storetest.Settle(w.t, w.store)
	req.Integration = "crm"
	w.now = w.now.Add(time.Minute)
	return w.syncer.Run(w.t.Context(), req)
}

// sync runs a sync and compares its result line.
func (w *world) sync(want string) syncer.Result {
	w.t.Helper()
	res := w.run(syncer.Request{})
	w.line(res, want)
	return res
}

func (w *world) line(res syncer.Result, want string) {
	w.t.Helper()
	if got := short(res.Counts(syncer.Download)); got != want {
		w.t.Errorf("result %s (state %s, %+v), want %s", got, res.State, res.Entities, want)
	}
}

// short is a result line in four numbers.
func short(c syncer.Counts) string {
	return fmt.Sprintf("all %d new %d updated %d failed %d", c.Imported()+c.Updated()+c.Failed(), c.Imported(), c.Updated(), c.Failed())
}

// rows returns a local table as "key: field field".
func (w *world) rows(table, key string, fields ...string) []string {
	w.t.Helper()
	cols := append([]string{key}, fields...)
	list := []string{}
	rows, err := w.store.DB().QueryContext(w.t.Context(), fmt.Sprintf("SELECT %s FROM %s ORDER BY 1", strings.Join(cols, ", "), table))
	w.check(err)
	defer rows.Close()
	for rows.Next() {
		values := make([]any, len(cols))
		ptrs := make([]any, len(cols))
		for i := range values {
			ptrs[i] = &values[i]
		}
		w.check(rows.Scan(ptrs...))
		texts := make([]string, len(cols))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				texts[i] = "-"
			case []byte:
				texts[i] = string(v)
			default:
				texts[i] = fmt.Sprint(v)
			}
		}
		list = append(list, strings.Join(texts, " "))
	}
	w.check(rows.Err())
	slices.Sort(list) // databases disagree about nulls
	return list
}

// table compares the customer table.
func (w *world) table(want ...string) {
	w.t.Helper()
	key := "no"
	if i, err := w.syncer.Mapping(w.t.Context(), "crm"); err == nil && strings.Contains(i.YAML, "erp_no") {
		key = "erp_no"
	}
	if diff := cmp.Diff(append([]string{}, want...), w.rows("customer", key, "name", "balance")); diff != "" {
		w.t.Errorf("local rows (-want +got):\n%s", diff)
	}
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	_, err := w.store.DB().ExecContext(w.t.Context(), query, args...)
	w.check(err)
}

// codes returns the codes of the log's events with how often they came.
func (w *world) codes() map[string]int {
	w.t.Helper()
	rows, err := w.syncer.Log(w.t.Context(), syncer.LogQuery{Limit: 1000})
	w.check(err)
	codes := map[string]int{}
	for _, r := range rows {
		codes[r.Code]++
	}
	delete(codes, "summary")
	return codes
}

// normal returns a mapping in its canonical form.
func normal(t testing.TB, yaml string) string {
	t.Helper()
	m, err := mapping.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Marshal())
}
