package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

func openFile(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A backup is one moment of the database, while it is written to.
func TestBackupBesideWriter(t *testing.T) {
	dir := t.TempDir()
	s := openFile(t, filepath.Join(dir, "kedge.db"))
	if _, err := s.DB().ExecContext(t.Context(), "CREATE TABLE pair (a INTEGER, b INTEGER)"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	wrote := make(chan struct{}, 1000000)
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			err := s.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO pair VALUES (?, 0)", i)
				if err == nil {
					_, err = tx.ExecContext(ctx, "UPDATE pair SET b = a")
				}
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			wrote <- struct{}{}
		}
	})
	for range 3 {
		<-wrote
	}
	file := filepath.Join(dir, "copy.db")
	size, err := s.Backup(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	for len(wrote) > 0 {
		<-wrote
	}
	<-wrote // the writer goes on
	stop()
	writer.Wait()
	info, err := os.Stat(file)
	if err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v, want %d bytes", info, err, size)
	}
	var rows, torn int
	if err := openFile(t, file).DB().NewSelect().Table("pair").ColumnExpr("count(*), coalesce(sum(a <> b), 0)").Scan(t.Context(), &rows, &torn); err != nil || rows < 3 || torn > 0 {
		t.Errorf("%d rows, %d torn, %v", rows, torn, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.part-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestBackupOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openFile(t, filepath.Join(dir, "kedge.db"))
	file := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), file); kedge.KindOf(err) != kedge.Conflict || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("file %q, %v", text, err)
	}
	if _, err := s.Backup(t.Context(), filepath.Join(dir, "none", "copy.db")); err == nil {
		t.Error("wrote into a folder that there is not")
	}
	failed := errors.New("half")
	if _, err := store.NewFile(filepath.Join(dir, "half"), func(part string) error {
		return errors.Join(os.WriteFile(part, []byte("ha"), 0o600), failed)
	}); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	// Somebody else makes the file while the copy is written.
	if _, err := store.NewFile(filepath.Join(dir, "raced"), func(string) error {
		return os.WriteFile(filepath.Join(dir, "raced"), []byte("mine"), 0o600)
	}); kedge.KindOf(err) != kedge.Conflict {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*half*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
