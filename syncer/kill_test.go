package syncer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// TestKillIncremental kills incremental runs at each point they pass.
func TestKillIncremental(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	return append(c.localRows(s), c.kept(s)...)
}

// kept is what is remembered of all rows.
func (c *crashSite) kept(s *store.Store) (out []string) {
	c.t.Helper()
	for _, table := range []string{"integration_syncanchor", "integration_hashlog", "integration_pendingref", "integration_entity"} {
		out = append(out, c.dump(s, table)...)
	}
	return out
}

func (c *crashSite) dump(s *store.Store, table string) (out []string) {
	c.t.Helper()
	rows, err := s.DB().QueryContext(c.t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
	c.check(err)
	defer rows.Close()
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
	slices.Sort(out)
	return out
}
