package syncer

import (
	"context"
	"errors"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// fillLookups turns the local keys that the records of a batch refer to into
// what names those records on the other side. Where a record is not there yet,
// one that can do without is sent without, and again later; one that cannot
// waits.
func (u *upload) fillLookups(ctx context.Context, tx *store.Tx, batch []*outgoing) error {
	for i := range u.plan.UploadLookups {
		l := &u.plan.UploadLookups[i]
		names, err := u.namesOf(ctx, tx, l, batch)
		if err != nil {
			return err
		}
		for _, o := range batch {
			if u.sends(o, l) {
				u.fillLookup(o, l, names)
			}
		}
	}
	for _, o := range batch {
		if o.end == "" && o.fail == nil && len(o.unresolved) > 0 && o.change.Op == kedge.Update && !slices.ContainsFunc(o.remote.Values, func(v kedge.Value) bool { return !v.IsMissing() }) {
			o.wait = true
		}
		if o.end == "" && !o.wait {
			delete(u.missing, o.op.LocalKey)
		}
	}
	return nil
}

// sends tells whether a lookup is part of what is sent of a record.
func (u *upload) sends(o *outgoing, l *mapping.Lookup) bool {
	if o.end != "" || o.fail != nil || o.removes || o.local == nil || o.wait && o.change.Entity == "" {
		return false
	}
	return o.create || !l.CreateOnly && o.up != nil && o.up[l.Local]
}

func (u *upload) fillLookup(o *outgoing, l *mapping.Lookup, names map[kedge.Key][]kedge.Value) {
	v := value(o.local, l.Local)
	var err error
	values, found := names[u.targetKey(l, v)]
	switch {
	case v.IsMissing():
	case v.IsNull():
		err = u.plan.FillLookup(&o.remote, l, kedge.Null())
	case found:
		err = u.plan.FillLookup(&o.remote, l, values...)
	case l.Required:
		o.wait = true
		u.missing[o.op.LocalKey] = failReference(l, codeUnresolved, "the record that the lookup names is not on the other side yet")
	default:
		o.unresolved = append(o.unresolved, l.Local)
	}
	if err != nil {
		o.fail = failMap(err)
	}
}

// targetKey is the local key that a lookup's value stands for.
func (u *upload) targetKey(l *mapping.Lookup, v kedge.Value) kedge.Key {
	if t := u.run.entities[l.Target]; v.IsEmpty() || t == nil || t.plan == nil {
		return ""
	} else if len(t.plan.Local.Key) > 1 {
		return kedge.Key(v.Str())
	}
	return kedge.NewKey(v)
}

// namesOf returns the external values that name the targets of a lookup, by
// local key.
func (u *upload) namesOf(ctx context.Context, tx *store.Tx, l *mapping.Lookup, batch []*outgoing) (map[kedge.Key][]kedge.Value, error) {
	var keys []kedge.Key
	for _, o := range batch {
		if u.sends(o, l) {
			if k := u.targetKey(l, value(o.local, l.Local)); k != "" {
				keys = append(keys, k)
			}
		}
	}
	names := map[kedge.Key][]kedge.Value{}
	if len(keys) == 0 {
		return names, nil
	}
	target := u.run.entities[l.Target]
	if l.By != nil {
		return names, target.namesBy(ctx, u.ownTx(tx), l.By, keys, names)
	}
	external := map[kedge.Key]kedge.Key{}
	if target.plan.SharedKey {
		for _, k := range keys {
			external[k] = k
		}
	} else {
		links, err := u.run.s.linksBy(ctx, tx, target.row.ID, "local_key", keys)
		if err != nil {
			return nil, err
		}
		for k, row := range links {
			if row.Status == linked {
				external[k] = row.ExtKey
			}
		}
	}
	for local, k := range external {
		values, err := target.plan.External.Values(k)
		if err != nil {
			return nil, err
		}
		names[local] = values
	}
	return names, nil
}

// namesBy fills in the values of fields that name records, as the local side
// has them.
func (e *entity) namesBy(ctx context.Context, tx connectors.Tx, by []string, keys []kedge.Key, names map[kedge.Key][]kedge.Value) error {
	local := e.localNames(by)
	if slices.Contains(local, "") {
		return &kedge.Error{Kind: kedge.Invalid, Entity: e.plan.Name, Err: errors.New("a field that lookups name records by is not mapped")}
	}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, local, nil, keys)
	for i := range rows {
		values := make([]kedge.Value, len(local))
		for j, name := range local {
			values[j] = rows[i].Get(name)
		}
		if !slices.ContainsFunc(values, kedge.Value.IsEmpty) {
			names[rows[i].Key] = values
		}
	}
	return err
}

// lookupTargets tells of the external fields that can point to several entities
// to which one the mapping has them point.
func (u *upload) lookupTargets() map[string]string {
	if u.targets != nil {
		return u.targets
	}
	u.targets = map[string]string{}
	for _, l := range u.plan.UploadLookups {
		target := u.run.entities[l.Target]
		if target == nil || target.plan == nil {
			continue
		}
		for _, i := range l.External {
			name := u.plan.ExternalFields.Name(i)
			if f := u.plan.External.Field(name); f != nil && len(f.Lookup) > 1 {
				u.targets[name] = target.plan.External.Name
			}
		}
	}
	return u.targets
}
