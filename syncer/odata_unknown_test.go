package syncer_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// notes have keys that the service makes.
var notes = kedge.Entity{Name: "notes", Key: []string{"key"}, Fields: []kedge.Field{
	{Name: "key", Type: kedge.TypeString, Computed: true},
	{Name: "text", Type: kedge.TypeString, Nullable: true},
	{Name: "owner", Type: kedge.TypeString, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "notes", Field: "key", Navigation: "ownerNote"}}},
}}

// keylessNotes maps notes by their links alone.
const keylessNotes = `kedge: mapping/v1
entities:
  - external: notes
    local: note
    direction: bidirectional
    deletes: {maxRows: 1000}
    fields:
      - {external: text, local: text}
      - {external: owner, local: owner}
`

// eachNotes runs a test with notes on both databases.
func eachNotes(t *testing.T, o odatatest.Options, options map[string]any, test func(t *testing.T, w *odataWorld)) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		start, ticks := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), atomic.Int64{}
		o.Entities = []kedge.Entity{notes}
		o.Now = func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
		test(t, odataWorldOf(t, s, odatatest.New(o), options, 100, 1000, keylessNotes, notes))
	}, twoWayMigrations()...)
}

// remoteNotes are the texts of the service's notes.
func (w *odataWorld) remoteNotes() []string {
	texts := []string{}
	for _, r := range w.service.Records("notes") {
		texts = append(texts, r.Get("text").Text())
	}
	slices.Sort(texts)
	return texts
}

// TestUnknownCreateIsNotRepeated loses the answer to the creation of records
// that nobody can look up: they are told as unknown, and not made again by an
// edit or an export. The next download knows what was made by its values, so
// that it is not here twice.
func TestUnknownCreateIsNotRepeated(t *testing.T) {
	for _, batch := range []string{"none", "multipart", "json"} {
		t.Run(batch, func(t *testing.T) {
			eachNotes(t, odatatest.Options{Faults: []string{"lose-reply=1"}}, map[string]any{"batch": batch}, func(t *testing.T, w *odataWorld) {
				w.run(syncer.Request{})
				for i := range 5 {
					w.exec(fmt.Sprintf("INSERT INTO note (id, text) VALUES ('n%d', 'text %d')", i, i))
				}
				if res := w.run(syncer.Request{Op: syncer.Export}); res.State != syncer.Partial || res.Counts(syncer.Upload).Unknown != 5 {
					t.Errorf("the run ended %s with %+v, want partial with 5 unknown", res.State, res.Counts(syncer.Upload))
				}
				rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{})
				w.check(err)
				if len(rows) != 5 || slices.ContainsFunc(rows, func(r *syncer.QuarantineRow) bool {
					return r.Code != "write_outcome_unknown" || r.Direction != syncer.Upload
				}) {
					t.Errorf("quarantine: %+v, want the 5 records as unknown", rows)
				}
				w.exec("UPDATE note SET text = 'edited' WHERE id = 'n1'")
				w.run(syncer.Request{Op: syncer.Export})
				want := []string{"text 0", "text 1", "text 2", "text 3", "text 4"}
				if got := w.remoteNotes(); !slices.Equal(got, want) {
					t.Errorf("the service has %q, want %q", got, want)
				}

				// What was made comes back, and is known by its values.
				w.check(w.service.SetFaults())
				w.run(syncer.Request{})
				w.run(syncer.Request{Full: true})
				w.run(syncer.Request{Op: syncer.Export})
				want = []string{"edited", "text 0", "text 2", "text 3", "text 4"}
				if got := w.remoteNotes(); !slices.Equal(got, want) {
					t.Errorf("the service has %q, want %q", got, want)
				}
				if got := w.rows("note", "text"); !slices.Equal(got, want) {
					t.Errorf("the local rows are %q, want %q", got, want)
				}
				if rows, err = w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{}); err != nil || len(rows) != 0 {
					t.Errorf("quarantine: %+v, %v, want none", rows, err)
				}
			})
		})
	}
}

// TestRepeatableCreate loses the same answers of a service that does the same
// request once, however often it comes.
func TestRepeatableCreate(t *testing.T) {
	for _, batch := range []string{"none", "multipart", "json"} {
		t.Run(batch, func(t *testing.T) {
			eachNotes(t, odatatest.Options{Repeatable: true, Faults: []string{"lose-reply=0.5"}}, map[string]any{"batch": batch}, func(t *testing.T, w *odataWorld) {
				w.run(syncer.Request{})
				var want []string
				for i := range 40 {
					w.exec(fmt.Sprintf("INSERT INTO note (id, text) VALUES ('n%d', 'text %02d')", i, i))
					want = append(want, fmt.Sprintf("text %02d", i))
					if i%10 == 9 {
						w.run(syncer.Request{})
					}
				}
				w.check(w.service.SetFaults())
				for range 3 {
					w.now = w.now.Add(time.Hour)
					w.run(syncer.Request{})
				}
				if got := w.remoteNotes(); !slices.Equal(got, want) {
					t.Errorf("the service has %q, want %q", got, want)
				}
				if got := w.rows("note", "text"); !slices.Equal(got, want) {
					t.Errorf("the local rows are %q, want %q", got, want)
				}
			})
		})
	}
}

// TestOneBadOf250 sends 250 new records of which the service refuses one: the
// others arrive. As one atomic group none does.
func TestOneBadOf250(t *testing.T) {
	for _, batch := range []string{"none", "multipart", "json"} {
		for _, atomic := range []bool{false, true} {
			if batch == "none" && atomic {
				continue
			}
			t.Run(fmt.Sprintf("%s/atomic=%t", batch, atomic), func(t *testing.T) {
				options := map[string]any{"batch": batch, "batchSize": 250, "atomic": atomic}
				eachNotes(t, odatatest.Options{Referential: true}, options, func(t *testing.T, w *odataWorld) {
					w.run(syncer.Request{})
					for i := range 250 {
						owner := "NULL"
						if i == 117 {
							owner = "'nobody'"
						}
						w.exec(fmt.Sprintf("INSERT INTO note (id, text, owner) VALUES ('n%d', 'text', %s)", i, owner))
					}
					res := w.run(syncer.Request{})
					done, made := res.Counts(syncer.Upload), len(w.remoteNotes())
					if !atomic && (done.Created != 249 || done.Failed() != 1 || made != 249) {
						t.Errorf("%+v, %d are there, want 249 created and 1 failed", done, made)
					}
					if atomic && (done.Created != 0 || done.Failed() == 0 || made != 0) {
						t.Errorf("%+v, %d are there, want none", done, made)
					}
				})
			})
		}
	}
}
