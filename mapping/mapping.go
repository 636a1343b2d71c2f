// Package mapping says which entities and fields of two systems belong
// together: it reads mapping files, checks them against live schemas, suggests
// and cleans them up, and compiles them into plans that move records.
package mapping

// A Mapping is a parsed mapping file.
type Mapping struct{}

// An Entity is the rules for one pair of entities.
type Entity struct{}

// A Finding is one thing that Check has to say.
type Finding struct{}
