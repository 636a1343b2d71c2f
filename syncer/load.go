package syncer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
)

// load opens the connections, checks the mapping against both live schemas
// and makes the entities of the run.
func (r *run) load(ctx context.Context) error {
	current, err := r.s.Mapping(ctx, r.name)
	if err != nil {
		return err
	}
	r.revision = current.Revision
	if r.ext, err = r.s.opts.Connect(ctx, current.External, r.name); err != nil {
		return err
	}
	if r.loc, err = r.s.opts.Connect(ctx, current.Local, r.name); err != nil {
		return err
	}
	r.own = r.s.opts.OwnDatabase(current.Local)
	if r.target, err = r.newTarget(ctx); err != nil {
		return err
	}
	_, r.acks = r.ext.Driver().(connectors.Acker)
	account, err := r.ext.Probe(ctx)
	if err != nil && kedge.KindOf(err) != kedge.Unsupported {
		return fmt.Errorf("connection %q: %w", current.External, err)
	}
	r.epoch = account.Epoch
	if err := r.compile(ctx, current); err != nil {
		return err
	}
	return r.makeEntities(ctx)
}

func (r *run) newTarget(ctx context.Context) (target, error) {
	if !r.own {
		return otherSystem{r.loc}, nil
	}
	get, canGet := r.loc.Driver().(connectors.TxGetter)
	put, canPut := r.loc.Driver().(connectors.TxWriter)
	if !canGet || !canPut {
		return nil, &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("the local connection cannot be written in kedge's own transactions")}
	}
	return r.newPublishing(ctx, ownTables{get, put}), nil
}

func (r *run) close() {
	// Nothing was written through them that is not committed.
	_ = r.ext.Close()
	_ = r.loc.Close()
}

// makeEntities makes the entities that the request names, or all.
func (r *run) makeEntities(ctx context.Context) error {
	for _, name := range r.req.Entities {
		if !r.has(name) {
			return invalid("", fmt.Errorf("integration %s has no enabled entity %q; it has %s", r.name, name, strings.Join(r.names(), ", ")))
		}
	}
	for _, plans := range r.plan.Layers {
		var layer []*entity
		for _, p := range plans {
			e, err := r.newEntity(ctx, p)
			if err != nil {
				return err
			}
			r.entities[p.Name] = e
			if len(r.req.Entities) == 0 || slices.Contains(r.req.Entities, p.Name) {
				layer = append(layer, e)
			}
		}
		r.layers = append(r.layers, layer)
	}
	if len(r.ordered()) == 0 && len(r.held()) == 0 {
		return invalid("", fmt.Errorf("the mapping of integration %s has no enabled entity", r.name))
	}
	if err := r.makeTargets(ctx); err != nil {
		return err
	}
	return r.makeUploads(ctx)
}

// makeTargets makes the entities that lookups name but that are not part of
// the plan. Of one that is disabled, the records that were downloaded before
// are found; of one that is held, none.
func (r *run) makeTargets(ctx context.Context) error {
	for _, e := range slices.Collect(maps.Values(r.entities)) {
		for _, l := range slices.Concat(e.plan.Lookups, e.plan.UploadLookups) {
			if r.entities[l.Target] != nil {
				continue
			}
			target := &entity{run: r}
			var err error
			if p := r.idle[l.Target]; p != nil {
				target, err = r.newEntity(ctx, p)
			} else {
				target.row, err = r.entityRow(ctx, l.Target)
			}
			if err != nil {
				return err
			}
			r.entities[l.Target] = target
		}
	}
	return nil
}

// entityRow returns the row of an entity. A plan does not make it.
func (r *run) entityRow(ctx context.Context, name string) (*entityRow, error) {
	if r.planning() {
		return findEntity(ctx, r.s.store.DB(), r.name, name)
	}
	return loadEntity(ctx, r.s.store.DB(), r.name, name)
}

func (r *run) has(name string) bool { return slices.Contains(r.names(), name) }

func (r *run) names() []string {
	var names []string
	for _, layer := range r.plan.Layers {
		for _, p := range layer {
			names = append(names, p.Name)
		}
	}
	return slices.Sorted(slices.Values(slices.Concat(names, slices.Collect(mapKeys(r.held())))))
}

// held returns the entities that cannot run, with the first reason and what to
// do about it.
func (r *run) held() map[string]string {
	held := map[string]string{}
	if r.plan == nil {
		return held
	}
	for name, findings := range r.plan.Held {
		if len(r.req.Entities) == 0 || slices.Contains(r.req.Entities, name) {
			held[name] = findings[0].Text()
		}
	}
	return held
}

func mapKeys[M ~map[K]V, K comparable, V any](m M) iter.Seq[K] { return maps.Keys(m) }

func (r *run) newEntity(ctx context.Context, p *mapping.EntityPlan) (*entity, error) {
	row, err := r.entityRow(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	e := &entity{run: r, plan: p, row: row, filter: p.DownloadFilter, deleteRule: p.Rules.Deletes.Download}
	e.sendsEdits()
	p = e.plan
	for _, f := range p.Rules.Fields {
		e.hasDefaults = e.hasDefaults || !f.Disabled && !f.Default.IsMissing()
	}
	for _, name := range p.Local.Key {
		i := p.LocalFields.Index(name)
		if i < 0 && p.SharedKey {
			return nil, &kedge.Error{Op: "syncer", Entity: p.Name, Err: errors.New("the local key is not among the mapped fields")}
		}
		e.keyAt = append(e.keyAt, i)
	}
	return e, nil
}

// localOf returns the local field that an external field is mapped to, "" if
// there is none.
func (e *entity) localOf(external string) string {
	if local := plainLocal(e.plan.Rules, external); local != "" {
		return local
	}
	for _, k := range e.plan.Rules.Key {
		if k.External == external {
			return k.Local
		}
	}
	return ""
}
