package odata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// An entity is an entity set with its options and what follows from both. It
// is immutable.
type entity struct {
	info    kedge.Entity // without what findings add
	opts    EntityConfig
	set     *csdl.Set
	columns map[string]wire.Column // by field
	key     []wire.Column
	version *wire.Column // grows with every change; nil if there is none

	lastPlan, lastDelta atomic.Pointer[wire.Plan]

	serverKey bool              // the service makes the key
	made      []string          // fields that the service makes
	binds     map[string][]bind // lookups that are written by binding a navigation
}

// deltaReconcile is how often a full read is wished for although there are
// deltas: a service that has lost its tracking state may answer with an empty
// delta, which nobody can tell from no change.
const deltaReconcile = 168 * time.Hour

func (d *Driver) newEntity(model *csdl.Model, set *csdl.Set) (*entity, error) {
	e := &entity{opts: d.options(model, set.Name), columns: map[string]wire.Column{}}
	if e.opts.Cast != "" {
		cast, err := model.Cast(set, e.opts.Cast)
		if err != nil {
			return nil, configError(d.env, fmt.Errorf("entities.%s.cast: %w", set.Name, err))
		}
		set = cast
	}
	if e.opts.Complex == "json" {
		set = wholeComplex(set)
	}
	e.set = set
	e.info = model.Entity(set)
	for _, name := range slices.Sorted(maps.Keys(e.opts.ExtraFields)) {
		if e.info.Field(name) == nil {
			t, _ := kedge.ParseType(e.opts.ExtraFields[name])
			e.info.Fields = append(e.info.Fields, kedge.Field{Name: name, Type: t, Nullable: true, ReadOnly: true})
		}
	}
	for i := range e.info.Fields {
		e.addColumn(&e.info.Fields[i])
	}
	for _, name := range e.info.Key {
		e.key = append(e.key, e.columns[name])
	}
	e.info.Full = true
	e.info.PageMax = e.opts.PageSize
	e.info.Filter = set.Hints.Filterable.Or(true)
	e.findBinds(model)
	if err := e.checkAlternateKey(d); err != nil {
		return nil, err
	}
	e.findMade()
	return e, e.findVersion(d)
}

// checkAlternateKey refuses an alternate key of fields that there are not. One
// that is given for all entities is for those that have its fields.
func (e *entity) checkAlternateKey(d *Driver) error {
	for _, name := range e.opts.AlternateKey {
		if e.info.Field(name) != nil {
			continue
		}
		if d.cfg.Entities[e.info.Name].AlternateKey != nil {
			return configError(d.env, fmt.Errorf("entities.%s.alternateKey: there is no field %q", e.info.Name, name))
		}
		e.opts.AlternateKey = nil
	}
	return nil
}

// findMade settles what the service makes itself, and with that how records can
// be written.
func (e *entity) findMade() {
	for _, name := range e.sentBack() {
		f, isKey := e.info.Field(name), slices.Contains(e.info.Key, name)
		if f.Computed || isKey && f.ReadOnly {
			e.made = append(e.made, name)
			e.serverKey = e.serverKey || isKey
		}
	}
	findable := !e.serverKey || len(e.opts.AlternateKey)+len(e.info.AlternateKeys) > 0
	e.info.Upsert = e.opts.Upsert != off && e.info.Insert && e.info.Update && findable
	e.info.WriteBatch = e.opts.BatchSize
}

func (e *entity) addColumn(f *kedge.Field) {
	c := wire.Column{Path: f.Name, Type: f.Type, Format: f.Format, Edm: f.NativeType}
	if p := e.set.Property(f.Name); p != nil {
		c.EnumType = p.EnumType
		if p.Edm != "" && p.EnumType == "" {
			c.Edm = p.Edm
		}
	}
	e.columns[f.Name] = c
}

