package syncer_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// parking is bothWays with every conflict left to a person.
const parking = bothWays + "    conflict: {policy: manual}\n"

// conflicts returns the open conflicts.
func (w *world) conflicts() []*syncer.Conflict {
	w.t.Helper()
	open, err := w.syncer.Conflicts(w.t.Context(), syncer.ConflictQuery{Integration: "crm"})
	w.check(err)
	return open
}

func (w *world) oneConflict() *syncer.Conflict {
	w.t.Helper()
	open := w.conflicts()
	if len(open) != 1 {
		w.t.Fatalf("%d conflicts are open, want 1", len(open))
	}
	return open[0]
}

// resolve ends the only conflict.
func (w *world) resolve(take syncer.Take, set map[string]string) (sends bool) {
	w.t.Helper()
	sends, err := w.syncer.ResolveConflict(w.t.Context(), w.oneConflict().ID, syncer.Resolution{Take: take, Set: set, By: "tester"})
	w.check(err)
	return sends
}

// settled checks that the next sync makes both sides equal, the one after it
// does nothing, and no conflict comes back.
func (w *world) settled(want ...string) {
	w.t.Helper()
	res := w.run(syncer.Request{})
	if res.State != syncer.Succeeded {
		w.t.Errorf("sync after the resolution: state %s, %+v", res.State, res.Entities)
	}
	w.equalSides(want...)
	if n := len(w.conflicts()); n != 0 {
		w.t.Errorf("%d conflicts are open after the resolution", n)
	}
	w.run(syncer.Request{}) // takes echoes in
	w.both(none, none)
	w.equalSides(want...)
	if n := w.codes()["conflict"]; n != 1 {
		w.t.Errorf("the conflict was reported %d times, want once", n)
	}
	if n := w.codes()["conflict_resolved"]; n != 1 {
		w.t.Errorf("%d events of resolutions, want 1", n)
	}
	for _, state := range []syncer.TransactionState{syncer.TxPending, syncer.TxConflict, syncer.TxFailed, syncer.TxDead, syncer.TxUnknown} {
		if n := len(w.transactions(state)); n != 0 {
			w.t.Errorf("%d transactions are %s", n, state)
		}
	}
	all, err := w.syncer.Conflicts(w.t.Context(), syncer.ConflictQuery{All: true})
	w.check(err)
	if len(all) != 1 || all[0].State != "resolved" || all[0].By != "tester" || all[0].Resolution == "" {
		w.t.Errorf("conflicts %+v, want one that tester resolved", all)
	}
	// It can be edited again, on both sides.
	if len(want) > 0 {
		key, _, _ := strings.Cut(want[0], " ")
		w.exec("UPDATE customer SET balance = '77.00' WHERE erp_no = '" + key + "'")
		w.run(syncer.Request{})
		if got := w.far()[0]; !strings.HasSuffix(got, " 77.00") {
			w.t.Errorf("an edit after the resolution is not sent: %s", got)
		}
	}
}

func TestResolveEdits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		remote string // how A is edited there; here its name is, to Local
		take   syncer.Take
		set    map[string]string
		sends  bool
		want   string
	}{
		{"local", "A Remote 1.00", syncer.TakeLocal, nil, true, "A Local 1.00"},
		{"remote", "A Remote 1.00", syncer.TakeRemote, nil, false, "A Remote 1.00"},
		{"local with more edits there", "A Remote 5.00", syncer.TakeLocal, nil, true, "A Local 1.00"},
		{"remote with more edits there", "A Remote 5.00", syncer.TakeRemote, nil, false, "A Remote 5.00"},
		{"merged", "A Remote 5.00", syncer.TakeMerged, map[string]string{"name": "Agreed"}, true, "A Agreed 5.00"},
		{"merged to the remote value", "A Remote 5.00", syncer.TakeMerged, map[string]string{"name": "Remote"}, false, "A Remote 5.00"},
		{"merged to the local value", "A Remote 5.00", syncer.TakeMerged, map[string]string{"name": "Local"}, true, "A Local 5.00"},
		{"merged with another value set", "A Remote 5.00", syncer.TakeMerged, map[string]string{"name": "Agreed", "balance": "6.00"}, true, "A Agreed 6.00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, parking, func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("UPDATE customer SET name = 'Local' WHERE erp_no = 'A'")
				w.put(tt.remote)
				if res := w.run(syncer.Request{}); res.Counts(syncer.Upload).Conflicts+res.Counts(syncer.Download).Conflicts == 0 {
					t.Fatalf("no conflict counted: %+v", res.Entities)
				}
				if res := w.run(syncer.Request{}); res.State != syncer.Succeeded {
					t.Errorf("the run after the one that parked it: state %s", res.State)
				}
				if sends := w.resolve(tt.take, tt.set); sends != tt.sends {
					t.Errorf("something to send: %v, want %v", sends, tt.sends)
				}
				w.settled(tt.want, "B Bert 2.00")
			})
		})
	}
}

