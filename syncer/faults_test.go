package syncer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// faulty lets something happen at the nth passing of a point of the next run.
func (w *world) faulty(point string, nth int, happen func()) {
	passed := 0
	w.opts.Hook = func(at string) {
		if at != point {
			return
		}
		if passed++; passed == nth {
			happen()
		}
	}
	w.syncer = syncer.New(w.opts)
}

// agrees checks that the rows which the numbers of a run tell of are there.
func (w *world) agrees(rows int, e syncer.EntityResult) {
	w.t.Helper()
	if n := len(w.rows("customer", "name")); int64(n) != int64(rows)+e.Created-e.Deleted {
		w.t.Errorf("%d rows are here, want %d: there were %d, and the run counts %+v", n, int64(rows)+e.Created-e.Deleted, rows, e.Counts)
	}
}

// pageLimit bounds the pages of the database for the transactions of a run, 0
// for no bound.
func (w *world) pageLimit(more int) {
	w.t.Helper()
	w.check(w.store.InTx(w.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		limit := 1 << 30
		if more > 0 {
			if err := tx.QueryRowContext(ctx, "PRAGMA page_count").Scan(&limit); err != nil {
				return err
			}
			limit += more
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", limit))
		return err
	}))
}

// TestFullDisk fills the disk in the middle of a run: with room for nothing, and
// with room for some pages more, so that it becomes full at another place.
func TestFullDisk(t *testing.T) {
	for name, yaml := range mappings {
		for _, room := range []int{1, 2, 3, 5, 8} {
			t.Run(fmt.Sprint(name, ", ", room, " pages of room"), func(t *testing.T) {
				w := newWorld(t, storetest.SQLite(t, syncer.Migrations()...), yaml)
				w.smallPages(50)
				rows := make([]string, 400)
				for i := range rows {
					rows[i] = fmt.Sprintf("C%04d %s %d", i, strings.Repeat("x", 200), i)
				}
				w.put(rows...)
				w.faulty("p1", 3, func() { w.pageLimit(room) })
				res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm"})
				if len(res.Entities) != 1 || res.State != syncer.Failed {
					t.Fatalf("state %s, %v, %+v, want failed", res.State, err, res.Entities)
				}
				e := res.Entities[0]
				if e.Kind != kedge.Transient.String() || !strings.HasPrefix(e.Error, "the database has no room left; ") || e.Failed() != 0 {
					t.Errorf("%+v, want a failure that says that the disk is full, and no record that is to blame", e)
				}
				w.agrees(0, e)
				w.pageLimit(0)
				w.faulty("", 0, nil)
				w.line(w.run(syncer.Request{}), fmt.Sprintf("all %d new %d updated 0 failed 0", 400-e.Created, 400-e.Created))
				w.table(rows...)
				w.same("quarantine", w.quarantined())
			})
		}
	}
}

