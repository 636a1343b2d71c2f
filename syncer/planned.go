package syncer

import (
	"context"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

// planned is what a plan knows of the records that a run would have stored by
// then, because it stores none.
type planned struct {
	keys    map[kedge.Key]kedge.Key // values of the key pairs, to the record that has them
	names   map[uint64]bool         // hashes of what lookups call the records
	waiting []kedge.Record          // lack a record that must be there, and are tried again at the end
}

// foresee notes that the record of an item would be there.
func (e *entity) foresee(it *item) {
	if it.fail != nil || it.rec.Removed != kedge.Live || it.dst.Fields == nil {
		return
	}
	if e.planned.keys == nil {
		e.planned.keys, e.planned.names = map[kedge.Key]kedge.Key{}, map[uint64]bool{}
	}
	if k := e.pairKey(it, e.plan.Key); !e.plan.SharedKey && k != "" {
		e.planned.keys[k] = it.rec.Key
	}
	for _, by := range e.run.lookedUpBy(e.plan.Name) {
		k := it.rec.Key
		if by != nil {
			parts := make([]kedge.Value, len(by))
			for i, name := range by {
				parts[i] = it.rec.Get(name)
			}
			k = kedge.NewKey(parts...)
		}
		if k != "" {
			e.planned.names[plannedName(by, k)] = true
		}
	}
}

// lookedUpBy returns the sets of fields by which lookups name records of an
// entity; nil stands for its key.
func (r *run) lookedUpBy(target string) [][]string {
	var sets [][]string
	for _, e := range r.ordered() {
		for _, l := range e.plan.Lookups {
			if l.Target == target && !slices.ContainsFunc(sets, func(by []string) bool { return slices.Equal(by, l.By) }) {
				sets = append(sets, l.By)
			}
		}
	}
	return sets
}

func plannedName(by []string, k kedge.Key) uint64 {
	return xxhash.Sum64String(strings.Join(by, "\x00") + "\x00\x00" + string(k))
}

// addPlanned adds the wanted records that would be there by now. Their local
// keys are known only where they are the external ones.
func (e *entity) addPlanned(found map[kedge.Key]targetRow, l *mapping.Lookup, wanted map[kedge.Key]bool) {
	for k := range wanted {
		if _, ok := found[k]; ok || !e.planned.names[plannedName(l.By, k)] {
			continue
		}
		row := targetRow{}
		if l.By == nil && e.plan.SharedKey {
			row, _ = e.localValue(k) // without it the value stays unknown
		}
		row.unknown = row.value.IsMissing()
		found[k] = row
	}
}

// previewWaiting decides about the records that lacked another one, in passes
// as a run does.
func (r *run) previewWaiting(ctx context.Context) error {
	for {
		tried, left := 0, 0
		for _, e := range r.ordered() {
			records := e.planned.waiting
			if len(records) == 0 {
				continue
			}
			e.planned.waiting = nil
			if err := e.apply(ctx, &chunk{records: records, exact: len(records)}); err != nil {
				return e.failPreview(err)
			}
			tried, left = tried+len(records), left+len(e.planned.waiting)
		}
		if left == 0 {
			return nil
		}
		r.final = left == tried
	}
}

// previewSweep tells which records a full read did not bring and would be
// deleted. Whether the breaker would trip shows at the run.
func (e *entity) previewSweep(ctx context.Context) error {
	if e.run.op() != Sync || !e.plan.External.Full {
		return nil
	}
	missing, seen, err := e.log.unseen(ctx, e.run.s.store.DB())
	if err != nil || missing == 0 || seen == 0 && !e.log.table {
		return err
	}
	for chunk, err := range e.missing(ctx) {
		if err != nil {
			return err
		}
		gone, back, err := e.askFor(ctx, chunk)
		if err != nil {
			return err
		}
		for _, g := range gone {
			d := Decision{Entity: e.plan.Name, Direction: Download, Action: "delete", ExtKey: g.ext, LocalKey: g.local, Reason: g.reason.String()}
			outcome := Deleted
			if e.markLink(g.mapped, g.reason, e.run.start) == nil {
				d.Action, outcome = "unchanged", Kept
			}
			if err := e.run.emit(d); err != nil {
				return err
			}
			e.counts.count(notSeen, outcome)
		}
		if err := e.apply(ctx, back); err != nil {
			return err
		}
	}
	return nil
}
