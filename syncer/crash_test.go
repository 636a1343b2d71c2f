package syncer_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// The crash tests run syncs in child processes: this test binary again, told
// by its environment what to do and where to die by SIGKILL.
const crashEnv = "KEDGE_CRASH"

// A crashPlan says what a child does.
type crashPlan struct {
	DSN    string // of kedge's database
	Source string // SQLite file of the external side
	Target string // SQLite file of the local side; "" for kedge's own database
	URL    string // of an OData service that is the external side, instead of Source
	Point  string // where to die, or to stop
	Nth    int    // at which passing of the point
	Stop   bool   // stop (SIGSTOP) instead of dying; a line on standard output comes before
	TTL    time.Duration
	Full   bool
	Reset  bool
}

// died is how a child ends that was killed where it was told to.
var errDied = errors.New("killed")

func TestMain(m *testing.M) {
	if text := os.Getenv(crashEnv); text != "" {
		os.Exit(crashChild(text))
	}
	// The same histories each time, so that a failure is the change's and not
	// bad luck; "go test ./syncer -rapid.seed=N -rapid.checks=N" explores others.
	flag.Parse()
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == "0" {
		if err := seed.Value.Set("1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func crashChild(text string) int {
	var p crashPlan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	passed := 0
	res, err := p.syncSoon(func(point string) {
		if point != p.Point {
			return
		}
		if passed++; passed != p.Nth {
			return
		}
		// A signal takes a moment: this goroutine must not go past the point.
		if !p.Stop {
			err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
			<-make(chan error)
			panic(err)
		}
		goOn := make(chan os.Signal, 1)
		signal.Notify(goOn, syscall.SIGCONT)
		fmt.Println("stopped")
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			panic(err)
		}
		<-goOn
	})
	if err == nil && res.State != syncer.Succeeded {
		err = fmt.Errorf("run ended %s: %+v", res.State, res.Entities)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// start runs the plan in a child and returns errDied if it was killed.
func (p crashPlan) start(t *testing.T) error {
	t.Helper()
	cmd := p.command(t)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == syscall.SIGKILL {
			return errDied
		}
		return fmt.Errorf("child: %w: %s", err, out)
	}
	return err
}

func (p crashPlan) command(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
	return cmd
}

const crashMapping = `kedge: mapping/v1
entities:
  - external: item
    local: item
    key: [{external: id, local: id, primary: true}]
    deletes: {maxRows: 100000}
    fields:
      - {external: name, local: name}
      - {external: rank, local: rank}
      - {external: boss, local: boss, lookup: {entity: item}}
`

// sync runs the integration of a plan in this process.
// syncSoon gives PostgreSQL a moment to notice that the process before has
// died; far less than the time of a lease.
func (p crashPlan) syncSoon(hook func(string)) (syncer.Result, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		res, err := p.sync(context.Background(), hook)
		if err != nil || res.State != syncer.Skipped || time.Now().After(deadline) {
			return res, err
		}
	}
}

func (p crashPlan) sync(ctx context.Context, hook func(string)) (syncer.Result, error) {
	s, err := store.Open(ctx, p.DSN, &store.Options{LeaseTTL: p.TTL})
	if err != nil {
		return syncer.Result{}, err
	}
	defer s.Close()
	return p.syncer(s, hook).Run(ctx, syncer.Request{Integration: "crash", Full: p.Full, ResetLocal: p.Reset, Confirm: agree})
}

func (p crashPlan) syncer(s *store.Store, hook func(string)) *syncer.Syncer {
	return syncer.New(syncer.Options{
		Store: s,
		Connect: func(_ context.Context, name, integration string) (*connectors.Conn, error) {
			block, consumer := p.localBlock(), integration
			if name == "source" && p.URL != "" {
				return p.service()
			}
			if name == "source" {
				consumer = ""
				block = fmt.Sprintf(`{"dsn": %q, "entities": {"item": {"capture": "version", "version": {"column": "rank", "window": 3},
					"deleted": {"column": "gone", "value": 1}}}}`, "sqlite:"+p.Source)
			}
			d, err := sqltable.Kind().New(json.RawMessage(block), connectors.Env{Name: name, Consumer: consumer, Store: s})
			return connectors.New(d, &connectors.Options{PageSize: 7, ReadAhead: -1}), err
		},
		OwnDatabase: func(name string) bool { return name == "local" && p.Target == "" },
		Limits:      syncer.Limits{CommitRows: 14},
		Hook:        hook,
		// A request of a process that died has arrived, or never will.
		LostReplyWait: time.Millisecond,
	})
}

// localBlock is the config of the local side.
func (p crashPlan) localBlock() string {
	if p.Target == "" {
		return `{"dsn": "kedge"}`
	}
	return fmt.Sprintf(`{"dsn": %q, "entities": {"item": {"create": true}, "task": {"create": true}}}`, "sqlite:"+p.Target)
}

// A crashSite is a source with rows, and kedge's database.
type crashSite struct {
	t *testing.T
	crashPlan
	source *sql.DB
	rank   int
}

// crashRows is enough for several transactions of several pages.
const crashRows = 60

func newCrashSite(t *testing.T, dsn string, foreign bool) *crashSite {
	t.Helper()
	dir := t.TempDir()
	site := &crashSite{t: t, crashPlan: crashPlan{DSN: dsn, Source: filepath.Join(dir, "source.db")}}
	if foreign {
		site.Target = filepath.Join(dir, "target.db")
		site.check(os.WriteFile(site.Target, nil, 0o600)) // an empty SQLite database
	}
	var err error
	site.source, err = sql.Open("sqlite", site.Source)
	site.check(err)
	t.Cleanup(func() { site.source.Close() })
	site.edit("CREATE TABLE item (id text NOT NULL PRIMARY KEY, name text, rank integer, boss text, gone integer NOT NULL DEFAULT 0)")
	for i := range crashRows {
		site.upsert(i, "first")
	}
	site.setUp(crashMapping)
	return site
}

func (c *crashSite) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *crashSite) edit(query string, args ...any) {
	c.t.Helper()
	_, err := c.source.ExecContext(c.t.Context(), query, args...)
	c.check(err)
}

