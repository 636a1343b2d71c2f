package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// A draft is an entity plan in the making.
type draft struct {
	*compiler
	rules         *Entity
	plan          *EntityPlan
	external      names
	local         names
	localRead     names // begins like local
	hashed        []int
	locals        map[int]*localDraft // by position
	claims        map[int]claim       // by position of the external field
	ext, loc      *kedge.Entity
	findings      []Finding
	downloadParts []string // what the fingerprint is made of
	uploadParts   []string // what that of uploads is made of
}

// names collects the field names of a plan.
type names struct {
	list  []string
	index map[string]int
}

// at returns the position of name, which it adds if it is new.
func (n *names) at(name string) int {
	if i, ok := n.index[name]; ok {
		return i
	}
	if n.index == nil {
		n.index = make(map[string]int)
	}
	n.index[name] = len(n.list)
	n.list = append(n.list, name)
	return len(n.list) - 1
}

func (n *names) clone() names { return names{slices.Clone(n.list), maps.Clone(n.index)} }

func (c *compiler) entity(e *Entity) *draft {
	rules := e.withDefaults()
	d := &draft{compiler: c, rules: &rules, ext: c.ext.Entity(e.External), loc: c.loc.Entity(e.Local), locals: map[int]*localDraft{}, claims: map[int]claim{}}
	d.plan = &EntityPlan{Name: rules.Name, Rules: &rules, External: d.ext, Local: d.loc, Modified: Pair{-1, -1}}
	if !d.checkEntities() {
		return d
	}
	d.key()
	for i := range rules.Fields {
		if !rules.Fields[i].Disabled {
			d.field(&rules.Fields[i])
		}
	}
	d.pairsOfKey()
	d.alternateKeys()
	d.localRead = d.local.clone()
	d.filters()
	d.conflictAndDeletes()
	d.finish()
	return d
}

func (d *draft) find(f Finding) {
	f.Entity = d.rules.Name
	d.findings = append(d.findings, f)
}

func (d *draft) fail(code Code, side Side, field, fix, format string, args ...any) {
	d.find(Finding{Code: code, Severity: SeverityError, Side: side, Field: field, Fix: fix, Message: fmt.Sprintf(format, args...)})
}

// externalField returns the live field, or nil after a finding.
func (d *draft) externalField(name string) *kedge.Field {
	if f := d.ext.Field(name); f != nil {
		return f
	}
	d.fail(ExternalFieldMissing, SideExternal, name, cleanUpFix(name, fieldNames(d.ext)), "%s has no field %s", d.ext.Name, name)
	return nil
}

// cleanUpFix says what to do about an external item that is not there.
func cleanUpFix(name string, names []string) string {
	const fix = "run Clean Up to take it out of the mapping"
	if near := nearest.Name(name, names); near != "" {
		return "perhaps it is " + near + "; else " + fix
	}
	return fix
}

// localField returns the live field, or nil after a finding.
func (d *draft) localField(name string) *kedge.Field {
	if f := d.loc.Field(name); f != nil {
		return f
	}
	fix := "choose another local field"
	if c := nearest.Name(name, fieldNames(d.loc)); c != "" {
		fix += ", perhaps " + c
	}
	fix += ", or make it with \"kedge map tables\""
	d.fail(LocalFieldMissing, SideLocal, name, fix, "%s has no field %s", d.loc.Name, name)
	return nil
}

func fieldNames(e *kedge.Entity) []string {
	out := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		out[i] = f.Name
	}
	return out
}

// key checks the key pairs and gives them the first positions.
func (d *draft) key() {
	for _, p := range d.rules.Key {
		d.externalKey(p.External)
		d.localKey(p.Local)
		d.plan.Key = append(d.plan.Key, Pair{d.external.at(p.External), d.local.at(p.Local)})
	}
	d.checkUnique()
}

func (d *draft) externalKey(name string) {
	if d.ext.Field(name) == nil {
		d.fail(KeyMissing, SideExternal, name, candidate(d.ext, "external"), "key field %s is not in %s", name, d.ext.Name)
	}
}

func (d *draft) localKey(name string) {
	if d.loc.Field(name) == nil {
		d.fail(KeyMissing, SideLocal, name, candidate(d.loc, "local"), "key field %s is not in %s", name, d.loc.Name)
	}
}

