package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Scope is what a token allows.
type Scope string

// The scopes.
const (
	ScopeRead  Scope = "read"  // GET and HEAD
	ScopeAdmin Scope = "admin" // everything
)

// A Token lets an operator call the API. The secret itself is not stored.
type Token struct {
	bun.BaseModel `bun:"table:kedge_token,alias:t"`

	ID        string     `bun:",pk" json:"id"` // UUIDv7
	Name      string     `json:"name"`         // unique among those that are not revoked
	Scope     Scope      `json:"scope"`
	Hash      string     `json:"-"` // hex SHA-256 of the secret's random part
	CreatedBy string     `json:"createdBy"`
	CreatedAt time.Time  `json:"createdAt"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
}

// TokenMigrations make the table of operator tokens. Its rows are never
// deleted: once there was a token, the API is never open again.
func TokenMigrations() []store.Migration {
	const table = `CREATE TABLE kedge_token (
  id text NOT NULL PRIMARY KEY,
  name text NOT NULL,
  scope text NOT NULL,
  hash text NOT NULL,
  created_by text NOT NULL,
  created_at timestamp NOT NULL,
  revoked_at timestamp
);
CREATE UNIQUE INDEX kedge_token_name ON kedge_token (name) WHERE revoked_at IS NULL;`
	return []store.Migration{{Name: "20261201_01_tokens", SQLite: table, Postgres: strings.ReplaceAll(table, "timestamp", "timestamptz")}}
}

// Tokens are the operator tokens in the database. Every check reads it, so a
// token that is revoked anywhere works nowhere from then on.
type Tokens struct {
	store  *store.Store
	now    func() time.Time
	locked atomic.Bool // a token was seen
}

// NewTokens returns the tokens in s. A nil now means time.Now.
func NewTokens(s *store.Store, now func() time.Time) *Tokens {
	if now == nil {
		now = time.Now
	}
	return &Tokens{store: s, now: now}
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Create makes a token and returns it with its secret, which cannot be read
// again. A name that another token has is a Conflict.
func (ts *Tokens) Create(ctx context.Context, name string, scope Scope, by string) (*Token, string, error) {
	invalid := func(format string, args ...any) (*Token, string, error) {
		return nil, "", &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf(format, args...)}
	}
	if !tokenName.MatchString(name) {
		return invalid("the name of a token has 1 to 63 letters, digits, dots, hyphens, underscores or @, and starts with a letter or digit")
	}
	if scope != ScopeRead && scope != ScopeAdmin {
		return invalid("the scope of a token must be admin or read")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, "", err
	}
	random := rand.Text() + rand.Text() // 52 characters, over 256 bits
	t := &Token{ID: id.String(), Name: name, Scope: scope, Hash: hashOf(random), CreatedBy: by, CreatedAt: ts.now().UTC()}
	_, err = ts.store.DB().NewInsert().Model(t).Exec(ctx)
	if err = store.Error("", "", err); kedge.KindOf(err) == kedge.Conflict {
		return nil, "", &kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf("there is a token %q already; revoke it first, or take another name", name)}
	}
	if err != nil {
		return nil, "", err
	}
	return t, secretPrefix + strings.ReplaceAll(t.ID, "-", "") + "_" + random, nil
}

const secretPrefix = "kedge_"

func hashOf(random string) string {
	sum := sha256.Sum256([]byte(random))
	return hex.EncodeToString(sum[:])
}

// List returns all tokens, also the revoked ones, by name.
func (ts *Tokens) List(ctx context.Context) ([]Token, error) {
	var rows []Token
	err := ts.store.DB().NewSelect().Model(&rows).Order("name", "id").Scan(ctx)
	return rows, store.Error("", "", err)
}

var tokenList = sqllist.List[Token]{ID: "id", OrderBy: "name", Columns: []sqllist.Column[Token]{
	{Name: "id", SQL: "t.id", Type: kedge.TypeString, Value: func(t *Token) kedge.Value { return kedge.String(t.ID) }},
	{Name: "name", SQL: "t.name", Type: kedge.TypeString, Value: func(t *Token) kedge.Value { return kedge.String(t.Name) }},
	{Name: "scope", SQL: "t.scope", Type: kedge.TypeString, Value: func(t *Token) kedge.Value { return kedge.String(string(t.Scope)) }},
	{Name: "createdAt", SQL: "t.created_at", Type: kedge.TypeTime, Value: func(t *Token) kedge.Value { return kedge.Time(t.CreatedAt) }},
	{Name: "revokedAt", SQL: "t.revoked_at", Type: kedge.TypeTime, Nullable: true, Value: func(t *Token) kedge.Value { return sqllist.Time(t.RevokedAt) }},
}}

// Page returns a page of what [Tokens.List] does, and the cursor of the next.
func (ts *Tokens) Page(ctx context.Context, q sqllist.Query) ([]Token, string, error) {
	all, err := ts.List(ctx)
	if err != nil {
		return nil, "", err
	}
	return tokenList.Slice(all, q, ts.now())
}

// Revoke ends the token with a name or an id.
func (ts *Tokens) Revoke(ctx context.Context, name string) (*Token, error) {
	t := new(Token)
	_, err := ts.store.DB().NewUpdate().Model(t).Set("revoked_at = ?", ts.now().UTC()).
		Where("revoked_at IS NULL").Where("name = ? OR id = ?", name, name).Returning("*").Exec(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, store.Error("", "", err)
	}
	if t.ID == "" {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no token %q that works; see \"kedge tokens list\"", name)}
	}
	return t, nil
}

// verify returns the token that a secret belongs to, or nil.
func (ts *Tokens) verify(ctx context.Context, secret string) (*Token, error) {
	rest, ok := strings.CutPrefix(secret, secretPrefix)
	idText, random, cut := strings.Cut(rest, "_")
	id, err := uuid.Parse(idText)
	if !ok || !cut || err != nil || len(random) > 100 {
		return nil, nil
	}
	t := new(Token)
	err = ts.store.DB().NewSelect().Model(t).Where("id = ?", id.String()).Where("revoked_at IS NULL").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, store.Error("", "", err)
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashOf(random))) != 1 {
		return nil, nil
	}
	return t, nil
}

// exists tells whether a token was ever made.
func (ts *Tokens) exists(ctx context.Context) (bool, error) {
	if ts.locked.Load() {
		return true, nil
	}
	found, err := ts.store.DB().NewSelect().Model((*Token)(nil)).Exists(ctx)
	if err != nil {
		return false, store.Error("", "", err)
	}
	if found {
		ts.locked.Store(true)
	}
	return found, nil
}

// active tells whether there is a token that works.
func (ts *Tokens) active(ctx context.Context) (bool, error) {
	found, err := ts.store.DB().NewSelect().Model((*Token)(nil)).Where("revoked_at IS NULL").Exists(ctx)
	return found, store.Error("", "", err)
}
