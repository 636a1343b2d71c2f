package api

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// withSecret is a subscription as it is answered once.
type withSecret struct {
	*subscriptions.Subscription
	Secret string `json:"secret"`
}

// readBody reads the body once, as JSON of one of the media types.
func (c *call) readBody(types ...string) error {
	if c.body != nil {
		return nil
	}
	if ct := c.r.Header.Get("Content-Type"); ct != "" {
		media, _, err := mime.ParseMediaType(ct)
		if err != nil || !slices.Contains(types, media) {
			return &httpapi.Problem{Status: http.StatusUnsupportedMediaType, Detail: "the Content-Type is not accepted; send " + strings.Join(types, " or ")}
		}
	}
	var err error
	c.body, err = httpapi.ReadBody(c.w, c.r, spec.MaxBody)
	return err
}

func (c *call) id() string { return mux.Vars(c.r)["id"] }

// create serves "POST /subscriptions". Operators name account and user in the
// body.
func (c *call) create() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if err := c.readBody("application/json"); err != nil {
		return err
	}
	if c.admin {
		rest, values, err := spec.Take(c.body, "account", "user")
		if err != nil {
			return err
		}
		if c.by.Account, c.by.User = values["account"], values["user"]; c.by.Account == "" {
			return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "say for whom",
				Errors: []httpapi.FieldError{{Pointer: "/account", Detail: "is required"}}}
		}
		c.body = rest
	}
	d, err := spec.Parse(c.body)
	if err != nil {
		return err
	}
	if err := c.look(); err != nil {
		return err
	}
	var sub *subscriptions.Subscription
	var secret string
	if keys := c.r.Header.Values("Idempotency-Key"); len(keys) > 0 {
		if len(keys) > 1 || keys[0] == "" || len(keys[0]) > 255 {
			return &httpapi.Problem{Status: http.StatusBadRequest, Detail: "Idempotency-Key must be one text of 1 to 255 bytes"}
		}
		sub, secret, err = c.service.CreateOnce(c.r.Context(), c.by, d, keys[0], c.body)
	} else {
		sub, secret, err = c.service.Create(c.r.Context(), c.by, d)
	}
	if err != nil {
		return err
	}
	base := "/subscriptions/"
	if c.admin {
		base = "/api/v1/subscriptions/"
	}
	c.w.Header().Set("Location", base+sub.ID)
	c.w.Header().Set("ETag", etag(sub))
	return httpapi.WriteJSON(c.w, http.StatusCreated, withSecret{sub, secret})
}

func etag(s *subscriptions.Subscription) string {
	return httpapi.ETag(s.ID, strconv.FormatInt(s.Generation, 10))
}

func (c *call) answer(s *subscriptions.Subscription) error {
	c.w.Header().Set("ETag", etag(s))
	return httpapi.WriteJSON(c.w, http.StatusOK, s)
}

// list serves "GET /subscriptions".
func (c *call) list() error {
	p, q, err := c.page("resource", "state", "account")
	if err != nil {
		return err
	}
	f := subscriptions.ListFilter{Resource: q.Get("resource"), State: q.Get("state"), After: p.cursor, Limit: p.limit}
	by := c.by
	if c.admin {
		by.Account = q.Get("account")
	} else if q.Has("account") {
		return &httpapi.Problem{Status: http.StatusBadRequest, Detail: "parameter \"account\" is for operators; a token sees its own account only"}
	}
	items, next, err := c.service.List(c.r.Context(), by, f)
	if err != nil {
		return err
	}
	return answerList(c, items, next)
}

// get serves "GET /subscriptions/{id}".
func (c *call) get() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	s, err := c.service.Get(c.r.Context(), c.by, c.id())
	if err != nil {
		return err
	}
	return c.answer(s)
}

// patch serves "PATCH /subscriptions/{id}".
func (c *call) patch() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if err := c.readBody("application/merge-patch+json", "application/json"); err != nil {
		return err
	}
	s, err := c.service.Update(c.r.Context(), c.by, c.id(), c.body, func(s *subscriptions.Subscription) error {
		return httpapi.IfMatch(c.r, etag(s), false)
	})
	if err != nil {
		return err
	}
	return c.answer(s)
}

// delete serves "DELETE /subscriptions/{id}".
func (c *call) delete() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if err := c.service.Delete(c.r.Context(), c.by, c.id()); err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{"id": c.id(), "deleted": true})
}

