package custom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
)

// A localPlan writes the resources of a table to a local entity.
type localPlan struct {
	plan *mapping.EntityPlan
	get  connectors.TxGetter
	put  connectors.TxWriter
	made time.Time
	err  error // the mapping cannot run: every resource is quarantined
}

// A planKey names a plan: what it is made of never changes, but for the local
// tables, so that a plan is made again after planAge.
type planKey struct {
	no      int64
	version int
	mapping string
}

const planAge = time.Minute

// localPlan returns the plan of a table, nil if it has no mapping. With make
// set it may add tables and columns first, which needs to be outside of a
// transaction.
func (c *Custom) localPlan(ctx context.Context, t *Table, make bool) (*localPlan, error) {
	if t.Settings.Mapping == "" {
		return nil, nil
	}
	k := planKey{t.No, t.Version, t.Settings.Mapping}
	c.mapping.Lock()
	defer c.mapping.Unlock()
	p := c.plans[k]
	if p != nil && (c.now().Sub(p.made) < planAge || !make) {
		return p, nil
	}
	if !make {
		return nil, busy("the mapping of the table is being changed; send it again")
	}
	for old := range c.plans {
		if old.no == t.No {
			delete(c.plans, old)
		}
	}
	p, err := c.compilePlan(ctx, t, true)
	if err != nil {
		if kedge.KindOf(err) != kedge.Invalid {
			return nil, err
		}
		p = &localPlan{err: err}
	}
	p.made = c.now()
	c.plans[k] = p
	return p, nil
}

// CheckMapping tells what is wrong with the mapping of a table, which is not
// stored yet. Tables that the mapping makes need not exist.
func (c *Custom) CheckMapping(ctx context.Context, t *Table) error {
	if t.Settings.Mapping == "" {
		return nil
	}
	c.mapping.Lock()
	defer c.mapping.Unlock()
	_, err := c.compilePlan(ctx, t, false)
	return err
}

func (c *Custom) compilePlan(ctx context.Context, t *Table, apply bool) (*localPlan, error) {
	invalid := func(format string, args ...any) error {
		return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("mapping: "+format, args...)}
	}
	m, err := mapping.Parse("mapping", []byte(t.Settings.Mapping))
	if err != nil {
		return nil, err
	}
	rules := slices.DeleteFunc(slices.Clone(m.Entities), func(e mapping.Entity) bool { return e.Disabled || e.External != t.Full })
	if len(rules) != 1 {
		return nil, invalid("needs one enabled entity with external: %s", t.Full)
	}
	m.Entities = rules
	for _, f := range rules[0].Fields {
		if f.Lookup != nil {
			return nil, invalid("%s: lookups are not supported for pushed resources; sync from the view %s instead", f.Local, t.Full+FeedSuffix)
		}
	}
	local, err := c.localConn(ctx)
	if err != nil {
		return nil, err
	}
	get, canGet := local.Driver().(connectors.TxGetter)
	put, canPut := local.Driver().(connectors.TxWriter)
	if !canGet || !canPut {
		return nil, invalid("the connection local does not write in kedge's own database")
	}
	have, err := local.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	ext := &kedge.Schema{Entities: []kedge.Entity{*t.entity}}
	if have, err = c.prepareTables(ctx, local, m, ext, have, apply); err != nil {
		return nil, err
	}
	plan, err := mapping.Compile(m, ext, have, c.now())
	if err != nil {
		return nil, err
	}
	for _, held := range plan.Held {
		var texts []string
		for _, f := range held {
			if f.Code == mapping.LocalEntityMissing {
				f.Fix = fmt.Sprintf("create the table, or let kedge make it by connections.local.entities.%s.create: true", rules[0].Local)
			}
			texts = append(texts, f.Text())
		}
		return nil, invalid("%s", strings.Join(texts, "; "))
	}
	all := slices.Concat(plan.Layers...)
	if len(all) != 1 || len(all[0].Key) == 0 {
		return nil, invalid("needs a key, by which the local record is found")
	}
	return &localPlan{plan: all[0], get: get, put: put}, nil
}

// prepareTables adds what the config allows to the local tables, as a run of a
// sync does, and returns the local schema with it.
func (c *Custom) prepareTables(ctx context.Context, local *connectors.Conn, m *mapping.Mapping, ext, have *kedge.Schema, apply bool) (*kedge.Schema, error) {
	preparer, ok := local.Driver().(connectors.Preparer)
	if !ok {
		return have, nil
	}
	found, err := preparer.Prepare(ctx, mapping.Tables(m, ext))
	if err != nil {
		return nil, err
	}
	for _, refused := range found.Refused {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: refused}
	}
	if len(found.Allowed) == 0 {
		return have, nil
	}
	if !apply {
		out := &kedge.Schema{Entities: slices.Clone(have.Entities)}
		out.Entities = slices.DeleteFunc(out.Entities, func(e kedge.Entity) bool {
			return slices.ContainsFunc(found.After, func(n kedge.Entity) bool { return n.Name == e.Name })
		})
		out.Entities = append(out.Entities, found.After...)
		return out, nil
	}
	if err := preparer.ApplySchema(ctx, found.Allowed); err != nil {
		return nil, err
	}
	return local.Refresh(ctx)
}

// localConn opens the connection to the local tables, once.
func (c *Custom) localConn(ctx context.Context) (*connectors.Conn, error) {
	if c.local != nil {
		return c.local, nil
	}
	if c.opts.Local == nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("mapping: there are no local tables here")}
	}
	var err error
	c.local, err = c.opts.Local(ctx)
	return c.local, err
}
