package subscriptions

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A sub is a subscription in memory. It is never changed, only replaced.
type sub struct {
	id, account, user string
	state, reason     string
	doc               *spec.Doc // without secrets
	scopes            map[string]*spec.Scope
	form              payload.Form
	sealed            []byte
	startSeq          int64
	generation        int64
	expiresAt         int64
	firstFailAt       int64
	changedAt         int64

	opened *atomic.Pointer[openSecrets] // made from sealed when they are first needed
}

// OpenSecrets are secrets in the form that requests are made with.
type openSecrets struct {
	url  *url.URL
	auth spec.Auth
	keys []signature.Key
	ends []int64 // of keys; 0: never
}

// signers returns the keys that sign at now, newest first.
func (o *openSecrets) signers(now int64) []signature.Key {
	out := make([]signature.Key, 0, len(o.keys))
	for i, k := range o.keys {
		if o.ends[i] == 0 || o.ends[i] > now {
			out = append(out, k)
		}
	}
	return out
}

// secretsOf opens the secrets of x, once.
func (s *Service) secretsOf(x *sub) (*openSecrets, error) {
	if o := x.opened.Load(); o != nil {
		return o, nil
	}
	hidden, err := s.open(x.id, x.sealed)
	if err != nil {
		return nil, err
	}
	o, err := hidden.opened()
	if err != nil {
		return nil, err
	}
	x.opened.Store(o)
	return o, nil
}

// queues reports whether events are queued for s.
func (s *sub) queues() bool { return s.state == StateActive || s.state == StatePaused }

// expired reports whether s has ended by its own wish.
func (s *sub) expired(now int64) bool { return s.expiresAt != 0 && s.expiresAt <= now }

// selects reports whether a message of kedge itself is wanted.
func (s *sub) selects(event string) bool { return slices.Contains(s.doc.Events, event) }

// Secrets are what of a subscription is kept sealed.
type secrets struct {
	URL       string    `json:"url"`
	Auth      spec.Auth `json:"auth"`
	NoticeURL *string   `json:"noticeURL,omitempty"`
	Keys      []secret  `json:"keys"` // newest first
}

// A secret is a signing key and when it ends; 0 means never.
type secret struct {
	Key   string `json:"key"`
	Until int64  `json:"until,omitempty"`
}

// opened returns x in the form that requests are made with.
func (x *secrets) opened() (*openSecrets, error) {
	o := &openSecrets{auth: x.Auth}
	var err error
	if o.url, err = url.Parse(x.URL); err != nil {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: errors.New("the URL cannot be read")}
	}
	for _, k := range x.Keys {
		key, err := signature.ParseKey(k.Key)
		if err != nil {
			return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
		}
		o.keys, o.ends = append(o.keys, key), append(o.ends, k.Until)
	}
	return o, nil
}

func sealContext(id string) string { return "push_subscription " + id + " sealed" }

func (s *Service) seal(id string, x *secrets) ([]byte, error) {
	plain, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	return s.db.Keys().Seal(plain, sealContext(id))
}

func (s *Service) open(id string, sealed []byte) (*secrets, error) {
	plain, err := s.db.Keys().Open(sealed, sealContext(id))
	if err != nil {
		return nil, err
	}
	x := &secrets{}
	if err := json.Unmarshal(plain, x); err != nil {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
	}
	return x, nil
}

// split takes the secrets out of a document.
func split(d spec.Doc) (spec.Doc, secrets) {
	x := secrets{URL: d.URL, Auth: d.Auth, NoticeURL: d.NoticeURL}
	d.URL, d.NoticeURL, d.Signing.Secret = "", nil, ""
	d.Auth = spec.Auth{Type: x.Auth.Type}
	return d, x
}

// join is the reverse of split, without the signing key.
func join(d spec.Doc, x *secrets) spec.Doc {
	d.URL, d.Auth, d.NoticeURL = x.URL, x.Auth, x.NoticeURL
	return d
}

// refresh brings the subscriptions in memory up to date with what db sees.
func (s *Service) refresh(ctx context.Context, db bun.IDB) error {
	g, err := readGeneration(ctx, db)
	if err != nil {
		return err
	}
	s.mu.RLock()
	known := s.generation
	s.mu.RUnlock()
	if g == known {
		return nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	s.mu.RLock()
	known = s.generation
	s.mu.RUnlock()
	if g <= known {
		return nil
	}
	var rows []subRow
	q := db.NewSelect().Model(&rows).ExcludeColumn("idem_body").Where("generation > ?", known)
	if known == 0 {
		q.Where("state <> ?", stateDeleted)
	}
	if err := q.Scan(ctx); err != nil {
		return store.Error("subscriptions", "", err)
	}
	grants, err := s.grantsOf(ctx, db, rows)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rows {
		s.put(&rows[i], grants)
	}
	s.generation = g
	return nil
}

// grantsOf returns the grants of the tokens that rows hang on.
func (s *Service) grantsOf(ctx context.Context, db bun.IDB, rows []subRow) (map[string]spec.Grants, error) {
	var ids []string
	for i := range rows {
		if id := rows[i].TokenID; id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	out := map[string]spec.Grants{"": spec.Everything()}
	for chunk := range slices.Chunk(ids, 500) {
		var tokens []tokenRow
		if err := db.NewSelect().Model(&tokens).Where("id IN (?)", bun.List(chunk)).Scan(ctx); err != nil {
			return nil, store.Error("subscriptions", "", err)
		}
		for _, t := range tokens {
			var list []spec.Grant
			if t.RevokedAt == 0 {
				if err := json.Unmarshal([]byte(t.Grants), &list); err != nil {
					return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
				}
			}
			out[t.ID] = spec.NewGrants(list).Managing()
		}
	}
	return out, nil
}

// put replaces a subscription in memory.
func (s *Service) put(row *subRow, grants map[string]spec.Grants) {
	s.stored.Remove(row.ID)
	if row.State == stateDeleted {
		delete(s.subs, row.ID)
		return
	}
	x, scopes, err := s.compile(row, grants[row.TokenID])
	if err != nil {
		s.log.Error("subscription cannot be read", "subscription", row.ID, "err", err)
		return
	}
	s.subs[row.ID] = x
	if x.queues() || (x.state == StateDisabled || x.state == StateExpired) && s.now()-x.changedAt < s.cfg.Retention.Events.Milliseconds() {
		s.stored.Put(x.id, x.account, scopes)
	}
}

func (s *Service) compile(row *subRow, g spec.Grants) (*sub, []spec.Scope, error) {
	x := &sub{id: row.ID, account: row.Account, user: row.UserID, state: row.State, reason: row.Reason, doc: &spec.Doc{},
		sealed: row.Sealed, startSeq: row.StartSeq, generation: row.Generation, expiresAt: row.ExpiresAt,
		firstFailAt: row.FirstFailAt, changedAt: row.ChangedAt, scopes: map[string]*spec.Scope{}, opened: &atomic.Pointer[openSecrets]{}}
	if err := json.Unmarshal([]byte(row.Spec), x.doc); err != nil {
		return nil, nil, err
	}
	x.form = payload.Form{Method: x.doc.Method, Format: x.doc.Format, Source: s.cfg.PublicURL}
	// What the config or the token offers no more is left out: the rest of a
	// subscription goes on.
	scopes, _ := x.doc.Scopes(s.catalog, g, s.time())
	for i := range scopes {
		x.scopes[scopes[i].Entity] = &scopes[i]
	}
	return x, scopes, nil
}

// sub returns a subscription, or nil.
func (s *Service) sub(id string) *sub {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.subs[id]
}

func millis(t time.Time) int64 { return t.UnixMilli() }
