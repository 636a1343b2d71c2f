// Package jsonguard reads JSON that strangers sent: it refuses what would be
// dangerous or ambiguous before anything else touches it, and gives equal
// values equal hashes.
//
// [Scan] and [Decode] read the tokens once and hold to the limits of this
// page; [Elements] cuts an array into pieces that can be decoded beside each
// other; [Hash] and [AppendCanonical] give the canonical form of a value,
// [Minify] the form that is stored, [Flatten] the paths of its leaves.
//
// Errors are of kind [kedge.Invalid], or [kedge.TooLarge] where a smaller text
// would pass, and wrap [Faults]: JSON Pointers (RFC 6901) and constant texts,
// never values.
package jsonguard

// The limits of one JSON text. Exactly the limit passes.
const (
	MaxDepth    = 64      // open arrays and objects; the root is the first
	MaxNumber   = 64      // characters of a number
	MaxExponent = 400     // magnitude of a number's exponent
	MaxValues   = 100_000 // values of all kinds, names not counted
	MaxMembers  = 10_000  // members of one object
)