func TestResolveDeletedThere(t *testing.T) {
	for take, want := range map[syncer.Take][]string{syncer.TakeLocal: {"A Local 1.00", "B Bert 2.00"}, syncer.TakeRemote: {"B Bert 2.00"}} {
		t.Run(string(take), func(t *testing.T) {
			each(t, parking, func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("UPDATE customer SET name = 'Local' WHERE erp_no = 'A'")
				w.delete("A")
				w.run(syncer.Request{})
				if c := w.oneConflict(); c.Reason != "changed here, deleted there" || c.ExternalKey != "A" {
					t.Errorf("conflict %+v", c)
				}
				w.cannotMerge()
				w.resolve(take, nil)
				w.settled(want...)
			})
		})
	}
}

func TestResolveDeletedHere(t *testing.T) {
	for take, want := range map[syncer.Take][]string{syncer.TakeRemote: {"A Remote 1.00", "B Bert 2.00"}, syncer.TakeLocal: {"B Bert 2.00"}} {
		t.Run(string(take), func(t *testing.T) {
			each(t, parking, func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("DELETE FROM customer WHERE erp_no = 'A'")
				w.put("A Remote 1.00")
				w.run(syncer.Request{})
				if c := w.oneConflict(); c.Reason != "deleted here, changed there" {
					t.Errorf("conflict %+v", c)
				}
				w.cannotMerge()
				w.resolve(take, nil)
				w.settled(want...)
			})
		})
	}
}

// cannotMerge checks that the only conflict is refused a merge, and stays.
func (w *world) cannotMerge() {
	w.t.Helper()
	_, err := w.syncer.ResolveConflict(w.t.Context(), w.oneConflict().ID, syncer.Resolution{Take: syncer.TakeMerged, By: "tester"})
	if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "nothing to merge") {
		w.t.Errorf("merging with a deleted record: %v", err)
	}
	w.oneConflict()
}

// TestResolveAsItIsNow resolves a conflict after both sides went on.
func TestResolveAsItIsNow(t *testing.T) {
	each(t, parking, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Local'")
		w.put("A Remote 1.00")
		w.run(syncer.Request{})
		first := w.oneConflict()

		// A newer version takes the place of the conflict.
		w.put("A Newer 1.00")
		w.run(syncer.Request{})
		second := w.oneConflict()
		if second.ID == first.ID {
			t.Fatal("the newer version did not supersede the conflict")
		}
		_, err := w.syncer.ResolveConflict(t.Context(), first.ID, syncer.Resolution{Take: syncer.TakeRemote, By: "tester"})
		if kedge.KindOf(err) != kedge.Conflict || !strings.Contains(err.Error(), "not open any more") {
			t.Errorf("resolving the superseded conflict: %v", err)
		}
		sides, err := second.Sides()
		w.check(err)
		text := func(s string) *string { return &s }
		want := []syncer.ConflictField{
			{Field: "balance", Base: text("1.00"), Local: text("1.00"), Remote: text("1.00")},
			{Field: "erp_no", Base: text("A"), Local: text("A"), Remote: text("A")},
			{Field: "name", Base: text("Anna"), Local: text("Local"), Remote: text("Newer"), Conflict: true},
		}
		if diff := cmp.Diff(want, sides); diff != "" {
			t.Errorf("sides (-want +got):\n%s", diff)
		}

		// What happened since the last run counts too.
		w.put("A Newest 9.00")
		w.resolve(syncer.TakeRemote, nil)
		w.table("A Newest 9.00")
		w.run(syncer.Request{})
		w.equalSides("A Newest 9.00")
		w.both(none, none)
	})
}

