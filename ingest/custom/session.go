package custom

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/store"
)

// Limits of bulk sessions.
const (
	MaxParts        = 64
	MaxSessionItems = 1_000_000
	sessionAge      = time.Hour
)

// SessionParams are the parameters of a bulk that comes in parts, fixed when
// its session starts.
type SessionParams struct {
	GroupKey       string `json:"groupKey"`
	Event          string `json:"event"`
	Actor          string `json:"actor"`
	DryRun         bool   `json:"dryRun"`
	AllowEmpty     bool   `json:"allowEmpty"`
	ConfirmRemoved int    `json:"confirmRemoved"`
}

// A Session is a bulk that comes in parts.
type Session struct {
	ID      string
	Params  SessionParams
	Expires time.Time

	committed bool
}

// StartSession begins a session.
func (c *Custom) StartSession(ctx context.Context, t *Table, keyID string, p SessionParams) (*Session, error) {
	s := &Session{ID: uuid.Must(uuid.NewV7()).String(), Params: p, Expires: c.now().Add(sessionAge).UTC()}
	params, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	_, err = c.sql("INSERT INTO ingest_session (id, schema_no, key_id, params, state, expires_at) VALUES ").
		row(s.ID, t.No, keyID, string(params), "open", s.Expires.UnixMilli()).exec(ctx, c.store.DB().DB)
	return s, err
}

// Session returns an open session of a table: 404 if there is none or its time
// is over, 409 if it was committed.
func (c *Custom) Session(ctx context.Context, t *Table, id string) (*Session, error) {
	return c.session(ctx, c.store.DB().DB, t, id, "")
}

func (c *Custom) session(ctx context.Context, q querier, t *Table, id, lock string) (*Session, error) {
	var found *Session
	s := c.sql("SELECT params, state, expires_at FROM ingest_session WHERE id = ").arg(id).add(" AND schema_no = ").arg(t.No).add(" AND expires_at > ").arg(c.now().UnixMilli())
	err := s.add(lock).each(ctx, q, func(rows *sql.Rows) error {
		var params, state string
		var expires int64
		if err := rows.Scan(&params, &state, &expires); err != nil {
			return err
		}
		found = &Session{ID: id, Expires: time.UnixMilli(expires).UTC(), committed: state != "open"}
		return json.Unmarshal([]byte(params), &found.Params)
	})
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, problem(http.StatusNotFound, "there is no such session, or its hour is over; start another one")
	case found.committed:
		return nil, conflict("the session was committed; start another one")
	}
	return found, nil
}

// PutPart checks and keeps part n of a session; the same n again replaces it.
func (c *Custom) PutPart(ctx context.Context, t *Table, session *Session, n int, body []byte) (received int, err error) {
	p := &Push{Op: Bulk, Table: t, Body: body, AllowEmpty: true}
	elements, err := c.prepareBulk(p)
	if err != nil {
		return 0, err
	}
	return len(elements), c.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		q := tx.Tx.Tx
		lock := ""
		if c.postgres() {
			lock = " FOR UPDATE"
		}
		if _, err := c.session(ctx, q, t, session.ID, lock); err != nil {
			return err
		}
		var others sql.NullInt64
		s := c.sql("SELECT sum(received) FROM ingest_session_part WHERE session_id = ").arg(session.ID).add(" AND n <> ").arg(n)
		if err := s.each(ctx, q, func(rows *sql.Rows) error { return rows.Scan(&others) }); err != nil {
			return err
		}
		if others.Int64+int64(len(elements)) > MaxSessionItems {
			return problem(http.StatusRequestEntityTooLarge, "the session has more than %d resources", MaxSessionItems)
		}
		_, err := c.sql("INSERT INTO ingest_session_part (session_id, n, received, body) VALUES ").row(session.ID, n, len(elements), body).
			add(" ON CONFLICT (session_id, n) DO UPDATE SET received = excluded.received, body = excluded.body").exec(ctx, q)
		return err
	})
}

