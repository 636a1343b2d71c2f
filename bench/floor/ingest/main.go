// Command ingest is the floor of pushed data: the server of kedge, which
// reads, scans, decodes and validates what is sent, and answers a constant.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/store"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(schemaFile, dsn string) error {
	document, err := os.ReadFile(schemaFile)
	if err != nil {
		return err
	}
	s, err := schema.Parse(document)
	if err != nil {
		return err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, dsn, nil)
	if err != nil {
		return err
	}
	if _, err := db.Migrate(ctx, append(store.Migrations(), server.TokenMigrations()...)); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	f := &floor{schema: s}
	srv := server.New(server.Options{Store: db, Tokens: server.NewTokens(db, nil), Log: log, Metrics: prometheus.NewRegistry(), Modules: []server.Module{{
		Name: "floor",
		Routes: func(r *mux.Router) {
			r.Handle("/integration/custom-data/event/{table}", httpapi.Handle(log, f.event)).Methods("POST")
			r.Handle("/integration/custom-data/bulk-event/{table}", httpapi.Handle(log, f.bulk)).Methods("POST")
		},
	}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("floor listens on http://%s\n", l.Addr())
	return srv.Serve(ctx, l)
}

type floor struct{ schema *schema.Schema }

func (f *floor) check(raw []byte) error {
	v, counts, err := jsonguard.Decode(raw, 0)
	if err != nil {
		return err
	}
	return f.schema.Validate(v, &counts)
}

func (f *floor) event(w http.ResponseWriter, r *http.Request) error {
	body, err := httpapi.ReadBody(w, r, 1<<20)
	if err != nil {
		return err
	}
	if err := f.check(bytes.TrimSpace(body)); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"result": "created"})
}

func (f *floor) bulk(w http.ResponseWriter, r *http.Request) error {
	body, err := httpapi.ReadBody(w, r, 4<<20)
	if err != nil {
		return err
	}
	n := 0
	for raw, err := range jsonguard.Elements(bytes.TrimSpace(body)) {
		if err == nil {
			err = f.check(raw)
		}
		if err != nil {
			return err
		}
		n++
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]int{"received": n})
}
