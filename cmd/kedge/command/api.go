package command

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// The limits of bodies, in bytes.
const (
	maxBody        = 64 << 10
	maxMappingBody = 4 << 20
)

// remoteTime is how long a call may take that asks other systems.
const remoteTime = 10 * time.Minute

// An api serves what the commands do, below /api/v1: a handler per command.
type api struct{ *live }

func (l *live) apiModule() server.Module {
	return server.Module{Name: "sync", AdminRoutes: (&api{l}).routes, Run: l.runs.run}
}

func (p *api) routes(r *mux.Router) {
	for _, route := range slices.Concat(p.configRoutes(), p.integrationRoutes(), p.mappingRoutes(), p.runRoutes(), p.recordRoutes(), p.connectionRoutes()) {
		r.Handle(route.path, httpapi.Handle(p.log, p.handle(route.do))).Methods(route.method)
	}
}

type route struct {
	method, path string
	do           func(*call) error
}

// A call is a request with what the server worked with when it came.
type call struct {
	http.ResponseWriter
	*http.Request
	app    *app
	syncer *syncer.Syncer
}

func (p *api) handle(do func(*call) error) httpapi.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		a := p.app.Load().quick
		return apiError(do(&call{ResponseWriter: w, Request: r, app: a, syncer: a.syncer}))
	}
}

func (c *call) ctx() context.Context { return c.Request.Context() }

func (c *call) by() string { return server.Operator(c.ctx()) }

// name returns a part of the path.
func (c *call) name(part string) string { return mux.Vars(c.Request)[part] }

// noParams refuses parameters.
func (c *call) noParams() error {
	_, err := httpapi.OnlyParams(c.Request)
	return err
}

// body reads JSON into v; no body leaves v as it is.
func (c *call) body(v any) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if c.Request.ContentLength == 0 {
		return nil
	}
	return httpapi.ReadJSON(c.ResponseWriter, c.Request, maxBody, v)
}

func (c *call) json(status int, v any) error { return httpapi.WriteJSON(c.ResponseWriter, status, v) }

// answer sends v, or the error that kept it from being made.
func (c *call) answer(v any, err error) error {
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, v)
}

// list answers with a page of a list.
func list[T any](c *call, read func(q sqllist.Query, params url.Values) ([]T, string, error), others ...string) error {
	p, params, err := httpapi.PageParams(c.Request, others...)
	if err != nil {
		return err
	}
	items, next, err := read(sqllist.Query{Limit: p.Limit, Cursor: p.Cursor, Filter: p.Filter, OrderBy: p.OrderBy}, params)
	return c.answer(httpapi.List[T]{Items: items, Next: next}, err)
}

// flag reads a parameter that is true, false or not there.
func flag(params url.Values, name string) (bool, error) {
	switch params.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, &httpapi.Problem{Status: http.StatusBadRequest, Detail: name + " must be true or false"}
}

// apiError says how an error of a command is answered.
func apiError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*httpapi.Problem](err); ok {
		return err
	}
	if syncer.IsActive(err) {
		return &httpapi.Problem{Status: http.StatusConflict, Type: "run_active", Detail: strings.TrimPrefix(err.Error(), "skipped: ")}
	}
	if problems, ok := errors.AsType[mapping.Problems](err); ok {
		return mappingProblem(problems)
	}
	if refused, ok := errors.AsType[*refusedMapping](err); ok {
		return refused.problem()
	}
	if ExitCode(err) != exitUsage {
		return err
	}
	switch kedge.KindOf(err) {
	case kedge.NotFound, kedge.Conflict:
		return err
	}
	return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: err.Error()}
}

// asBody says that what is not found is named in the body, not in the path.
func asBody(err error) error {
	if kedge.KindOf(err) == kedge.NotFound {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: err.Error()}
	}
	return err
}

// remote marks an error of another system, so that it is not taken for one of
// this server: 502, with the kind as the type.
func remote(err error) error {
	kind := kedge.KindOf(err)
	if err == nil || ExitCode(err) == exitUsage || kind == kedge.Internal {
		return err
	}
	p := &httpapi.Problem{Status: http.StatusBadGateway, Type: kind.String(), Detail: err.Error()}
	if e, ok := errors.AsType[*kedge.Error](err); ok {
		p.RetryAfter = e.RetryAfter
	}
	return p
}
