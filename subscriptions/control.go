package subscriptions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

var errBarrier = errors.New("a worker has not confirmed the change in time; it holds, but attempts with the old state may still be on their way")

// A Caller is who creates and changes subscriptions.
type Caller struct {
	Account string // "" with Admin: all accounts
	User    string
	TokenID string      // "" for operators
	Grants  spec.Grants // for subscriptions
	Lists   spec.Grants // what resources may be listed; at least Grants
	Admin   bool
}

// A Subscription is a subscription as it is shown: the URL masked, without
// secrets.
type Subscription struct {
	ID          string     `json:"id"`
	Account     string     `json:"account"`
	User        string     `json:"user"`
	Reason      string     `json:"reason,omitempty"` // why it is disabled
	CreatedAt   time.Time  `json:"createdAt"`
	UpdatedAt   time.Time  `json:"updatedAt"`
	FailingFrom *time.Time `json:"failingSince,omitempty"`
	LastOkAt    *time.Time `json:"lastSuccessAt,omitempty"`
	Declared    bool       `json:"declared,omitempty"`  // by the config, and changed only there
	PublicKey   string     `json:"publicKey,omitempty"` // whpk_… of ed25519
	spec.Doc
	Generation int64 `json:"-"` // changes with every change; for entity tags
}

// Create makes a subscription and returns it with the signing secret, which is
// not shown again.
func (s *Service) Create(ctx context.Context, by Caller, d *spec.Doc) (*Subscription, string, error) {
	return s.create(ctx, by, d, nil)
}

func (s *Service) create(ctx context.Context, by Caller, d *spec.Doc, once *once) (*Subscription, string, error) {
	if err := s.check(ctx, by, d); err != nil {
		return nil, "", err
	}
	key, err := keyOf(d.Signing)
	if err != nil {
		return nil, "", err
	}
	row := &subRow{ID: "sub_" + strings.ReplaceAll(uuid.Must(uuid.NewV7()).String(), "-", ""), Account: by.Account, UserID: by.User, TokenID: by.TokenID}
	doc, hidden := split(*d)
	hidden.Keys = []secret{{Key: key.Secret()}}
	row.State = doc.State
	if doc.Verify != "none" {
		row.State = StateUnverified
	}
	if err := s.fill(row, &doc, &hidden); err != nil {
		return nil, "", err
	}
	row.CreatedAt = s.now()
	var out *Subscription
	err = s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		if err := s.answered(ctx, tx, by.Account, once); err != nil {
			return err
		}
		if err := s.room(ctx, tx, by.Account); err != nil {
			return err
		}
		row.Generation, row.ChangedAt = g, s.now()
		if row.StartSeq, err = lastSeq(ctx, tx); err != nil {
			return err
		}
		if out, err = s.show(row); err != nil {
			return err
		}
		if err := s.remember(row, out, key.Shared(), once); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return store.Error("subscriptions", "", err)
	})
	if again, ok := errors.AsType[*earlier](err); ok {
		return again.Subscription, again.Secret, nil
	}
	if err != nil {
		return nil, "", err
	}
	s.proveSoon(row.ID, row.State)
	return out, key.Shared(), nil
}

func keyOf(x spec.Signing) (signature.Key, error) {
	if x.Secret != "" {
		return signature.ParseKey(x.Secret)
	}
	return signature.NewKey(x.Alg)
}

// check checks a document and, as a courtesy, whether its target may be
// called.
func (s *Service) check(ctx context.Context, by Caller, d *spec.Doc) error {
	if err := d.Check(s.catalog, by.Grants, s.cfg.limits(), s.time()); err != nil {
		return err
	}
	if s.opts.Allowed == nil {
		return nil
	}
	if err := s.opts.Allowed(ctx, d.URL); err != nil {
		return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: &spec.Problems{List: []spec.Problem{{Pointer: "/url", Detail: err.Error()}}}}
	}
	return nil
}

// room returns an error of kind Conflict if the account has all the
// subscriptions that it may have.
func (s *Service) room(ctx context.Context, tx bun.IDB, account string) error {
	n, err := tx.NewSelect().Model((*subRow)(nil)).Where("account = ? AND state <> ?", account, stateDeleted).Count(ctx)
	if err != nil {
		return store.Error("subscriptions", "", err)
	}
	if n >= int64(s.cfg.Limits.PerAccount) {
		return &kedge.Error{Op: "subscriptions", Kind: kedge.Conflict, Err: fmt.Errorf("the account has %d subscriptions, the limit; delete one first", n)}
	}
	return nil
}

