package storetest

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
)

// A template is a database with the tables of some migrations, which is copied
// for each test: that takes a fraction of the time of making the tables.
type template struct {
	migrations []store.Migration
	name       string

	mu    sync.Mutex
	bytes []byte // of SQLite's file, once it is made
	made  bool   // in PostgreSQL
}

// templates are those of this process, by what their migrations say.
var templates struct {
	sync.Mutex
	all map[string]*template
}

func templateOf(migrations []store.Migration) *template {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", migrations))
	name := "kedge_template_" + hex.EncodeToString(sum[:8])
	templates.Lock()
	defer templates.Unlock()
	if templates.all[name] == nil {
		if templates.all == nil {
			templates.all = map[string]*template{}
		}
		templates.all[name] = &template{migrations: migrations, name: name}
	}
	return templates.all[name]
}

// file returns SQLite's file.
func (tp *template) file(t testing.TB) []byte {
	t.Helper()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.bytes != nil {
		return tp.bytes
	}
	dsn := SQLiteDSN(t)
	tp.fill(t, dsn)
	var err error
	if tp.bytes, err = os.ReadFile(strings.TrimPrefix(dsn, "sqlite:")); err != nil {
		t.Fatal(err)
	}
	return tp.bytes
}

// database returns the name of PostgreSQL's database.
func (tp *template) database(t testing.TB) string {
	t.Helper()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.made {
		return tp.name
	}
	dsn, err := server()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("pg", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := create(t.Context(), admin, tp.name, ""); err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + tp.name
	tp.fill(t, u.String())
	tp.made = true
	return tp.name
}

// fill makes the tables, and leaves no connection.
func (tp *template) fill(t testing.TB, dsn string) {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, &store.Options{Keys: Keys(t)})
	if err != nil {
		t.Fatal(err)
	}
	migrate(t, s, tp.migrations)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
