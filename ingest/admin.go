package ingest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// maxDefinition is the longest body of a definition, in bytes: a schema
// document and a mapping.
const maxDefinition = 1 << 20

// AdminRoutes adds the operators' routes below /api/v1. Who calls is the
// server's to check.
func (s *Service) AdminRoutes(r *mux.Router) {
	handle := func(method, path string, h httpapi.HandlerFunc) {
		r.Handle("/ingest"+path, httpapi.Handle(s.log, h)).Methods(method)
	}
	handle("GET", "/groups", s.listGroups)
	handle("POST", "/groups", s.postGroup)
	handle("GET", "/groups/{group}", s.getGroup)
	handle("PUT", "/groups/{group}", s.putGroup)
	handle("DELETE", "/groups/{group}", s.deleteGroup)

	handle("GET", "/schemas", s.listSchemas)
	handle("POST", "/schemas", s.postSchema)
	handle("POST", "/schemas/check", s.checkSchema)
	handle("GET", "/schemas/{table}", s.getSchema)
	handle("PUT", "/schemas/{table}", s.putSchema)
	handle("DELETE", "/schemas/{table}", s.deleteSchema)
	handle("GET", "/schemas/{table}/versions", s.listVersions)
	handle("POST", "/schemas/{table}/versions", s.postVersion)

	handle("GET", "/integrations", s.listIntegrations)
	handle("POST", "/integrations", s.postIntegration)
	handle("GET", "/integrations/{integration}", s.getIntegration)
	handle("PUT", "/integrations/{integration}", s.putIntegration)
	handle("DELETE", "/integrations/{integration}", s.deleteIntegration)
	handle("GET", "/integrations/{integration}/keys", s.listKeys)
	handle("POST", "/integrations/{integration}/keys", s.postKey)
	handle("POST", "/integrations/{integration}/keys/{key}/rotate", s.rotateKey)
	handle("POST", "/integrations/{integration}/keys/{key}/revoke", s.revokeKey)

	handle("GET", "/tables/{table}/resources", s.listResources)
	handle("GET", "/tables/{table}/resources/{id}", s.getResource)
	handle("GET", "/tables/{table}/resources/{id}/history", s.getHistory)
	handle("GET", "/tables/{table}/changes", s.listChanges)
	handle("POST", "/tables/{table}/remap", s.postRemap)
	handle("GET", "/quarantine", s.listQuarantine)
}

// tagOf is the entity tag of a definition, which changes whenever it does.
func tagOf(v any) string { return httpapi.ETag(mustJSON(v)) }

func answerTagged(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("ETag", tagOf(v))
	return httpapi.WriteJSON(w, status, v)
}

// matching returns what a change of a definition asks: that the caller saw it
// as it is.
func matching[T any](r *http.Request) func(*T) error {
	return func(v *T) error { return httpapi.IfMatch(r, tagOf(v), true) }
}

func none[T any](*T) error { return nil }

// answerPage answers with the part of a whole list that the request asks for.
// The cursor is the name of the last item.
func answerPage[T any](w http.ResponseWriter, r *http.Request, items []T, name func(T) string) error {
	p, err := plainPage(r)
	if err != nil {
		return err
	}
	start := 0
	if p.Cursor != "" {
		start = slices.IndexFunc(items, func(i T) bool { return name(i) > p.Cursor })
		if start < 0 {
			start = len(items)
		}
	}
	out := httpapi.List[T]{Items: items[start:]}
	if len(out.Items) > p.Limit {
		out.Items = out.Items[:p.Limit]
		out.Next = name(out.Items[p.Limit-1])
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

// plainPage reads the parameters of a list that cannot be filtered or ordered.
func plainPage(r *http.Request, others ...string) (httpapi.Page, error) {
	if _, err := httpapi.OnlyParams(r, append([]string{"limit", "cursor"}, others...)...); err != nil {
		return httpapi.Page{}, err
	}
	p, _, err := httpapi.PageParams(r, others...)
	return p, err
}

func (s *Service) listGroups(w http.ResponseWriter, r *http.Request) error {
	groups, err := s.Groups(r.Context())
	if err != nil {
		return err
	}
	return answerPage(w, r, groups, func(g Group) string { return g.Name })
}

func (s *Service) postGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := readBody[Group](w, r)
	if err != nil {
		return err
	}
	made, err := s.CreateGroup(r.Context(), g)
	if err != nil {
		return err
	}
	return created(w, r, made.Name, made)
}

// readBody reads a definition. What kedge says itself of one may be in it, so
// that what was read can be sent back changed; it is ignored.
func readBody[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	if _, err := httpapi.OnlyParams(r); err != nil {
		return v, err
	}
	return v, httpapi.ReadJSON(w, r, maxDefinition, &v)
}

func created(w http.ResponseWriter, r *http.Request, name string, v any) error {
	w.Header().Set("Location", strings.TrimSuffix(r.URL.Path, "/")+"/"+url.PathEscape(name))
	return answerTagged(w, http.StatusCreated, v)
}

func (s *Service) getGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := s.Group(r.Context(), mux.Vars(r)["group"])
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, g)
}

