package subscriptions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// onceFor is how long the answer to a request with a key is given again.
const onceFor = day

// once makes a request that is sent again have one effect.
type once struct {
	key  string // hash of who asks and of his key
	body string // hash of the request
}

// An earlier is the answer to the same request before. It is an error so that
// it ends the transaction.
type earlier struct {
	Body         string        `json:"body"`
	Subscription *Subscription `json:"subscription"`
	Generation   int64         `json:"generation"`
	Secret       string        `json:"secret"`
}

func (*earlier) Error() string { return "answered before" }

// ErrReused says that a key was used for another request.
var ErrReused = errors.New("the Idempotency-Key was used for another body; use a new one for each subscription")

// CreateOnce is Create for a request that may be sent several times: with the
// same key and body it answers the same for 24 h, the secret, too. With
// another body it returns an error of kind Invalid that wraps [ErrReused].
func (s *Service) CreateOnce(ctx context.Context, by Caller, d *spec.Doc, key string, body []byte) (*Subscription, string, error) {
	return s.create(ctx, by, d, &once{key: hashOf(by.TokenID + "\x00" + key), body: hashOf(string(body))})
}

func onceContext(id string) string { return "push_subscription " + id + " idem_body" }

// answered returns an *earlier if the request was answered before.
func (s *Service) answered(ctx context.Context, tx bun.IDB, account string, once *once) error {
	if once == nil {
		return nil
	}
	row := &subRow{}
	err := tx.NewSelect().Model(row).Where("account = ? AND idem_hash = ?", account, once.key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return store.Error("subscriptions", "", err)
	}
	if row.CreatedAt <= s.now()-onceFor.Milliseconds() {
		_, err := exec(ctx, tx, "UPDATE push_subscription SET idem_hash = '', idem_body = NULL WHERE id = ?", row.ID)
		return err
	}
	plain, err := s.db.Keys().Open(row.IdemBody, onceContext(row.ID))
	if err != nil {
		return err
	}
	e := &earlier{}
	if err := json.Unmarshal(plain, e); err != nil {
		return &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
	}
	if e.Body != once.body {
		return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: ErrReused}
	}
	e.Subscription.Generation = e.Generation
	return e
}

// remember keeps an answer in its row.
func (s *Service) remember(row *subRow, out *Subscription, secret string, once *once) error {
	if once == nil {
		return nil
	}
	plain, err := json.Marshal(earlier{Body: once.body, Subscription: out, Generation: out.Generation, Secret: secret})
	if err != nil {
		return err
	}
	row.IdemHash = once.key
	row.IdemBody, err = s.db.Keys().Seal(plain, onceContext(row.ID))
	return err
}

// forgetAnswers wipes the answers that are not given again.
func (s *Service) forgetAnswers(ctx context.Context) error {
	_, err := exec(ctx, s.db.DB(), "UPDATE push_subscription SET idem_hash = '', idem_body = NULL WHERE idem_hash <> '' AND created_at <= ?",
		s.now()-onceFor.Milliseconds())
	return err
}