// rotateSecret serves "POST /subscriptions/{id}/rotate-secret".
func (c *call) rotateSecret() error {
	in := struct {
		Overlap string `json:"overlap"`
		Secret  string `json:"secret"`
	}{Overlap: "24h"}
	if err := c.readOptional(&in); err != nil {
		return err
	}
	overlap, err := duration("/overlap", in.Overlap)
	if err != nil {
		return err
	}
	secret, until, err := c.service.Rotate(c.r.Context(), c.by, c.id(), overlap, in.Secret)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{"id": c.id(), "secret": secret, "previousValidUntil": until.UTC()})
}

// readOptional reads a JSON body into v, if there is one.
func (c *call) readOptional(v any) error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if c.r.ContentLength == 0 {
		return nil
	}
	return httpapi.ReadJSON(c.w, c.r, spec.MaxBody, v)
}

// duration reads a duration of a body: Go's forms, and days as 7d.
func duration(at, text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.ParseUint(n, 10, 16); err == nil {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "a duration is wrong",
			Errors: []httpapi.FieldError{{Pointer: at, Detail: "write a duration such as 90s, 15m, 24h or 7d"}}}
	}
	return d, nil
}

func (c *call) prove(f func() (*subscriptions.Proof, error)) error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if _, err := c.service.Get(c.r.Context(), c.by, c.id()); err != nil {
		return err
	}
	if err := c.proofs.take(c.id(), "6 tests and verifications per minute are allowed for a subscription"); err != nil {
		return err
	}
	p, err := f()
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, p)
}

// test serves "POST /subscriptions/{id}/test".
func (c *call) test() error {
	return c.prove(func() (*subscriptions.Proof, error) { return c.service.Test(c.r.Context(), c.by, c.id()) })
}

// verify serves "POST /subscriptions/{id}/verify".
func (c *call) verify() error {
	return c.prove(func() (*subscriptions.Proof, error) { return c.service.Verify(c.r.Context(), c.by, c.id()) })
}

// attempts serves "GET /subscriptions/{id}/attempts".
func (c *call) attempts() error {
	p, q, err := c.page("class", "event", "from", "to")
	if err != nil {
		return err
	}
	f := subscriptions.AttemptFilter{Class: q.Get("class"), Event: q.Get("event"), Limit: p.limit}
	if f.Before, err = p.number(); err == nil {
		f.From, err = moment(q, "from")
	}
	if err == nil {
		f.To, err = moment(q, "to")
	}
	if err != nil {
		return err
	}
	items, err := c.service.Attempts(c.r.Context(), c.by, c.id(), f)
	if err != nil {
		return err
	}
	return answerNumbered(c, p, items, func(a subscriptions.Attempt) int64 { return a.ID })
}

func moment(q url.Values, name string) (time.Time, error) {
	if !q.Has(name) {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, q.Get(name))
	if err != nil {
		return t, &httpapi.Problem{Status: http.StatusBadRequest, Detail: "parameter \"" + name + "\" must be a time such as 2026-03-01T09:30:00Z"}
	}
	return t, nil
}

// deliveries serves "GET /subscriptions/{id}/deliveries".
func (c *call) deliveries() error {
	p, q, err := c.page("state")
	if err != nil {
		return err
	}
	before, err := p.number()
	if err != nil {
		return err
	}
	read := c.service.Pending
	switch q.Get("state") {
	case "", "pending":
	case "dead":
		read = c.service.Dead
	default:
		return &httpapi.Problem{Status: http.StatusBadRequest, Detail: "parameter \"state\" must be pending or dead"}
	}
	items, err := read(c.r.Context(), c.by, c.id(), before, p.limit)
	if err != nil {
		return err
	}
	return answerNumbered(c, p, items, func(d subscriptions.Delivery) int64 { return d.ID })
}

// gaps serves "GET /subscriptions/{id}/gaps".
func (c *call) gaps() error {
	p, _, err := c.page()
	if err != nil {
		return err
	}
	before, err := p.number()
	if err != nil {
		return err
	}
	items, err := c.service.Gaps(c.r.Context(), c.by, c.id(), before, p.limit)
	if err != nil {
		return err
	}
	return answerNumbered(c, p, items, func(g subscriptions.LostRange) int64 { return g.ID })
}

// message serves "GET /subscriptions/{id}/events/{msg}".
func (c *call) message() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	body, err := c.service.Message(c.r.Context(), c.by, c.id(), mux.Vars(c.r)["msg"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, json.RawMessage(body))
}
