package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// failAt makes the n-th request from now on fail, once.
func (w *world) failAt(n int, kind kedge.Kind) {
	left := n
	w.source.page = func(connectors.ReadRequest) error {
		if left--; left == 0 {
			return &kedge.Error{Op: "test", Kind: kind, Entity: "customers", Err: errors.New("the test said so")}
		}
		return nil
	}
}

// smallPages makes each page a transaction.
func (w *world) smallPages(size int) {
	w.source.pageSize, w.opts.Limits.CommitRows = size, size
	w.syncer = syncer.New(w.opts)
}

func TestFailingPage(t *testing.T) {
	kinds := []kedge.Kind{kedge.Internal, kedge.Transient, kedge.Throttled, kedge.Unauthorized, kedge.Invalid}
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		var rows []string
		for i := range 11 {
			rows = append(rows, fmt.Sprintf("C%02d Ann %d", i, i))
		}
		w.put(rows...)
		w.sync("all 11 new 11 updated 0 failed 0")
		for i, kind := range kinds {
			// In a full read that was cut, what was seen before the cut stays seen.
			w.failAt(3, kind)
			res := w.run(syncer.Request{Full: true})
			if e := res.Entities[0]; res.State != syncer.Failed || e.Read != 4 || e.Kind != kind.String() {
				t.Errorf("%v: state %s, %+v, want failed after 4 records", kind, res.State, e)
			}
			w.source.page = nil
			w.delete(kedge.Key(fmt.Sprintf("C%02d", 10-i)))
			rows = rows[:len(rows)-1]
			before := w.source.requests
			res = w.run(syncer.Request{})
			e := res.Entities[0]
			if want := int64(len(rows) - 4); e.Unchanged != want || e.Deleted != 1 || e.Reason != "the interrupted full read goes on" {
				t.Errorf("%v: %+v, want %d more records and 1 deleted", kind, e, want)
			}
			// The rest of the snapshot and the window of changes behind it.
			if n, want := w.source.requests-before, (len(rows)-4+1)/2+1; n != want {
				t.Errorf("%v: %d requests, want %d", kind, n, want)
			}
			w.table(rows...)
		}
	})
}

func TestFailingIncrementalPage(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		w.put("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
		w.sync("all 5 new 5 updated 0 failed 0")
		w.put("C1 a 1", "C2 b 2", "C3 c 3", "C4 d 4", "C5 e 5")
		w.failAt(2, kedge.Transient)
		w.line(w.run(syncer.Request{}), "all 2 new 0 updated 2 failed 0")
		w.source.page = nil
		before := w.source.requests
		w.sync("all 3 new 0 updated 3 failed 0")
		if n := w.source.requests - before; n != 2 {
			t.Errorf("%d requests, want 2: it goes on at the token", n)
		}
		w.table("C1 a 1", "C2 b 2", "C3 c 3", "C4 d 4", "C5 e 5")
	})
}

// TestRefusedToken: a read whose token is forgotten starts again, once, and its
// records still count once.
func TestRefusedToken(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		w.put("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
		w.failAt(3, kedge.AnchorExpired)
		w.sync("all 5 new 5 updated 0 failed 0")
		if n := w.codes()["token_expired"]; n != 1 {
			t.Errorf("token_expired was logged %d times, want 1", n)
		}
		w.put("C1 a 1", "C2 b 2", "C3 c 3")
		w.failAt(2, kedge.AnchorExpired)
		res := w.sync("all 3 new 0 updated 3 failed 0")
		if mode := res.Entities[0].Mode; mode != "incremental" {
			t.Errorf("mode %s, want incremental: the anchor is known", mode)
		}
		w.table("C1 a 1", "C2 b 2", "C3 c 3", "C4 D 4", "C5 E 5")

		w.source.page = func(req connectors.ReadRequest) error {
			if req.Token != "" {
				return &kedge.Error{Kind: kedge.AnchorExpired}
			}
			return nil
		}
		res = w.run(syncer.Request{Full: true})
		if res.State != syncer.Failed {
			t.Errorf("state %s, want failed: no token is ever known", res.State)
		}
		w.source.page = nil
		w.run(syncer.Request{})
		w.table("C1 a 1", "C2 b 2", "C3 c 3", "C4 D 4", "C5 E 5")
	})
}

