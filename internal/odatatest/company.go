package odatatest

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/kedge-sync/kedge"
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

// companySet is the set "companies".
func companySet(list []company) Set {
	text := func(i int) kedge.Value { return kedge.String(list[i].name) }
	sorted := make([]int, 0, len(list)) // by id, as keys must ascend
	for i := range list {
		at := 0
		for at < len(sorted) && list[sorted[at]].id < list[i].id {
			at++
		}
		sorted = append(sorted[:at], append([]int{i}, sorted[at:]...)...)
	}
	return Set{Rows: len(list), Row: func(i int) []kedge.Value {
		i = sorted[i]
		return []kedge.Value{kedge.String(list[i].id), text(i), text(i)}
	}, Entity: kedge.Entity{Name: "companies", Key: []string{"id"}, Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeString, Format: kedge.FormatGUID},
		{Name: "name", Type: kedge.TypeString, MaxLength: 30},
		{Name: "displayName", Type: kedge.TypeString, MaxLength: 250},
	}}}
}

// company follows companies(id)/… and Company('name')/… to what is in the
// company. The rest of the path is nil if it does not go into one.
func (s *Service) company(rq *request, res *resource, segments []string) ([]string, error) {
	name, predicate, hasKey := cutPredicate(segments[0])
	switch {
	case name != "companies" && name != "Company":
		return nil, fail(404, "BadRequest_NotFound", "No HTTP resource was found; the path must begin with companies(id).")
	case name == "companies" && (!hasKey || len(segments) == 1):
		return nil, s.resolveSet(res, segments)
	case len(segments) == 1:
		return nil, notImplemented("A company is read as companies(id).")
	}
	for i, c := range s.companies {
		if predicate != c.id && predicate != "id="+c.id && predicate != "'"+strings.ReplaceAll(c.name, "'", "''")+"'" {
			continue
		}
		rq.prefix = name + "(" + strings.ReplaceAll(escape(predicate), "%3D", "=") + ")/"
		res.empty = i > 0
		return segments[1:], nil
	}
	return nil, fail(404, "Internal_CompanyNotFound", "The company does not exist.")
}