// wholeComplex returns set with complex properties whole instead of in parts.
func wholeComplex(set *csdl.Set) *csdl.Set {
	whole := *set
	whole.Properties = nil
	var prefixes []string
	for _, p := range set.Properties {
		if p.Parts {
			p.Parts = false
			prefixes = append(prefixes, p.Path+"/")
		}
		whole.Properties = append(whole.Properties, p)
	}
	whole.Properties = slices.DeleteFunc(whole.Properties, func(p csdl.Property) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.Path, prefix) })
	})
	return &whole
}

// Names under which services keep a value that grows with every change.
// Integers come first: they depend on no clock, and no two are equal.
var (
	versionNames = []string{"rowversionnumber", "systemrowversion", "versionnumber", "rowversion"}
	timeNames    = []string{"lastmodifieddatetime", "systemmodifiedat", "modifiedon", "modifiedat", "lastmodified", "updatedat"}
)

// findVersion settles which field a watermark uses.
func (e *entity) findVersion(d *Driver) error {
	name := e.opts.VersionField
	if name == "" {
		name = e.named(versionNames, kedge.TypeInt)
	}
	if name == "" {
		name = e.named(timeNames, kedge.TypeTime)
	}
	if name == "" {
		return nil
	}
	f := e.info.Field(name)
	if f == nil {
		for i := range e.info.Fields {
			if strings.EqualFold(e.info.Fields[i].Name, name) {
				f = &e.info.Fields[i]
			}
		}
	}
	if f == nil {
		if _, own := d.cfg.Entities[e.info.Name]; !own { // given for all entities: not all need to have it
			return nil
		}
		return configError(d.env, fmt.Errorf("entities.%s.versionField: there is no field %q", e.info.Name, name))
	}
	if f.Type != kedge.TypeInt && f.Type != kedge.TypeTime {
		return configError(d.env, fmt.Errorf("entities.%s.versionField: %s is %v, not an integer or a time", e.info.Name, f.Name, f.Type))
	}
	c := e.columns[f.Name]
	e.version, e.info.Version = &c, f.Name
	return nil
}

func (e *entity) named(names []string, t kedge.Type) string {
	for _, want := range names {
		for i := range e.info.Fields {
			if f := &e.info.Fields[i]; f.Type == t && strings.EqualFold(f.Name, want) {
				return f.Name
			}
		}
	}
	return ""
}

// describe adds to info what findings tell about writing and tracking, as far as
// they are known.
func (e *entity) describe(info *kedge.Entity, f finding, repeats bool) {
	info.Concurrency = info.Update && e.opts.IfMatch != never && (e.set.Hints.OptimisticConcurrency == csdl.Yes || f.ETag == found)
	info.Idempotent = info.Insert && repeats
	mode, why := e.mode(f)
	switch mode {
	case byDelta:
		info.Delta, info.Deletes, info.ReconcileEvery = true, true, deltaReconcile
		info.Tracking = "delta links"
	case auto:
		info.Delta, info.ReconcileEvery = true, deltaReconcile
		info.Tracking = "delta links if the first read gets one"
		if e.version != nil {
			info.Tracking += ", else watermark on " + e.version.Path
		}
		return
	case byVersion:
		info.Delta = true
		info.Tracking = "watermark on " + e.version.Path
	default:
		info.Tracking = "full reads"
	}
	if why != "" {
		info.Tracking += " (" + why + ")"
	}
}

// mode tells how changes of e are found, and why if that was not the first
// choice. auto means that the next full read finds out.
func (e *entity) mode(f finding) (mode, why string) {
	switch e.opts.Tracking {
	case byFull:
		return byFull, "as configured"
	case byDelta:
		return byDelta, ""
	case byVersion:
		if e.version == nil {
			return byFull, "no version field was found"
		}
		if len(e.key) == 0 {
			return byFull, "the entity has no key"
		}
		return byVersion, ""
	}
	switch {
	case len(e.key) == 0:
		return byFull, "the entity has no key"
	case f.Delta == found:
		return byDelta, ""
	case f.Delta == unasked:
		return auto, ""
	case e.version == nil:
		return byFull, "no delta links, no version field"
	case f.Watermark == failed:
		return byFull, f.WatermarkWhy
	}
	return byVersion, "no delta links"
}