func TestExpiredAnchor(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
		w.insertLocal("X9", "mine", "7")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.put("C1 Anna 1", "C4 Dan 4")
		w.delete("C2")
		w.check(w.remote.Expire(t.Context(), "customers"))
		res := w.sync("all 4 new 1 updated 3 failed 0")
		if e := res.Entities[0]; e.Mode != "full" || e.Reason != "the anchor expired" || e.Deleted != 1 {
			t.Errorf("%+v, want a full read because the anchor expired, with 1 deleted", e)
		}
		w.table("C1 Anna 1", "C3 Cid 3", "C4 Dan 4", "X9 mine 7")
		w.sync("all 0 new 0 updated 0 failed 0")
	})
}

func TestReasonsForAFullRead(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		yaml, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.put("C1 Ann 1", "C2 Bob 2")
		mode := func(what, want string) {
			t.Helper()
			if e := w.run(syncer.Request{}).Entities[0]; strings.TrimSpace(e.Mode+" "+e.Reason) != want {
				t.Errorf("%s: %s %s, want %s", what, e.Mode, e.Reason, want)
			}
		}
		mode("at first", "full first read")
		mode("then", "incremental")
		w.source.epoch = "restored"
		mode("epoch", "full the external system was restored")
		mode("then", "incremental")
		w.save(strings.Replace(yaml.YAML, "    key:", "    downloadFilter: No ne 'C9'\n    key:", 1))
		mode("filter", "full the mapping or the filter of this entity changed")
		mode("then", "incremental")
		w.save(strings.Replace(yaml.YAML, "    key:", "    reconcileEvery: 1h\n    key:", 1))
		mode("filter", "full the mapping or the filter of this entity changed")
		w.now = w.now.Add(58 * time.Minute)
		mode("before it is due", "incremental")
		mode("when it is due", "full the last full read is older than 1h0m0s")
		w.check(w.syncer.ResetAnchor(t.Context(), "crm", "customer", "test"))
		mode("reset", "full no anchor")
		w.source.edit = func(e *kedge.Entity) { e.Delta = false }
		for range 2 { // every time, and the log says so
			mode("no delta", "full the external entity reports no changes")
			rows, err := w.syncer.Log(t.Context(), syncer.LogQuery{Integration: "crm", Limit: 1})
			if err != nil || len(rows) != 1 || rows[0].Mode != "full" || rows[0].Message != "the external entity reports no changes" {
				t.Errorf("log: %+v, %v, want a full read with its reason", rows, err)
			}
		}
	})
}

// TestReconcileDefault: a source that reports no deletions is read in full
// every week.
func TestReconcileDefault(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		w.source.edit = func(e *kedge.Entity) { e.Deletes = false }
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			live := p.Records[:0]
			for _, r := range p.Records {
				if r.Removed == kedge.Live {
					live = append(live, r)
				}
			}
			p.Records = live
		}
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.delete("C2")
		w.now = w.now.Add(7*24*time.Hour - 2*time.Minute)
		w.sync("all 0 new 0 updated 0 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1")
	})
}

func TestAnchorResetRereadsOneEntity(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("C1", "Ann", "P1", "-")
		w.contact("P1", "Pat", "C1")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.same("anchors", w.rows("integration_syncanchor", "entity", "direction", "phase"), "customer download delta", "person download delta")
		w.check(w.syncer.ResetAnchor(t.Context(), "crm", "person", "test"))
		res := w.sync("all 1 new 0 updated 1 failed 0")
		if a, b := res.Entities[0].Mode, res.Entities[1].Mode; a != "incremental" || b != "full" {
			t.Errorf("modes %s and %s, want incremental and full", a, b)
		}
		if err := w.syncer.ResetAnchor(t.Context(), "crm", "nobody", "test"); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("reset of an unknown entity: %v, want not found", err)
		}
	})
}