// fill puts document and secrets into a row.
func (s *Service) fill(row *subRow, doc *spec.Doc, hidden *secrets) error {
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	row.Spec = string(text)
	if row.Sealed, err = s.seal(row.ID, hidden); err != nil {
		return err
	}
	r, err := spec.ParseResource(doc.Resource)
	if err != nil {
		return err
	}
	if r, err = s.catalog.Resolve(r); err != nil {
		return err
	}
	row.Entity, row.RecordKey, row.ExpiresAt = r.Entity, "", 0
	if r.IsRecord() {
		row.RecordKey = string(r.Key())
	}
	if doc.ExpiresAt != nil {
		row.ExpiresAt = millis(*doc.ExpiresAt)
	}
	return nil
}

// show returns a row as it may be seen.
func (s *Service) show(row *subRow) (*Subscription, error) {
	hidden, err := s.open(row.ID, row.Sealed)
	if err != nil {
		return nil, err
	}
	out := &Subscription{ID: row.ID, Account: row.Account, User: row.UserID, Reason: row.Reason, Generation: row.Generation,
		CreatedAt: time.UnixMilli(row.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(row.ChangedAt).UTC(),
		FailingFrom: timeOf(row.FirstFailAt), LastOkAt: timeOf(row.LastOkAt), Declared: isDeclared(row.ID)}
	if err := json.Unmarshal([]byte(row.Spec), &out.Doc); err != nil {
		return nil, err
	}
	out.State = row.State
	out.URL = masked(hidden.URL)
	if hidden.NoticeURL != nil {
		m := masked(*hidden.NoticeURL)
		out.NoticeURL = &m
	}
	if out.Auth.Type == "header" {
		out.Auth.Headers = map[string]string{}
		for name := range hidden.Auth.Headers {
			out.Auth.Headers[name] = spec.Masked
		}
	}
	o, err := hidden.opened()
	if err != nil {
		return nil, err
	}
	if keys := o.signers(s.now()); len(keys) > 0 && keys[0].Alg() == signature.Ed25519 {
		out.PublicKey = keys[0].Shared()
	}
	return out, nil
}

func timeOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

// masked shows where a URL leads without its path and query, which often are
// the secret.
func masked(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return spec.Masked
	}
	return u.Scheme + "://" + u.Host + "/" + spec.Masked
}

// Get returns a subscription that by may see. All others are NotFound.
func (s *Service) Get(ctx context.Context, by Caller, id string) (*Subscription, error) {
	row, err := s.row(ctx, s.db.DB(), by, id)
	if err != nil {
		return nil, err
	}
	return s.show(row)
}

// row returns the row of a subscription that by may see.
func (s *Service) row(ctx context.Context, db bun.IDB, by Caller, id string) (*subRow, error) {
	row := &subRow{}
	q := db.NewSelect().Model(row).Where("id = ? AND state <> ?", id, stateDeleted)
	if !by.Admin {
		q.Where("account = ?", by.Account)
	}
	err := q.Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, store.Error("subscriptions", "", err)
	}
	if err != nil || !s.covers(by, row) {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.NotFound, Err: errors.New("there is no such subscription")}
	}
	return row, nil
}

// own returns the row of a subscription that by may see and change.
func (s *Service) own(ctx context.Context, db bun.IDB, by Caller, id string) (*subRow, error) {
	row, err := s.row(ctx, db, by, id)
	if err == nil && isDeclared(id) {
		err = &kedge.Error{Op: "subscriptions", Kind: kedge.Conflict, Err: errors.New("the subscription is declared in the config file; change it there")}
	}
	return row, err
}

// covers reports whether by's grants allow anything of the subscription.
func (s *Service) covers(by Caller, row *subRow) bool {
	if by.Admin {
		return true
	}
	d := &spec.Doc{}
	if err := json.Unmarshal([]byte(row.Spec), d); err != nil {
		return false
	}
	scopes, _ := d.Scopes(s.catalog, by.Grants, s.time())
	return len(scopes) > 0
}

// A ListFilter narrows [Service.List]. Zero values mean all.
type ListFilter struct {
	Resource string
	State    string
	After    string // id of the last subscription of the page before
	Limit    int
}

