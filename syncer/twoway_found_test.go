package syncer_test

import (
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// Histories that the model of both directions found.

// A record that was sent before anything was read is known to be gone when the
// first read does not bring it.
func TestDeletedThereBeforeTheFirstRead(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("Z Stays 1.00")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'A', 'Anna', '1.00'), ('x2', 'B', 'Bert', '2.00')")
		w.failAt(1, kedge.Transient)
		w.run(syncer.Request{})
		w.source.page = nil
		w.delete("A")
		w.exec("UPDATE customer SET name = 'Berta' WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.equalSides("B Berta 2.00", "Z Stays 1.00")
	})
}
