package schema

import (
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// MaxColumns is the most fields that a view shows.
const MaxColumns = 1500

// A Column is a declared field of the root that views show.
type Column struct {
	Name  string
	Index bool // searched often: listed in the metadata's "indexes"

	// Type is TypeString, TypeBool, TypeDecimal (all numbers, exact), or
	// TypeJSON for objects, arrays and fields of several types.
	Type kedge.Type
}

// Columns returns the declared fields of the root in the order of the
// document, and a warning for each that views cannot show: names that are
// empty, begin with "_", hold a quotation mark, have more than maxName bytes
// (0 means any number), are equal to an earlier one but for case, or come
// after the [MaxColumns]th.
func (s *Schema) Columns(maxName int) ([]Column, jsonguard.Faults) {
	var out []Column
	var warnings jsonguard.Faults
	seen := map[string]bool{}
	for _, name := range s.names {
		folded := strings.ToLower(name)
		reason := ""
		switch {
		case name == "":
			reason = "the name is empty"
		case name[0] == '_':
			reason = "the name begins with _"
		case strings.Contains(name, `"`):
			reason = "the name holds a quotation mark"
		case maxName > 0 && len(name) > maxName:
			reason = "the name is too long for the database"
		case seen[folded]:
			reason = "another name differs from it only in case"
		case len(out) == MaxColumns:
			reason = "there are too many fields"
		}
		if reason != "" {
			warnings = append(warnings, jsonguard.Fault{Pointer: "/properties" + jsonguard.Token(name), Detail: "is not shown in views: " + reason})
			continue
		}
		seen[folded] = true
		out = append(out, Column{Name: name, Index: slices.Contains(s.paths.indexes, name), Type: columnType(s.compiled.Properties[name])})
	}
	return out, warnings
}

func columnType(c *jsonschema.Schema) kedge.Type {
	types := slices.DeleteFunc(typesOf([]*jsonschema.Schema{c}), func(t string) bool { return t == "null" })
	switch {
	case slices.Equal(types, []string{"string"}):
		return kedge.TypeString
	case slices.Equal(types, []string{"boolean"}):
		return kedge.TypeBool
	case len(types) > 0 && !slices.ContainsFunc(types, func(t string) bool { return t != "number" && t != "integer" }):
		return kedge.TypeDecimal
	}
	return kedge.TypeJSON
}
