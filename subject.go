package kedge

import "time"

// An Identifier is one thing that names a person, such as an e-mail address.
// It is personal data.
type Identifier struct {
	Kind  string // "email", or a name that the configuration of persons declares
	Value string
}

// A Ref names a record of a connection.
type Ref struct {
	Connection string
	Entity     string
	Key        Key
}

// A Subject is a person as far as it is known: by identifiers, by records, or
// both.
type Subject struct {
	Identifiers []Identifier
	Refs        []Ref

	// Created is when the record that is asked about was made; zero if that is
	// not known.
	Created time.Time
}

// A Residue is what an erasure could not reach yet.
type Residue struct {
	Rows     int // rows left
	InFlight int // messages that were on their way and may arrive
}
