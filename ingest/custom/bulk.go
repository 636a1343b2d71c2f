package custom

import (
	"database/sql"
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// bulk makes the elements of r the full state of its scope: what is missing
// among them is removed.
func (w *work) bulk(r *request, scopes map[string]*scope) error {
	in := scopes[r.GroupKey]
	w.begin(r)
	w.hook("e")
	if r.Session != "" {
		if err := w.closeSession(r); err != nil || r.err != nil {
			return err
		}
	}
	plan, err := w.merge(r)
	if err != nil {
		return err
	}
	w.hook("f")
	if r.err = w.breaker(r, in, len(plan.removed)); r.err != nil {
		return nil
	}
	if n := len(plan.changes) + len(plan.removed); n > 0 {
		w.hook("g")
		before, err := w.takeNumbers(n)
		if err != nil {
			return err
		}
		for i, ch := range plan.changes {
			ch.seq = before + int64(i) + 1
		}
		plan.firstRemoved = before + int64(len(plan.changes)) + 1
		if !r.DryRun {
			r.result.Seq = before + int64(n)
		}
		in.moved = true
	}
	w.hook("h")
	if err := w.writeBulk(r, plan); err != nil {
		return err
	}
	in.delta += int64(r.result.Bulk.Created - r.result.Bulk.Removed)
	if r.Session != "" {
		return w.c.deleteSession(w.ctx, w.tx.Tx.Tx, r.Session, false)
	}
	return nil
}

// A bulkPlan is what a bulk does to its scope.
type bulkPlan struct {
	changes      []*change // creates and updates, in payload order
	removed      []string  // ids, sorted
	firstRemoved int64     // number of the first removal
}

// merge compares the elements with the scope, reading both in the order of
// their ids: O(n+m) time, and memory only for what differs.
func (w *work) merge(r *request) (*bulkPlan, error) {
	order := make([]int, len(r.elements))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(r.elements[a].id, r.elements[b].id) })
	var changes []*change
	plan, counts, next := &bulkPlan{}, r.result.Bulk, 0
	decide := func(i int, was *row) {
		e := &r.elements[i]
		switch e.outcome(was) {
		case Suppressed:
			counts.Suppressed++
		case Unchanged:
			counts.Unchanged++
		case Stale:
			counts.Stale++
		case Updated:
			counts.Updated++
			changes[i] = &change{r: r, key: resourceKey{r.GroupKey, e.id}, el: e, op: kedge.OpUpdate, prev: was}
		case Created:
			counts.Created++
			changes[i] = &change{r: r, key: resourceKey{r.GroupKey, e.id}, el: e, op: kedge.OpCreate}
		}
	}
	changes = make([]*change, len(r.elements))
	s := w.sql("SELECT id, hash, version FROM ingest_resource WHERE schema_no = ").arg(w.table.No).add(" AND group_key = ").arg(r.GroupKey).add(" ORDER BY id")
	err := w.each(s, func(found *sql.Rows) error {
		var id string
		was, err := scanRow(found, &id)
		if err != nil {
			return err
		}
		for next < len(order) && r.elements[order[next]].id < id {
			decide(order[next], nil)
			next++
		}
		if next < len(order) && r.elements[order[next]].id == id {
			decide(order[next], was)
			next++
		} else if was.live {
			plan.removed = append(plan.removed, id)
		}
		return nil
	})
	for ; next < len(order); next++ {
		decide(order[next], nil)
	}
	counts.Removed = len(plan.removed)
	plan.changes = slices.DeleteFunc(changes, func(ch *change) bool { return ch == nil })
	return plan, err
}

// breaker refuses a bulk that removes more than its table allows, unless the
// sender confirmed the number.
func (w *work) breaker(r *request, in *scope, removed int) error {
	if r.ConfirmRemoved >= 0 {
		if r.ConfirmRemoved != removed {
			return conflict("would remove %d of %d, not the %d of confirmRemoved; send confirmRemoved=%d if that is meant", removed, in.live, r.ConfirmRemoved, removed)
		}
		return nil
	}
	set := w.table.Settings
	if !set.HasBreaker() || removed <= set.MinRemoved || int64(removed)*100 <= in.live*int64(set.MaxPercent) {
		return nil
	}
	p := problem(http.StatusConflict, "would remove %d of %d; send confirmRemoved=%d", removed, in.live, removed)
	p.Type = "breaker"
	return p
}

// bulkRows is how many changes of a bulk are in memory with their data before.
const bulkRows = 500

// writeBulk stores the changes in portions: first the elements, then the
// removals.
func (w *work) writeBulk(r *request, plan *bulkPlan) error {
	store := func(changes []*change) error {
		if err := w.fill(r, changes); err != nil {
			return err
		}
		if err := w.readData(changes); err != nil {
			return err
		}
		if err := w.write(changes); err != nil {
			return err
		}
		w.hook("i")
		if err := w.mapLocal(changes); err != nil {
			return err
		}
		w.hook("j")
		if err := w.publish(changes); err != nil {
			return err
		}
		for _, ch := range changes {
			ch.prev = nil // lets go of the data
			if ch.el != nil {
				ch.el.data = nil
			}
		}
		return nil
	}
	if err := chunks(plan.changes, bulkRows, store); err != nil {
		return err
	}
	seq := plan.firstRemoved
	return chunks(plan.removed, bulkRows, func(ids []string) error {
		changes := make([]*change, len(ids))
		for i, id := range ids {
			changes[i] = &change{r: r, key: resourceKey{r.GroupKey, id}, op: kedge.OpDelete, seq: seq, prev: &row{live: true}}
			seq++
		}
		return store(changes)
	})
}
