package schema

import (
	"encoding/json"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// An Ident is what a resource says about itself.
type Ident struct {
	ID   string // 1 to 255 characters; integers as canonical decimal
	Name string // to show, at most 255 characters; "" if there is none

	// Version is a whole number as canonical decimal or a time in UTC as RFC
	// 3339; "" if there is none. [Older] compares versions.
	Version string
}

// Identify reads the id, name and version of a resource that passed
// [Schema.Validate]. A missing name or version is fine; a bad id or version is
// an error of kind Invalid that wraps [jsonguard.Faults].
func (s *Schema) Identify(v any) (Ident, error) {
	var out Ident
	var ok bool
	if out.ID, ok = idText(s.paths.id.first(v)); !ok {
		return Ident{}, invalid(s.paths.id.pointer(), "id is missing or not a string or integer of 1 to 255 characters without control characters")
	}
	if s.paths.name.steps != nil {
		out.Name = nameText(s.paths.name.first(v))
	}
	if s.paths.version.steps != nil {
		if out.Version, ok = versionText(s.paths.version.first(v)); !ok {
			return Ident{}, invalid(s.paths.version.pointer(), "version is not a whole number or date-time")
		}
	}
	return out, nil
}

func idText(v any) (string, bool) {
	var id string
	switch v := v.(type) {
	case string:
		id = v
	case json.Number:
		id = kedge.CanonicalDecimal(string(v))
		if strings.Contains(id, ".") {
			return "", false
		}
	}
	return id, ValidID(id)
}

// ValidID reports whether id is a text that a resource can have as its id.
func ValidID(id string) bool {
	return id != "" && utf8.ValidString(id) && utf8.RuneCountInString(id) <= MaxID && !strings.ContainsFunc(id, unicode.IsControl)
}

func nameText(v any) string {
	var name string
	switch v := v.(type) {
	case string:
		name = v
	case json.Number:
		name = string(v)
	case bool:
		name = "false"
		if v {
			name = "true"
		}
	}
	n := 0
	for i := range name {
		if n == MaxName {
			return name[:i]
		}
		n++
	}
	return name
}

func versionText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case json.Number:
		n := kedge.CanonicalDecimal(string(v))
		return n, !strings.Contains(n, ".")
	case string:
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(v))
		return t.UTC().Format(time.RFC3339Nano), err == nil
	}
	return "", false
}

// Older reports whether version a is before version b. Versions that are
// missing, or one of which is a number and the other a time, are in no order.
func Older(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	x, xok := new(big.Int).SetString(a, 10)
	y, yok := new(big.Int).SetString(b, 10)
	if xok || yok {
		return xok && yok && x.Cmp(y) < 0
	}
	s, err1 := time.Parse(time.RFC3339Nano, a)
	t, err2 := time.Parse(time.RFC3339Nano, b)
	return err1 == nil && err2 == nil && s.Before(t)
}

// Important returns the values of the important fields of a resource, in the
// order of the metadata.
func (s *Schema) Important(v any) []Field {
	var out []Field
	for _, p := range s.paths.important {
		out = append(out, Field{p.String(), p.Get(v)})
	}
	return out
}

// A Field is what a path leads to in one resource.
type Field struct {
	Path   string
	Values []any // as decoded; empty if there is none
}