// DropSession forgets a session and its parts.
func (c *Custom) DropSession(ctx context.Context, t *Table, id string) error {
	if _, err := c.Session(ctx, t, id); err != nil {
		return err
	}
	return c.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return c.deleteSession(ctx, tx.Tx.Tx, id, true) })
}

func (c *Custom) deleteSession(ctx context.Context, q querier, id string, whole bool) error {
	if _, err := c.sql("DELETE FROM ingest_session_part WHERE session_id = ").arg(id).exec(ctx, q); err != nil || !whole {
		return err
	}
	_, err := c.sql("DELETE FROM ingest_session WHERE id = ").arg(id).exec(ctx, q)
	return err
}

// A place says where in the parts of a session the text of an element is.
type place struct{ part, start, end int32 }

// part returns the body of a part, nil if there is none.
func (c *Custom) part(ctx context.Context, q querier, session string, n int) (body []byte, err error) {
	s := c.sql("SELECT body FROM ingest_session_part WHERE session_id = ").arg(session).add(" AND n = ").arg(n)
	err = s.each(ctx, q, func(rows *sql.Rows) error { return rows.Scan(&body) })
	return body, err
}

// prepareSession checks the parts 1 to p.Parts. The elements are kept without
// their data, which is read again when it is stored.
func (c *Custom) prepareSession(ctx context.Context, p *Push) ([]element, error) {
	var all []element
	p.sums = make([][sha256.Size]byte, p.Parts+1)
	for n := 1; n <= p.Parts; n++ {
		body, err := c.part(ctx, c.store.DB().DB, p.Session, n)
		if err != nil {
			return nil, err
		}
		if body == nil {
			return nil, unprocessable("part %d of %d is missing; send it, then commit again", n, p.Parts)
		}
		elements, err := c.prepareBulk(&Push{Op: Bulk, Table: p.Table, Body: body, AllowEmpty: true})
		if err != nil {
			return nil, err
		}
		p.sums[n] = sha256.Sum256(body)
		i := 0
		for raw := range jsonguard.Elements(body) {
			start := cap(body) - cap(raw)
			elements[i].at = place{int32(n), int32(start), int32(start + len(raw))}
			elements[i].data = nil
			i++
		}
		if all = append(all, elements...); len(all) > MaxSessionItems {
			return nil, problem(http.StatusRequestEntityTooLarge, "the session has more than %d resources", MaxSessionItems)
		}
	}
	if len(all) == 0 && !p.AllowEmpty && !p.Table.Settings.AllowEmpty {
		return nil, emptyBulk()
	}
	order := make([]int32, len(all))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(all[a].id, all[b].id) })
	for i := 1; i < len(order); i++ {
		if all[order[i]].id == all[order[i-1]].id {
			return nil, unprocessable("an id is in parts %d and %d; nothing was stored", all[order[i-1]].at.part, all[order[i]].at.part)
		}
	}
	return all, nil
}

// fill reads the data of changes that a session brought. They are in the order
// of the parts.
func (w *work) fill(r *request, changes []*change) error {
	if r.Session == "" {
		return nil
	}
	for _, ch := range changes {
		if ch.el == nil {
			continue
		}
		at := ch.el.at
		if w.part.n != at.part {
			body, err := w.c.part(w.ctx, w.tx.Tx.Tx, r.Session, int(at.part))
			if err != nil {
				return err
			}
			if sha256.Sum256(body) != r.sums[at.part] {
				return conflict("a part of the session was replaced while it was committed; commit again")
			}
			w.part.n, w.part.body = at.part, body
		}
		ch.el.data, ch.el.stored = w.part.body[at.start:at.end], false
	}
	return nil
}

// closeSession marks the session of r as committed, and refuses one that is
// already.
func (w *work) closeSession(r *request) error {
	n, err := w.sql("UPDATE ingest_session SET state = 'committed' WHERE id = ").arg(r.Session).add(" AND state = 'open'").exec(w.ctx, w.tx.Tx.Tx)
	if err != nil {
		return err
	}
	if n == 0 {
		r.err = conflict("the session was committed; start another one")
	}
	return nil
}
