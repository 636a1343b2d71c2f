package mapping

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// minScore is the least likeness of names that makes a suggestion.
const minScore = 0.8

// A Suggestion is a pair of fields that probably belong together.
type Suggestion struct {
	External string  `json:"external"`
	Local    string  `json:"local"`
	Score    float64 `json:"score"`            // 1 for equal names, after folding
	Lookup   bool    `json:"lookup,omitempty"` // the local field is a lookup, and External an identifier
	// Rejected are external fields of like name that are not what the local
	// field needs, so that nobody maps them by mistake.
	Rejected []Rejection `json:"rejected,omitempty"`
}

// A Rejection is an external field that looks right and is not.
type Rejection struct {
	External string  `json:"external"`
	Score    float64 `json:"score"`
	Reason   string  `json:"reason"`
}

// Suggest finds the external field for each local field of like name and
// fitting type. A local lookup only gets an identifier. Where two external
// fields are equally good, or one is equally good for two local fields, it
// suggests none of them: External is "" where only rejections are to be told.
func Suggest(ext, loc *kedge.Entity) []Suggestion {
	var out []Suggestion
	for i := range loc.Fields {
		if f := &loc.Fields[i]; !f.ReadOnly && !f.Computed {
			if s := suggestFor(ext, f); s.External != "" || len(s.Rejected) > 0 {
				out = append(out, s)
			}
		}
	}
	dropShared(out)
	return slices.DeleteFunc(out, func(s Suggestion) bool { return s.External == "" && len(s.Rejected) == 0 })
}

func suggestFor(ext *kedge.Entity, loc *kedge.Field) Suggestion {
	s := Suggestion{Local: loc.Name, Lookup: len(loc.Lookup) > 0}
	tie := false
	for i := range ext.Fields {
		f := &ext.Fields[i]
		score := likeness(f, loc, s.Lookup)
		if score < minScore {
			continue
		}
		if reason := unfit(ext, f, loc); reason != "" {
			s.Rejected = append(s.Rejected, Rejection{f.Name, score, reason})
			continue
		}
		switch {
		case score > s.Score:
			s.External, s.Score, tie = f.Name, score, false
		case score == s.Score:
			tie = true
		}
	}
	if tie {
		s.External, s.Score = "", 0
	}
	slices.SortStableFunc(s.Rejected, func(a, b Rejection) int { return cmp.Compare(b.Score, a.Score) })
	return s
}

// dropShared leaves each external field to the local field it is most like.
func dropShared(all []Suggestion) {
	best := map[string]float64{}
	count := map[string]int{}
	for _, s := range all {
		switch {
		case s.Score > best[s.External]:
			best[s.External], count[s.External] = s.Score, 1
		case s.Score == best[s.External]:
			count[s.External]++
		}
	}
	for i := range all {
		if s := &all[i]; s.External != "" && (s.Score < best[s.External] || count[s.External] > 1) {
			s.External, s.Score = "", 0
		}
	}
}

// unfit says why f is not what loc needs, or "".
func unfit(ext *kedge.Entity, f, loc *kedge.Field) string {
	if len(loc.Lookup) > 0 && !isIdentifier(ext, f) {
		return fmt.Sprintf("%s is a plain %v; a lookup needs the unique identifier", f.Name, f.Type)
	}
	if len(loc.Lookup) == 0 && !convertible(f.Type, loc.Type) {
		return fmt.Sprintf("%v does not convert to %v", f.Type, loc.Type)
	}
	return ""
}

var (
	wrappedValue = regexp.MustCompile(`^_(.+)_value$`) // Dynamics: _primarycontactid_value
	wrappedID    = regexp.MustCompile(`^__(.+)_id$`)
)

// isIdentifier reports whether the values of f can name records: it points
// somewhere by the metadata or by its name, or it ends in "id" or "no" and has
// the type of the entity's own key.
func isIdentifier(ext *kedge.Entity, f *kedge.Field) bool {
	if len(f.Lookup) > 0 || f.Format == kedge.FormatGUID || wrappedValue.MatchString(f.Name) || wrappedID.MatchString(f.Name) {
		return true
	}
	if len(ext.Key) == 0 || trimIdentifier(fold(f.Name)) == fold(f.Name) {
		return false
	}
	key := ext.Field(ext.Key[0])
	return key != nil && key.Type == f.Type && key.Format == f.Format
}

// likeness is the best score of the names and titles of two fields.
func likeness(ext, loc *kedge.Field, lookup bool) float64 {
	best := 0.0
	for _, a := range spellings(ext, lookup) {
		for _, b := range spellings(loc, lookup) {
			longest := max(len(a), len(b))
			if shortest := min(len(a), len(b)); shortest == 0 || float64(shortest) < minScore*float64(longest) {
				continue
			}
			best = max(best, 1-float64(nearest.Distance(a, b))/float64(longest))
		}
	}
	return best
}

// spellings returns the folded name and title of f without wrappers.
func spellings(f *kedge.Field, lookup bool) []string {
	var out []string
	for _, s := range []string{f.Name, f.Title} {
		for _, wrapper := range []*regexp.Regexp{wrappedValue, wrappedID} {
			if m := wrapper.FindStringSubmatch(s); m != nil {
				s = m[1]
			}
		}
		if s = fold(s); lookup {
			s = trimIdentifier(s)
		}
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

var foldReplacer = strings.NewReplacer(" ", "", "_", "", "-", "")

func fold(s string) string { return foldReplacer.Replace(strings.ToLower(s)) }

func trimIdentifier(folded string) string {
	for _, suffix := range []string{"id", "no"} {
		if s, ok := strings.CutSuffix(folded, suffix); ok && s != "" {
			return s
		}
	}
	return folded
}

// Adopt adds the suggestions for local fields that e does not list yet, nor in
// its key, and returns the rules it added. For a lookup it finds the target in
// m by the live entities that the local field points to; a lookup without a
// target there is left out.
func (e *Entity) Adopt(m *Mapping, loc *kedge.Entity, suggestions []Suggestion) []Field {
	var added []Field
	for _, s := range suggestions {
		if s.External == "" || e.lists(s) {
			continue
		}
		f := Field{External: []string{s.External}, Local: s.Local}.withDefaults()
		if s.Lookup {
			if f.Lookup = lookupFor(m, loc.Field(s.Local)); f.Lookup == nil {
				continue
			}
		}
		added = append(added, f)
	}
	e.Fields = append(slices.Clone(e.Fields), added...)
	return added
}

func (e *Entity) lists(s Suggestion) bool {
	return slices.ContainsFunc(e.Fields, func(f Field) bool { return f.Local == s.Local || slices.Contains(f.External, s.External) }) ||
		slices.ContainsFunc(e.Key, func(p KeyPair) bool { return p.Local == s.Local || p.External == s.External })
}

func lookupFor(m *Mapping, loc *kedge.Field) *LookupRule {
	if loc == nil {
		return nil
	}
	for _, target := range loc.Lookup {
		for i := range m.Entities {
			if m.Entities[i].Local == target.Entity {
				return &LookupRule{Entity: m.Entities[i].Name}
			}
		}
	}
	return nil
}