// TestResolveAfterTheOtherSideDeletedIt has edits on both sides, then none
// there.
func TestResolveAfterTheOtherSideDeletedIt(t *testing.T) {
	for take, want := range map[syncer.Take][]string{syncer.TakeLocal: {"A Local 1.00"}, syncer.TakeRemote: {}} {
		t.Run(string(take), func(t *testing.T) {
			each(t, parking, func(t *testing.T, w *world) {
				w.put("A Anna 1.00")
				w.run(syncer.Request{})
				w.exec("UPDATE customer SET name = 'Local'")
				w.put("A Remote 1.00")
				w.run(syncer.Request{})
				w.delete("A")
				w.resolve(take, nil)
				w.settled(want...)
			})
		})
	}
}

// TestResolveAfterBothDeletedIt leaves nothing.
func TestResolveAfterBothDeletedIt(t *testing.T) {
	each(t, parking, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer")
		w.put("A Remote 1.00")
		w.run(syncer.Request{})
		w.delete("A")
		w.resolve(syncer.TakeLocal, nil)
		w.settled()
	})
}

func TestResolveRefusesWrongValues(t *testing.T) {
	each(t, parking, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Local'")
		w.put("A Remote 1.00")
		w.run(syncer.Request{})
		for set, want := range map[string]string{
			"nam=x":        `there is no mapped local field "nam"; did you mean "name"?`,
			"whatever=x":   `there is no mapped local field "whatever"; mapped fields are`,
			"balance=much": `the value for field "balance" is not of its type, decimal`,
			"erp_no=B":     `field "erp_no" is not sent to the other side`,
			"":             "both sides changed name; say what it shall be with --set name=VALUE",
		} {
			how := syncer.Resolution{Take: syncer.TakeMerged, By: "tester"}
			if name, value, found := strings.Cut(set, "="); found {
				how.Set = map[string]string{name: value}
			}
			_, err := w.syncer.ResolveConflict(t.Context(), w.oneConflict().ID, how)
			if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), want) {
				t.Errorf("--set %s: %v, want %s", set, err, want)
			}
		}
		w.table("A Local 1.00")
		_, err := w.syncer.ResolveConflict(t.Context(), "nope", syncer.Resolution{Take: syncer.TakeLocal})
		if kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("an unknown conflict: %v", err)
		}
		w.resolve(syncer.TakeMerged, map[string]string{"name": "", "balance": ""})
		w.run(syncer.Request{})
		if got := w.far(); len(got) != 1 || got[0] != "A  -" {
			t.Errorf("far %v", got)
		}
	})
}

// TestResolveAfterTheDirectionChanged ends the conflict of an entity that is
// only downloaded by now: what is left to send goes with the next export.
func TestResolveAfterTheDirectionChanged(t *testing.T) {
	for take, want := range map[syncer.Take]string{syncer.TakeLocal: "A Local 1.00", syncer.TakeRemote: "A Remote 1.00"} {
		t.Run(string(take), func(t *testing.T) {
			each(t, parking, func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("UPDATE customer SET name = 'Local' WHERE erp_no = 'A'")
				w.put("A Remote 1.00")
				w.run(syncer.Request{})
				w.save(strings.Replace(parking, "bidirectional", "download", 1))
				if sends := w.resolve(take, nil); sends != (take == syncer.TakeLocal) {
					t.Errorf("something to send: %v", sends)
				}
				w.run(syncer.Request{Op: syncer.Export})
				w.equalSides(want, "B Bert 2.00")
				w.run(syncer.Request{})
				w.equalSides(want, "B Bert 2.00")
				if n := len(w.conflicts()); n != 0 {
					t.Errorf("%d conflicts are open after the resolution", n)
				}
			})
		})
	}
}
