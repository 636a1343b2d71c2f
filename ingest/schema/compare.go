package schema

import (
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A Level says what a new version of a schema means for resources that the
// old one accepts.
type Level string

// The levels, from harmless to harmful.
const (
	Same       Level = "same"       // nothing that is checked or shown differs
	Compatible Level = "compatible" // what was valid stays valid
	Breaking   Level = "breaking"   // some that was valid may not be valid any more
)

// A Change is one difference between two versions.
type Change struct {
	Pointer string `json:"pointer"` // into the documents
	Kind    string `json:"kind"`    // added, removed, narrowed, widened, required, changed
	Detail  string `json:"detail"`
	Level   Level  `json:"level"`
}

// A Comparison is what differs between two versions.
type Comparison struct {
	Level   Level    `json:"level"`
	Changes []Change `json:"changes"`
}

// Compare tells what next changes for resources that old accepts. It looks at
// the documents only and is careful: where it cannot tell that a keyword was
// widened, it says breaking. Stored resources tell the truth.
func Compare(old, next *Schema) Comparison {
	c := comparer{formats: next.meta.Formats}
	c.metadata(old, next)
	c.subschema("", old.document, next.document)
	out := Comparison{Level: Same, Changes: c.changes}
	for _, change := range c.changes {
		if change.Level == Breaking || out.Level == Same {
			out.Level = change.Level
		}
	}
	return out
}

func equal(a, b any) bool { return jsonguard.Hash(a) == jsonguard.Hash(b) }
