package syncer_test

import (
	"bytes"
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
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
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
	Point  string // where to die, or to stop
	Nth    int    // at which passing of the point
	Stop   bool   // stop (SIGSTOP) instead of dying; a line on standard output comes before
	TTL    time.Duration
	Full   bool
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
	return p.syncer(s, hook).Run(ctx, syncer.Request{Integration: "crash", Full: p.Full})
}

func (p crashPlan) syncer(s *store.Store, hook func(string)) *syncer.Syncer {
	return syncer.New(syncer.Options{
		Store: s,
		Connect: func(_ context.Context, name, _ string) (*connectors.Conn, error) {
			block := p.localBlock()
			if name == "source" {
				block = fmt.Sprintf(`{"dsn": %q, "entities": {"item": {"capture": "version", "version": {"column": "rank", "window": 3},
					"deleted": {"column": "gone", "value": 1}}}}`, "sqlite:"+p.Source)
			}
			d, err := sqltable.Kind().New(json.RawMessage(block), connectors.Env{Name: name, Store: s})
			return connectors.New(d, &connectors.Options{PageSize: 7, ReadAhead: -1}), err
		},
		OwnDatabase: func(name string) bool { return name == "local" && p.Target == "" },
		Limits:      syncer.Limits{CommitRows: 14},
		Hook:        hook,
	})
}

