package custom

import (
	"database/sql"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
)

// A resourceKey names a resource of a table.
type resourceKey struct{ group, id string }

// A row is what is stored of a resource.
type row struct {
	live    bool
	hash    hash
	version string
	data    []byte   // read when it is needed
	el      *element // whose data it has, if the same batch made it
}

// A change is one write of one resource. They are in order.
type change struct {
	r    *request
	key  resourceKey
	el   *element // nil: removed
	op   kedge.Operation
	seq  int64
	prev *row // before the change; its data is there for updates and removals

	fields []string // of an update: what differs
}

// prevData is the data before the change, nil if there was none.
func (ch *change) prevData() []byte {
	switch {
	case ch.prev == nil || ch.op == kedge.OpCreate:
		return nil
	case ch.prev.el != nil:
		return ch.prev.el.data
	}
	return ch.prev.data
}

// small stores events and deletes. They are decided one after the other, as
// if each had a transaction of its own, and written together.
func (w *work) small(requests []*request, scopes map[string]*scope) error {
	w.hook("e")
	rows, err := w.readRows(requests)
	if err != nil {
		return err
	}
	var changes []*change
	for _, r := range requests {
		w.begin(r)
		if r.Op == Event {
			changes = w.decideEvent(r, rows, scopes[r.GroupKey], changes)
		} else {
			changes = w.decideDelete(r, rows, scopes[r.GroupKey], changes)
		}
	}
	w.hook("f")
	if err := w.readData(changes); err != nil {
		return err
	}
	if err := w.number(changes); err != nil {
		return err
	}
	w.hook("h")
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
	return nil
}

// begin makes the answer of r.
func (w *work) begin(r *request) {
	r.result = &Result{Head: Head{RequestID: r.RequestID, Table: w.table.Full, GroupKey: r.GroupKey, DryRun: r.DryRun, Seq: w.head}}
	switch r.Op {
	case Event:
		r.result.Event = &EventResult{ID: r.elements[0].id}
	case Bulk:
		r.result.Bulk = &BulkResult{Received: len(r.elements)}
	case Delete:
		r.result.Delete = &DeleteResult{IgnoredIDs: []string{}}
	}
}

// outcome tells what an element does to a stored row, nil if there is none.
func (e *element) outcome(was *row) Outcome {
	switch {
	case e.suppressed:
		return Suppressed
	case was != nil && was.live && was.hash == e.hash:
		return Unchanged
	case was != nil && schema.Older(e.version, was.version):
		return Stale
	case was != nil && was.live:
		return Updated
	}
	return Created
}

func (w *work) decideEvent(r *request, rows map[resourceKey]*row, in *scope, changes []*change) []*change {
	e := &r.elements[0]
	key := resourceKey{r.GroupKey, e.id}
	was := rows[key]
	r.result.Event.Result = e.outcome(was)
	ch := &change{r: r, key: key, el: e, prev: was}
	switch r.result.Event.Result {
	case Created:
		ch.op = kedge.OpCreate
		in.delta++
	case Updated:
		ch.op = kedge.OpUpdate
	default:
		return changes
	}
	in.moved = true
	rows[key] = &row{live: true, hash: e.hash, version: e.version, el: e}
	return append(changes, ch)
}

func (w *work) decideDelete(r *request, rows map[resourceKey]*row, in *scope, changes []*change) []*change {
	for _, id := range r.IDs {
		key := resourceKey{r.GroupKey, id}
		was := rows[key]
		if was == nil || !was.live {
			r.result.Delete.Ignored++
			if len(r.result.Delete.IgnoredIDs) < maxIgnored {
				r.result.Delete.IgnoredIDs = append(r.result.Delete.IgnoredIDs, id)
			}
			continue
		}
		r.result.Delete.Removed++
		in.delta--
		in.moved = true
		rows[key] = &row{version: was.version}
		changes = append(changes, &change{r: r, key: key, op: kedge.OpDelete, prev: was})
	}
	return changes
}

// maxIDs is how many ids one statement names.
const maxIDs = 500

// readRows reads what is stored of the resources that the requests name.
func (w *work) readRows(requests []*request) (map[resourceKey]*row, error) {
	ids := map[string][]any{} // by group
	seen := map[resourceKey]bool{}
	add := func(group, id string) {
		if k := (resourceKey{group, id}); !seen[k] {
			seen[k] = true
			ids[group] = append(ids[group], id)
		}
	}
	for _, r := range requests {
		for i := range r.elements {
			add(r.GroupKey, r.elements[i].id)
		}
		for _, id := range r.IDs {
			add(r.GroupKey, id)
		}
	}
	rows := make(map[resourceKey]*row, len(seen))
	for group, list := range ids {
		err := chunks(list, maxIDs, func(part []any) error {
			s := w.sql("SELECT id, hash, version FROM ingest_resource WHERE schema_no = ").arg(w.table.No).
				add(" AND group_key = ").arg(group).add(" AND id IN ").row(part...)
			return w.each(s, func(found *sql.Rows) error {
				var id string
				got, err := scanRow(found, &id)
				rows[resourceKey{group, id}] = got
				return err
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// scanRow reads id, hash and version.
func scanRow(found *sql.Rows, id *string) (*row, error) {
	var sum sql.RawBytes
	var version sql.NullString
	if err := found.Scan(id, &sum, &version); err != nil {
		return nil, err
	}
	r := &row{version: version.String, live: sum != nil}
	copy(r.hash[:], sum)
	return r, nil
}

// readData reads the data that updates and removals replace, as far as it is
// not known from an earlier change of the batch.
func (w *work) readData(changes []*change) error {
	ids := map[string][]any{}
	of := map[resourceKey]*row{}
	for _, ch := range changes {
		if ch.op != kedge.OpCreate && ch.prev.el == nil {
			ids[ch.key.group] = append(ids[ch.key.group], ch.key.id)
			of[ch.key] = ch.prev
		}
	}
	for group, list := range ids {
		err := chunks(list, maxIDs, func(part []any) error {
			s := w.sql("SELECT id, data FROM ingest_resource WHERE schema_no = ").arg(w.table.No).
				add(" AND group_key = ").arg(group).add(" AND id IN ").row(part...)
			return w.each(s, func(found *sql.Rows) error {
				var id string
				var data []byte
				err := found.Scan(&id, &data)
				if r := of[resourceKey{group, id}]; r != nil {
					r.data = data
				}
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// number gives each change its number and each request the last of its own.
func (w *work) number(changes []*change) error {
	if len(changes) == 0 {
		return nil
	}
	w.hook("g")
	seq, err := w.takeNumbers(len(changes))
	if err != nil {
		return err
	}
	for _, ch := range changes {
		seq++
		ch.seq = seq
		if !ch.r.DryRun {
			ch.r.result.Seq = seq
		}
	}
	return nil
}