func (s *Service) putGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := readBody[Group](w, r)
	if err != nil {
		return err
	}
	out, err := s.UpdateGroup(r.Context(), mux.Vars(r)["group"], g, matching[Group](r))
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, out)
}

func (s *Service) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	return gone(w, s.DeleteGroup(r.Context(), mux.Vars(r)["group"], matching[Group](r)))
}

func gone(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (s *Service) listIntegrations(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Integrations(r.Context())
	if err != nil {
		return err
	}
	return answerPage(w, r, list, func(i Integration) string { return i.Name })
}

func (s *Service) postIntegration(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody[Integration](w, r)
	if err != nil {
		return err
	}
	made, err := s.CreateIntegration(r.Context(), in)
	if err != nil {
		return err
	}
	return created(w, r, made.Name, made)
}

func (s *Service) getIntegration(w http.ResponseWriter, r *http.Request) error {
	in, err := s.Integration(r.Context(), mux.Vars(r)["integration"])
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, in)
}

func (s *Service) putIntegration(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody[Integration](w, r)
	if err != nil {
		return err
	}
	out, err := s.UpdateIntegration(r.Context(), mux.Vars(r)["integration"], in, matching[Integration](r))
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, out)
}

func (s *Service) deleteIntegration(w http.ResponseWriter, r *http.Request) error {
	return gone(w, s.DeleteIntegration(r.Context(), mux.Vars(r)["integration"], matching[Integration](r)))
}

func (s *Service) listKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.Keys(r.Context(), mux.Vars(r)["integration"])
	if err != nil {
		return err
	}
	return answerPage(w, r, keys, func(k Key) string { return k.ID })
}

func (s *Service) postKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name string `json:"name"`
		Rights
		ExpiresAt *time.Time `json:"expiresAt"`
	}
	if err := httpapi.ReadJSON(w, r, maxDefinition, &in); err != nil {
		return err
	}
	k, err := s.CreateKey(r.Context(), mux.Vars(r)["integration"], Key{Name: in.Name, Rights: in.Rights, ExpiresAt: in.ExpiresAt})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, k)
}

func (s *Service) rotateKey(w http.ResponseWriter, r *http.Request) error {
	q, err := httpapi.OnlyParams(r, "grace")
	if err != nil {
		return err
	}
	grace := 24 * time.Hour
	if q.Has("grace") {
		if grace, err = ParseDuration(q.Get("grace")); err != nil {
			return badRequest("grace: %v", err)
		}
	}
	k, err := s.RotateKey(r.Context(), mux.Vars(r)["integration"], mux.Vars(r)["key"], grace)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, k)
}

func (s *Service) revokeKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	return gone(w, s.RevokeKey(r.Context(), mux.Vars(r)["integration"], mux.Vars(r)["key"]))
}

func number(q url.Values, name string) (int64, error) {
	if !q.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, badRequest("%s must be a number that is not negative", name)
	}
	return n, nil
}

// known returns the table that the URL names, by full or table name.
func (s *Service) known(r *http.Request) (*custom.Table, error) {
	return s.Table(r.Context(), mux.Vars(r)["table"])
}
