// Package api serves subscriptions over HTTP: to subscribers, who show an
// access token, at the root, and to operators below /api/v1. Both have the
// same handlers; they differ in who may see what, and in the form of lists.
package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/resources"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// Options configure an [API]. Service and Resources are required.
type Options struct {
	Service   *subscriptions.Service
	Resources *resources.Reader
	Logger    *slog.Logger     // nil discards
	Now       func() time.Time // of rate limits; nil means time.Now
}

// An API serves a [subscriptions.Service].
type API struct {
	service   *subscriptions.Service
	resources *resources.Reader
	log       *slog.Logger
	requests  *limits // by token
	proofs    *limits // tests and handshakes, by subscription
	now       func() time.Time
	looked    atomic.Int64 // when it was looked for new tables, Unix seconds
}

var errNoReplay = errors.New("there is no such replay")

// The limits of callers.
const (
	requestsPerSecond = 20
	proofsPerMinute   = 6
)

// New returns an API.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &API{service: o.Service, resources: o.Resources, log: o.Logger, now: o.Now,
		requests: newLimits(o.Now, requestsPerSecond, requestsPerSecond), proofs: newLimits(o.Now, proofsPerMinute/60., proofsPerMinute)}
}

// A call is a request whose caller is known.
type call struct {
	*API
	w     http.ResponseWriter
	r     *http.Request
	by    subscriptions.Caller
	admin bool
	body  []byte // read already; nil if not
}

// A door lets callers to a handler.
type door func(h func(*call) error) http.Handler

// Routes adds the routes for subscribers.
func (a *API) Routes(r *mux.Router) {
	a.resourceRoutes(r, a.lister)
	a.subscriptionRoutes(r, a.manager, a.creator)
}

// AdminRoutes adds the routes for operators, below /api/v1.
func (a *API) AdminRoutes(r *mux.Router) {
	a.resourceRoutes(r, a.operator)
	a.subscriptionRoutes(r, a.operator, a.operator)
	a.tokenRoutes(r)
}

func (a *API) subscriptionRoutes(r *mux.Router, door, create door) {
	handle := func(method, path string, h func(*call) error) {
		r.Handle("/subscriptions"+path, door(h)).Methods(method)
	}
	r.Handle("/subscriptions", create((*call).create)).Methods(http.MethodPost)
	handle(http.MethodGet, "", (*call).list)
	handle(http.MethodGet, "/{id}", (*call).get)
	handle(http.MethodPatch, "/{id}", (*call).patch)
	handle(http.MethodDelete, "/{id}", (*call).delete)
	handle(http.MethodPost, "/{id}/rotate-secret", (*call).rotateSecret)
	handle(http.MethodPost, "/{id}/test", (*call).test)
	handle(http.MethodPost, "/{id}/verify", (*call).verify)
	handle(http.MethodGet, "/{id}/attempts", (*call).attempts)
	handle(http.MethodGet, "/{id}/deliveries", (*call).deliveries)
	handle(http.MethodGet, "/{id}/events/{msg}", (*call).message)
	handle(http.MethodGet, "/{id}/gaps", (*call).gaps)
	handle(http.MethodPost, "/{id}/replay", (*call).startReplay)
	handle(http.MethodGet, "/{id}/replays/{rid}", (*call).getReplay)
	handle(http.MethodDelete, "/{id}/replays/{rid}", (*call).cancelReplay)
}

// look takes over tables that were made since, once a second at most.
func (c *call) look() error {
	now := c.now().Unix()
	if c.service.Catalog().Complete() || c.looked.Swap(now) == now {
		return nil
	}
	return c.service.Refresh(c.r.Context())
}

// operator lets in whom the server has let in.
func (a *API) operator(h func(*call) error) http.Handler {
	return httpapi.Handle(a.log, func(w http.ResponseWriter, r *http.Request) error {
		by := subscriptions.Caller{Admin: true, Grants: spec.Everything(), Lists: spec.Everything()}
		return explain(h(&call{API: a, w: w, r: r, by: by, admin: true}))
	})
}

// lister lets in holders of a token.
func (a *API) lister(h func(*call) error) http.Handler {
	return httpapi.Handle(a.log, func(w http.ResponseWriter, r *http.Request) error {
		c := &call{API: a, w: w, r: r}
		token, err := headerToken(r)
		if err == nil {
			err = c.authenticate(token)
		}
		if err != nil {
			return err
		}
		return explain(h(c))
	})
}

// manager lets in holders of a token that may manage subscriptions.
func (a *API) manager(h func(*call) error) http.Handler {
	return a.lister(func(c *call) error {
		if err := c.mayManage(); err != nil {
			return err
		}
		return h(c)
	})
}

// creator is a manager that also takes the token from the body.
func (a *API) creator(h func(*call) error) http.Handler {
	return httpapi.Handle(a.log, func(w http.ResponseWriter, r *http.Request) error {
		c := &call{API: a, w: w, r: r}
		token, err := headerToken(r)
		if err != nil {
			return err
		}
		if err := c.readBody("application/json"); err != nil {
			return err
		}
		rest, values, err := spec.Take(c.body, "accessToken")
		if err != nil && token == "" {
			return explain(err)
		}
		if err == nil {
			c.body = rest
		}
		switch other := values["accessToken"]; {
		case token == "":
			token = other
		case other != "" && other != token:
			return &httpapi.Problem{Status: http.StatusBadRequest, Detail: "the Authorization header and accessToken are different tokens; send one of them",
				Errors: []httpapi.FieldError{{Pointer: "/accessToken", Detail: "is not the token of the Authorization header"}}}
		}
		if err := c.authenticate(token); err != nil {
			return err
		}
		if err := c.mayManage(); err != nil {
			return err
		}
		return explain(h(c))
	})
}

// headerToken returns the token of the Authorization header, or "". One in the
// query is refused: URLs get logged.
func headerToken(r *http.Request) (string, error) {
	for _, name := range []string{"token", "accessToken", "access_token"} {
		if r.URL.Query().Has(name) {
			return "", &httpapi.Problem{Status: http.StatusBadRequest, Detail: "put the token in the Authorization header"}
		}
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	return strings.TrimSpace(token), nil
}

func (c *call) authenticate(token string) error {
	var err error
	if c.by, err = c.service.Authenticate(c.r.Context(), token); err != nil {
		return err
	}
	return c.requests.take(c.by.TokenID, "20 requests per second are allowed for a token")
}

func (c *call) mayManage() error {
	if !c.by.Grants.Manages() {
		return &httpapi.Problem{Status: http.StatusForbidden, Detail: "the access token may list resources only; ask the operator for one with manage: true"}
	}
	return nil
}

// explain gives what is wrong with a document its status and its places.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*httpapi.Problem](err); ok {
		return err
	}
	if p, ok := errors.AsType[*spec.Problems](err); ok {
		out := &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the body is understood but cannot be accepted; errors tells why"}
		if p.Syntax {
			out.Status, out.Detail = http.StatusBadRequest, "the body is not accepted; errors tells where"
		}
		for _, x := range p.List {
			out.Errors = append(out.Errors, httpapi.FieldError{Pointer: x.Pointer, Detail: x.Detail})
		}
		return out
	}
	if e, ok := errors.AsType[*kedge.Error](err); ok && e.Kind == kedge.Invalid {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: e.Err.Error()}
	}
	return err
}

// reason returns the text of an error without the name of the operation.
func reason(err error) string {
	if e, ok := errors.AsType[*kedge.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
