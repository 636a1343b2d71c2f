package jobs

import (
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
)

// maxBody is the most bytes that a job may have as JSON.
const maxBody = 64 << 10

// AdminRoutes adds the routes for operators below /api/v1.
func (s *Service) AdminRoutes(r *mux.Router) {
	handle := func(method, path string, h httpapi.HandlerFunc) {
		r.Handle(path, httpapi.Handle(s.log, h)).Methods(method)
	}
	handle(http.MethodGet, "/jobs", s.serveList)
	handle(http.MethodPost, "/jobs", s.serveCreate)
	handle(http.MethodGet, "/jobs/{name}", s.serveGet)
	handle(http.MethodDelete, "/jobs/{name}", s.serveDelete)
	handle(http.MethodPost, "/jobs/{name}/enable", s.serveSwitch(true))
	handle(http.MethodPost, "/jobs/{name}/disable", s.serveSwitch(false))
	handle(http.MethodPost, "/jobs/{name}/run", s.serveRun)
}

// serveList serves "GET /jobs".
func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	page, _, err := httpapi.PageParams(r)
	if err != nil {
		return err
	}
	all, err := s.List(r.Context())
	if err != nil {
		return err
	}
	var list httpapi.List[Job]
	q := sqllist.Query{Limit: page.Limit, Cursor: page.Cursor, Filter: page.Filter, OrderBy: page.OrderBy}
	if list.Items, list.Next, err = jobList.Slice(all, q, time.Now()); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, list)
}

// jobList is what jobs can be filtered and ordered by.
var jobList = sqllist.List[Job]{ID: "name", OrderBy: "name", Columns: []sqllist.Column[Job]{
	{Name: "name", Type: kedge.TypeString, Value: func(j *Job) kedge.Value { return kedge.String(j.Name) }},
	{Name: "integration", Type: kedge.TypeString, Value: func(j *Job) kedge.Value { return kedge.String(j.Integration) }},
	{Name: "from", Type: kedge.TypeString, Value: func(j *Job) kedge.Value { return kedge.String(j.From) }},
	{Name: "enabled", Type: kedge.TypeBool, Value: func(j *Job) kedge.Value { return kedge.Bool(j.Enabled) }},
	{Name: "running", Type: kedge.TypeBool, Value: func(j *Job) kedge.Value { return kedge.Bool(j.Running) }},
	{Name: "nextRun", Type: kedge.TypeTime, Nullable: true, Value: func(j *Job) kedge.Value { return sqllist.Time(j.NextRun) }},
	{Name: "runs", Type: kedge.TypeInt, Value: func(j *Job) kedge.Value { return kedge.Int(j.Runs) }},
	{Name: "skipped", Type: kedge.TypeInt, Value: func(j *Job) kedge.Value { return kedge.Int(j.Skipped) }},
	{Name: "missed", Type: kedge.TypeInt, Value: func(j *Job) kedge.Value { return kedge.Int(j.Missed) }},
}}

// serveCreate serves "POST /jobs": a job that runs an integration.
func (s *Service) serveCreate(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	var j config.Job
	if err := httpapi.ReadJSON(w, r, maxBody, &j); err != nil {
		return err
	}
	wrong := func(key, problem string) error {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the job is not valid",
			Errors: []httpapi.FieldError{{Pointer: "/" + strings.ReplaceAll(key, ".", "/"), Detail: problem}}}
	}
	switch {
	case j.Command != "":
		return wrong("command", "a job made by the API runs an integration; commands are for the config and \"kedge jobs create\"")
	case j.OnFailure != nil:
		return wrong("onFailure", "a job made by the API runs an integration; commands are for the config and \"kedge jobs create\"")
	}
	if key, problem := s.problem(r.Context(), j); problem != "" {
		return wrong(key, problem)
	}
	job, err := s.Create(r.Context(), j, server.Operator(r.Context()))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/jobs/"+j.Name)
	return httpapi.WriteJSON(w, http.StatusCreated, job)
}

// serveGet serves "GET /jobs/{name}".
func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	job, err := s.Get(r.Context(), mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, job)
}

// serveDelete serves "DELETE /jobs/{name}". It answers 409 for a job of the
// config.
func (s *Service) serveDelete(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	if err := s.Delete(r.Context(), mux.Vars(r)["name"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// serveSwitch serves "POST /jobs/{name}/enable" and "…/disable".
func (s *Service) serveSwitch(on bool) httpapi.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := httpapi.OnlyParams(r); err != nil {
			return err
		}
		job, err := s.SetEnabled(r.Context(), mux.Vars(r)["name"], on)
		if err != nil {
			return err
		}
		return httpapi.WriteJSON(w, http.StatusOK, job)
	}
}

// serveRun serves "POST /jobs/{name}/run": 202 once the run is claimed, 409 if
// one is under way.
func (s *Service) serveRun(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	name := mux.Vars(r)["name"]
	if err := s.StartNow(r.Context(), name); err != nil {
		return err
	}
	job, err := s.Get(r.Context(), name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/jobs/"+name)
	return httpapi.WriteJSON(w, http.StatusAccepted, job)
}