// localBlock is the config of the local side.
func (p crashPlan) localBlock() string {
	if p.Target == "" {
		return `{"dsn": "kedge"}`
	}
	return fmt.Sprintf(`{"dsn": %q, "entities": {"item": {"create": true}}}`, "sqlite:"+p.Target)
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
	site.setUp()
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
func (c *crashSite) setUp() {
	c.t.Helper()
	ctx := c.t.Context()
	s := storetest.Open(c.t, c.DSN, syncer.Migrations()...)
	sy := c.syncer(s, nil)
	_, err := sy.Save(ctx, syncer.Integration{Name: "crash", External: "source", Local: "local", YAML: crashMapping, Author: "test"})
	c.check(err)
	ext, err := sy.SchemaOf(ctx, "source", "crash")
	c.check(err)
	m, err := mapping.Parse("test", []byte(crashMapping))
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
	p.Point, p.Nth, p.Stop, p.Full, p.TTL = "", 0, false, false, 0
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

// TestKillIncremental kills incremental runs at each point they pass.
func TestKillIncremental(t *testing.T) {
	for _, point := range []string{"p1", "p2", "p3", "p5", "p11"} {
		t.Run(point, func(t *testing.T) {
			eachCrash(t, false, func(t *testing.T, c *crashSite) {
				c.equal()
				c.everyPassing(point, false, c.churn)
			})
		})
	}
}

// TestKillFull kills full reads, which sweep: rows vanish without a trace.
func TestKillFull(t *testing.T) {
	for _, point := range []string{"p1", "p2", "p3", "p5", "p6", "p11"} {
		t.Run(point, func(t *testing.T) {
			eachCrash(t, false, func(t *testing.T, c *crashSite) {
				c.equal()
				c.everyPassing(point, true, func(round int) {
					c.churn(round)
					c.edit("DELETE FROM item WHERE id LIKE ?", "r0"+strconv.Itoa((round+3)%6)+"%")
				})
			})
		})
	}
}

// TestKillFirstRead kills the very first read, page by page.
func TestKillFirstRead(t *testing.T) {
	for _, point := range []string{"p1", "p2", "p3", "p5", "p6"} {
		t.Run(point, func(t *testing.T) {
			eachCrash(t, false, func(t *testing.T, c *crashSite) {
				for nth := 1; ; nth++ {
					p := c.crashPlan
					p.Point, p.Nth = point, nth
					// Without a clean run in between: each death leaves a first read that is further on.
					if err := p.start(t); err == nil {
						break
					} else if !errors.Is(err, errDied) {
						t.Fatal(err)
					}
					c.upsert(nth, "meanwhile")
				}
				c.equal()
			})
		})
	}
}

// TestKillBetweenTwoDatabases kills runs whose local side is not in kedge's
// database: rows are written, and what is known about them is not.
func TestKillBetweenTwoDatabases(t *testing.T) {
	for _, point := range []string{"p2", "p3", "p4"} {
		t.Run(point, func(t *testing.T) {
			eachCrash(t, true, func(t *testing.T, c *crashSite) {
				c.equal()
				c.everyPassing(point, false, c.churn)
			})
		})
	}
}

// TestKilledRunIsTold by the run after it.
func TestKilledRunIsTold(t *testing.T) {
	eachCrash(t, false, func(t *testing.T, c *crashSite) {
		p := c.crashPlan
		p.Point, p.Nth = "p5", 1
		if err := p.start(t); !errors.Is(err, errDied) {
			t.Fatalf("the child ended with %v", err)
		}
		c.equal()
		s, err := store.Open(t.Context(), c.DSN, nil)
		c.check(err)
		defer s.Close()
		runs, err := c.syncer(s, nil).Runs(t.Context(), "crash", 10)
		c.check(err)
		rows, err := c.syncer(s, nil).Log(t.Context(), syncer.LogQuery{Run: runs[len(runs)-1].ID})
		if err != nil || len(rows) != 1 || rows[0].Code != "killed" || rows[0].Status != string(syncer.Failed) {
			t.Errorf("log of the killed run: %+v, %v, want one row that says so", rows, err)
		}
		if last := runs[len(runs)-1]; last.State != syncer.Failed || last.FinishedAt == nil {
			t.Errorf("killed run: %+v, want failed", last)
		}
	})
}

// TestTornLog cuts SQLite's write-ahead log of a killed run at many bytes:
// what is left is a state in which rows and position agree.
func TestTornLog(t *testing.T) {
	dir := t.TempDir()
	c := newCrashSite(t, "sqlite:"+filepath.Join(dir, "kedge.db"), false)
	p := c.crashPlan
	p.Point, p.Nth = "p5", 3
	if err := p.start(t); !errors.Is(err, errDied) {
		t.Fatalf("the child ended with %v", err)
	}
	db, err := os.ReadFile(filepath.Join(dir, "kedge.db"))
	c.check(err)
	wal, err := os.ReadFile(filepath.Join(dir, "kedge.db-wal"))
	c.check(err)
	if len(wal) < 10_000 {
		t.Fatalf("the log has only %d bytes", len(wal))
	}
	for i := range 24 {
		cut := len(wal) * i / 24
		torn := t.TempDir()
		c.check(os.WriteFile(filepath.Join(torn, "kedge.db"), db, 0o600))
		c.check(os.WriteFile(filepath.Join(torn, "kedge.db-wal"), wal[:cut+i%7], 0o600))
		c.DSN = "sqlite:" + filepath.Join(torn, "kedge.db")
		if !c.survives() {
			continue // cut before the tables were made: a new database
		}
		c.equal()
	}
}

// survives tells whether the database still has the integration and its table.
func (c *crashSite) survives() bool {
	c.t.Helper()
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
	if _, err = c.syncer(s, nil).Mapping(c.t.Context(), "crash"); err != nil {
		return false
	}
	_, err = s.DB().ExecContext(c.t.Context(), "SELECT 1 FROM item")
	return err == nil
}

// TestPausedHolder stops a process in the middle of a run until its lease has
// run out and another has taken over. When it goes on, it must write nothing.
func TestPausedHolder(t *testing.T) {
	eachCrash(t, false, func(t *testing.T, c *crashSite) {
		p := c.crashPlan
		p.Point, p.Nth, p.Stop, p.TTL = "p1", 2, true, time.Second
		cmd := p.command(t)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		c.check(err)
		c.check(cmd.Start())
		buf := make([]byte, len("stopped\n"))
		if _, err := io.ReadFull(stdout, buf); err != nil {
			t.Fatalf("the child did not come to the point: %v: %s", err, stderr.String())
		}
		c.takeOver()
		s, err := store.Open(t.Context(), c.DSN, nil)
		c.check(err)
		before := c.state(s)
		c.check(cmd.Process.Signal(syscall.SIGCONT))
		if err := cmd.Wait(); err == nil {
			t.Error("the paused run ended well")
		}
		if diff := cmp.Diff(before, c.state(s)); diff != "" {
			t.Errorf("the paused run wrote something (-before +after):\n%s", diff)
		}
		c.check(s.Close())
		c.equal()
	})
}

// takeOver runs the integration as soon as the lease of the stopped process
// has run out.
func (c *crashSite) takeOver() {
	c.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := c.clean().sync(c.t.Context(), nil)
		if err == nil && res.State == syncer.Succeeded {
			return
		}
		if err != nil && kedge.KindOf(err) != kedge.Transient {
			c.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-c.t.Context().Done():
			c.t.Fatal("the lease never ran out")
		}
	}
}

// state is all that a run writes but for its log.
func (c *crashSite) state(s *store.Store) []string {
	c.t.Helper()
	out := c.localRows(s)
	for _, table := range []string{"integration_syncanchor", "integration_hashlog", "integration_pendingref", "integration_entity"} {
		rows, err := s.DB().QueryContext(c.t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
		c.check(err)
		cols, err := rows.Columns()
		c.check(err)
		for rows.Next() {
			values, ptrs := make([]any, len(cols)), make([]any, len(cols))
			for i := range values {
				ptrs[i] = &values[i]
			}
			c.check(rows.Scan(ptrs...))
			out = append(out, table+strings.TrimSpace(fmt.Sprint(values...)))
		}
		c.check(rows.Err())
		c.check(rows.Close())
	}
	return out
}
