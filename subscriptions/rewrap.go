package subscriptions

import (
	"bytes"
	"context"

	"github.com/kedge-sync/kedge/internal/store"
)

// rewrapRows bounds the subscriptions of one transaction.
const rewrapRows = 200

// Rewrap seals the secrets of all subscriptions with the newest key and
// returns how many there are. Answers that are kept for repeated requests are
// sealed anew, too. It changes no generation: what they say stays the same.
func (s *Service) Rewrap(ctx context.Context) (int, error) {
	n, after := 0, ""
	for {
		var rows []subRow
		err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			rows = nil
			q := tx.NewSelect().Model(&rows).Where("id > ? AND state <> ?", after, stateDeleted).OrderExpr("id").Limit(rewrapRows)
			if s.db.Engine() == store.Postgres {
				q.For("UPDATE")
			}
			if err := q.Scan(ctx); err != nil {
				return store.Error("subscriptions", "", err)
			}
			for i := range rows {
				if err := s.rewrapRow(ctx, tx, &rows[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		if n += len(rows); len(rows) < rewrapRows {
			return n, nil
		}
		after = rows[len(rows)-1].ID
	}
}

func (s *Service) rewrapRow(ctx context.Context, tx *store.Tx, row *subRow) error {
	again := func(sealed []byte, context string) ([]byte, error) {
		plain, err := s.db.Keys().Open(sealed, context)
		if err != nil {
			return nil, err
		}
		return s.db.Keys().Seal(plain, context)
	}
	sealed, err := again(row.Sealed, sealContext(row.ID))
	if err != nil {
		return err
	}
	body := row.IdemBody
	if len(body) > 0 {
		if body, err = again(body, onceContext(row.ID)); err != nil {
			return err
		}
	}
	// One that was changed meanwhile is sealed with the newest key already.
	_, err = tx.NewUpdate().Model((*subRow)(nil)).Set("sealed = ?, idem_body = ?", sealed, bytes.Clone(body)).
		Where("id = ? AND generation = ?", row.ID, row.Generation).Exec(ctx)
	return store.Error("subscriptions", "", err)
}
