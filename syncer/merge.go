package syncer

import (
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

// Sides are the three versions of one record that a decision needs, all in
// local terms: aligned with the plan's LocalFields. One that does not exist is
// nil; a value that is missing is unknown and left alone.
type Sides struct {
	Base   *kedge.Record // as both sides agreed the last time
	Local  *kedge.Record // may be aligned with LocalRead, which begins with LocalFields
	Remote *kedge.Record

	RemoteModified kedge.Value // the stamp of newest_wins, if the remote side has one
}

// An Action is what becomes of a record.
type Action uint8

// The actions.
const (
	Nothing      Action = iota // neither side changed
	Agree                      // both sides are equal; only the base has to be noted
	Merge                      // write Down here, send Up
	CreateLocal                // it is new there, or wins over its deletion here
	CreateRemote               // it is new here, or wins over its deletion there
	DeleteLocal
	DeleteRemote
	Forget // gone on both sides
	Park   // a conflict that a person decides
)

// A Verdict says what becomes of a record, and of which of its fields.
type Verdict struct {
	Action Action
	Down   []bool // Merge: local fields to write here
	Up     []bool // Merge: local fields to send
	Fields []int  // fields that both sides changed differently
}

// Decide says what becomes of a record. It is the only place that decides, for
// runs and for previews. op tells who wins where no base is known: a sync asks
// the policy, an import takes the remote side, an export the local one.
func Decide(s Sides, p *mapping.EntityPlan, op Op) Verdict {
	switch {
	case s.Local == nil && s.Remote == nil:
		return Verdict{Action: Forget}
	case s.Base == nil && s.Local == nil:
		return Verdict{Action: CreateLocal}
	case s.Base == nil && s.Remote == nil:
		return Verdict{Action: CreateRemote}
	}
	d := newDecision(s, p, op)
	switch {
	case s.Remote == nil:
		return gone(d.any(d.up), p, DeleteLocal, CreateRemote)
	case s.Local == nil:
		return gone(d.any(d.down), p, CreateLocal, DeleteRemote)
	}
	return d.merge()
}

// gone decides about a record that one side deleted and the other may have
// edited.
func gone(edited bool, p *mapping.EntityPlan, remoteWins, localWins Action) Verdict {
	deleted := remoteWins
	if remoteWins == CreateLocal {
		deleted = localWins
	}
	if !edited {
		return Verdict{Action: deleted}
	}
	switch p.Rules.Conflict.EditVsDelete {
	case mapping.RemoteWins:
		return Verdict{Action: remoteWins}
	case mapping.LocalWins:
		return Verdict{Action: localWins}
	}
	return Verdict{Action: Park}
}

// A decision is the comparison of a record field by field.
type decision struct {
	Sides
	plan     *mapping.EntityPlan
	op       Op
	down, up []bool // changed there, changed here
	double   []bool // both, and differently
}

func newDecision(s Sides, p *mapping.EntityPlan, op Op) *decision {
	n := p.LocalFields.Len()
	flags := make([]bool, 3*n)
	d := &decision{Sides: s, plan: p, op: op, down: flags[:n], up: flags[n : 2*n], double: flags[2*n:]}
	for i := range n {
		d.compare(i)
	}
	return d
}

func (d *decision) compare(i int) {
	base, local, remote := value(d.Base, i), value(d.Local, i), value(d.Remote, i)
	d.down[i] = d.downloads(i) && !remote.IsMissing() && !d.plan.Equal(i, base, remote)
	d.up[i] = d.uploads(i) && !local.IsMissing() && !d.plan.Equal(i, base, local)
	if d.unset(i) {
		d.up[i] = false
	}
	if local.IsMissing() || remote.IsMissing() {
		return
	}
	if d.plan.Equal(i, local, remote) { // also where nothing is known of the base
		d.down[i], d.up[i] = false, false
		return
	}
	if d.down[i] && d.up[i] {
		d.double[i] = true
	}
}

// unset tells whether a local field is empty and always was, as far as anybody
// knows: a column that was just added, say. That is no edit, and takes nothing
// away from the other side.
func (d *decision) unset(i int) bool {
	return value(d.Base, i).IsMissing() && value(d.Local, i).IsNull()
}

// downloads and uploads tell which way a field goes. An import and an export
// ignore the directions of the mapping.
func (d *decision) downloads(i int) bool {
	return d.op == Import || d.op != Export && d.plan.Downloads(i)
}

func (d *decision) uploads(i int) bool {
	return d.op == Sync && d.plan.Uploads(i) || d.op == Export && d.plan.Exports(i)
}

func value(r *kedge.Record, i int) kedge.Value {
	if r == nil || i >= len(r.Values) {
		return kedge.Value{}
	}
	return r.Values[i]
}

func (d *decision) any(flags []bool) bool {
	for _, f := range flags {
		if f {
			return true
		}
	}
	return false
}

// merge brings the edits of both sides together.
func (d *decision) merge() Verdict {
	v := Verdict{Down: d.down, Up: d.up}
	for i, double := range d.double {
		if double {
			v.Fields = append(v.Fields, i)
		}
	}
	switch {
	case len(v.Fields) > 0 && d.plan.Rules.Conflict.Merge == mapping.MergeRecord, d.whole(v.Fields):
		return d.mergeRecord(v)
	case len(v.Fields) > 0 && !d.mergeFields(v.Fields):
		return Verdict{Action: Park, Fields: v.Fields}
	case d.any(d.down) || d.any(d.up):
		v.Action = Merge
	case d.Base == nil || !d.equal(d.Base, d.Remote):
		v.Action = Agree
	}
	return v
}

// equal tells whether no known value of b differs from a's.
func (d *decision) equal(a, b *kedge.Record) bool {
	for i := range d.plan.LocalFields.Len() {
		if v := value(b, i); !v.IsMissing() && d.downloads(i) && !d.plan.Equal(i, value(a, i), v) {
			return false
		}
	}
	return true
}

// whole tells whether one of the fields has the policy local_wins_full.
func (d *decision) whole(fields []int) bool {
	for _, i := range fields {
		if d.policy(d.plan.Policy(i)) == mapping.LocalWinsFull {
			return true
		}
	}
	return false
}

// mergeFields decides each double edit by its policy. It reports false if a
// person must.
func (d *decision) mergeFields(fields []int) bool {
	for _, i := range fields {
		switch d.winner(d.plan.Policy(i)) {
		case mapping.RemoteWins:
			d.up[i] = false
		case mapping.LocalWins:
			d.down[i] = false
		default:
			return false
		}
	}
	return true
}

// mergeRecord lets one side win with all of its fields.
func (d *decision) mergeRecord(v Verdict) Verdict {
	policy := d.plan.Rules.Conflict.Policy
	if d.whole(v.Fields) {
		policy = mapping.LocalWinsFull
	}
	switch d.winner(policy) {
	case mapping.RemoteWins:
		clear(d.up)
	case mapping.LocalWins:
		for i := range d.up {
			if d.uploads(i) && !value(d.Local, i).IsMissing() && !d.unset(i) {
				d.up[i] = d.up[i] || d.down[i] || policy == mapping.LocalWinsFull && !d.plan.Equal(i, value(d.Local, i), value(d.Remote, i))
				d.down[i] = false
			}
		}
	default:
		return Verdict{Action: Park, Fields: v.Fields}
	}
	v.Action = Merge
	return v
}

// policy is the policy that counts: without a base, an import and an export
// have their own.
func (d *decision) policy(p mapping.Policy) mapping.Policy {
	switch {
	case d.Base == nil && d.op == Import:
		return mapping.RemoteWins
	case d.Base == nil && d.op == Export:
		return mapping.LocalWins
	}
	return p
}

// winner returns RemoteWins, LocalWins, or Manual.
func (d *decision) winner(p mapping.Policy) mapping.Policy {
	switch p = d.policy(p); p {
	case mapping.RemoteWins, mapping.LocalWins:
		return p
	case mapping.LocalWinsFull:
		return mapping.LocalWins
	case mapping.NewestWins:
		return d.newest()
	}
	return mapping.Manual
}

// newest compares the stamps. Within the skew, or without a stamp, the local
// side wins.
func (d *decision) newest() mapping.Policy {
	local, remote := kedge.Value{}, d.RemoteModified
	if at := d.plan.Modified.Local; at >= 0 {
		local = value(d.Local, at)
	}
	if local.Type() != kedge.TypeTime || remote.Type() != kedge.TypeTime {
		if c, ok := kedge.Compare(remote, local); ok && !local.IsEmpty() && !remote.IsEmpty() && c > 0 {
			return mapping.RemoteWins
		}
		return mapping.LocalWins
	}
	if remote.Time().Sub(local.Time()) > d.plan.Rules.Conflict.Skew {
		return mapping.RemoteWins
	}
	return mapping.LocalWins
}