// TestLateCommit: a driver that looks back brings a record whose version is
// smaller than one that was read before, and repeats others.
func TestLateCommit(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			late := kedge.Record{Fields: kedge.NewFields(req.Fields...), Key: "C0", Version: "1", Values: make([]kedge.Value, len(req.Fields))}
			again := kedge.Record{Fields: late.Fields, Key: "C2", Version: "2", Values: make([]kedge.Value, len(req.Fields))}
			for i, name := range req.Fields {
				late.Values[i] = map[string]kedge.Value{"No": kedge.String("C0"), "Name": kedge.String("Late"), "Balance": kedge.Decimal("0")}[name]
				again.Values[i] = map[string]kedge.Value{"No": kedge.String("C2"), "Name": kedge.String("Bob"), "Balance": kedge.Decimal("2.00")}[name]
			}
			p.Records = append(p.Records, late, again)
		}
		res := w.sync("all 2 new 1 updated 1 failed 0")
		if e := res.Entities[0]; e.Unchanged != 1 {
			t.Errorf("%+v, want 1 unchanged", e)
		}
		w.table("C0 Late 0", "C1 Ann 1", "C2 Bob 2")
		w.source.after = nil
		anchors, err := w.syncer.Anchors(t.Context(), "crm")
		w.check(err)
		if len(anchors) != 1 || anchors[0].LastVersion != "2" {
			t.Errorf("anchors %+v, want one with last version 2", anchors)
		}
		w.syncer = syncer.New(w.opts) // a new process
		w.sync("all 0 new 0 updated 0 failed 0")
	})
}

// TestRepeatedRecordsCountOnce: a record may come again in a later page.
func TestRepeatedRecordsCountOnce(t *testing.T) {
	for name, rows := range map[string]int{"in one transaction": 0, "in several": 1} {
		t.Run(name, func(t *testing.T) {
			eachMapping(t, func(t *testing.T, w *world) {
				w.smallPages(1)
				w.opts.Limits.CommitRows = rows
				w.syncer = syncer.New(w.opts)
				var first *kedge.Record
				w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
					if first == nil {
						r := p.Records[0]
						first = &r
						return
					}
					if len(p.Records) > 0 && p.Records[0].Key != first.Key {
						p.Records = append(p.Records, *first)
					}
				}
				w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
				w.sync("all 3 new 3 updated 0 failed 0")
				w.table("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
			})
		})
	}
}

func TestCancelByContext(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		w.put("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
		ctx, cancel := context.WithCancel(t.Context())
		w.opts.Hook = func(point string) {
			if point == "p3" {
				cancel()
			}
		}
		res, err := syncer.New(w.opts).Run(ctx, syncer.Request{Integration: "crm"})
		if err != nil || res.State != syncer.Cancelled {
			t.Fatalf("state %s, %v, want cancelled", res.State, err)
		}
		w.line(res, "all 2 new 2 updated 0 failed 0")
		w.table("C1 A 1", "C2 B 2")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.table("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
	})
}

func TestCancelFromElsewhere(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		w.put("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
		other := syncer.New(w.opts)
		w.opts.Hook = func(point string) {
			if point != "p1" {
				return
			}
			runs, err := other.Runs(t.Context(), "crm", 1)
			if err != nil || len(runs) != 1 || runs[0].State != syncer.Running {
				t.Errorf("runs: %+v, %v, want one that is running", runs, err)
				return
			}
			if err := other.Cancel(t.Context(), runs[0].ID); err != nil {
				t.Errorf("cancel: %v", err)
			}
		}
		w.syncer = syncer.New(w.opts)
		res := w.run(syncer.Request{})
		if res.State != syncer.Cancelled {
			t.Errorf("state %s, want cancelled", res.State)
		}
		w.line(res, "all 2 new 2 updated 0 failed 0")
		if err := other.Cancel(t.Context(), res.Run); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("cancel of a run that has ended: %v, want not found", err)
		}
		w.syncer = other
		w.sync("all 3 new 3 updated 0 failed 0")
	})
}

func TestTwoRunsAtOnce(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		w.put("C1 A 1")
		other := syncer.New(w.opts)
		var second syncer.Result
		w.opts.Hook = func(point string) {
			if point != "p1" {
				return
			}
			// A plan needs no lease and disturbs nobody.
			for _, err := range other.Preview(t.Context(), syncer.Request{Integration: "crm"}) {
				if err != nil {
					t.Errorf("preview: %v", err)
				}
			}
			var err error
			if second, err = other.Run(t.Context(), syncer.Request{Integration: "crm"}); err != nil {
				t.Errorf("second run: %v", err)
			}
		}
		w.syncer = syncer.New(w.opts)
		first := w.sync("all 1 new 1 updated 0 failed 0")
		if want := "skipped: run " + first.Run + " is active"; second.State != syncer.Skipped || second.Message != want {
			t.Errorf("second run: %s %q, want skipped %q", second.State, second.Message, want)
		}
	})
}
