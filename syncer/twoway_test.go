package syncer_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// bothWays maps customers in both directions, by a key of the other side.
const bothWays = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    direction: bidirectional
    key: [{external: "No", local: erp_no}]
    fields:
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

// both compares the result lines of a sync, uploads first.
func (w *world) both(upload, download string) syncer.Result {
	w.t.Helper()
	res := w.run(syncer.Request{})
	if got := short(res.Counts(syncer.Upload)); got != upload {
		w.t.Errorf("upload %s (state %s, %+v), want %s", got, res.State, res.Entities, upload)
	}
	w.line(res, download)
	return res
}

const none = "all 0 new 0 updated 0 failed 0"

// far returns the customers of the remote side as "No Name Balance".
func (w *world) far() []string {
	w.t.Helper()
	list := []string{}
	page, err := w.source.Driver.ReadPage(w.t.Context(), connectors.ReadRequest{Entity: "customers", Fields: []string{"No", "Name", "Balance"}, Size: 10_000})
	w.check(err)
	for _, r := range page.Records {
		text := ""
		for _, name := range []string{"No", "Name", "Balance"} {
			if v := r.Get(name); v.IsEmpty() {
				text += " -"
			} else {
				text += " " + v.Text()
			}
		}
		list = append(list, text[1:])
	}
	slices.Sort(list)
	return list
}

func (w *world) equalSides(want ...string) {
	w.t.Helper()
	w.table(want...)
	if diff := cmp.Diff(append([]string{}, want...), w.far()); diff != "" {
		w.t.Errorf("remote rows (-want +got):\n%s", diff)
	}
}

func TestEditsGoBothWays(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.both("all 2 new 0 updated 2 failed 0", "all 2 new 2 updated 0 failed 0")
		w.equalSides("A Anna 1.00", "B Bert 2.00")

		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides("A Anne 1.00", "B Bert 2.00")
		w.both(none, none)

		// Different fields of one record merge.
		w.exec("UPDATE customer SET name = 'Berta' WHERE erp_no = 'B'")
		w.put("B Bert 3.50")
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides("A Anne 1.00", "B Berta 3.50")
		w.both(none, none)

		// New on one side, deleted on the other.
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'C', 'Carl', '4.00')")
		w.delete("A")
		w.both("all 1 new 1 updated 0 failed 0", "all 2 new 0 updated 2 failed 0")
		w.equalSides("B Berta 3.50", "C Carl 4.00")
		w.exec("DELETE FROM customer WHERE erp_no = 'B'")
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides("C Carl 4.00")
		w.both(none, none)
	})
}
