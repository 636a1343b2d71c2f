package syncer_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// TestResetHistories resets after all kinds of edits on both sides, some synced
// and some not: both sides are equal then, the other side is as it was, rows
// that match keep their local keys, and the next sync has nothing to do.
func TestResetHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			each(t, bothWays, func(t *testing.T, w *world) {
				w.exec("DROP TABLE customer")
				decimal := map[store.Engine]string{store.SQLite: "TEXT_DECIMAL(18,2)", store.Postgres: "numeric(18,2)"}[w.store.Engine()]
				w.exec("CREATE TABLE customer (id varchar(36) PRIMARY KEY, erp_no text, name text, balance " + decimal + ")") // keys may be there twice
				h := &resetHistory{world: w, random: rand.New(rand.NewPCG(seed, 1))}
				for range 12 {
					for range h.random.IntN(8) {
						h.edit()
					}
					if h.random.IntN(3) == 0 {
						w.run(syncer.Request{ForceDeletes: true})
						continue
					}
					h.reset()
					if t.Failed() {
						return
					}
				}
			})
		})
	}
}

type resetHistory struct {
	*world
	random *rand.Rand
	made   int
}

func (h *resetHistory) key() string { return fmt.Sprintf("K%d", h.random.IntN(9)) }

// edit changes one of the sides.
func (h *resetHistory) edit() {
	h.made++
	switch name := fmt.Sprint("n", h.made); h.random.IntN(7) {
	case 0, 1:
		h.put(h.key() + " " + name + " 1.00")
	case 2:
		h.delete(kedge.Key(h.key()))
	case 3:
		h.exec("UPDATE customer SET name = ? WHERE erp_no = ?", name, h.key())
	case 4:
		h.exec("DELETE FROM customer WHERE erp_no = ?", h.key())
	case 5: // perhaps a second one with that key
		h.exec("INSERT INTO customer (id, erp_no, name) VALUES (?, ?, ?)", "own"+name, h.key(), name)
	case 6: // a new one, or one whose key changes
		if h.random.IntN(2) == 0 {
			h.exec("INSERT INTO customer (id, name) VALUES (?, ?)", "own"+name, name)
		} else {
			h.exec("UPDATE customer SET erp_no = ? WHERE erp_no = ?", h.key(), h.key())
		}
	}
}

func (h *resetHistory) reset() {
	h.t.Helper()
	far, before := h.far(), h.rows("customer", "coalesce(erp_no, '')", "id")
	h.run(syncer.Request{ResetLocal: true, Confirm: agree, ForceDeletes: true})
	h.equalSides(far...)
	after := h.rows("customer", "erp_no", "id")
	for _, row := range before {
		key := strings.Fields(row)[0]
		same := func(other string) bool { return strings.HasPrefix(other, key+" ") }
		count := 0
		for _, other := range before {
			if same(other) {
				count++
			}
		}
		if count == 1 && slices.ContainsFunc(far, same) && !slices.Contains(after, row) {
			h.t.Errorf("row %q has another local key: %v", row, after)
		}
	}
	ids := h.rows("customer", "erp_no", "id")
	h.quiet()
	h.both(none, none)
	h.equalSides(far...)
	if diff := cmp.Diff(ids, h.rows("customer", "erp_no", "id")); diff != "" {
		h.t.Errorf("local keys changed after the reset (-want +got):\n%s", diff)
	}
}
