package syncer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// choose decides between a full and an incremental read, and returns the
// generation for the hash log: 0 if no sweep can follow.
func (e *entity) choose(anchor *Anchor) int64 {
	if e.run.op() == Import {
		e.mode, e.anchor = "import", &Anchor{}
		return 0
	}
	if anchor == nil {
		anchor = e.newAnchor()
	}
	e.anchor = anchor
	e.mode, e.reason = "full", e.whyFull(anchor)
	if e.sends && anchor.PageToken != "" && !(e.up != nil && e.up.first) {
		// The pages behind the token may be older than what was sent since.
		anchor.PageToken = ""
		if e.reason == reasonResumed {
			e.reason = "the full read was interrupted, and edits were sent since"
		}
	}
	switch {
	case e.reason == "":
		e.mode = "incremental"
		if anchor.Clean { // the sweep of the last full read is still due
			return anchor.Generation
		}
		return 0
	case e.reason != reasonResumed:
		e.startFull()
	}
	return anchor.Generation
}

const reasonResumed = "the interrupted full read goes on"

func (e *entity) startFull() {
	a := e.anchor
	a.Phase, a.PageToken, a.Anchor, a.Clean = phaseSnapshot, "", "", false
	a.Generation++
}

// whyFull tells why everything has to be read, "" if changes are enough.
func (e *entity) whyFull(a *Anchor) string {
	now := e.run.s.now()
	every := e.plan.Rules.ReconcileEvery
	switch {
	case e.run.req.Full:
		return "asked for by --full"
	case a.RunID == "":
		return "first read"
	case a.Fingerprint != e.plan.Fingerprint:
		return "the mapping or the filter of this entity changed"
	case a.SourceEpoch != e.run.epoch:
		return "the external system was restored"
	case a.Phase == phaseSnapshot && a.PageToken != "":
		return reasonResumed
	case !e.plan.External.Delta:
		return "the external entity reports no changes"
	case a.Phase == phaseSnapshot || a.Anchor == "":
		return "no anchor"
	case a.ForgottenAt != nil && a.UpdatedAt.Before(*a.ForgottenAt):
		return "the anchor is older than the oldest tombstone"
	case every == 0:
		every = e.plan.External.ReconcileEvery
		if every == 0 && !e.plan.External.Deletes || every == 0 && e.filter != nil && e.filter.Volatile() {
			every = 7 * 24 * time.Hour
		}
	}
	if every > 0 && a.LastFullAt != nil && !now.Before(a.LastFullAt.Add(every)) {
		return fmt.Sprintf("the last full read is older than %v", every)
	}
	return ""
}

// saveProgress stores the position after a batch with the numbers of the entity.
func (e *entity) saveProgress(ctx context.Context, tx *store.Tx, b *batch, items []*item, now time.Time) error {
	for _, it := range items {
		if it.fail == nil && it.rec.Removed == kedge.Live && it.hash != 0 {
			e.row.Linked += int64(1 - isLive(it.prev))
		}
	}
	_, err := tx.NewUpdate().Model(e.row).Column("linked").WherePK().Exec(ctx)
	if err != nil || e.run.op() != Sync || e.aside {
		return err
	}
	a := e.anchor
	a.Fingerprint, a.SourceEpoch, a.UpdatedAt, a.RunID = e.plan.Fingerprint, e.run.epoch, now, e.run.id
	a.PageToken = string(b.next)
	a.Rows += b.rows
	a.LastVersion = laterVersion(a.LastVersion, b.version)
	if b.last {
		if b.anchor != "" {
			a.Anchor, a.Acked = string(b.anchor), !e.run.acks
		}
		if a.Phase == phaseSnapshot {
			a.LastFullAt = &now
			a.Clean = e.plan.External.Full && e.run.op() == Sync
			if e.plan.External.Delta {
				a.Phase = phaseDelta
			}
		}
	}
	return a.save(ctx, tx)
}

// laterVersion returns the greater of two versions: as numbers if both are.
func laterVersion(a, b string) string {
	if len(a) != len(b) && digits(a) && digits(b) {
		a0, b0 := strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if len(a0) != len(b0) {
			if len(a0) > len(b0) {
				return a
			}
			return b
		}
	}
	return max(a, b)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// ack tells the source that the anchor of the last page is durable.
func (e *entity) ack(ctx context.Context, c *chunk) error {
	if !c.last || c.anchor == "" || !e.run.acks || e.run.op() != Sync || e.run.planning() {
		return nil
	}
	return e.sendMissingAck(ctx)
}

func (e *entity) sendMissingAck(ctx context.Context) error {
	if e.anchor.Acked || e.anchor.Anchor == "" || !e.run.acks || e.run.planning() {
		return nil
	}
	if err := e.run.ext.Ack(ctx, e.plan.External.Name, kedge.Anchor(e.anchor.Anchor)); err != nil {
		return err
	}
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		e.anchor.Acked = true
		_, err := tx.NewUpdate().Model(e.anchor).Column("acked").WherePK().Exec(ctx)
		return err
	})
}
