package ingest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
)

// Operations that a key may be limited to.
const (
	OpEvent  = "event"
	OpBulk   = "bulk" // also bulk sessions
	OpDelete = "delete"
)

const (
	keyPrefix = "kdgi_"
	maxKeys   = 10 // live ones of an integration
	minSecret = 32 // characters of a key that the config gives
	maxGrace  = 30 * 24 * time.Hour
)

// Rights limit what a key may do. Empty lists do not limit.
type Rights struct {
	Operations []string `json:"operations,omitempty"` // event, bulk, delete
	Tables     []string `json:"tables,omitempty"`     // full names
	GroupKeys  []string `json:"groupKeys,omitempty"`  // "" is the default group
}

func (r Rights) check(tables []string) error {
	for _, op := range r.Operations {
		if op != OpEvent && op != OpBulk && op != OpDelete {
			return refuse("/operations", "operations: must be event, bulk or delete")
		}
	}
	for _, t := range r.Tables {
		if !slices.Contains(tables, t) {
			return refuse("/tables", "tables: the integration has no table %q", t)
		}
	}
	for _, g := range r.GroupKeys {
		if utf8.RuneCountInString(g) > maxGroupKey {
			return refuse("/groupKeys", "groupKeys: a group key has up to %d characters", maxGroupKey)
		}
	}
	return nil
}

func allows(list []string, what string) bool { return len(list) == 0 || slices.Contains(list, what) }

// A Key is what may be told about an ingest key. The key itself is shown once,
// by what makes it.
type Key struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Key  string `json:"key,omitempty"` // only in the answer to its making
	Rights
	Origin     string     `json:"origin,omitempty"`
	CreatedAt  time.Time  `json:"createdAt,omitzero"`
	ExpiresAt  *time.Time `json:"expiresAt,omitempty"`
	RevokedAt  *time.Time `json:"revokedAt,omitempty"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty"`
}

func (r *keyRow) key() Key {
	k := Key{ID: r.ID, Name: r.Name, Origin: r.Origin, CreatedAt: fromMillis(r.CreatedAt), ExpiresAt: optionalTime(r.ExpiresAt),
		RevokedAt: optionalTime(r.RevokedAt), LastUsedAt: optionalTime(r.LastUsedAt)}
	_ = json.Unmarshal([]byte(r.Rights), &k.Rights) // written by this package
	return k
}

// live tells whether the key opens anything now.
func (r *keyRow) live(now int64) bool {
	return r.RevokedAt == nil && (r.ExpiresAt == nil || *r.ExpiresAt > now)
}

func newSecret() (string, []byte) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	secret := keyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// CreateKey makes a key of an integration. Its answer is the only one that
// shows it.
func (s *Service) CreateKey(ctx context.Context, integration string, k Key) (*Key, error) {
	if err := checkName("/name", k.Name); err != nil {
		return nil, err
	}
	secret, hash := newSecret()
	var out Key
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		in, err := findIntegration(ctx, tx, integration)
		if err != nil {
			return err
		}
		tables, err := tablesOf(ctx, tx, in.ID)
		if err != nil {
			return err
		}
		if err := k.Rights.check(tables); err != nil {
			return err
		}
		row := &keyRow{ID: newID(), IntegrationID: in.ID, Name: k.Name, Hash: hash, Rights: mustJSON(k.Rights), Origin: OriginAPI, CreatedAt: millis(s.now())}
		if k.ExpiresAt != nil {
			ms := millis(*k.ExpiresAt)
			row.ExpiresAt = &ms
		}
		out = row.key()
		return s.insertKey(ctx, tx, row)
	})
	if err != nil {
		return nil, err
	}
	out.Key = secret
	return &out, nil
}

// insertKey adds a key, unless there are too many or another one has its name.
func (s *Service) insertKey(ctx context.Context, tx bun.IDB, row *keyRow) error {
	var keys []keyRow
	if err := tx.NewSelect().Model(&keys).Where("integration_id = ?", row.IntegrationID).Scan(ctx); err != nil {
		return err
	}
	now, live := millis(s.now()), 0
	for _, k := range keys {
		if !k.live(now) {
			continue
		}
		live++
		if k.Name == row.Name && k.ExpiresAt == nil {
			return conflict("the integration has a key with this name already; rotate or revoke it")
		}
	}
	if live >= maxKeys {
		return conflict("the integration has %d keys already, the most there can be; revoke one", maxKeys)
	}
	_, err := tx.NewInsert().Model(row).Exec(ctx)
	return err
}