// List returns subscriptions that by may see, by id, and the After of the next
// page, "" on the last one. A page may be short.
func (s *Service) List(ctx context.Context, by Caller, f ListFilter) (out []*Subscription, next string, err error) {
	var rows []subRow
	q := s.db.DB().NewSelect().Model(&rows).Where("id > ? AND state <> ?", f.After, stateDeleted).OrderExpr("id").Limit(int64(f.Limit))
	if !by.Admin || by.Account != "" {
		q.Where("account = ?", by.Account)
	}
	if f.State != "" {
		q.Where("state = ?", f.State)
	}
	if f.Resource != "" {
		r, err := spec.ParseResource(f.Resource)
		if err == nil {
			r, err = s.catalog.Resolve(r)
		}
		if err != nil {
			return nil, "", &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: err}
		}
		key := ""
		if r.IsRecord() {
			key = string(r.Key())
		}
		q.Where("entity = ? AND record_key = ?", r.Entity, key)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, "", store.Error("subscriptions", "", err)
	}
	for i := range rows {
		if !s.covers(by, &rows[i]) {
			continue
		}
		x, err := s.show(&rows[i])
		if err != nil {
			return nil, "", err
		}
		out = append(out, x)
	}
	if len(rows) == f.Limit {
		next = rows[f.Limit-1].ID
	}
	return out, next, nil
}

// Update applies a JSON merge patch. After it returns no attempt starts with
// the old state. match, if not nil, is asked first whether the subscription is
// the one that the caller has seen.
func (s *Service) Update(ctx context.Context, by Caller, id string, patch []byte, match func(*Subscription) error) (*Subscription, error) {
	var out *subRow
	err := s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		row, err := s.own(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if match != nil {
			shown, err := s.show(row)
			if err != nil {
				return err
			}
			if err := match(shown); err != nil {
				return err
			}
		}
		out = row
		return s.patch(ctx, tx, by, row, patch, g)
	})
	if err != nil {
		return nil, err
	}
	s.proveSoon(out.ID, out.State)
	return s.show(out)
}

// patch changes a row in tx.
func (s *Service) patch(ctx context.Context, tx *store.Tx, by Caller, row *subRow, patch []byte, g int64) error {
	before, hidden, err := s.whole(row)
	if err != nil {
		return err
	}
	text, err := json.Marshal(before)
	if err != nil {
		return err
	}
	merged, err := spec.MergePatch(text, patch)
	if err != nil {
		return err
	}
	after, err := spec.Parse(merged)
	if err != nil {
		return err
	}
	if err := unchangeable(before, after); err != nil {
		return err
	}
	if !by.Admin {
		row.TokenID, row.UserID = by.TokenID, by.User // who changes it vouches for it from now on
	}
	if err := s.check(ctx, by, after); err != nil {
		return err
	}
	now := s.now()
	doc, next := split(*after)
	next.Keys = hidden.Keys
	if err := s.fill(row, &doc, &next); err != nil {
		return err
	}
	row.Generation, row.ChangedAt = g, now
	if !leavesDisabled(row, patch) {
		if err := s.setState(ctx, tx, row, &doc, before.URL != after.URL); err != nil {
			return err
		}
	}
	if _, err = tx.NewUpdate().Model(row).ExcludeColumn("idem_hash", "idem_body", "created_at").WherePK().Exec(ctx); err != nil {
		return store.Error("subscriptions", "", err)
	}
	return s.setDue(ctx, tx, row)
}

// leavesDisabled reports whether a patch leaves a disabled subscription as it
// is: one that does not speak of the state, unless it is all that was missing
// that someone with a token that works takes the subscription over.
func leavesDisabled(row *subRow, patch []byte) bool {
	var named struct{ State *string }
	return row.State == StateDisabled && row.Reason != "token" && json.Unmarshal(patch, &named) == nil && named.State == nil
}

// whole returns the document of a row with its secrets, except the signing
// key, and the secrets.
func (s *Service) whole(row *subRow) (*spec.Doc, *secrets, error) {
	hidden, err := s.open(row.ID, row.Sealed)
	if err != nil {
		return nil, nil, err
	}
	doc := spec.Doc{}
	if err := json.Unmarshal([]byte(row.Spec), &doc); err != nil {
		return nil, nil, err
	}
	doc = join(doc, hidden)
	switch row.State {
	case StateActive, StatePaused:
		doc.State = row.State
	case StateDisabled, StateExpired:
		doc.State = "" // a patch says what it becomes
	}
	return &doc, hidden, nil
}

func unchangeable(before, after *spec.Doc) error {
	p := &spec.Problems{}
	if before.Resource != after.Resource {
		p.List = append(p.List, spec.Problem{Pointer: "/resource", Detail: "is fixed; create another subscription"})
	}
	if before.Signing.Alg != after.Signing.Alg || after.Signing.Secret != "" {
		p.List = append(p.List, spec.Problem{Pointer: "/signing", Detail: "is changed by rotate-secret only"})
	}
	if p.List == nil {
		return nil
	}
	return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: p}
}
