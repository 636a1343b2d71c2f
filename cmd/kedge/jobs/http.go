package jobs

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/httpapi"
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

// serveList serves "GET /jobs". The cursor is the name of the last job of the
// page before.
func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	page, _, err := httpapi.PageParams(r)
	if err != nil {
		return err
	}
	if page.Filter != "" || page.OrderBy != "" {
		return &httpapi.Problem{Status: http.StatusBadRequest, Detail: "this list is short and ordered by name; it takes limit and cursor only"}
	}
	all, err := s.List(r.Context())
	if err != nil {
		return err
	}
	from, found := slices.BinarySearchFunc(all, page.Cursor, func(j Job, name string) int { return strings.Compare(j.Name, name) })
	if found {
		from++
	}
	list := httpapi.List[Job]{Items: all[from:]}
	if len(list.Items) > page.Limit {
		list.Items = list.Items[:page.Limit]
		list.Next = list.Items[page.Limit-1].Name
	}
	return httpapi.WriteJSON(w, http.StatusOK, list)
}

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
	job, err := s.Create(r.Context(), j, "api")
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
