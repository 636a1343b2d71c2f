package subscriptions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// declaredPrefix begins the ids of subscriptions that the config declares.
const declaredPrefix = "sub_config_"

func declaredID(name string) string {
	h := sha256.Sum256([]byte(name))
	return declaredPrefix + hex.EncodeToString(h[:10])
}

// isDeclared reports whether the config declares the subscription.
func isDeclared(id string) bool { return strings.HasPrefix(id, declaredPrefix) }

// CheckItems returns the index of the first subscription of the config that
// cannot be made, and what is wrong with it.
func (s *Service) CheckItems() (int, error) {
	for i := range s.cfg.Items {
		if err := s.checkItem(&s.cfg.Items[i].Doc); err != nil {
			return i, err
		}
	}
	return 0, nil
}

func (s *Service) checkItem(d *spec.Doc) error {
	if err := d.Check(s.catalog, spec.Everything(), s.cfg.limits(), s.time()); err != nil {
		return err
	}
	if d.Signing.Secret == "" {
		p := &spec.Problems{List: []spec.Problem{{Pointer: "/signing/secret", Detail: "is required; make one with: echo whsec_$(openssl rand -base64 32)"}}}
		return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: p}
	}
	return nil
}

// declare makes the subscriptions of the config, changes those that have
// changed, and disables those that are gone from it.
func (s *Service) declare(ctx context.Context) error {
	ids := []string{""}
	for i := range s.cfg.Items {
		item := &s.cfg.Items[i]
		id := declaredID(item.Name)
		if slices.Contains(ids, id) {
			return &kedge.Error{Op: "subscriptions.items", Kind: kedge.Invalid, Err: fmt.Errorf("%s is there twice", item.Name)}
		}
		ids = append(ids, id)
		if err := s.declareOne(ctx, id, item); err != nil {
			return fmt.Errorf("subscriptions.items: %s: %w", item.Name, err)
		}
	}
	gone, err := s.ids(ctx, "SELECT id FROM push_subscription WHERE id LIKE ? AND id NOT IN (?) AND state IN ('active', 'paused', 'unverified')", declaredPrefix+"%", bun.List(ids))
	if err != nil {
		return err
	}
	for _, id := range gone {
		if err := s.disable(ctx, id, "config"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) declareOne(ctx context.Context, id string, item *Item) error {
	d := item.Doc
	if err := s.checkItem(&d); err != nil {
		return err
	}
	doc, hidden := split(d)
	hidden.Keys = []secret{{Key: d.Signing.Secret}}
	row := &subRow{ID: id, Account: item.Account, UserID: item.User, State: doc.State}
	if err := s.fill(row, &doc, &hidden); err != nil {
		return err
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		old := &subRow{}
		err := tx.NewSelect().Model(old).Where("id = ?", id).Scan(ctx)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return store.Error("subscriptions", "", err)
		}
		exists := err == nil
		if exists && s.same(old, row, &hidden) && !(old.State == StateDisabled && old.Reason == "config") {
			return nil
		}
		g, err := bump(ctx, tx)
		if err != nil {
			return err
		}
		row.Generation, row.ChangedAt, row.CreatedAt = g, s.now(), s.now()
		if !exists {
			if row.StartSeq, err = lastSeq(ctx, tx); err != nil {
				return err
			}
			_, err = tx.NewInsert().Model(row).Exec(ctx)
			return store.Error("subscriptions", "", err)
		}
		state := row.State
		row.State, row.Reason, row.StartSeq = old.State, old.Reason, old.StartSeq
		doc.State = state
		if err := s.setState(ctx, tx, row, &doc, false); err != nil {
			return err
		}
		if _, err = tx.NewUpdate().Model(row).ExcludeColumn("created_at", "idem_hash", "idem_body").WherePK().Exec(ctx); err != nil {
			return store.Error("subscriptions", "", err)
		}
		return s.setDue(ctx, tx, row)
	})
}

// same reports whether a declared subscription is as it was.
func (s *Service) same(old, row *subRow, hidden *secrets) bool {
	was, err := s.open(old.ID, old.Sealed)
	if err != nil {
		return false
	}
	a, errA := json.Marshal(was)
	b, errB := json.Marshal(hidden)
	return errA == nil && errB == nil && bytes.Equal(a, b) && old.Spec == row.Spec && old.Account == row.Account && old.UserID == row.UserID
}