// Keys returns the keys of an integration, the oldest first.
func (s *Service) Keys(ctx context.Context, integration string) ([]Key, error) {
	in, err := findIntegration(ctx, s.store.DB(), integration)
	if err != nil {
		return nil, err
	}
	var rows []keyRow
	if err := s.store.DB().NewSelect().Model(&rows).Where("integration_id = ?", in.ID).Order("id").Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	var out []Key
	for i := range rows {
		out = append(out, rows[i].key())
	}
	return out, nil
}

// findKey returns a key of an integration by its id, or a live one by its name.
func (s *Service) findKey(ctx context.Context, tx bun.IDB, integration, name string) (*keyRow, error) {
	in, err := findIntegration(ctx, tx, integration)
	if err != nil {
		return nil, err
	}
	row, err := first[keyRow](ctx, tx, "integration_id = ? AND (id = ? OR name = ? AND revoked_at IS NULL AND expires_at IS NULL)", in.ID, name, name)
	if row == nil && err == nil {
		err = unknown("the integration has no key %q", name)
	}
	return row, err
}

// RotateKey makes a new key with the name and the rights of an old one, which
// works until grace is over.
func (s *Service) RotateKey(ctx context.Context, integration, name string, grace time.Duration) (*Key, error) {
	if grace < 0 || grace > maxGrace {
		return nil, refuse("", "grace: must be from 0s to 30d")
	}
	secret, hash := newSecret()
	var out Key
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		old, err := s.findKey(ctx, tx, integration, name)
		if err != nil {
			return err
		}
		now := millis(s.now())
		switch {
		case old.Origin == OriginFile:
			return conflict("the key comes from the config file; change it there")
		case !old.live(now):
			return conflict("the key is revoked or expired; make a new one")
		}
		ends := now + grace.Milliseconds()
		if old.ExpiresAt != nil {
			ends = min(ends, *old.ExpiresAt)
		}
		was := old.ExpiresAt
		old.ExpiresAt = &ends
		if _, err := tx.NewUpdate().Model(old).Column("expires_at").WherePK().Exec(ctx); err != nil {
			return err
		}
		row := &keyRow{ID: newID(), IntegrationID: old.IntegrationID, Name: old.Name, Hash: hash, Rights: old.Rights, Origin: OriginAPI, CreatedAt: now, ExpiresAt: was}
		out = row.key()
		return s.insertKey(ctx, tx, row)
	})
	if err != nil {
		return nil, err
	}
	out.Key = secret
	return &out, nil
}

// RevokeKey ends a key: at once in this process, within 5 s in others.
func (s *Service) RevokeKey(ctx context.Context, integration, name string) error {
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := s.findKey(ctx, tx, integration, name)
		if err != nil {
			return err
		}
		if row.Origin == OriginFile {
			return conflict("the key comes from the config file; take it out there")
		}
		now := millis(s.now())
		if row.RevokedAt == nil {
			row.RevokedAt = &now
		}
		_, err = tx.NewUpdate().Model(row).Column("revoked_at").WherePK().Exec(ctx)
		return err
	})
}

// usage remembers when keys were used, until the next flush.
type usage struct {
	mu   sync.Mutex
	last map[string]int64
}

func (u *usage) note(id string, now int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[string]int64{}
	}
	u.last[id] = max(u.last[id], now)
}

// flushUse writes when keys were used.
func (s *Service) flushUse(ctx context.Context) error {
	s.used.mu.Lock()
	last := s.used.last
	s.used.last = nil
	s.used.mu.Unlock()
	for id, at := range last {
		if _, err := s.store.DB().NewRaw("UPDATE ingest_key SET last_used_at = ? WHERE id = ?", at, id).Exec(ctx); err != nil {
			for id, at := range last { // to be tried again
				s.used.note(id, at)
			}
			return store.Error("ingest", "", err)
		}
	}
	return nil
}
