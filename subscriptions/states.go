package subscriptions

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// maxOldSecrets is how many earlier secrets may sign beside the newest.
const maxOldSecrets = 3

// maxOverlap is how long an earlier secret may still sign.
const maxOverlap = 7 * day

// setState moves a row to the state that the document of a patch asks for.
func (s *Service) setState(ctx context.Context, tx *store.Tx, row *subRow, doc *spec.Doc, newURL bool) error {
	was := row.State
	switch {
	case doc.Verify != "none" && (newURL || was != StateActive && was != StatePaused):
		row.State = StateUnverified
	case was == StateUnverified && doc.Verify == "none", was == StateActive || was == StatePaused:
		row.State = doc.State
	case was == StateDisabled || was == StateExpired:
		row.State = doc.State
	}
	if row.ExpiresAt != 0 && row.ExpiresAt <= s.now() {
		row.State = StateExpired
	}
	if row.State == StateActive || row.State == StatePaused {
		row.Reason = ""
	}
	if was == StateDisabled || was == StateExpired {
		if err := s.resume(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

// setDue lets the queue of a row be claimed, or not.
func (s *Service) setDue(ctx context.Context, tx *store.Tx, row *subRow) error {
	if row.State != StateActive {
		_, err := exec(ctx, tx, "UPDATE push_queue SET due_at = NULL WHERE sub = ?", row.ID)
		return err
	}
	// Also without deliveries: there may be a gap to tell of.
	_, err := exec(ctx, tx, "INSERT INTO push_queue (sub, due_at, holder, token, pending) VALUES (?, ?, '', 0, 0) ON CONFLICT (sub) DO UPDATE SET due_at = excluded.due_at", row.ID, s.now())
	return err
}

// resume begins again after a time in which nothing was queued.
func (s *Service) resume(ctx context.Context, tx *store.Tx, row *subRow) error {
	last, err := lastSeq(ctx, tx)
	if err != nil {
		return err
	}
	row.StartSeq, row.FirstFailAt, row.Failures, row.Noticed = last, 0, 0, 0
	return closeGaps(ctx, tx, row.ID, last)
}

// Delete deletes a subscription and all that waits for it. After it returns no
// attempt starts.
func (s *Service) Delete(ctx context.Context, by Caller, id string) error {
	return s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		row, err := s.own(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if _, _, err := s.lockDelivery(ctx, tx, false); err != nil { // nothing is queued meanwhile
			return err
		}
		*row = subRow{ID: row.ID, Account: row.Account, State: stateDeleted, Spec: "{}", Sealed: []byte{}, Generation: g, ChangedAt: s.now()}
		if _, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx); err != nil {
			return store.Error("subscriptions", "", err)
		}
		for _, table := range []string{"push_delivery", "push_attempt", "push_dead", "push_gap", "push_replay", "push_queue"} {
			if _, err := exec(ctx, tx, "DELETE FROM "+table+" WHERE sub = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
}

// disable ends a subscription until a patch makes it active again. What waits
// for it is lost, visibly.
func (s *Service) disable(ctx context.Context, id, reason string) error {
	state := StateDisabled
	if reason == StateExpired {
		state, reason = StateExpired, ""
	}
	done := false
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		g, err := bump(ctx, tx)
		if err != nil {
			return err
		}
		if _, _, err := s.lockDelivery(ctx, tx, false); err != nil { // nothing is queued meanwhile
			return err
		}
		n, err := exec(ctx, tx, "UPDATE push_subscription SET state = ?, reason = ?, generation = ?, changed_at = ? WHERE id = ? AND state IN (?, ?, ?)",
			state, reason, g, s.now(), id, StateActive, StatePaused, StateUnverified)
		if err != nil || n == 0 {
			return err
		}
		done = true
		return s.abandon(ctx, tx, state, id)
	})
	if err == nil && done {
		s.log.Warn("subscription was stopped", "subscription", id, "state", state, "reason", reason)
		s.notice(ctx, id, "subscription."+state, reason)
	}
	s.signal()
	return err
}

// abandon removes what waits for subscriptions and opens gaps from there on.
// Rows are locked in one order everywhere: subscriptions, deliveries, queues.
func (s *Service) abandon(ctx context.Context, tx *store.Tx, reason string, ids ...string) error {
	last, err := lastSeq(ctx, tx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		var first sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT min(event_seq) FROM push_delivery WHERE sub = ?", id).Scan(&first); err != nil {
			return store.Error("subscriptions", "", err)
		}
		if !first.Valid {
			first.Int64 = last + 1
		}
		if err := s.lose(ctx, tx, id, reason, first.Int64, 0, -1); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, "DELETE FROM push_delivery WHERE sub = ?", id); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if _, err := exec(ctx, tx, "UPDATE push_queue SET pending = 0, due_at = NULL WHERE sub = ?", id); err != nil {
			return err
		}
	}
	return nil
}

// Rotate gives a subscription a new signing secret, which it returns with the
// time until which the earlier ones sign beside it. text, if not "", is the new
// secret. After it returns every attempt is signed with both.
func (s *Service) Rotate(ctx context.Context, by Caller, id string, overlap time.Duration, text string) (string, time.Time, error) {
	if overlap < 0 || overlap > maxOverlap {
		return "", time.Time{}, &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: errors.New("overlap must be 0 to 7 days")}
	}
	var key signature.Key
	until := s.time().Add(overlap)
	err := s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		row, err := s.own(ctx, tx, by, id)
		if err != nil {
			return err
		}
		doc, hidden, err := s.whole(row)
		if err != nil {
			return err
		}
		doc.Signing.Secret = text
		if key, err = keyOf(doc.Signing); err != nil || key.Alg() != doc.Signing.Alg {
			return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: errors.New("the secret does not fit the algorithm of the subscription")}
		}
		if hidden.Keys, err = rotated(hidden.Keys, key.Secret(), millis(until), s.now(), overlap); err != nil {
			return err
		}
		if row.Sealed, err = s.seal(row.ID, hidden); err != nil {
			return err
		}
		_, err = exec(ctx, tx, "UPDATE push_subscription SET sealed = ?, generation = ?, changed_at = ? WHERE id = ?", row.Sealed, g, s.now(), id)
		return err
	})
	return key.Shared(), until, err
}

// rotated returns the keys with a new one before them. Those whose time is
// over are wiped.
func rotated(keys []secret, fresh string, until, now int64, overlap time.Duration) ([]secret, error) {
	out := []secret{{Key: fresh}}
	for _, k := range keys {
		if k.Until == 0 || k.Until > until {
			k.Until = until
		}
		if overlap > 0 && k.Until > now {
			out = append(out, k)
		}
	}
	if len(out) > maxOldSecrets+1 {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Conflict, Err: errors.New("three earlier secrets are still valid; wait until one has ended, or use overlap 0")}
	}
	return out, nil
}
