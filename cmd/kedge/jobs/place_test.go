package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/memory"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// TestMain lets the test binary be the program that commands of jobs run.
func TestMain(m *testing.M) {
	if os.Args[0] == "kedge" {
		os.Exit(child(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// child is the commands that the tests let jobs run.
func child(args []string) int {
	switch args[0] {
	case "exit":
		fmt.Fprintln(os.Stderr, "first line\nkedge: ended with "+args[1])
		code, err := strconv.Atoi(args[1])
		if err != nil {
			return 99
		}
		return code
	case "note": // FILE: appends what it knows of the job
		f, err := os.OpenFile(args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 99
		}
		fmt.Fprintln(f, os.Getenv("KEDGE_JOB"), os.Getenv("KEDGE_JOB_STATE"), os.Getenv("KEDGE_JOB_RUN") != "", os.Getenv("KEDGE_CONFIG"))
		return 0
	case "wait": // until standard input ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 1
	}
	return 98
}

// A place is a database with an integration "crm", whose remote system is in
// memory, and a clock that the test moves.
type place struct {
	t      *testing.T
	store  *store.Store
	remote *memory.Store
	syncer *syncer.Syncer

	mu   sync.Mutex
	time time.Time
	page func(ctx context.Context) error // before a page is read
}

// A source is the remote system, which a test can make wait.
type source struct {
	*memory.Driver
	p *place
}

func (s source) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	s.p.mu.Lock()
	page := s.p.page
	s.p.mu.Unlock()
	if page != nil {
		if err := page(ctx); err != nil {
			return nil, err
		}
	}
	return s.Driver.ReadPage(ctx, req)
}

const crmMapping = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: "no", primary: true}]
    fields: [{external: Name, local: name}]
`

func migrations() []store.Migration {
	return slices.Concat(syncer.Migrations(), sqltable.Migrations(), Migrations())
}

// each runs a test with a place on both databases.
func each(t *testing.T, test func(t *testing.T, p *place)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) { test(t, newPlace(t, s)) }, migrations()...)
}

func sqlite(t *testing.T) *store.Store { return storetest.SQLite(t, migrations()...) }

func newPlace(t *testing.T, s *store.Store) *place {
	customers := kedge.Entity{Name: "customers", Key: []string{"No"}, Fields: []kedge.Field{{Name: "No", Type: kedge.TypeString}, {Name: "Name", Type: kedge.TypeString, Nullable: true}}}
	p := &place{t: t, store: s, remote: memory.NewStore(customers), time: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	local, err := sqltable.Kind().New(json.RawMessage(`{"dsn":"kedge"}`), connectors.Env{Name: "local", Store: s})
	p.check(err)
	p.syncer = syncer.New(syncer.Options{
		Store:       s,
		OwnDatabase: func(name string) bool { return name == "local" },
		Connect: func(_ context.Context, name, _ string) (*connectors.Conn, error) {
			if name == "remote" {
				return connectors.New(source{memory.New(p.remote), p}, nil), nil
			}
			return connectors.New(local, nil), nil
		},
	})
	m, err := mapping.Parse("crm", []byte(crmMapping))
	p.check(err)
	editor := local.(connectors.SchemaEditor)
	steps, err := editor.PlanSchema(t.Context(), mapping.Tables(m, &kedge.Schema{Entities: []kedge.Entity{customers}}))
	p.check(err)
	p.check(editor.ApplySchema(t.Context(), steps))
	p.save(crmMapping)
	return p
}

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) save(yaml string) {
	p.t.Helper()
	_, err := p.syncer.Save(p.t.Context(), syncer.Integration{Name: "crm", External: "remote", Local: "local", YAML: yaml, Author: "test"})
	p.check(err)
}

func (p *place) put(key string) {
	p.t.Helper()
	v := kedge.String(key)
	p.check(p.remote.Put(p.t.Context(), "customers", kedge.Record{Fields: kedge.NewFields("No", "Name"), Values: []kedge.Value{v, v}, Key: kedge.NewKey(v)}))
}

// now is the clock of the database, as the test has it.
func (p *place) now(context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.time, nil
}

// at moves the clock to a time of 2026-05-01, "02:00" or "02:00:01.5".
func (p *place) at(clock string) {
	p.t.Helper()
	if len(clock) == 5 {
		clock += ":00"
	}
	when, err := time.Parse(time.RFC3339, "2026-05-01T"+clock+"Z")
	p.check(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.time = when
}

// hold makes reads of the remote system wait until release is called or the
// run is stopped; held is closed when one waits.
func (p *place) hold() (held chan struct{}, release func()) {
	held, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.mu.Lock()
	defer p.mu.Unlock()
	p.page = func(ctx context.Context) error {
		once.Do(func() { close(held) })
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return held, sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.page = nil
		close(open)
	})
}

func (p *place) await(c <-chan struct{}) {
	p.t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		p.t.Fatal("nothing came")
	}
}

func (p *place) sync() *syncer.Syncer { return p.syncer }

// A replica is a server of the place.
type replica struct {
	*Service
	p *place
}

// server starts a server with jobs, given in the form of the config.
func (p *place) server(jobs ...config.Job) *replica {
	p.t.Helper()
	r := &replica{New(Options{Store: p.store, Syncer: p.sync, Config: "/etc/kedge.yaml", Now: p.now, Rand: func(n int64) int64 { return n - 1 }}), p}
	p.check(r.Load(p.t.Context(), jobs, true))
	return r
}

// look lets the server look once, and waits for the runs that it began.
func (r *replica) look() {
	r.p.t.Helper()
	r.p.check(r.tick(r.p.t.Context()))
	r.all.Wait()
}

// job returns a job as it is stored.
func (p *place) job(name string) Job {
	p.t.Helper()
	s := New(Options{Store: p.store, Syncer: p.sync, Now: p.now})
	s.Know([]config.Job{{Name: name}})
	j, err := s.Get(p.t.Context(), name)
	p.check(err)
	return j
}

// story compares what became of a job: "runs 1 skipped 0 missed 0 succeeded next 03:00:00".
func (p *place) story(name, want string) {
	p.t.Helper()
	j := p.job(name)
	state, next := "never", "none"
	if j.LastRun != nil {
		state = string(j.LastRun.State)
	}
	if j.Running {
		state = "running"
	}
	if j.NextRun != nil {
		next = j.NextRun.Format("15:04:05")
		if j.NextRun.Day() != 1 {
			next = j.NextRun.Format("02 15:04:05")
		}
	}
	if got := fmt.Sprintf("runs %d skipped %d missed %d %s next %s", j.Runs, j.Skipped, j.Missed, state, next); got != want {
		p.t.Errorf("job %s: got %s, want %s", name, got, want)
	}
}

// codes returns the codes of the log about jobs, oldest first.
func (p *place) codes() string {
	p.t.Helper()
	rows, err := p.syncer.Log(p.t.Context(), syncer.LogQuery{Limit: 1000})
	p.check(err)
	var codes []string
	for _, r := range rows {
		if r.Operation == "job" {
			codes = append(codes, r.Code)
		}
	}
	return strings.Join(codes, " ")
}

func (p *place) runs() []syncer.RunInfo {
	p.t.Helper()
	runs, err := p.syncer.Runs(p.t.Context(), "", 1000)
	p.check(err)
	return runs
}

func nightly() config.Job {
	return config.Job{Name: "nightly", Integration: "crm", Schedule: "0 2 * * *"}
}

func often(every time.Duration) config.Job {
	return config.Job{Name: "often", Integration: "crm", Every: config.Duration(every)}
}