// candidate names a key that could take the place of a missing one.
func candidate(e *kedge.Entity, side string) string {
	keys := e.AlternateKeys
	if len(e.Key) > 0 {
		keys = append([][]string{e.Key}, keys...)
	}
	if len(keys) == 0 {
		return "set up a new key"
	}
	return fmt.Sprintf("set up a new key, for example with %s field %s", side, strings.Join(keys[0], ", "))
}

// pairsOfKey maps the key pairs that no field maps with a conversion.
func (d *draft) pairsOfKey() {
	for i, p := range d.rules.Key {
		if r := d.locals[d.plan.Key[i].Local]; r != nil && r.down || d.ext.Field(p.External) == nil || d.loc.Field(p.Local) == nil {
			continue
		}
		f := Field{External: []string{p.External}, Local: p.Local, Direction: Download}.withDefaults()
		d.field(&f)
	}
}

func (d *draft) alternateKeys() {
	for _, pairs := range d.rules.AlternateKeys {
		var positions []Pair
		for _, p := range pairs {
			ext, loc := d.externalField(p.External), d.localField(p.Local)
			if ext == nil || loc == nil {
				continue
			}
			positions = append(positions, Pair{d.external.at(p.External), d.local.at(p.Local)})
		}
		d.plan.AlternateKeys = append(d.plan.AlternateKeys, positions)
	}
}

func (d *draft) filters() {
	d.plan.DownloadFilter = d.filter(d.rules.DownloadFilter, d.ext, SideExternal)
	d.plan.UploadFilter = d.filter(d.rules.UploadFilter, d.loc, SideLocal)
	if d.plan.DownloadFilter != nil {
		for _, name := range d.plan.DownloadFilter.Fields() {
			d.external.at(name)
		}
	}
	if d.plan.UploadFilter != nil {
		for _, name := range d.plan.UploadFilter.Fields() {
			d.localRead.at(name)
		}
	}
}

func (d *draft) filter(src string, e *kedge.Entity, side Side) *filter.Expr {
	if src == "" {
		return nil
	}
	f, err := filter.Parse(src)
	if err == nil {
		f, err = f.Bind(e, d.now)
	}
	if err != nil {
		name := "downloadFilter"
		if side == SideLocal {
			name = "uploadFilter"
		}
		d.fail(FilterInvalid, side, name, "correct the filter", "%s: %v", name, err)
		return nil
	}
	return f
}

// finish fills in what follows from the parts.
func (d *draft) finish() {
	p := d.plan
	p.ExternalFields = kedge.NewFields(d.external.list...)
	p.LocalFields = kedge.NewFields(d.local.list...)
	d.finishUpload()
	slices.Sort(d.hashed)
	p.hashed = slices.Compact(d.hashed)
	for i := range p.steps {
		if x := p.steps[i].expression; x != nil {
			for _, name := range x.fields {
				x.positions = append(x.positions, p.ExternalFields.Index(name))
			}
		}
	}
	p.SharedKey = d.sharedKey()
	p.Fingerprint = d.fingerprint()
}

// sharedKey reports whether the external key, as text, is the local key.
func (d *draft) sharedKey() bool {
	n := len(d.plan.Key)
	if n == 0 || n != len(d.ext.Key) || n != len(d.loc.Key) {
		return false
	}
	for _, p := range d.rules.Key {
		i := slices.Index(d.ext.Key, p.External)
		if i < 0 || d.loc.Key[i] != p.Local || !d.copies(p) {
			return false
		}
	}
	return true
}

// copies reports whether the values of a pair have one key text on both sides.
func (d *draft) copies(p KeyPair) bool {
	ext, loc := d.ext.Field(p.External), d.loc.Field(p.Local)
	if ext == nil || loc == nil {
		return false
	}
	for _, s := range d.plan.steps {
		if d.local.list[s.local] == p.Local && (s.kind != stepConvert || d.external.list[s.external] != p.External) {
			return false
		}
	}
	if loc.Format == kedge.FormatGUID && ext.Format != kedge.FormatGUID {
		return false
	}
	switch ext.Type {
	case kedge.TypeInt:
		return loc.Type == kedge.TypeInt || loc.Type == kedge.TypeString
	case kedge.TypeString, kedge.TypeDate, kedge.TypeBool:
		return loc.Type == ext.Type || loc.Type == kedge.TypeString
	case kedge.TypeDecimal:
		return loc.Type == ext.Type
	}
	return false
}
