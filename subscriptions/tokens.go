package subscriptions

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const (
	tokenPrefix = "kps_"
	maxName     = 200 // bytes of an account or a user
	maxGrants   = 100

	// DefaultTokenOverlap is how long the value of a token before its rotation
	// stays valid.
	DefaultTokenOverlap = 24 * time.Hour
)

// A Token lets a subscriber list resources and manage subscriptions of one
// account. Its value is not stored.
type Token struct {
	ID         string       `json:"id"`
	Account    string       `json:"account"`
	User       string       `json:"user,omitempty"`
	Grants     []spec.Grant `json:"grants"`
	CreatedAt  time.Time    `json:"createdAt"`
	ExpiresAt  *time.Time   `json:"expiresAt,omitempty"`
	RevokedAt  *time.Time   `json:"revokedAt,omitempty"`
	LastUsedAt *time.Time   `json:"lastUsedAt,omitempty"` // to the minute
}

// A TokenRequest is what a token is to be.
type TokenRequest struct {
	Account   string       `json:"account"`
	User      string       `json:"user"`
	Grants    []spec.Grant `json:"grants"` // none allow nothing
	ExpiresAt *time.Time   `json:"expiresAt"`
}

func (r *TokenRequest) check(c *spec.Catalog, now time.Time) error {
	p := &spec.Problems{}
	bad := func(at, detail string) { p.List = append(p.List, spec.Problem{Pointer: at, Detail: detail}) }
	switch {
	case r.Account == "":
		bad("/account", "is required")
	case !plainName(r.Account):
		bad("/account", "has more than 200 bytes, or control characters")
	}
	if !plainName(r.User) {
		bad("/user", "has more than 200 bytes, or control characters")
	}
	if len(r.Grants) > maxGrants {
		bad("/grants", "are more than 100")
	}
	if r.ExpiresAt != nil && !r.ExpiresAt.After(now) {
		bad("/expiresAt", "is in the past")
	}
	if err := spec.NewGrants(r.Grants).Check(c); err != nil {
		more, ok := errors.AsType[*spec.Problems](err)
		if !ok {
			return err
		}
		p.List = append(p.List, more.List...)
	}
	if p.List == nil {
		return nil
	}
	return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: p}
}

func plainName(s string) bool {
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// newTokenValue returns the value of a token: 32 random bytes. They need no
// slow hash.
func newTokenValue() (value, hash string) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	value = tokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return value, hashOf(value)
}

func hashOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// IssueToken makes a token and returns it with its value, which cannot be read
// again.
func (s *Service) IssueToken(ctx context.Context, r TokenRequest) (*Token, string, error) {
	if err := r.check(s.catalog, s.time()); err != nil {
		return nil, "", err
	}
	if r.Grants == nil {
		r.Grants = []spec.Grant{}
	}
	grants, err := json.Marshal(r.Grants)
	if err != nil {
		return nil, "", err
	}
	value, hash := newTokenValue()
	row := &tokenRow{ID: "tok_" + strings.ReplaceAll(uuid.Must(uuid.NewV7()).String(), "-", ""), Account: r.Account, UserID: r.User,
		Hash: hash, Grants: string(grants), CreatedAt: s.now()}
	if r.ExpiresAt != nil {
		row.ExpiresAt = millis(*r.ExpiresAt)
	}
	if _, err := s.db.DB().NewInsert().Model(row).Exec(ctx); err != nil {
		return nil, "", store.Error("subscriptions", "", err)
	}
	t, err := row.token()
	return t, value, err
}

func (row *tokenRow) token() (*Token, error) {
	t := &Token{ID: row.ID, Account: row.Account, User: row.UserID, CreatedAt: time.UnixMilli(row.CreatedAt).UTC(),
		ExpiresAt: timeOf(row.ExpiresAt), RevokedAt: timeOf(row.RevokedAt), LastUsedAt: timeOf(row.UsedAt)}
	if err := json.Unmarshal([]byte(row.Grants), &t.Grants); err != nil {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
	}
	return t, nil
}

// Tokens returns at most limit tokens with ids above after, also the revoked
// ones, of all accounts or of one.
func (s *Service) Tokens(ctx context.Context, account, after string, limit int) ([]*Token, error) {
	var rows []tokenRow
	q := s.db.DB().NewSelect().Model(&rows).Where("id > ?", after).OrderExpr("id").Limit(int64(limit))
	if account != "" {
		q.Where("account = ?", account)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, store.Error("subscriptions", "", err)
	}
	out := make([]*Token, len(rows))
	for i := range rows {
		t, err := rows[i].token()
		if err != nil {
			return nil, err
		}
		out[i] = t
	}
	return out, nil
}

var errNoToken = &kedge.Error{Op: "subscriptions", Kind: kedge.NotFound, Err: errors.New("there is no such token that works")}

