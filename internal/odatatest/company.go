package odatatest

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// A company is what Business Central keeps sets in. Only the first one has rows.
type company struct {
	id   string
	name string
}

func newCompanies(names []string) []company {
	var out []company
	for _, n := range names {
		h := sha256.Sum256([]byte(n))
		out = append(out, company{fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]), n})
	}
	return out
}

// company resolves companies, companies(id)/… and Company('name')/…. The rest
// of the path is nil if it leads to the companies themselves.
func (s *Service) company(rq *request, res *resource, segments []string) ([]string, error) {
	name, predicate, hasKey := cutPredicate(segments[0])
	if name != "companies" && name != "Company" {
		return nil, fail(404, "BadRequest_NotFound", "No HTTP resource was found; the path must begin with companies(id).")
	}
	if !hasKey {
		res.kind = companyList
		return nil, nil
	}
	for i, c := range s.companies {
		if predicate != c.id && predicate != "id="+c.id && predicate != "'"+strings.ReplaceAll(c.name, "'", "''")+"'" {
			continue
		}
		rq.prefix = name + escapeKey(predicate) + "/"
		res.empty = i > 0
		if len(segments) == 1 {
			return nil, notImplemented("A single company is not served.")
		}
		return segments[1:], nil
	}
	return nil, fail(404, "Internal_CompanyNotFound", "The company does not exist.")
}

func escapeKey(predicate string) string {
	return "(" + strings.ReplaceAll(escape(predicate), "%3D", "=") + ")"
}

// companyList answers a request for the companies. There are few, so query
// options do not narrow them.
func (s *Service) companyList(rq *request) *answer {
	type entry struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
	}
	var list []entry
	for _, c := range s.companies {
		list = append(list, entry{c.id, c.name, c.name})
	}
	body := append([]byte{'{'}, rq.control("context")...)
	body = append(appendString(body, rq.base+"$metadata#companies"), `,"value":`...)
	return newAnswer(rq.contentType(), append(append(body, jsonText(list)...), '}'))
}
