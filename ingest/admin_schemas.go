package ingest

import (
	"encoding/json"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

func (s *Service) listSchemas(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Schemas(r.Context())
	if err != nil {
		return err
	}
	return answerPage(w, r, list, func(t Schema) string { return t.FullName })
}

func (s *Service) postSchema(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody[Schema](w, r)
	if err != nil {
		return err
	}
	made, err := s.CreateSchema(r.Context(), in)
	if err != nil {
		return err
	}
	return created(w, r, made.FullName, made)
}

func (s *Service) getSchema(w http.ResponseWriter, r *http.Request) error {
	out, err := s.Schema(r.Context(), mux.Vars(r)["table"])
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, out)
}

// putSchema replaces the settings. The document changes by a new version.
func (s *Service) putSchema(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody[Schema](w, r)
	if err != nil {
		return err
	}
	out, err := s.UpdateSchema(r.Context(), mux.Vars(r)["table"], in, matching[Schema](r))
	if err != nil {
		return err
	}
	return answerTagged(w, http.StatusOK, out)
}

func (s *Service) deleteSchema(w http.ResponseWriter, r *http.Request) error {
	return gone(w, s.DeleteSchema(r.Context(), mux.Vars(r)["table"], matching[Schema](r)))
}

// checkSchema tells what is wrong with a document, and with a resource.
func (s *Service) checkSchema(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody[struct {
		Schema  json.RawMessage `json:"schema"`
		Payload json.RawMessage `json:"payload"`
	}](w, r)
	if err != nil {
		return err
	}
	if len(in.Schema) == 0 {
		return refuse("/schema", "schema: is missing")
	}
	out, err := CheckSchema(in.Schema, in.Payload)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) listVersions(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Versions(r.Context(), mux.Vars(r)["table"])
	if err != nil {
		return err
	}
	return answerPage(w, r, list, func(v Version) string { return v.sortName() })
}

// postVersion takes {"schema": …} or the document itself.
func (s *Service) postVersion(w http.ResponseWriter, r *http.Request) error {
	q, err := httpapi.OnlyParams(r, "mode")
	if err != nil {
		return err
	}
	mode := Mode(q.Get("mode"))
	switch mode {
	case Check, Apply, Force:
	case "":
		mode = Check
	default:
		return badRequest("mode must be check, apply or force")
	}
	var in struct {
		Schema json.RawMessage `json:"schema"`
	}
	if err := httpapi.ReadJSON(w, r, maxDefinition, &in); err != nil {
		return err
	}
	match := none[Schema]
	if r.Header.Get("If-Match") != "" {
		match = matching[Schema](r)
	}
	out, err := s.ChangeSchema(r.Context(), mux.Vars(r)["table"], in.Schema, mode, match)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}
