package ingest

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// sessionRoutes adds the routes of bulks that come in parts.
func (s *Service) sessionRoutes(handle func(method, path, op string, h func(*call) error)) {
	const base = "/bulk-session/{table}"
	handle(http.MethodPost, base, OpBulk, s.startSession)
	handle(http.MethodPut, base+"/{session}/{n:[0-9]+}", OpBulk, s.putPart)
	handle(http.MethodPost, base+"/{session}/commit", OpBulk, s.commitSession)
	handle(http.MethodDelete, base+"/{session}", OpBulk, s.dropSession)
}

func (s *Service) startSession(c *call) error {
	p, q, err := s.push(c, custom.Bulk, "allowEmpty", "confirmRemoved")
	if err != nil {
		return err
	}
	if err := bulkParams(p, q); err != nil {
		return err
	}
	session, err := s.custom.StartSession(c.r.Context(), c.table, c.key.id, custom.SessionParams{
		GroupKey: p.GroupKey, Event: p.Event, Actor: p.Actor, DryRun: p.DryRun, AllowEmpty: p.AllowEmpty, ConfirmRemoved: p.ConfirmRemoved,
	})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusCreated, struct {
		RequestID string    `json:"requestId"`
		Table     string    `json:"table"`
		GroupKey  string    `json:"groupKey"`
		Session   string    `json:"session"`
		ExpiresAt time.Time `json:"expiresAt"`
	}{p.RequestID, c.table.Full, p.GroupKey, session.ID, session.Expires})
}

// session returns the session that the URL names, which the key may touch.
func (s *Service) session(c *call) (*custom.Session, error) {
	session, err := s.custom.Session(c.r.Context(), c.table, mux.Vars(c.r)["session"])
	if err == nil && !allows(c.key.rights.GroupKeys, session.Params.GroupKey) {
		err = &kedge.Error{Kind: kedge.Forbidden, Err: errors.New("the key does not have this groupKey")}
	}
	return session, err
}

func (s *Service) putPart(c *call) error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	n, err := strconv.Atoi(mux.Vars(c.r)["n"])
	if err != nil || n < 1 || n > custom.MaxParts {
		return badRequest("a part has a number from 1 to %d", custom.MaxParts)
	}
	session, err := s.session(c)
	if err != nil {
		return err
	}
	done, err := s.custom.StartBulk()
	if err != nil {
		return err
	}
	defer done()
	body, err := s.body(c, custom.MaxBulk)
	if err != nil {
		return err
	}
	received, err := s.custom.PutPart(c.r.Context(), c.table, session, n, body)
	if err != nil {
		return asJSON(c.r, err)
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{"requestId": httpapi.RequestID(c.r.Context()), "table": c.table.Full, "session": session.ID, "part": n, "received": received})
}

func (s *Service) commitSession(c *call) error {
	q, err := httpapi.OnlyParams(c.r, "parts")
	if err != nil {
		return err
	}
	parts, err := strconv.Atoi(q.Get("parts"))
	if err != nil || parts < 1 || parts > custom.MaxParts {
		return badRequest("parts must be the number of parts, from 1 to %d", custom.MaxParts)
	}
	p := &custom.Push{Op: custom.Bulk, Table: c.table, KeyID: c.key.id, RequestID: httpapi.RequestID(c.r.Context()),
		IdempotencyKey: c.r.Header.Get("Idempotency-Key"), Session: mux.Vars(c.r)["session"], Parts: parts}
	if err := custom.CheckText(p.IdempotencyKey, maxIdemKey); err != nil {
		return badRequest("Idempotency-Key %v", err)
	}
	sign(p, c.r, q)
	if p.IdempotencyKey != "" { // the session is over by then
		if res, err := s.custom.Answered(c.r.Context(), p); res != nil || err != nil {
			return s.answerWith(c, res, err)
		}
	}
	session, err := s.session(c)
	if err != nil {
		return err
	}
	done, err := s.custom.StartBulk()
	if err != nil {
		return err
	}
	defer done()
	sp := session.Params
	p.GroupKey, p.Event, p.Actor, p.DryRun, p.AllowEmpty, p.ConfirmRemoved = sp.GroupKey, sp.Event, sp.Actor, sp.DryRun, sp.AllowEmpty, sp.ConfirmRemoved
	return s.answer(c, p)
}

func (s *Service) dropSession(c *call) error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	session, err := s.session(c)
	if err != nil {
		return err
	}
	if err := s.custom.DropSession(c.r.Context(), c.table, session.ID); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
