// Package schema reads the documents that say what pushed resources look like
// and checks resources against them.
//
// A document is a JSON Schema, draft 2020-12 only, whose root holds one
// metadata object named "kedge" or "resmo": where a resource's id, name and
// important fields are. [Parse] refuses what is wrong with it and what would
// be dangerous to run: references that lead outside, reference loops, regular
// expressions that are not RE2, and schemas in which one value would have to
// be checked too often. The root is closed: unknown fields are faults.
//
// [Schema.Validate] checks one decoded resource, [Schema.Identify] reads its
// id, name and version, [Compare] tells what a new version of a document
// means for the resources of the old one, and [Schema.Columns] lists the
// fields that views show.
package schema

// The limits of a schema document. Exactly the limit passes.
const (
	MaxBytes       = 65_536 // bytes of the document
	MaxDepth       = 32     // open objects and arrays; the root is the first
	MaxNodes       = 2_000  // subschemas, the root included
	MaxRegexps     = 50     // of "pattern" and "patternProperties" together
	MaxRegexpBytes = 256    // bytes of one regular expression
	MaxIndexes     = 5      // of the metadata's "indexes"

	// MaxWeight is the most that one value in the first levels (0 to 8) may
	// weigh: about the number of subschemas that are applied to it.
	MaxWeight = 10_000
)

// The limits of one resource, past those of package jsonguard.
const (
	// MaxWork is the most work that validating one resource may be, see
	// [Schema.Work]. It takes less than two seconds.
	MaxWork = 2_000_000

	// MaxBulkWork is the most work that all resources of one bulk may be
	// together: that of four resources at the limit.
	MaxBulkWork = 4 * MaxWork

	// MaxMatches is the most that members times patterns of
	// "patternProperties" may be.
	MaxMatches = 200_000

	MaxID   = 255 // characters of an id
	MaxName = 255 // characters of a name; longer ones are cut
)

// Draft is the only value that "$schema" may have.
const Draft = "https://json-schema.org/draft/2020-12/schema"
