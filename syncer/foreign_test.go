package syncer_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// eachForeign runs a test with the local tables in another database than
// kedge's own.
func eachForeign(t *testing.T, test func(t *testing.T, w *world)) {
	for name, yaml := range mappings {
		t.Run(name, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) {
				other := storetest.Open(t, dsn)
				own := storetest.SQLite(t, syncer.Migrations()...)
				test(t, foreignWorld(t, own, other, dsn, yaml))
			})
		})
	}
}

// foreignWorld is a world whose helpers look at the other database.
func foreignWorld(t testing.TB, own, other *store.Store, dsn, yaml string) *world {
	w := newWorld(t, own, yaml)
	kind := sqltable.Kind()
	open := func() *connectors.Conn {
		raw, err := json.Marshal(map[string]any{"dsn": dsn, "entities": map[string]any{"customer": map[string]any{"create": true}}})
		w.check(err)
		d, err := kind.New(raw, connectors.Env{Name: "local"})
		w.check(err)
		return connectors.New(d, nil)
	}
	w.opts.OwnDatabase = func(string) bool { return false }
	remote := w.opts.Connect
	w.opts.Connect = func(ctx context.Context, name, integration string) (*connectors.Conn, error) {
		if name == "local" {
			return open(), nil
		}
		return remote(ctx, name, integration)
	}
	w.syncer = syncer.New(w.opts)
	m, err := mapping.Parse("test", []byte(yaml))
	w.check(err)
	ext, err := w.source.Schema(t.Context())
	w.check(err)
	conn := open()
	defer conn.Close()
	editor := conn.Driver().(connectors.SchemaEditor)
	steps, err := editor.PlanSchema(t.Context(), mapping.Tables(m, ext))
	w.check(err)
	w.check(editor.ApplySchema(t.Context(), steps))
	w.store = other
	return w
}

func TestForeignDatabase(t *testing.T) {
	eachForeign(t, func(t *testing.T, w *world) {
		w.insertLocal("C2", "old", "9")
		w.insertLocal("X9", "mine", "7")
		w.put("C1 Ann 1", "C2 Bob 2", "C3 O'Neil 3", "C,4 Dan 4", `C\5 Eve 5`)
		w.sync("all 5 new 4 updated 1 failed 0")
		w.table("C,4 Dan 4", "C1 Ann 1", "C2 Bob 2", "C3 O'Neil 3", `C\5 Eve 5`, "X9 mine 7")
		w.sync("all 0 new 0 updated 0 failed 0")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 5 new 0 updated 5 failed 0")
		w.put("C1 Anna 1")
		w.exec("DELETE FROM customer WHERE name = 'Bob'")
		w.put("C2 Bo 2")
		w.delete("C3")
		w.sync("all 3 new 1 updated 2 failed 0")
		w.table("C,4 Dan 4", "C1 Anna 1", "C2 Bo 2", `C\5 Eve 5`, "X9 mine 7")

		w.source.edit = nil
		w.delete("C1")
		w.check(w.remote.Expire(t.Context(), "customers"))
		w.run(syncer.Request{})
		w.table("C,4 Dan 4", "C2 Bo 2", `C\5 Eve 5`, "X9 mine 7")
		w.same("quarantine", w.quarantined())
	})
}

// TestForeignRefusals: what the other database refuses is put aside.
func TestForeignRefusals(t *testing.T) {
	eachForeign(t, func(t *testing.T, w *world) {
		w.exec("CREATE UNIQUE INDEX one_name ON customer (name)")
		w.put("C1 Ann 1", "C2 Ann 2", "C3 Cid 3")
		w.sync("all 3 new 2 updated 0 failed 1")
		w.same("quarantine", w.quarantined(), "C2 write conflict")
		w.put("C2 Bob 2")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
	})
}

// TestForeignLongKeys: fifty long keys do not fit into one filter.
func TestForeignLongKeys(t *testing.T) {
	eachForeign(t, func(t *testing.T, w *world) {
		var rows []string
		for i := range 60 {
			rows = append(rows, "C"+strings.Repeat("x", 300)+string(rune('A'+i))+" Ann 1")
		}
		w.put(rows...)
		w.sync("all 60 new 60 updated 0 failed 0")
		long := "Y" + strings.Repeat("'", 1500)
		if w.mapping(mappings) == matchedKey {
			w.exec("INSERT INTO customer (id, erp_no, name) VALUES ('own', ?, 'old')", long)
		} else {
			w.exec("INSERT INTO customer (no, name) VALUES (?, 'old')", long)
		}
		w.put(long + " New 1")
		w.sync("all 1 new 0 updated 1 failed 0")
	})
}
