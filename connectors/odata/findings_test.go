package odata_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// What one process has found out, the next one knows, for 7 days.
func TestFindingsSurviveARestart(t *testing.T) {
	store := storetest.SQLite(t)
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	for _, noDelta := range []bool{false, true} {
		name := map[bool]string{false: "with delta", true: "without"}[noDelta]
		s := odatatest.New(odatatest.Options{Rows: 120, NoDelta: noDelta})
		url := s.Start(t)
		open := func() *odata.Driver {
			env := testEnv()
			env.State, env.Now = store.State(name), func() time.Time { return now }
			d, err := odata.New(odata.Config{URL: url}, env)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		}
		fullRead := func(d *odata.Driver) (requests int) {
			s.ForgetRequests()
			readAll(t, d, connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 50}, local{}, nil)
			for _, r := range s.Requests() {
				if !strings.HasSuffix(r.Path, "$metadata") {
					requests++
				}
			}
			return requests
		}
		const pages = 3
		if n := fullRead(open()); n <= pages && noDelta {
			t.Errorf("%s: first read: %d requests, want probes", name, n)
		}
		d := open()
		schema, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e := schema.Entity("customers"); !e.Delta || e.Deletes == noDelta {
			t.Errorf("%s: Delta %v, Deletes %v (%s)", name, e.Delta, e.Deletes, e.Tracking)
		}
		if n := fullRead(d); n > pages+2 {
			t.Errorf("%s: second process: %d requests, want at most %d", name, n, pages+2)
		}
		now = now.Add(8 * 24 * time.Hour)
		if n := fullRead(open()); n <= pages+2 && noDelta {
			t.Errorf("%s: after 8 days: %d requests, want probes", name, n)
		}
	}
}