// upsert writes row i with the next rank; its boss comes after it.
func (c *crashSite) upsert(i int, name string) {
	c.t.Helper()
	c.rank++
	c.edit("INSERT INTO item (id, name, rank, boss) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, rank = excluded.rank, boss = excluded.boss, gone = 0",
		fmt.Sprintf("r%03d", i), name, c.rank, fmt.Sprintf("r%03d", (i+17)%crashRows))
}

// setUp makes kedge's tables, the integration and the local table.
func (c *crashSite) setUp(yaml string) {
	c.t.Helper()
	ctx := c.t.Context()
	s := storetest.Open(c.t, c.DSN, append(syncer.Migrations(), sqltable.Migrations()...)...)
	sy := c.syncer(s, nil)
	_, err := sy.Save(ctx, syncer.Integration{Name: "crash", External: "source", Local: "local", YAML: yaml, Author: "test"})
	c.check(err)
	ext, err := sy.SchemaOf(ctx, "source", "crash")
	c.check(err)
	m, err := mapping.Parse("test", []byte(yaml))
	c.check(err)
	d, err := sqltable.Kind().New(json.RawMessage(c.localBlock()), connectors.Env{Name: "local", Store: s})
	c.check(err)
	editor := d.(connectors.SchemaEditor)
	steps, err := editor.PlanSchema(ctx, mapping.Tables(m, ext))
	c.check(err)
	c.check(editor.ApplySchema(ctx, steps))
	c.check(d.(io.Closer).Close())
}

// equal checks that the local table is what the source is, and that a further
// run has nothing to do.
func (c *crashSite) equal() {
	c.t.Helper()
	c.check(c.crashPlan.clean().start(c.t))
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
	if diff := cmp.Diff(c.sourceRows(), c.localRows(s)); diff != "" {
		c.t.Fatalf("local rows differ from the source (-want +got):\n%s", diff)
	}
	res, err := c.syncer(s, nil).Run(c.t.Context(), syncer.Request{Integration: "crash", Full: true})
	c.check(err)
	if n := res.Counts(syncer.Download); n.Created+n.Changed+n.Deleted+n.Failed() != 0 || res.State != syncer.Succeeded {
		c.t.Errorf("a further full read still had work: %+v", n)
	}
}

// clean is the plan without its crash.
func (p crashPlan) clean() crashPlan {
	p.Point, p.Nth, p.Stop, p.Full, p.TTL, p.Reset = "", 0, false, false, 0, false
	return p
}

// sourceRows are the rows that are not marked as gone. A boss that is gone
// does not count, for it depends on the order of events whether its key is
// still there.
func (c *crashSite) sourceRows() []string {
	c.t.Helper()
	return scanRows(c.t, c.source, "SELECT i.id, i.name, i.rank, b.id FROM item AS i LEFT JOIN item AS b ON b.id = i.boss AND b.gone = 0 WHERE i.gone = 0 ORDER BY 1")
}

func (c *crashSite) localRows(s *store.Store) []string {
	c.t.Helper()
	const query = "SELECT i.id, i.name, i.rank, b.id FROM item AS i LEFT JOIN item AS b ON b.id = i.boss ORDER BY 1"
	if c.Target == "" {
		return scanRows(c.t, s.DB().DB, query)
	}
	db, err := sql.Open("sqlite", c.Target)
	c.check(err)
	defer db.Close()
	return scanRows(c.t, db, query)
}

func scanRows(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id, name string
		var rank int
		var boss sql.NullString
		if err := rows.Scan(&id, &name, &rank, &boss); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(id, " ", name, " ", rank, " ", boss.String))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// eachCrash runs a test on both databases.
func eachCrash(t *testing.T, foreign bool, test func(t *testing.T, c *crashSite)) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) { test(t, newCrashSite(t, dsn, foreign)) })
}

// everyPassing kills a run at the first passing of point, then at the second,
// and so on until a run survives. After each death prepare makes new work.
func (c *crashSite) everyPassing(point string, full bool, prepare func(round int)) {
	c.t.Helper()
	deaths := 0
	for nth := 1; nth < 100; nth++ {
		prepare(nth)
		p := c.crashPlan
		p.Point, p.Nth, p.Full = point, nth, full
		err := p.start(c.t)
		if err == nil {
			if deaths == 0 {
				c.t.Fatalf("no run passed %s", point)
			}
			c.equal()
			return
		}
		if !errors.Is(err, errDied) {
			c.t.Fatal(err)
		}
		deaths++
		if full && nth == 1 {
			// Nothing of the full read was stored, so it has to be asked for again.
			again := c.crashPlan
			again.Full = true
			c.check(again.start(c.t))
		}
		c.equal()
	}
	c.t.Fatal("runs die for ever")
}

// churn changes a third of the rows, and deletes and restores some.
func (c *crashSite) churn(round int) {
	c.t.Helper()
	for i := round % 3; i < crashRows; i += 3 {
		c.upsert(i, "round"+strconv.Itoa(round))
	}
	c.rank++
	c.edit("UPDATE item SET gone = 1, rank = ? WHERE id LIKE ?", c.rank, "r0"+strconv.Itoa(round%6)+"%")
}
