package conntest

import "github.com/kedge-sync/kedge"

// Widgets is the entity "widgets": a key of one text and one field for each
// kind of value, all of them nullable, and a lookup to [Parts].
//
// A system may give it more fields, such as a version, that [System.Put] does
// not set, and may say more about the fields than is said here. Names, types
// and formats are as here, and the fields hold at least:
//
//	id       1,024 bytes of text, compared by code point
//	string   1 MiB of text
//	decimal  40 digits before the point or 40 after it, scale kept
//	time     microseconds, years 1 to 9999
//	bytes    64 KiB
//	json     any JSON text; order of members, spaces and the spelling of numbers may change
var Widgets = kedge.Entity{
	Name: "widgets",
	Key:  []string{"id"},
	Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeString},
		{Name: "bool", Type: kedge.TypeBool, Nullable: true},
		{Name: "int", Type: kedge.TypeInt, Nullable: true},
		{Name: "float", Type: kedge.TypeFloat, Nullable: true},
		{Name: "decimal", Type: kedge.TypeDecimal, Scale: -1, Nullable: true},
		{Name: "string", Type: kedge.TypeString, Nullable: true},
		{Name: "time", Type: kedge.TypeTime, Nullable: true},
		{Name: "date", Type: kedge.TypeDate, Nullable: true},
		{Name: "bytes", Type: kedge.TypeBytes, Nullable: true},
		{Name: "json", Type: kedge.TypeJSON, Nullable: true},
		{Name: "guid", Type: kedge.TypeString, Format: kedge.FormatGUID, Nullable: true},
		{Name: "partNo", Type: kedge.TypeString, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "parts", Field: "No"}}},
		{Name: "partLine", Type: kedge.TypeInt, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "parts", Field: "Line"}}},
	},
}

// Parts is the entity "parts": a key of a text and a number. A system may
// enforce the lookup of [Widgets]: the kit points to no part that does not
// exist.
var Parts = kedge.Entity{
	Name: "parts",
	Key:  []string{"No", "Line"},
	Fields: []kedge.Field{
		{Name: "No", Type: kedge.TypeString},
		{Name: "Line", Type: kedge.TypeInt},
		{Name: "name", Type: kedge.TypeString, Nullable: true},
	},
}
