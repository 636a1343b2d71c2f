package syncer_test

import (
	"database/sql"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// A twoWayWorld is two sides that are both edited, synced over HTTP while the
// service has faults.
type twoWayWorld struct {
	*odataWorld
	sides   *twoSides
	noDelta bool
}

func newTwoWayWorld(t *testing.T, s *store.Store, o odatatest.Options, options map[string]any) *twoWayWorld {
	t.Helper()
	start, ticks := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), atomic.Int64{}
	o.Now = func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
	w := &twoWayWorld{sides: newTwoSides(t, o), noDelta: o.NoDelta}
	w.odataWorld = odataWorldOf(t, s, w.sides.far, options, 10, 20, crashBothWays, crashEntities...)
	w.sides.near = func(use func(*sql.DB)) { use(s.DB().DB) }
	return w
}

// twoWayMigrations are those of a syncer with local tables that note edits.
func twoWayMigrations() []store.Migration {
	return append(syncer.Migrations(), sqltable.Migrations()...)
}

// calm runs until nothing waits to be sent any more: what was refused waits up
// to an hour, and faults fail runs.
func (w *twoWayWorld) calm() syncer.Result {
	w.t.Helper()
	var res syncer.Result
	for range 60 {
		res = w.attempt(syncer.Request{})
		if res.State == syncer.Stopped {
			w.t.Fatalf("stopped: %+v", res.Entities)
		}
		var waiting int
		w.check(w.store.DB().NewRaw("SELECT count(*) FROM integration_transaction WHERE state IN ('pending', 'inflight', 'failed', 'unknown')").Scan(w.t.Context(), &waiting))
		if res.State == syncer.Succeeded && waiting == 0 {
			return res
		}
		w.now = w.now.Add(time.Hour)
	}
	w.t.Fatalf("runs fail for ever, the last %+v; %v", res, w.codes())
	panic("unreachable")
}

// story edits both sides between runs, and in the end compares them.
func (w *twoWayWorld) story() {
	w.t.Helper()
	w.calm()
	for round := 1; round <= 3; round++ {
		w.sides.churn(round)
		w.attempt(syncer.Request{}) // as it may end
		w.sides.afterRun(round)
		w.calm()
	}
	w.check(w.service.SetFaults())
	w.calm()
	if w.noDelta { // by versions alone nobody sees what is gone
		w.run(syncer.Request{Full: true})
	}
	w.sides.equal()
	for _, full := range []bool{true, false} {
		res := w.run(syncer.Request{Full: full})
		for _, d := range []syncer.Direction{syncer.Upload, syncer.Download} {
			if n := res.Counts(d); n.Created+n.Changed+n.Deleted+n.Failed() != 0 || res.State != syncer.Succeeded {
				w.t.Errorf("a further run still had work (%s): %+v", d, res)
			}
		}
	}
}

// writeFaults are the faults that show when kedge writes, at rates that let runs end.
var writeFaults = []string{"lose-reply=0.3", "500=0.2", "429=0.2", "part-429=0.2", "cut=0.2", "slow=1ms"}

// TestWriteQuirksAndFaults edits both sides with every quirk of writing and
// every fault alone, and with random pairs of them, in both formats of batches
// and without.
func TestWriteQuirksAndFaults(t *testing.T) {
	t.Parallel()
	all := slices.Clone(writeFaults)
	for _, q := range odatatest.WriteQuirks() {
		all = append(all, q.Name)
	}
	all = append(all, odatatest.NoIEEE754, odatatest.OddErrors)
	cases := [][]string{{}}
	for _, name := range all {
		cases = append(cases, []string{name})
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for len(cases) < len(all)+13 {
		a, b := all[rnd.IntN(len(all))], all[rnd.IntN(len(all))]
		if a != b {
			cases = append(cases, []string{a, b})
		}
	}
	for n, names := range cases {
		for m, batch := range []string{"none", "multipart", "json"} {
			if len(names) > 1 && m != n%3 {
				continue // a pair is synced in one of the ways
			}
			// Every case on SQLite; some on PostgreSQL as well.
			engines := []func(testing.TB, ...store.Migration) *store.Store{storetest.SQLite}
			if (n+m)%6 == 0 {
				engines = append(engines, storetest.Postgres)
			}
			for i, open := range engines {
				t.Run(strings.Join(names, "+")+"/"+batch+"/"+store.Engine(i).String(), func(t *testing.T) {
					t.Parallel()
					o := odatatest.Options{Seed: uint64(n), NoUpsert: n%2 == 1, NeedIfMatch: n%3 == 1, Repeatable: n%5 == 4, NoDelta: n%7 == 6}
					for _, name := range names {
						if strings.Contains(name, "=") {
							o.Faults = append(o.Faults, name)
						} else {
							o.Quirks = append(o.Quirks, name)
						}
					}
					options := map[string]any{"batch": batch, "batchSize": 7}
					w := newTwoWayWorld(t, open(t, twoWayMigrations()...), o, options)
					if slices.Contains(names, odatatest.Normalise) {
						w.sides.pad = " "
					}
					w.story()
				})
			}
		}
	}
}
