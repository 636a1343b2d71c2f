//go:build e2e

package e2e

import (
	"database/sql"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kedgeBinary is the program under test.
var kedgeBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kedge-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	kedgeBinary = filepath.Join(dir, "kedge")
	build := exec.Command("go", "build", "-o", kedgeBinary, "../cmd/kedge")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return 1
	}
	return m.Run()
}

// shops are the foreign servers, and what kedge finds out about each.
var shops = []shop{
	{
		script: "simple-odata-server.js", set: "customers", key: "_id", quote: "'",
		// Its $batch ends the whole server: it takes the body for JSON.
		options: "batch: none",
		// Asked for a record that is gone it answers 200 and no record, which
		// kedge takes for neither here nor gone: it goes to quarantine.
		vague:   true,
		columns: map[string]string{"_id": "id", "Name": "name", "City": "city", "Credit": "credit", "Blocked": "blocked"},
		found:   []string{"version: OData 4.0", "paging yes keyset", "tracking yes full", "filter yes pushed", "etag no none"},
		keys:    [4]string{"C002", "C003", "C100", "C101"},
		edit:    map[string]any{"Name": "Edited there", "City": nil, "Credit": -5, "Blocked": true},
		local:   map[string]any{"name": "Edited here: Ünï'cödé", "city": nil, "credit": 2147483647, "blocked": false},
	},
	{
		script: "fe-mockserver.js", set: "Products", key: "ID",
		columns: map[string]string{"ID": "id", "Name": "name", "Price": "price", "Stock": "stock"},
		found:   []string{"version: OData 4.0", "paging yes keyset", "tracking yes full", "filter yes pushed", "batch yes multipart"},
		keys:    [4]string{"2", "3", "100", "101"},
		edit:    map[string]any{"Name": "Edited there", "Price": "17.05", "Stock": nil},
		local:   map[string]any{"name": "Edited here: Ünï'cödé", "price": "9999999999999.99", "stock": 0},
	},
}

// TestServers syncs with foreign servers in both directions: after each step
// the rows of both sides are the same.
func TestServers(t *testing.T) {
	for _, s := range shops {
		t.Run(s.script, func(t *testing.T) {
			t.Parallel()
			s.T = t
			s.start()
			s.site()

			out := strings.Join(strings.Fields(s.kedge("connections", "test", "shop")), " ")
			for _, want := range s.found {
				if !strings.Contains(out, want) {
					t.Errorf("connections test does not say %q: %s", want, out)
				}
			}
			if !s.vague { // else it cannot prove that the record is deleted
				out := strings.Join(strings.Fields(s.kedge("connections", "test", "shop", "--write", "--entity", s.set)), " ")
				for _, want := range []string{"insert yes done", "update yes done", "delete yes done"} {
					if !strings.Contains(out, want) {
						t.Errorf("connections test --write does not say %q: %s", want, out)
					}
				}
			}
			s.kedge("map", "tables", "shop", "--yes")
			s.kedge("sync", "shop")
			s.same(25)

			s.editThere()
			s.kedge("sync", "shop")
			rows := 25 // one more, one less
			if s.vague {
				rows++
			}
			s.same(rows)

			s.editHere()
			s.kedge("sync", "shop")
			if out := s.kedge("transactions", "list"); strings.Count(out, " applied ") != 3 {
				t.Errorf("transactions are not three applied ones:\n%s", out)
			}
			s.same(rows)
			s.kedge("sync", "shop")
			s.same(rows)

			if s.vague {
				s.request(http.MethodDelete, s.keys[1], nil)
				s.quarantines("sync", "shop")
				if out := s.kedge("quarantine", "list", "shop"); !strings.Contains(out, s.keys[1]) || strings.Count(out, "customers") != 1 {
					t.Errorf("quarantine does not hold just %s:\n%s", s.keys[1], out)
				}
				if _, ok := s.here()[s.keys[1]]; !ok {
					t.Errorf("%s was deleted, though the server does not say it is gone", s.keys[1])
				}
			}
		})
	}
}

// editThere changes, adds and deletes a record of the server.
func (s *shop) editThere() {
	s.request(http.MethodPatch, s.keys[0], s.edit)
	added := maps.Clone(s.edit)
	added[s.key] = s.literal(s.keys[2])
	s.request(http.MethodPost, "", added)
	if !s.vague {
		s.request(http.MethodDelete, s.keys[1], nil)
	}
}

// editHere changes, adds and deletes local rows: what it changes and deletes
// are those that the server changed and added before.
func (s *shop) editHere() {
	s.Helper()
	var names, marks, sets []string
	var values []any
	for name, v := range s.local {
		names, marks, sets, values = append(names, name), append(marks, "?"), append(sets, name+" = ?"), append(values, v)
	}
	db := s.open()
	defer db.Close()
	for _, do := range []struct{ statement, key string }{
		{"UPDATE " + table + " SET " + strings.Join(sets, ", ") + " WHERE id = ?", s.keys[0]},
		{"INSERT INTO " + table + " (" + strings.Join(names, ", ") + ", id) VALUES (" + strings.Join(marks, ", ") + ", ?)", s.keys[3]},
	} {
		s.exec(db, do.statement, append(values, s.literal(do.key))...)
	}
	s.exec(db, "DELETE FROM "+table+" WHERE id = ?", s.literal(s.keys[2]))
}

func (s *shop) exec(db *sql.DB, statement string, args ...any) {
	s.Helper()
	res, err := db.Exec(statement, args...)
	if err != nil {
		s.Fatalf("%s: %v", statement, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		s.Fatalf("%s: %d rows, want 1 (%v)", statement, n, err)
	}
}