// RevokeToken ends a token. Its subscriptions are disabled; after it returns
// none of them starts an attempt.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	var stopped []string
	err := s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		n, err := exec(ctx, tx, "UPDATE push_token SET revoked_at = ?, generation = ? WHERE id = ? AND revoked_at = 0", s.now(), g, id)
		if err == nil && n == 0 {
			err = errNoToken
		}
		if err != nil {
			return err
		}
		stopped, err = s.disableOf(ctx, tx, id, g)
		return err
	})
	s.tellStopped(ctx, stopped)
	return err
}

// disableOf disables the subscriptions that hang on a token, in tx.
func (s *Service) disableOf(ctx context.Context, tx *store.Tx, token string, g int64) ([]string, error) {
	if _, _, err := s.lockDelivery(ctx, tx, false); err != nil { // nothing is queued meanwhile
		return nil, err
	}
	var ids []string
	err := each(ctx, tx, func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT id FROM push_subscription WHERE token_id = ? AND state IN (?, ?, ?) ORDER BY id", token, StateActive, StatePaused, StateUnverified)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := exec(ctx, tx, "UPDATE push_subscription SET state = ?, reason = 'token', generation = ?, changed_at = ? WHERE id = ?",
			StateDisabled, g, s.now(), id); err != nil {
			return nil, err
		}
	}
	return ids, s.abandon(ctx, tx, StateDisabled, ids...)
}

func (s *Service) tellStopped(ctx context.Context, ids []string) {
	for _, id := range ids {
		s.log.Warn("subscription was stopped", "subscription", id, "state", StateDisabled, "reason", "token")
		s.notice(ctx, id, "subscription."+StateDisabled, "token")
	}
}

// expireTokens disables the subscriptions of tokens whose time is over.
func (s *Service) expireTokens(ctx context.Context) error {
	var ids []string
	err := each(ctx, s.db.DB(), func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT id FROM push_token t WHERE expires_at <> 0 AND expires_at <= ? AND EXISTS (SELECT 1 FROM push_subscription s WHERE s.token_id = t.id AND s.state IN (?, ?, ?))",
		s.now(), StateActive, StatePaused, StateUnverified)
	if err != nil {
		return err
	}
	for _, id := range ids {
		var stopped []string
		err := s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) (err error) {
			stopped, err = s.disableOf(ctx, tx, id, g)
			return err
		})
		if err != nil {
			return err
		}
		s.tellStopped(ctx, stopped)
	}
	return nil
}

// RotateToken gives a token a new value, which it returns. The value before is
// valid until the returned time; one before that is not any more.
func (s *Service) RotateToken(ctx context.Context, id string, overlap time.Duration) (string, time.Time, error) {
	if overlap < 0 || overlap > maxOverlap {
		return "", time.Time{}, &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: errors.New("overlap must be 0 to 7 days")}
	}
	value, hash := newTokenValue()
	until := s.time().Add(overlap)
	n, err := exec(ctx, s.db.DB(), "UPDATE push_token SET old_hash = hash, old_until = ?, hash = ? WHERE id = ? AND revoked_at = 0", millis(until), hash, id)
	if err == nil && n == 0 {
		err = errNoToken
	}
	return value, until, err
}

// errToken is the one answer to every token that does not work, so that nobody
// learns which ones there are.
var errToken = &kedge.Error{Op: "subscriptions", Kind: kedge.Unauthorized, Err: errors.New("the access token is missing, unknown, expired or revoked")}

const usedEvery = time.Minute

// Authenticate returns who a token's value stands for, or an error of kind
// Unauthorized, which does not tell why.
func (s *Service) Authenticate(ctx context.Context, value string) (Caller, error) {
	if len(value) != len(tokenPrefix)+43 || !strings.HasPrefix(value, tokenPrefix) {
		return Caller{}, errToken
	}
	row, hash, now := &tokenRow{}, hashOf(value), s.now()
	err := s.db.DB().NewSelect().Model(row).Where("hash = ? OR old_hash = ?", hash, hash).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Caller{}, store.Error("subscriptions", "", err)
	}
	if err != nil || row.RevokedAt != 0 || row.ExpiresAt != 0 && row.ExpiresAt <= now || row.Hash != hash && row.OldUntil <= now {
		return Caller{}, errToken
	}
	t, err := row.token()
	if err != nil {
		return Caller{}, err
	}
	if now-row.UsedAt >= usedEvery.Milliseconds() {
		if err := s.noteUse(ctx, row.ID, now); err != nil {
			return Caller{}, err
		}
	}
	all := spec.NewGrants(t.Grants)
	return Caller{Account: t.Account, User: t.User, TokenID: t.ID, Grants: all.Managing(), Lists: all}, nil
}

func (s *Service) noteUse(ctx context.Context, id string, now int64) error {
	_, err := s.db.DB().NewUpdate().Model((*tokenRow)(nil)).Set("used_at = ?", now).Where("id = ? AND used_at < ?", id, now).Exec(ctx)
	return store.Error("subscriptions", "", err)
}