// disconnect ends all connections to the database but the one it uses.
func (w *world) disconnect() {
	w.t.Helper()
	w.exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

// TestLostConnection cuts all connections to PostgreSQL at each point of runs
// that create, change and delete.
func TestLostConnection(t *testing.T) {
	for name, yaml := range mappings {
		for _, point := range []string{"p1", "p2", "p3", "p5", "p6", "p11"} {
			for _, full := range []bool{false, true} {
				if point == "p6" && !full {
					continue
				}
				t.Run(fmt.Sprint(name, " ", point, " full ", full), func(t *testing.T) {
					t.Parallel() // they wait for the server
					w := newWorld(t, storetest.Postgres(t, syncer.Migrations()...), ruled(yaml, "maxRows: 100"))
					w.smallPages(4)
					rows := w.many(20)
					w.sync("all 20 new 20 updated 0 failed 0")
					w.deleteFirst(5)
					for i := 5; i < 10; i++ {
						rows[i] = fmt.Sprintf("C%04d Anna %d", i, i)
					}
					rows = append(rows[5:], "D0001 Dan 1", "D0002 Dan 2", "D0003 Dan 3")
					w.put(rows...)
					hit := false
					w.faulty(point, 1, func() { hit = true; w.disconnect() })
					res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm", Full: full})
					if !hit {
						t.Fatalf("the run never came to %s", point)
					}
					if res.State == syncer.Stopped || res.State == syncer.Partial {
						t.Errorf("state %s, %v, %+v, want failed or succeeded", res.State, err, res.Entities)
					}
					w.faulty("", 0, nil)
					if res := w.run(syncer.Request{}); res.State != syncer.Succeeded {
						t.Errorf("next run: %s, %+v, want succeeded", res.State, res.Entities)
					}
					w.table(rows...)
					w.same("quarantine", w.quarantined())
					res = w.run(syncer.Request{Full: true})
					w.line(res, "all 18 new 0 updated 18 failed 0")
					if n := res.Entities[0].Unchanged; n != 18 {
						t.Errorf("%d unchanged, want 18", n)
					}
				})
			}
		}
	}
}

// refuse makes PostgreSQL say that its disk is full whenever a row of a table
// is written, until the function that it returns is called.
func (w *world) refuse(table string) (end func()) {
	w.t.Helper()
	w.exec("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$")
	w.exec("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION full_disk()")
	return func() { w.exec("DROP FUNCTION full_disk CASCADE") }
}

// TestFullDiskOfPostgres: no record is to blame for it.
func TestFullDiskOfPostgres(t *testing.T) {
	story := func(t *testing.T, w *world, table string) {
		w.smallPages(4)
		rows := w.many(20)
		var end func()
		w.faulty("p1", 3, func() { end = w.refuse(table) })
		res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm"})
		if len(res.Entities) != 1 || res.State != syncer.Failed {
			t.Fatalf("state %s, %v, %+v, want failed", res.State, err, res.Entities)
		}
		e := res.Entities[0]
		if e.Kind != kedge.Transient.String() || !strings.HasPrefix(e.Error, "the database has no room left; ") || e.Created != 8 || e.Failed() != 0 {
			t.Errorf("%+v, want 8 created, and a failure that says that the disk is full", e)
		}
		w.agrees(0, e)
		end()
		w.faulty("", 0, nil)
		w.line(w.run(syncer.Request{}), "all 12 new 12 updated 0 failed 0")
		w.table(rows...)
		w.same("quarantine", w.quarantined())
	}
	for name, yaml := range mappings {
		for _, table := range []string{"customer", "integration_hashlog", "integration_syncanchor"} {
			t.Run(name+" "+table, func(t *testing.T) {
				story(t, newWorld(t, storetest.Postgres(t, syncer.Migrations()...), yaml), table)
			})
		}
		t.Run(name+" in another database", func(t *testing.T) {
			dsn := storetest.PostgresDSN(t)
			story(t, foreignWorld(t, storetest.SQLite(t, syncer.Migrations()...), storetest.Open(t, dsn), dsn, yaml), "customer")
		})
	}
}

// TestLostConnectionToTheLocalSide is the same for rows in a database that is
// not kedge's own: rows may be written when what is known of them is not.
func TestLostConnectionToTheLocalSide(t *testing.T) {
	for name, yaml := range mappings {
		for _, point := range []string{"p1", "p4", "p5"} {
			t.Run(name+" "+point, func(t *testing.T) {
				t.Parallel()
				dsn := storetest.PostgresDSN(t)
				w := foreignWorld(t, storetest.SQLite(t, syncer.Migrations()...), storetest.Open(t, dsn), dsn, ruled(yaml, "maxRows: 100"))
				w.smallPages(4)
				rows := w.many(20)
				for nth := 1; nth <= 3; nth++ {
					w.faulty(point, nth, w.disconnect)
					if res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm"}); res.State == syncer.Stopped || res.State == syncer.Partial {
						t.Errorf("state %s, %v, %+v, want failed or succeeded", res.State, err, res.Entities)
					}
					w.put(fmt.Sprintf("C%04d Anna 1", nth))
					rows[nth] = fmt.Sprintf("C%04d Anna 1", nth)
				}
				w.delete("C0000")
				w.faulty("", 0, nil)
				if res := w.run(syncer.Request{}); res.State != syncer.Succeeded {
					t.Errorf("next run: %s, %+v, want succeeded", res.State, res.Entities)
				}
				w.table(rows[1:]...)
				w.same("quarantine", w.quarantined())
			})
		}
	}
}
