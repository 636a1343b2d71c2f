package syncer_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/memory"
)

// A peer is a source that is written to, with the habits and faults of remote
// systems.
type peer struct {
	*source
	remote     *memory.Store
	normalises bool // trims texts, rounds amounts, and bumps the version once more
	writes     int  // changes that were applied
	fault      func(changes []kedge.Change) peerFault
	before     func(changes []kedge.Change) // an edit there that is faster
}

// A peerFault says what goes wrong with one call of Write.
type peerFault int

const (
	fine      peerFault = iota
	throttled           // the call is refused for a while
	broken              // the call fails before anything is applied
	lostReply           // everything is applied, and nobody is told
	lostHalf            // as lostReply, but the call ended half-way
	lostNone            // nothing is applied, and nobody knows
	busyOne             // one record fails for the time being
	refuseOne           // one record is refused for good, if it is not a deletion
)

func (p *peer) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	if p.before != nil {
		p.before(changes)
	}
	fault := fine
	if p.fault != nil {
		fault = p.fault(changes)
	}
	fail := func(kind kedge.Kind) *kedge.Error {
		return &kedge.Error{Op: "peer.Write", Kind: kind, Entity: changes[0].Entity, Err: errors.New("the peer said so")}
	}
	switch fault {
	case throttled:
		e := fail(kedge.Throttled)
		e.RetryAfter = time.Second
		return nil, e
	case broken:
		return nil, fail(kedge.Transient)
	case lostNone:
		return nil, fail(kedge.OutcomeUnknown)
	case lostHalf:
		changes = changes[:(len(changes)+1)/2]
	}
	results := make([]connectors.Result, len(changes))
	for i := range changes {
		if i == 0 && (fault == busyOne || fault == refuseOne && changes[i].Op != kedge.Delete) {
			kind := kedge.Transient
			if fault == refuseOne {
				kind = kedge.Invalid
			}
			results[i] = connectors.Result{State: connectors.Rejected, Key: changes[i].Key, Err: fail(kind)}
			continue
		}
		var err error
		if results[i], err = p.apply(ctx, changes[i]); err != nil {
			return nil, err
		}
	}
	if fault == lostReply || fault == lostHalf {
		return nil, fail(kedge.OutcomeUnknown)
	}
	return results, nil
}

// apply writes one change as far as the entity supports it.
func (p *peer) apply(ctx context.Context, c kedge.Change) (connectors.Result, error) {
	schema, err := p.Schema(ctx)
	if err != nil {
		return connectors.Result{}, err
	}
	e := schema.Entity(c.Entity)
	if !e.Concurrency {
		c.Version = ""
	}
	if !e.Idempotent {
		c.IdempotencyKey = ""
	}
	results, err := p.Driver.Write(ctx, []kedge.Change{c})
	if err != nil {
		return connectors.Result{}, err
	}
	r := results[0]
	if r.State == connectors.Inserted || r.State == connectors.Updated {
		p.writes++
		if p.normalises {
			return r, p.normalise(ctx, e, r.Key)
		}
	}
	if r.State == connectors.Removed {
		p.writes++
	}
	return r, nil
}

// normalise stores a record again as the peer likes it. The version that the
// answer tells is the one before.
func (p *peer) normalise(ctx context.Context, e *kedge.Entity, key kedge.Key) error {
	names := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		names[i] = f.Name
	}
	found, err := p.Driver.ReadKeys(ctx, e.Name, names, []kedge.Key{key})
	if err != nil || !found[0].OK {
		return err
	}
	r := found[0].Record.Clone()
	for i, v := range r.Values {
		r.Values[i] = normalised(v)
	}
	return p.remote.Put(ctx, e.Name, r)
}

func normalised(v kedge.Value) kedge.Value {
	switch {
	case v.Type() == kedge.TypeString:
		return kedge.String(strings.TrimSpace(v.Str()))
	case v.Type() == kedge.TypeDecimal:
		if whole, rest, found := strings.Cut(v.Text(), "."); found && len(rest) > 2 {
			return kedge.Decimal(whole + "." + rest[:2])
		}
	}
	return v
}
