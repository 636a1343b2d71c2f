package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/kedge-sync/kedge"
)

// A claim is the rule that writes an external field. If several could, the one
// with the highest rank does.
type claim struct {
	local string
	rank  claimRank
}

type claimRank uint8

const (
	exportOnly claimRank = iota // only an export, which ignores directions, sends it
	keyPair
	wanted // a sync sends it
)

// A localDraft is what is known of a local field so far.
type localDraft struct {
	localRule
	pair, down bool // its rule is a key pair; it is downloaded
}

// localRule notes what the plan says about a local field. It reports whether
// the rule can be added to those that were before: only a key pair may be
// uploaded to another field.
func (d *draft) localRule(f *Field, local int, w ways) bool {
	pair, known := d.isKeyPair(f), d.locals[local]
	if known != nil {
		if known.pair == pair || known.down && w.down {
			return false
		}
		known.pair, known.down, known.downloads = true, true, true
		return true
	}
	r := &localDraft{pair: pair, down: w.down, localRule: localRule{policy: f.Conflict, compare: newComparator(f.Compare)}}
	setDefault(&r.policy, d.rules.Conflict.Policy)
	r.downloads = w.down && (d.rules.direction(f).Downloads() || pair)
	d.locals[local] = r
	return true
}

// path makes the way of a field to the external side: a step or a lookup.
func (d *draft) path(f *Field, exts []*kedge.Field, loc *kedge.Field, local int) (s uploadStep, l Lookup, ok bool) {
	if f.Lookup == nil {
		s, ok = d.uploadStep(f, exts[0], loc, local)
		return s, l, ok
	}
	l, ok = d.lookup(f, loc, local)
	l.Required = slices.ContainsFunc(exts, func(x *kedge.Field) bool { return !x.Nullable })
	for _, x := range exts {
		l.targets = append(l.targets, newTarget(x))
	}
	return s, l, ok
}

// upload adds a path to the plan.
func (d *draft) upload(f *Field, exts []*kedge.Field, s uploadStep, l Lookup, w ways) {
	if !d.claim(f, w) {
		return
	}
	createOnly := d.writtenOnce(f, exts)
	local := d.locals[d.local.at(f.Local)]
	if f.Lookup != nil {
		l.CreateOnly = createOnly
		d.plan.UploadLookups = append(d.plan.UploadLookups, l)
	} else {
		s.createOnly = createOnly
		d.uploadDefault(&s, f, w)
		d.plan.uploads = append(d.plan.uploads, s)
	}
	if w.down && w.wanted && s.values != nil {
		i := slices.IndexFunc(d.plan.steps, func(down step) bool { return down.local == s.local })
		d.plan.steps[i].values.reverse = s.values
	}
	if !createOnly {
		local.uploads = local.uploads || w.wanted
		d.describeUpload(f, exts[0], w)
	}
}

// writtenOnce reports whether the field is sent only when a record is created.
func (d *draft) writtenOnce(f *Field, exts []*kedge.Field) bool {
	return d.isKeyPair(f) || slices.ContainsFunc(exts, func(x *kedge.Field) bool { return x.Immutable || slices.Contains(d.ext.Key, x.Name) })
}

// claim reports whether the rule f may write its external fields, and takes
// them from rules of a lower rank.
func (d *draft) claim(f *Field, w ways) bool {
	c := claim{local: f.Local}
	switch {
	case d.isKeyPair(f):
		c.rank = keyPair
	case w.wanted:
		c.rank = wanted
	}
	for _, name := range f.External {
		other, taken := d.claims[d.external.at(name)]
		switch {
		case taken && other.rank == wanted && c.rank == wanted:
			d.fail(ExternalFieldTwice, SideExternal, name, "set direction: download on one of the rules", "%s is uploaded from %s and from %s", name, other.local, c.local)
			return false
		case taken && other.rank >= c.rank:
			return false
		}
	}
	for _, name := range f.External {
		at := d.external.at(name)
		if _, taken := d.claims[at]; taken {
			d.withdraw(at)
		}
		d.claims[at] = c
	}
	return true
}

// withdraw takes the upload to an external field out of the plan.
func (d *draft) withdraw(external int) {
	p := d.plan
	p.uploads = slices.DeleteFunc(p.uploads, func(s uploadStep) bool { return s.external == external })
	p.UploadLookups = slices.DeleteFunc(p.UploadLookups, func(l Lookup) bool { return slices.Contains(l.External, external) })
}

