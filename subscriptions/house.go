package subscriptions

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
)

const (
	expiringBefore = day
	keepDeleted    = day
	renewFor       = 30 * day // after expiry
	failedAttempts = 20       // at least, until a subscription is disabled for failing
	houseRows      = 5000     // of one statement
)

// What was announced already, in push_subscription.noticed.
const (
	noticedExpiring = 1 << iota
	noticedFailing
)

func (s *Service) houseLoop(ctx context.Context) {
	tick := time.NewTicker(houseTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.report(ctx, "housekeeping", s.keepHouse(ctx))
		}
	}
}

// keepHouse does what depends on time only. It is harmless in several
// processes at once.
func (s *Service) keepHouse(ctx context.Context) error {
	for _, f := range []func(context.Context) error{s.reload, s.Refresh, s.expire, s.expireTokens, s.disableFailing, s.wipeSecrets, s.forgetAnswers, s.sweepLost, s.prune} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) reload(ctx context.Context) error { return s.refresh(ctx, s.db.DB()) }

// ids returns the ids that a query finds.
func (s *Service) ids(ctx context.Context, query string, args ...any) ([]string, error) {
	var out []string
	err := each(ctx, s.db.DB(), func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		out = append(out, id)
		return err
	}, query, args...)
	return out, err
}

// expire ends subscriptions whose time is over, and announces that a day
// before.
func (s *Service) expire(ctx context.Context) error {
	now := s.now()
	over, err := s.ids(ctx, "SELECT id FROM push_subscription WHERE state IN ('active', 'paused', 'unverified') AND expires_at > 0 AND expires_at <= ?", now)
	if err != nil {
		return err
	}
	for _, id := range over {
		if err := s.disable(ctx, id, StateExpired); err != nil {
			return err
		}
	}
	soon, err := s.announce(ctx, noticedExpiring, "state IN ('active', 'paused') AND expires_at > 0 AND expires_at <= ?", now+expiringBefore.Milliseconds())
	for _, id := range soon {
		s.notice(ctx, id, "subscription.expiring", "")
		if x := s.sub(id); x != nil && x.state == StateActive && x.selects("kedge.expiring") {
			s.tellExpiring(ctx, x)
		}
	}
	return err
}

// announce marks the subscriptions that fulfil a condition as announced, and
// returns those that were not.
func (s *Service) announce(ctx context.Context, bit int64, condition string, args ...any) ([]string, error) {
	return s.ids(ctx, "UPDATE push_subscription SET noticed = noticed + ? WHERE (noticed / ?) % 2 = 0 AND "+condition+" RETURNING id", slices.Concat([]any{bit, bit}, args)...)
}

// disableFailing disables subscriptions whose target has not worked for too
// long, and announces that at half time.
func (s *Service) disableFailing(ctx context.Context) error {
	limit := s.cfg.Limits.DisableAfter.Milliseconds()
	const failing = "state = 'active' AND first_fail_at > 0 AND first_fail_at <= ?"
	over, err := s.ids(ctx, "SELECT id FROM push_subscription WHERE failures >= ? AND "+failing, failedAttempts, s.now()-limit)
	if err != nil {
		return err
	}
	for _, id := range over {
		if err := s.disable(ctx, id, "failing"); err != nil {
			return err
		}
	}
	half, err := s.announce(ctx, noticedFailing, failing, s.now()-limit/2)
	for _, id := range half {
		s.notice(ctx, id, "subscription.failing", "")
	}
	return err
}

// wipeSecrets removes signing keys whose time is over.
func (s *Service) wipeSecrets(ctx context.Context) error {
	now := s.now()
	ended := func(end int64) bool { return end != 0 && end <= now }
	s.mu.RLock()
	var list []*sub
	for _, x := range s.subs {
		if o, err := s.secretsOf(x); err == nil && slices.ContainsFunc(o.ends, ended) {
			list = append(list, x)
		}
	}
	s.mu.RUnlock()
	for _, x := range list {
		err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			g, err := bump(ctx, tx)
			if err != nil {
				return err
			}
			row := &subRow{}
			if err := tx.NewSelect().Model(row).Where("id = ? AND state <> ?", x.id, stateDeleted).Scan(ctx); err != nil {
				return store.Error("subscriptions", "", err)
			}
			hidden, err := s.open(row.ID, row.Sealed)
			if err != nil {
				return err
			}
			hidden.Keys = slices.DeleteFunc(hidden.Keys, func(k secret) bool { return ended(k.Until) })
			if row.Sealed, err = s.seal(row.ID, hidden); err != nil {
				return err
			}
			_, err = exec(ctx, tx, "UPDATE push_subscription SET sealed = ?, generation = ? WHERE id = ?", row.Sealed, g, row.ID)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepLost removes what a fan-out has queued for a subscription that was
// deleted meanwhile.
func (s *Service) sweepLost(ctx context.Context) error {
	const lost = " WHERE sub IN (SELECT sub FROM push_queue WHERE sub NOT IN (SELECT id FROM push_subscription WHERE state <> 'deleted'))"
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM push_delivery"+lost); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "DELETE FROM push_queue"+lost)
		return err
	})
}

// prune deletes what is older than the retention. Events that a delivery or a
// dead letter refers to are kept.
func (s *Service) prune(ctx context.Context) error {
	now := s.now()
	before := func(d time.Duration) int64 { return now - d.Milliseconds() }
	for _, p := range []struct {
		table, key, condition string
		at                    int64
	}{
		// The oldest have the lowest ids: no index by time is needed.
		{"push_attempt", "id", "at < ? AND id <= (SELECT max(id) FROM (SELECT id FROM push_attempt ORDER BY id LIMIT 5000) AS first)", before(s.cfg.Retention.Attempts)},
		{"push_dead", "id", "at < ?", before(s.cfg.Retention.Dead)},
		{"push_replay", "id", "state <> 'running' AND at < ?", before(s.cfg.Retention.Dead)},
		{"push_gap", "id", "told_at > 0 AND told_at < ?", before(s.cfg.Retention.Dead)},
		{"push_subscription", "id", "state = 'deleted' AND changed_at < ?", before(keepDeleted)},
		{"push_event", "seq", "at < ? AND seq NOT IN (SELECT event_seq FROM push_delivery) AND seq NOT IN (SELECT event_seq FROM push_dead) AND seq NOT IN (SELECT seq FROM push_outbox)",
			before(s.cfg.Retention.Events)},
	} {
		for {
			n, err := exec(ctx, s.db.DB(), "DELETE FROM "+p.table+" WHERE "+p.key+" IN (SELECT "+p.key+" FROM "+p.table+" WHERE "+p.condition+" LIMIT ?)", p.at, houseRows)
			if err != nil {
				return err
			}
			if n < houseRows {
				break
			}
		}
	}
	return nil
}
