package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// anchorBytes are the anchors of the integration, column by column.
func (w *world) anchorBytes() []string {
	w.t.Helper()
	return w.rows("integration_syncanchor", "entity", "direction", "phase", "anchor", "page_token", "last_version", "generation",
		"fingerprint", "clean", "acked", "rows", "last_full_at", "updated_at", "run_id")
}

// TestExportSendsEverythingOnce ignores the direction, which is download.
func TestExportSendsEverythingOnce(t *testing.T) {
	each(t, matchedKey, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00", "X Only-there 3.00")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		w.exec("DELETE FROM customer WHERE erp_no = 'X'")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('c1', 'C', 'Carl', '4.00')")
		before := w.anchorBytes()

		export := func(want string) {
			t.Helper()
			res := w.run(syncer.Request{Op: syncer.Export})
			if got := short(res.Counts(syncer.Upload)); got != want || res.State != syncer.Succeeded {
				t.Errorf("export %s (%+v), want %s", got, res, want)
			}
			if n := res.Counts(syncer.Download).Read; n != 0 {
				t.Errorf("the export counts %d downloads", n)
			}
		}
		export("all 3 new 1 updated 2 failed 0")
		want := []string{"A Anne 1.00", "B Bert 2.00", "C Carl 4.00", "X Only-there 3.00"}
		if diff := cmp.Diff(want, w.far()); diff != "" {
			t.Errorf("remote rows (-want +got):\n%s", diff)
		}
		w.table("A Anne 1.00", "B Bert 2.00", "C Carl 4.00") // nothing came back
		export("all 3 new 0 updated 3 failed 0")
		if diff := cmp.Diff(before, w.anchorBytes()); diff != "" {
			t.Errorf("anchors (-before +after):\n%s", diff)
		}

		// The next sync does not repeat the work.
		res := w.run(syncer.Request{})
		if c := res.Counts(syncer.Download); c.Created != 0 || c.Changed != 0 {
			t.Errorf("the sync after the export: %+v", c)
		}
		if n := len(w.far()); n != 4 {
			t.Errorf("%d records there, want 4", n)
		}
	})
}

// A picky remote system refuses customers without a name.
type picky struct{ *source }

func (p *picky) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	results := make([]connectors.Result, len(changes))
	for i, c := range changes {
		at := c.Fields.Index("Name")
		if at >= 0 && c.Op != kedge.Delete && c.Values[at].IsNull() {
			results[i] = connectors.Result{State: connectors.Rejected, Err: &kedge.Error{Kind: kedge.Invalid, Err: errors.New("a name is required")}}
			continue
		}
		one, err := p.Driver.Write(ctx, []kedge.Change{c})
		if err != nil {
			return results, err
		}
		results[i] = one[0]
	}
	return results, nil
}

// TestQuarantinedUploadsAreRetried has one bad record of three.
func TestQuarantinedUploadsAreRetried(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.connect(&picky{w.source})
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		for i, name := range []string{"'Bert'", "NULL", "'Carl'"} {
			w.exec(fmt.Sprintf("INSERT INTO customer (id, erp_no, name, balance) VALUES ('c%d', 'C%d', %s, '4.00')", i, i, name))
		}
		w.both("all 3 new 2 updated 0 failed 1", "all 2 new 0 updated 2 failed 0")
		open, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{Integration: "crm"})
		w.check(err)
		if len(open) != 1 || open[0].Direction != syncer.Upload || open[0].Key != "c1" {
			t.Fatalf("quarantine %+v, want the upload of c1", open)
		}
		retry := func() {
			t.Helper()
			n, rest, err := w.syncer.RetryUploads(t.Context(), "crm", []string{open[0].ID}, "tester")
			w.check(err)
			if n != 1 || len(rest) != 0 {
				t.Fatalf("%d uploads and %v, want 1 and none", n, rest)
			}
		}
		w.both(none, none) // not by itself
		retry()
		w.both("all 1 new 0 updated 0 failed 1", none)

		// The change that mends it goes by itself.
		w.exec("UPDATE customer SET name = 'Named' WHERE erp_no = 'C1'")
		w.both("all 1 new 1 updated 0 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides("A Anna 1.00", "C0 Bert 4.00", "C1 Named 4.00", "C2 Carl 4.00")
		if open, err = w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{}); err != nil || len(open) != 0 {
			t.Errorf("%d records in quarantine after they were sent (%v)", len(open), err)
		}
		if dead := w.transactions(syncer.TxDead); len(dead) != 0 {
			t.Errorf("%d dead transactions after the record was sent: %+v", len(dead), dead[0])
		}
		w.both(none, none)
	})
}