// uploadStep makes the step of a field that is not a lookup.
func (d *draft) uploadStep(f *Field, ext, loc *kedge.Field, local int) (s uploadStep, ok bool) {
	s = uploadStep{local: local, external: d.external.at(ext.Name), field: f.Local, target: newTarget(ext), onError: f.OnError}
	switch {
	case f.Expressions.Upload != "":
		s.kind = stepExpression
		x, err := compileExpression(f.Expressions.Upload, loc.Type, d.loc, ext.Type)
		if err != nil {
			d.fail(ExpressionInvalid, SideMapping, loc.Name, "correct the expression", "expr.upload of %s: %v", loc.Name, err)
			return s, false
		}
		s.expression = x
	case f.Expressions.Download != "":
		d.fail(NotInvertible, SideMapping, loc.Name, "give expr.upload, or set direction: download on the field", "%s has no expression for the upload", loc.Name)
		return s, false
	case len(f.Values) > 0:
		s.kind = stepValues
		down, ok := d.valueTable(f, ext, loc)
		if !ok {
			return s, false
		}
		up, err := down.invert(ext, loc)
		if err != nil {
			d.fail(NotInvertible, SideMapping, loc.Name, "set direction: download on the field", "%s cannot be uploaded: %v", loc.Name, err)
			return s, false
		}
		s.values = up
	default:
		if !d.convertible(ext, loc) {
			return s, false
		}
	}
	return s, true
}

// uploadDefault fills in the default, which is a local value, if it has an
// external form.
func (d *draft) uploadDefault(s *uploadStep, f *Field, w ways) {
	if f.Default.IsMissing() {
		return
	}
	t := newTarget(d.loc.Field(f.Local))
	v, err := t.fit(f.Default)
	if err == nil && s.kind != stepExpression {
		_, _, err = s.make(v, nil)
	}
	switch {
	case err == nil:
		s.fallback = v
	case w.wanted:
		d.fail(ValueInvalid, SideMapping, f.Local, "write a value that both sides can hold", "default of %s has no form on the external side: %v", f.Local, err)
	}
}

// describeUpload notes what the upload of a field depends on, for the
// fingerprint.
func (d *draft) describeUpload(f *Field, ext *kedge.Field, w ways) {
	part := fmt.Sprintf("%q>%q %v>%v %s %s %v", f.Local, f.External, d.loc.Field(f.Local).Type, ext.Type, f.OnError, f.Compare, w.wanted)
	if f.OnError == OnErrorDefault {
		part += string(f.Default.AppendCanonical(nil))
	}
	d.uploadParts = append(d.uploadParts, part+describeRule(f, f.Expressions.Upload))
}

// finishUpload fills in what follows from the parts.
func (d *draft) finishUpload() {
	p := d.plan
	for i := range p.uploads {
		if x := p.uploads[i].expression; x != nil {
			for _, name := range x.fields {
				x.positions = append(x.positions, d.localRead.at(name))
			}
		}
	}
	p.LocalRead = kedge.NewFields(d.localRead.list...)
	p.locals = make([]localRule, p.LocalFields.Len())
	for i := range p.locals {
		p.locals[i].policy = d.rules.Conflict.Policy
		if r := d.locals[i]; r != nil {
			p.locals[i] = r.localRule
		}
	}
	p.localHashed = d.localHashed()
	p.UploadFingerprint = d.uploadFingerprint()
}

// localHashed returns the positions of the local fields whose edits are sent:
// by a sync, or by an export if a sync sends none.
func (d *draft) localHashed() []int {
	p := d.plan
	var sent []int
	for _, s := range p.uploads {
		if !s.createOnly {
			sent = append(sent, s.local)
		}
	}
	for _, l := range p.UploadLookups {
		if !l.CreateOnly {
			sent = append(sent, l.Local)
		}
	}
	if slices.ContainsFunc(p.locals, func(r localRule) bool { return r.uploads }) {
		sent = slices.DeleteFunc(sent, func(i int) bool { return !p.locals[i].uploads })
	}
	slices.Sort(sent)
	return slices.Compact(sent)
}

func (d *draft) uploadFingerprint() string {
	e := d.rules
	parts := []string{formatVersion, e.External, e.Local, e.UploadFilter}
	for _, p := range e.Key {
		parts = append(parts, fmt.Sprintf("key %q %q", p.External, p.Local))
	}
	return strconv.FormatUint(xxhash.Sum64String(strings.Join(append(parts, d.uploadParts...), "\n")), 16)
}
