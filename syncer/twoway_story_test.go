package syncer_test

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/syncer"
)

// uploads returns what a run sent.
func (w *world) uploads() syncer.Counts {
	w.t.Helper()
	return w.run(syncer.Request{}).Counts(syncer.Upload)
}

// What was uploaded comes back as an echo, once.
func TestOwnUploadsAreEchoes(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'C', 'Carl', '3.00')")
		res := w.run(syncer.Request{})
		if c := res.Counts(syncer.Download); c.Read != 2 || c.Echo != 2 {
			t.Errorf("counts %+v, want two echoes", c)
		}
		// Somebody else's edit of the same record is none, nor is one that comes again.
		w.put("A Anne 7.00", "C Carl 3.00")
		res = w.run(syncer.Request{})
		if c := res.Counts(syncer.Download); c.Read != 2 || c.Echo != 0 || c.Changed != 1 || c.Unchanged != 1 {
			t.Errorf("counts %+v, want one changed and one unchanged", c)
		}
		w.equalSides("A Anne 7.00", "B Bert 2.00", "C Carl 3.00")
	})
}

// A deletion here does there what the mapping says.
func TestUploadDeletes(t *testing.T) {
	for rule, want := range map[string]struct{ far, again []string }{
		"delete": {far: []string{"B Bert 2.00"}, again: []string{"B Bert 2.00"}},
		"ignore": {far: []string{"A Anna 1.00", "B Bert 2.00"}, again: []string{"B Bert 2.00"}},
		"unlink": {far: []string{"A Anna 1.00", "B Bert 2.00"}},
	} {
		t.Run(rule, func(t *testing.T) {
			each(t, strings.Replace(bothWays, "    key:", "    deletes: {upload: "+rule+"}\n    key:", 1), func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("DELETE FROM customer WHERE erp_no = 'A'")
				w.run(syncer.Request{})
				w.same("remote rows", w.far(), want.far...)
				w.both(none, none)
				w.same("remote rows", w.far(), want.far...)
			})
		})
	}
}
