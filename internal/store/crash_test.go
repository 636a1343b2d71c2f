package store_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// holdLease takes a lease, says so and waits to be killed.
func holdLease(ctx context.Context, s *store.Store) error {
	l, err := s.Acquire(ctx, "run", fmt.Sprint("process ", os.Getpid()))
	if err != nil {
		return err
	}
	fmt.Println(l.Fence)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A restart after a crash must not wait for the lease to expire.
func TestTakeOverFromKilledHolder(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn)
		holder := start(t, "hold", dsn)
		fence, err := strconv.ParseInt(holder.line(t), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Acquire(t.Context(), "run", "me")
		wantKind(t, "holder lives", err, kedge.Conflict)
		if err != nil && !strings.Contains(err.Error(), fmt.Sprint("held by process ", holder.Process.Pid)) {
			t.Errorf("conflict does not name the holder: %v", err)
		}
		holder.kill()
		l := acquireSoon(t, s, "run", "me")
		if l.Fence <= fence {
			t.Errorf("fence %d follows %d, want a greater one", l.Fence, fence)
		}
	})
}

// acquireSoon gives the server a moment to notice that a connection is gone;
// far less than the time of a lease.
func acquireSoon(t *testing.T, s *store.Store, name, holder string) *store.Lease {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		l, err := s.Acquire(t.Context(), name, holder)
		if err == nil {
			return l
		}
		if kedge.KindOf(err) != kedge.Conflict || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A holder that dies inside a page's transaction leaves the lease's row locked
// until the server notices.
func TestTakeOverFromWriterKilledInPage(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn, things)
		writer := start(t, "write", dsn)
		writer.line(t)
		writer.kill()
		l := acquireSoon(t, s, "run", "me")
		if err := checkFence(t.Context(), s, l); err != nil {
			t.Error(err)
		}
	})
}

const pageRows = 500

// writePages writes pages of 500 rows under a fence, and says after each commit
// how many there are.
func writePages(ctx context.Context, s *store.Store) error {
	l, err := s.Acquire(ctx, "run", "writer")
	if err != nil {
		return err
	}
	for page := 0; ; page++ {
		err := s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			if err := s.CheckFence(ctx, tx, l); err != nil {
				return err
			}
			return insertPage(ctx, tx, page)
		})
		if err != nil {
			return err
		}
		fmt.Println(page + 1)
	}
}

// What was committed is there after SIGKILL, and no part of a page is.
func TestKilledWriterLosesNothing(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn, things)
		pages := 0
		for round := range 3 {
			if _, err := s.DB().ExecContext(t.Context(), "DELETE FROM thing"); err != nil {
				t.Fatal(err)
			}
			writer := start(t, "write", dsn)
			for range 2 + 2*round {
				var err error
				if pages, err = strconv.Atoi(writer.line(t)); err != nil {
					t.Fatal(err)
				}
			}
			writer.kill()
			acquired := acquireSoon(t, s, "run", "me") // waits for the last transaction of the dead
			if err := s.Release(t.Context(), acquired); err != nil {
				t.Fatal(err)
			}
			if got := count(t, s); got < pages*pageRows || got%pageRows != 0 {
				t.Errorf("%d rows after %d pages of %d were reported", got, pages, pageRows)
			}
		}
	})
}

func manyMigrations() []store.Migration {
	list := store.Migrations()
	for i := range 10 {
		name := fmt.Sprintf("20261122_%02d_test", i)
		list = append(list, store.Migration{Name: name, SQLite: fmt.Sprintf("CREATE TABLE t%d (id INTEGER PRIMARY KEY); INSERT INTO t%d VALUES (1);", i, i)})
	}
	return list
}

// migrateAll waits for the end of its input, migrates and says what it applied.
func migrateAll(ctx context.Context, s *store.Store) error {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	done, err := s.Migrate(ctx, manyMigrations())
	fmt.Println(strings.Join(done, " "))
	return err
}

// Replicas start together and migrate together: four stores of this process,
// which meet more closely, and two other processes.
func TestMigrateAtOnce(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		procs := []*child{start(t, "migrate", dsn), start(t, "migrate", dsn)}
		for _, p := range procs {
			if got := p.line(t); got != "ready" {
				t.Fatalf("child says %q", got)
			}
		}
		applied := make(chan []string, 4)
		for range cap(applied) {
			s := second(t, dsn)
			go func() {
				names, err := s.Migrate(t.Context(), manyMigrations())
				if err != nil {
					t.Error(err)
				}
				applied <- names
			}()
		}
		var got, want []string
		for _, p := range procs {
			if err := p.begin(); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range procs {
			got = append(got, strings.Fields(p.line(t))...)
		}
		for range cap(applied) {
			got = append(got, <-applied...)
		}
		for _, m := range manyMigrations() {
			want = append(want, m.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("applied %q, want each of %q once", got, want)
		}
	})
}

// The lock files of holders that crashed long ago do not pile up.
func TestLockFilesAreSwept(t *testing.T) {
	dsn := storetest.SQLiteDSN(t)
	path := strings.TrimPrefix(dsn, "sqlite:")
	locks := func() int {
		names, err := filepath.Glob(path + ".lock-*")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	s := storetest.Open(t, dsn)
	for range 3 {
		holder := start(t, "hold", dsn)
		holder.line(t)
		holder.kill()
	}
	acquire(t, s, "other", "me")
	if got := locks(); got != 1 {
		t.Errorf("%d lock files after a new holder came, want its own", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := locks(); got != 0 {
		t.Errorf("%d lock files after Close, want none", got)
	}
}

// The same as TestSingleWriteDuringFullSync, between processes: an operator's
// command while a server syncs.
func TestSingleWriteDuringOtherProcess(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn, things)
		writer := start(t, "write", dsn)
		writer.line(t)
		var pages atomic.Int64
		go func() {
			for {
				if _, err := writer.out.ReadString('\n'); err != nil {
					return
				}
				pages.Add(1)
			}
		}()
		writeBetween(t, s, &pages)
	})
}
